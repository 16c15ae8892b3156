"""The guards between a policy's answer and a decision: nonsense, failed limits, bounds.

Each takes a ladder and returns a ladder; bounds come last (S4). Not here: the order in
which they are applied (core.decide), and guards on live changes (control).
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ullage.core.allocation import Bounds, Ladder, round_up
from ullage.core.decision import Reason, RunQuestion
from ullage.core.replay import next_limit
from ullage.core.units import MAX_BYTES
from ullage.core.view import RunHistory

FALLBACK_RATIO = 1.15
"""The fallback's limit is the largest peak seen times this."""

OVERSPENT_RATIO = 2.0
OVERSPENT_CONFIDENCE = 0.95
OVERSPENT_RUNS = 100
"""A policy has overspent where the last 100 first attempts under the budget failed more often
than twice the budget, or twice what was announced, explains: with 95 % (one-sided, binomial)
confidence."""


def lowest_limit(bounds: Bounds) -> int:
    """Return the least limit that `bounds` allow: the floor in whole MiB, at most the ceiling."""
    return min(round_up(bounds.floor_bytes), bounds.ceiling_bytes)


def is_sound(ladder: Ladder) -> bool:
    """Say whether a ladder's values can be meant: the door that nonsense does not pass (S14).

    At least one rung; finite numbers in 0 < limit <= 2**50, strictly rising; as many
    OOM chances, each in 0..1, not rising.
    """
    limits, probs = ladder.limit_bytes, ladder.oom_prob
    if not limits or len(limits) != len(probs):
        return False
    if not all(_is_number(value) for value in (*limits, *probs)):
        return False
    if not all(0 < limit <= MAX_BYTES for limit in limits):
        return False
    rises = all(low < high for low, high in pairwise(limits))
    falls = all(high >= low for high, low in pairwise(probs))
    return rises and falls and probs[0] <= 1.0 and probs[-1] >= 0.0


def _is_number(value: object) -> bool:
    """Say whether `value` is a finite number (numpy's count too, booleans and text do not)."""
    if isinstance(value, bool | str | bytes):
        return False
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False


def fallback_ladder(history: RunHistory, question: RunQuestion) -> Ladder:
    """Return the largest peak seen x 1.15; without any, the request, else the ceiling.

    The OOM chance is 1/(n + 1): that of a new maximum among n + 1 alike runs.
    """
    peaks = [float(peak) for peak in history.peak_bytes if math.isfinite(peak) and peak > 0]
    if peaks:
        limit = round_up(min(max(peaks) * FALLBACK_RATIO, MAX_BYTES))
    else:
        limit = question.request_bytes or question.bounds.ceiling_bytes
    return Ladder(limit_bytes=(limit,), oom_prob=(1 / (len(peaks) + 1),))


def is_overspent(history: RunHistory, budget_ratio: float) -> bool:
    """Say whether first attempts under the budget fail far more often than it allows (S14).

    True where P(X >= failures) <= 5 % for X ~ Binomial(n, 2 x p), p the budget or the mean
    announced chance if that is higher: where several workloads share a budget, one of them
    may be planned to fail more often. Runs that were not under the budget (grown, fixed)
    do not count; where that is not recorded: False.

    Worked: budget 2 %: 3 of 20 runs (P = 4.4 %) is overspent, 2 of 20 (19 %) is not.
    """
    if len(history.first_oom_prob) == 0:
        return False
    latest = np.flatnonzero(~np.isnan(history.first_oom_prob))[-OVERSPENT_RUNS:]
    n, failures = len(latest), int(history.first_failed[latest].sum())
    if failures == 0:
        return False
    planned_ratio = max(budget_ratio, float(history.first_oom_prob[latest].mean()))
    chance = min(1.0, OVERSPENT_RATIO * planned_ratio)
    fewer = sum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(failures))
    return 1 - fewer <= 1 - OVERSPENT_CONFIDENCE


def in_whole_mib(ladder: Ladder) -> Ladder:
    """Return the ladder in whole MiB, rounded up; rungs that fall together are one."""
    return _merged([(round_up(limit), prob) for limit, prob in _rungs(ladder)])


def above_failed(ladder: Ladder, failed_bytes: int, bounds: Bounds) -> Ladder:
    """Return the ladder above a limit that has failed.

    Rungs at or below it go; where none is left, 1.5 x the failed limit. Where the
    ceiling is not above it, the ceiling (nothing better is to be had).
    """
    kept = [(limit, prob) for limit, prob in _rungs(ladder) if limit > failed_bytes]
    if kept:
        return _merged(kept)
    limit = next_limit((), failed_bytes, ceiling_bytes=bounds.ceiling_bytes)
    return Ladder(limit_bytes=(limit,), oom_prob=ladder.oom_prob[-1:])


def at_ceiling_when_last(ladder: Ladder, question: RunQuestion) -> Ladder:
    """Return the ceiling alone where neither a retry nor growth is left, else the ladder.

    Its OOM chance is that of the highest rung: nothing is known to be higher.
    """
    if question.can_grow or question.attempts_left > 0:
        return ladder
    return Ladder(limit_bytes=(question.bounds.ceiling_bytes,), oom_prob=ladder.oom_prob[-1:])


def within_bounds(ladder: Ladder, bounds: Bounds) -> Ladder:
    """Return the ladder with every rung in floor..ceiling; equal rungs are one.

    A rung that is cut down to the ceiling keeps the OOM chance of the highest rung that
    was below the ceiling, or of itself if there is none: never a better one than
    was promised for a limit that low. Chances that are not told (no oom_prob at all, as
    from peers) stay untold.
    """
    floor, ceiling = lowest_limit(bounds), bounds.ceiling_bytes
    if not ladder.oom_prob:
        limits = (min(max(math.ceil(limit), floor), ceiling) for limit in ladder.limit_bytes)
        return Ladder(limit_bytes=tuple(dict.fromkeys(limits)), oom_prob=())
    clamped: list[tuple[int, float]] = []
    for limit, prob in _rungs(ladder):
        if limit <= ceiling:
            clamped.append((max(limit, floor), prob))
            continue
        before = clamped[-1][1] if clamped else prob
        clamped.append((ceiling, before))
        break
    return _merged(clamped)


def clamp_reasons(before: Ladder, bounds: Bounds) -> tuple[Reason, ...]:
    """Return why the first rung of `before` has to move to lie within `bounds`."""
    first = before.limit_bytes[0]
    if first > bounds.ceiling_bytes:
        return (Reason.CLAMPED_TO_CEILING,)
    return (Reason.CLAMPED_TO_FLOOR,) if first < lowest_limit(bounds) else ()


def _rungs(ladder: Ladder) -> list[tuple[int, float]]:
    return [
        (math.ceil(limit), float(prob))
        for limit, prob in zip(ladder.limit_bytes, ladder.oom_prob, strict=True)
    ]


def _merged(rungs: list[tuple[int, float]]) -> Ladder:
    """Return rungs (not falling) as a ladder; of equal limits the last chance (the least) holds."""
    least: dict[int, float] = {}
    for limit, prob in rungs:
        least[limit] = min(prob, least.get(limit, 1.0))
    return Ladder(limit_bytes=tuple(least), oom_prob=tuple(least.values()))
