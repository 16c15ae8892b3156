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
from ullage.core.kernels import each, kernel
from ullage.policies.distributions import PeakDistribution, mass_from

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
    limits, prob, hours = thinned(
        peak.points_bytes,
        peak.prob,
        peak.run_hours,
        float(lowest_limit(bounds)),
        float(bounds.ceiling_bytes),
        full_ratio,
        at_least_bytes,
    )
    return Candidates(
        limit_bytes=limits,
        prob_above=prob,
        hours_above=hours,
        run_hours=float(peak.run_hours.sum()),
    )


@kernel
def thinned(
    points: Floats,
    prob: Floats,
    run_hours: Floats,
    lowest: float,
    ceiling: float,
    full_ratio: float,
    at_least: float,
) -> tuple[Floats, Floats, Floats]:
    """Return limit_bytes, prob_above and hours_above of the Candidates."""
    raw = np.maximum(points / full_ratio, at_least)
    limits = np.ceil(raw / GRANULARITY_BYTES) * GRANULARITY_BYTES
    limits = np.minimum(np.maximum(limits, lowest), ceiling)
    limits = limits[np.append(limits[1:] > limits[:-1], True)]
    spare = len(limits) - MAX_CANDIDATES
    if spare > 0:
        spread = np.arange(MAX_CANDIDATES - _KEPT_AT_TOP) * (
            (len(limits) - _KEPT_AT_TOP) / (MAX_CANDIDATES - _KEPT_AT_TOP)
        )
        rank = np.arange(len(limits) - _KEPT_AT_TOP, len(limits))
        limits = limits[np.concatenate((spread.astype(np.int64), rank))]
    at = np.searchsorted(points, limits * full_ratio, side="right")
    return limits, mass_from(prob)[at], mass_from(run_hours)[at]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """s ladders to solve over m candidates each, at the same prices but for the failure's.

    limit_gb, prob_above, hours_above: float64 [m, s]; those with fewer candidates repeat
    their highest. run_hours, failure_gbh: float64 [s].
    """

    limit_gb: Floats
    prob_above: Floats
    hours_above: Floats
    run_hours: Floats
    failure_gbh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The best paths of s problems over m candidates each.

    ahead: float64 [m, s], what rung j costs those that need more, with all that follows it;
    the cost of the path from i on is the least of c_j H_i + ahead_j over j > i.
    first: int[s], index of the first rung. prob_first: float64[s], the chance that it fails.
    """

    problems: Problems
    ahead: Floats
    first: Ints
    prob_first: Floats

    def path(self, problem: int) -> list[int]:
        """Return the rungs of one problem as candidate indices, lowest first."""
        at = self.problems
        path = cheapest_path(
            at.limit_gb[:, problem],
            at.hours_above[:, problem],
            self.ahead[:, problem],
            self.first[problem],
        )
        return [int(rung) for rung in path]


def solve(choices: Sequence[Candidates], failure_gbh: Floats, prices: Prices) -> Solution:
    """Solve the ladder for each of s problems.

    choices: one for each problem, or a single one for all. failure_gbh: lambda of each
    problem, float64[s], GB-hours. With c in GB and H in hours, from the top down:

        V(i) = min over j > i of c_j [(H_i - H_j) + rho ttf H_j] + lambda P_j + V(j)

    and V(top) = 0: an attempt at c_j holds c_j for the runs that fit, and loses
    rho x ttf x c_j for those that do not. i = -1 is the start (H = all). O(m^2) steps,
    vectorised over problems and i.

    Worked: peaks 1 and 2 GB, half each, one hour, rho 1, ttf 1, lambda 0: 1 then 2 costs
    0.5 + 0.5 + 1 = 2.0 GBh, 2 at once costs 2.0; with rho 4 the ladder is 2 at once.
    """
    m, s = max(len(choice) for choice in choices), len(failure_gbh)
    rows = [np.minimum(np.arange(m), len(choice) - 1) for choice in choices]

    def stack(columns: list[Floats]) -> Floats:
        table = np.stack([x[row] for x, row in zip(columns, rows, strict=True)], axis=1)
        return table if table.shape[1] == s else np.repeat(table, s, axis=1)

    return solve_problems(
        Problems(
            limit_gb=stack([choice.limit_bytes / 1e9 for choice in choices]),
            prob_above=stack([choice.prob_above for choice in choices]),
            hours_above=stack([choice.hours_above for choice in choices]),
            run_hours=np.array([choice.run_hours for choice in choices]),
            failure_gbh=failure_gbh,
        ),
        prices,
    )


def solve_problems(problems: Problems, prices: Prices) -> Solution:
    """Solve the ladder for each of s problems, as `solve` does."""
    limit, prob, hours = problems.limit_gb, problems.prob_above, problems.hours_above
    lost = prices.rho * prices.ttf_ratio
    ahead = limit * hours * (lost - 1.0) + problems.failure_gbh * prob
    ahead += values_above(limit, hours, ahead)
    first = (limit * problems.run_hours + ahead).T.argmin(axis=1)
    return Solution(
        problems=problems,
        ahead=ahead,
        first=first,
        prob_first=prob[first, np.arange(len(first))],
    )


@kernel
def values_above(limit: Floats, hours: Floats, ahead: Floats) -> Floats:
    """Return V [m, s]: ahead is c_j (rho ttf - 1) H_j + lambda P_j, without V(j)."""
    m, s = limit.shape
    value = np.full_like(ahead, np.inf)
    value[m - 1] = 0.0
    for j in range(m - 1, 0, -1):
        rest = ahead[j] + value[j]
        for i in each(j):
            for problem in each(s):
                value[i, problem] = np.minimum(
                    value[i, problem], limit[j, problem] * hours[i, problem] + rest[problem]
                )
    return value


@kernel
def cheapest_path(limit: Floats, hours: Floats, ahead: Floats, first: int) -> Ints:
    """Return the rungs of one problem from `first` on; of equally cheap ones the lowest."""
    m = len(limit)
    path = np.zeros(m, np.int64)
    path[0] = first
    count = 1
    while path[count - 1] < m - 1:
        i = path[count - 1]
        path[count] = i + 1 + np.argmin(limit[i + 1 :] * hours[i] + ahead[i + 1 :])
        count += 1
    return path[:count]


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
