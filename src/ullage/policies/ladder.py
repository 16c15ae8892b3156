"""The solved retry ladder: the limits for attempt 1, 2, 3 ... at the least expected cost.

Dynamic programming over candidate limits, for many distributions or many failure prices
at once. Not here: where the distribution comes from (policies.experts) and how the
failure price is found (policies.budget).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import GRANULARITY_BYTES, Bounds, Ladder, Prices
from ullage.core.guardrails import lowest_limit
from ullage.policies.distributions import PeakDistribution

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_CANDIDATES = 96
_KEPT_AT_TOP = 40
"""Thinning keeps the highest candidates all: there the first rung lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Limits to choose from: float64 of length m, whole MiB, strictly rising, within bounds.

    prob_above, hours_above: P_j and H_j, the probability and the run-hours of a peak above
    candidate j. run_hours: all run-hours.
    """

    limit_bytes: Floats
    prob_above: Floats
    hours_above: Floats
    run_hours: float

    def __len__(self) -> int:
        return len(self.limit_bytes)


def candidates_of(
    peak: PeakDistribution, bounds: Bounds, *, full_ratio: float = 1.0, at_least_bytes: float = 0.0
) -> Candidates:
    """Return the support points as candidate limits, thinned to MAX_CANDIDATES.

    Each is rounded up to whole MiB and kept within `bounds` (so the ceiling may be one).
    full_ratio: a limit serves peaks up to this share of it (below 1 where a raise is due
    before the limit is reached). Candidates below `at_least_bytes` are
    left out, but for the highest.
    """
    raw = np.maximum(peak.points_bytes / full_ratio, at_least_bytes)
    limits = np.ceil(raw / GRANULARITY_BYTES) * GRANULARITY_BYTES
    limits = np.unique(np.clip(limits, lowest_limit(bounds), bounds.ceiling_bytes))
    if len(limits) > MAX_CANDIDATES:
        spread = np.linspace(0, len(limits) - _KEPT_AT_TOP, MAX_CANDIDATES - _KEPT_AT_TOP)
        rank = np.arange(len(limits) - _KEPT_AT_TOP, len(limits))
        limits = limits[np.union1d(spread.astype(int), rank)]
    prob, hours = peak.above(limits * full_ratio)
    return Candidates(
        limit_bytes=limits,
        prob_above=prob,
        hours_above=hours,
        run_hours=float(peak.run_hours.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The best paths of s problems over m candidates each.

    first: int[s], index of the first rung. following: int[s, m], the rung after each.
    prob_first: float64[s], the chance that the first rung fails.
    """

    first: Ints
    following: Ints
    prob_first: Floats

    def path(self, problem: int) -> list[int]:
        """Return the rungs of one problem as candidate indices, lowest first."""
        at, path = int(self.first[problem]), []
        while at >= 0:
            path.append(at)
            at = int(self.following[problem, at])
        return path


def solve(choices: Sequence[Candidates], failure_gbh: Floats, prices: Prices) -> Solution:
    """Solve the ladder for each of s problems.

    choices: one for each problem, or a single one for all. failure_gbh: lambda of each
    problem, float64[s], GB-hours. With c in GB and H in hours, from the top down:

        V(i) = min over j > i of c_j [(H_i - H_j) + rho ttf H_j] + lambda P_j + V(j)

    and V(top) = 0: an attempt at c_j holds c_j for the runs that fit, and loses
    rho x ttf x c_j for those that do not. i = -1 is the start (H = all). O(m^2) steps,
    vectorised over problems and j.

    Worked: peaks 1 and 2 GB, half each, one hour, rho 1, ttf 1, lambda 0: 1 then 2 costs
    0.5 + 0.5 + 1 = 2.0 GBh, 2 at once costs 2.0; with rho 4 the ladder is 2 at once.
    """
    problems = len(failure_gbh)
    limit, prob, hours, start = _stacked(choices, problems)
    m = limit.shape[1]
    lost = prices.rho * prices.ttf_ratio
    ahead = limit * hours * (lost - 1.0) + failure_gbh[:, None] * prob
    value = np.zeros((problems, m))
    following = np.full((problems, m), -1)
    rows = np.arange(problems)
    first = np.zeros(problems, dtype=np.int64)
    for i in range(m - 2, -2, -1):
        mass = hours[:, i : i + 1] if i >= 0 else start
        cost = limit[:, i + 1 :] * mass + ahead[:, i + 1 :]
        best = cost.argmin(axis=1)
        if i < 0:
            first = best
            break
        value[:, i] = cost[rows, best]
        ahead[:, i] += value[:, i]
        following[:, i] = best + i + 1
    return Solution(first=first, following=following, prob_first=prob[rows, first])


def _stacked(choices: Sequence[Candidates], problems: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return limits (GB), P, H as [s, m] and all hours as [s, 1]; short ones repeat their top."""
    m = max(len(choice) for choice in choices)
    rows = [np.minimum(np.arange(m), len(choice) - 1) for choice in choices]

    def stack(columns: list[Floats]) -> Floats:
        table = np.stack([column[row] for column, row in zip(columns, rows, strict=True)])
        return np.broadcast_to(table, (problems, m))

    start = np.array([[choice.run_hours] for choice in choices])
    return (
        stack([choice.limit_bytes / 1e9 for choice in choices]),
        stack([choice.prob_above for choice in choices]),
        stack([choice.hours_above for choice in choices]),
        np.broadcast_to(start, (problems, 1)),
    )


def ladder_of(choice: Candidates, path: Sequence[int], peak: PeakDistribution) -> Ladder:
    """Return a path over candidates as a ladder: strictly rising, each with its OOM chance."""
    limits = sorted({int(choice.limit_bytes[min(at, len(choice) - 1)]) for at in path})
    prob, _ = peak.above(np.array(limits, float))
    return Ladder(
        limit_bytes=tuple(limits),
        oom_prob=tuple(float(p) for p in np.clip(prob, 0.0, 1.0)),
    )


def cut_to_attempts(ladder: Ladder, bounds: Bounds, attempts_left: int) -> Ladder:
    """Return the ladder as far as attempts reach: the last possible one gets the ceiling.

    attempts_left: how many attempts may follow the first. A ladder that is short enough
    stays as it is. The ceiling's OOM chance is that of the ladder's last rung: no limit
    below it is safer.
    """
    if len(ladder.limit_bytes) <= attempts_left:
        return ladder
    ceiling = bounds.ceiling_bytes
    kept = [rung for rung in ladder.limit_bytes[:attempts_left] if rung < ceiling]
    return Ladder(
        limit_bytes=(*kept, ceiling),
        oom_prob=(*ladder.oom_prob[: len(kept)], ladder.oom_prob[-1]),
    )
