"""The first runs of a workload: the request, related workloads, or a small start that grows.

Not here: any run whose own history holds a known peak (policies.runs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import Ladder, round_up
from ullage.core.decision import Reason, Recommendation, RunQuestion
from ullage.core.guardrails import lowest_limit
from ullage.core.replay import RAISE_FACTOR
from ullage.core.spending import Spending
from ullage.core.units import MAX_BYTES, MIB
from ullage.core.view import RunHistory
from ullage.policies.budget import FAILURE_GRID_GBH, choose_price
from ullage.policies.distributions import PeakDistribution, curve_of, peak_distribution
from ullage.policies.experts import FAVOURED_FEATURE
from ullage.policies.ladder import candidates_of, ladder_of, solve

SMALL_START_BYTES = 512 * MIB
SHRINKAGE_RUNS = 20.0
"""n0: the ratio peak / input counts n / (n + n0) against the plain peaks of others."""
STRANGER_TAIL_RUNS = 20.0
"""Other workloads say no more than this many runs of its own would about the tail."""
REQUEST_OOM_PROB = 0.1
UNKNOWN_OOM_PROB = 0.5
"""Stated guesses, where nothing has been seen: requests are mostly generous."""


def recommend_cold(
    history: RunHistory,
    question: RunQuestion,
    *,
    related: RunHistory | None,
    tells_needs: bool = False,
) -> Recommendation:
    """Answer without a known peak of the workload's own.

    In this order: the request; for a run that cannot grow the distribution pooled from
    `related`; a small start (512 MiB) for one that grows; else the ceiling. Where runs
    of its own were killed or stopped, their need (a lower bound) x 1.5 at least.
    """
    seen_bytes = float(history.peak_bytes.max()) if len(history) else 0.0
    least = round_up(seen_bytes * RAISE_FACTOR)
    if question.request_bytes is not None:
        return _single(question.request_bytes, least, question, Reason.REQUEST)
    if question.can_grow:
        return _single(SMALL_START_BYTES, least, question, Reason.NO_EVIDENCE)
    pooled = (
        None
        if related is None
        else pooled_peak(related, question.features.numbers.get(FAVOURED_FEATURE))
    )
    if question.attempts_left < 1:
        return _single(question.bounds.ceiling_bytes, least, question, Reason.NO_EVIDENCE)
    if pooled is None:
        start_bytes = question.default_bytes or question.bounds.ceiling_bytes
        return _single(start_bytes, least, question, Reason.NO_EVIDENCE)
    choice = candidates_of(pooled, question.bounds, at_least_bytes=least)
    known_price = question.prices.failure_gbh
    prices = FAILURE_GRID_GBH if known_price is None else np.array([known_price])
    solution = solve([choice], prices, question.prices)
    at = choose_price(
        solution.prob_first, question.spending or Spending(), question.failure_budget_ratio
    )
    return Recommendation(
        ladder=ladder_of(choice, solution.path(at), pooled),
        reasons=(Reason.POOLED_PRIOR,),
        expert=str(Reason.POOLED_PRIOR),
        runs_used=len(history),
        curve=curve_of(pooled) if tells_needs else None,
    )


def _single(
    limit_bytes: int, least_bytes: int, question: RunQuestion, reason: Reason
) -> Recommendation:
    """Return one rung, then x 1.5 up to the ceiling, each half as likely to fail."""
    ceiling = question.bounds.ceiling_bytes
    first = max(round_up(limit_bytes), least_bytes, lowest_limit(question.bounds))
    rungs = [min(first, ceiling)]
    while rungs[-1] < ceiling:
        rungs.append(min(round_up(rungs[-1] * RAISE_FACTOR), ceiling))
    prob = REQUEST_OOM_PROB if reason is Reason.REQUEST else UNKNOWN_OOM_PROB
    probs = tuple(prob * 0.5**step for step in range(len(rungs)))
    return Recommendation(
        ladder=Ladder(limit_bytes=tuple(rungs), oom_prob=probs),
        reasons=(reason,),
        expert=str(reason),
        runs_used=0,
    )


def pooled_peak(related: RunHistory, x_now: float | None) -> PeakDistribution | None:
    """Return the peak's distribution from runs of other workloads, or None without any.

    A share R2 n_r / (n_r + n0) of the weight goes to (peak / input) x this run's input over
    the n_r runs that have one, the rest to their plain peaks. R2 = 1 - var(ln(peak / input)) /
    var(ln peak), at least 0: unlike programs need unlike memory for a byte, and a ratio of
    theirs that varies more than their peaks would ask for terabytes. All weigh as much as
    STRANGER_TAIL_RUNS runs at most, so that the tail stays thick.
    """
    n = len(related)
    if n == 0:
        return None
    x = related.numbers.get(FAVOURED_FEATURE, np.full(n, np.nan))
    has_ratio = x > 0 if x_now is not None and x_now > 0 else np.zeros(n, bool)
    ratio_count = int(has_ratio.sum())
    share = ratio_count / (ratio_count + SHRINKAGE_RUNS)
    if ratio_count:
        share *= _explained(related.peak_bytes[has_ratio], np.maximum(x[has_ratio], 1.0))
    # A ratio to less than a byte means nothing, and none may lead beyond what is believed.
    scaled = (
        related.peak_bytes
        / np.where(has_ratio, np.maximum(x, 1.0), np.nan)
        * min(x_now or 0.0, MAX_BYTES)
    )
    scaled = np.minimum(scaled, MAX_BYTES)
    points = np.concatenate((related.peak_bytes, scaled))
    weights = np.concatenate(
        (np.full(n, (1 - share) / n), np.where(has_ratio, share / max(ratio_count, 1), 0.0))
    )
    return _with_thick_tail(related, points, weights)


def _explained(peak_bytes: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Return how much of the variance of ln peak is gone in ln(peak / x): 0 .. 1."""
    plain = float(np.log(np.maximum(peak_bytes, 1.0)).var())
    left = float(np.log(np.maximum(peak_bytes, 1.0) / x).var())
    return max(0.0, 1.0 - left / plain) if plain > 0 else 0.0


def _with_thick_tail(
    related: RunHistory, points: NDArray[np.float64], weights: NDArray[np.float64]
) -> PeakDistribution | None:
    pooled = peak_distribution(
        points,
        weights,
        is_censored=np.tile(related.is_censored, 2),
        runtime_s=np.tile(related.runtime_s, 2),
    )
    if pooled is None:
        return None
    least_tail = 1.0 / (STRANGER_TAIL_RUNS + 1.0)
    is_tail = pooled.points_bytes > float(np.nanmax(np.where(weights > 0, points, np.nan)))
    tail = float(pooled.prob[is_tail].sum())
    if tail >= least_tail:
        return pooled
    scale = np.where(is_tail, least_tail / tail, (1 - least_tail) / (1 - tail))
    return PeakDistribution(
        points_bytes=pooled.points_bytes,
        prob=pooled.prob * scale,
        run_hours=pooled.run_hours * scale,
        source=pooled.source % len(related),
    )
