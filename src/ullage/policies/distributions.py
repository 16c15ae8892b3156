"""The conditional distribution of a run's peak: weighted support points with a tail.

What is known only as "at least this much" (an OOM, a run that was stopped) gives its
mass to what lies above it, as Kaplan and Meier's estimator does; a tail stands for what
has not been seen yet. Not here: where the points come from (policies.experts), and what
limit they call for (policies.ladder).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import NeedCurve
from ullage.core.kernels import kernel
from ullage.core.statistics import effective_count, sorted_quantile, weighted_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TAIL_STEPS = np.array([0.35, 1.0, 2.0, 4.0])
"""Tail atoms lie at top + beta x these ..."""
TAIL_SHARES = np.array([0.45, 0.28, 0.15, 0.08])
"""... and hold these shares of the tail's mass; the rest is at TAIL_END x top."""
TAIL_END = 2.0
TAIL_END_SHARE = 0.04

_LEAST_EXCESS_RATIO = 0.002
_FEW_EXCESS_RATIO = 0.15
"""beta >= top x max(0.002, 0.15 / n): a few peaks say little about what lies above them."""
_CENSORED_EXCESS_RATIO = 0.5
"""Where the top itself is only a lower bound: beta >= top x 0.5 / (n + 1)."""
_DECILE_COUNT = 10
_SPREAD_COUNT = 5
_FULL_SPREAD = 0.05
_LEAST_SPREAD_FACTOR = 0.4


@dataclass(frozen=True, slots=True)
class PeakDistribution:
    """Where the peak of a run may lie.

    points_bytes: float64 of length m, rising. prob: their probabilities, sum 1.
    run_hours: probability x runtime in hours. source: int of length m, the index in the
    history of the run behind each point.
    """

    points_bytes: Floats
    prob: Floats
    run_hours: Floats
    source: NDArray[np.int64]

    def above(self, limits_bytes: Floats) -> tuple[Floats, Floats]:
        """Return (probability, run-hours) of a peak above each of `limits_bytes`."""
        at = np.searchsorted(self.points_bytes, limits_bytes, side="right")
        return mass_from(self.prob)[at], mass_from(self.run_hours)[at]

    def quantile(self, level: float) -> float:
        """Return the least point that a peak stays at or below with probability `level`."""
        return weighted_quantile(self.points_bytes, self.prob, level)


def curve_of(peak: PeakDistribution) -> NeedCurve:
    """Return the chance of a need above every point of a distribution."""
    prob = np.clip(mass_from(peak.prob)[1:], 0.0, 1.0)
    return NeedCurve(need_bytes=tuple(peak.points_bytes.tolist()), above_prob=tuple(prob.tolist()))


@kernel
def mass_from(mass: Floats) -> Floats:
    """Return the sums from each index to the end, and a last 0."""
    return np.append(np.cumsum(mass[::-1])[::-1], 0.0)


@kernel
def spread_factor(points: Floats, seen: Floats, n_eff: float) -> float:
    """Return 0.4..1: how far the few points reach from their middle, against FULL_SPREAD.

    Five points or more that lie close together say that the next will not lie far off.
    sqrt((top - median) / top / FULL_SPREAD) over the uncensored points.
    """
    if n_eff < _SPREAD_COUNT:
        return 1.0
    last = len(points) - 1
    while not seen[last] > 0:
        last -= 1
    top = points[last]
    reach = (top - sorted_quantile(points, seen, 0.5)) / top
    return min(max(math.sqrt(reach / _FULL_SPREAD), _LEAST_SPREAD_FACTOR), 1.0)


@kernel
def mean_excess(points: Floats, seen: Floats) -> float:
    """Return the mean of (point - threshold) over the points above the top decile's edge."""
    threshold = sorted_quantile(points, seen, 0.9)
    first = np.searchsorted(points, threshold, side="right")
    mass = seen[first:]
    total = mass.sum()
    if not total > 0:
        return 0.0
    return ((points[first:] - threshold) * mass).sum() / total  # type: ignore[no-any-return]


@kernel
def tail_atoms(points: Floats, seen: Floats, n_eff: float, is_top_censored: bool) -> Floats:
    """Return the five tail atoms above the largest of `points`, which rise.

    seen: their weights, 0 where censored; n_eff of these.
    """
    top = points[-1]
    few = _FEW_EXCESS_RATIO / max(n_eff, 1.0) * spread_factor(points, seen, n_eff)
    least = max(_LEAST_EXCESS_RATIO, few)
    if is_top_censored:
        least = max(least, _CENSORED_EXCESS_RATIO / (n_eff + 1.0))
    beta = max(top * least, mean_excess(points, seen) if n_eff >= _DECILE_COUNT else 0.0)
    return np.append(top + beta * TAIL_STEPS, top * TAIL_END)


def rising(points: Floats, is_censored: Bools) -> Ints:
    """Return the indices of `points` from the least up; of equal ones the censored come last."""
    order = points.argsort()
    if is_censored_first(points, is_censored, order):
        return np.lexsort((is_censored, points))
    return order


@kernel
def is_censored_first(points: Floats, is_censored: Bools, order: Ints) -> bool:
    """Say whether a censored point comes before an equal one that is not, in this order."""
    values, censored = points[order], is_censored[order]
    wrong = (values[1:] == values[:-1]) & (censored[:-1] > censored[1:])
    return wrong.any()  # type: ignore[no-any-return]


@kernel
def support(
    points: Floats, weights: Floats, is_censored: Bools, hours: Floats
) -> tuple[Floats, Floats, Floats, Ints]:
    """Return points_bytes, prob, run_hours of a PeakDistribution, and which points are in it.

    All in the order of `rising`, at least one; weights > 0. After the points that are in
    it come the atoms of the tail.
    """
    seen = np.where(is_censored, 0.0, weights)
    n_eff = effective_count(seen)
    tail_weight = seen.sum() / n_eff if n_eff > 0 else weights.max()
    atoms = tail_atoms(points, seen, n_eff, is_censored[-1])

    at_or_above = np.cumsum(weights[::-1])[::-1] + tail_weight
    taken = seen / at_or_above
    left = np.cumprod(1.0 - taken)
    prob = taken * np.append(1.0, left[:-1])
    tail_prob = left[-1] * np.append(TAIL_SHARES, TAIL_END_SHARE)

    kept = np.flatnonzero(~is_censored)
    base = seen if n_eff > 0 else weights
    tail_hours = (base * hours).sum() / base.sum()
    rank = np.argsort(atoms, kind="mergesort")
    return (
        np.append(points[kept], atoms[rank]),
        np.append(prob[kept], tail_prob[rank]),
        np.append((prob * hours)[kept], tail_prob[rank] * tail_hours),
        kept,
    )


def peak_distribution(
    points: Floats, weights: Floats, *, is_censored: NDArray[np.bool_], runtime_s: Floats
) -> PeakDistribution | None:
    """Return the distribution that weighted observations of a peak stand for.

    points: float64 of length n in bytes, NaN = says nothing. weights: float64 >= 0.
    is_censored: the true value is above the point. Returns None if nothing is left.

    The tail counts as one more observation, worth 1/n_eff of the uncensored weight, so it
    holds 1/(n_eff + 1) where nothing is censored. Going up, a point with weight w among R
    at or above it takes the share w/R of what is left; a censored one takes nothing and
    so leaves its mass to all that lies above it. Adding a censored observation
    therefore never lowers the chance of exceeding any limit (n_eff is of the uncensored).
    """
    order = rising(points, is_censored)
    order = order[(weights[order] > 0) & (points[order] > 0)]
    if len(order) == 0:
        return None
    points_bytes, prob, run_hours, kept = support(
        points[order], weights[order], is_censored[order], runtime_s[order] / 3600.0
    )
    atoms_count = len(points_bytes) - len(kept)
    return PeakDistribution(
        points_bytes=points_bytes,
        prob=prob,
        run_hours=run_hours,
        source=np.concatenate((order[kept], np.full(atoms_count, order[-1]))),
    )


def given_above(known: PeakDistribution, failed_bytes: int) -> PeakDistribution:
    """Return the distribution given that the peak exceeds a limit that has just failed.

    The mass above it, plus one observation's worth of tail beyond the failed limit (a
    failure is a surprise: what was thought to lie above may be wrong as well), with
    beta = half the failed limit.
    """
    keep = known.points_bytes > failed_bytes
    share = float(known.prob[keep].sum())
    fresh = np.append(TAIL_SHARES, TAIL_END_SHARE)
    atoms = failed_bytes + 0.5 * failed_bytes * np.append(TAIL_STEPS, 2 * TAIL_STEPS[-1])
    old, new = (0.5, 0.5) if share > 0 else (0.0, 1.0)
    hours = float(known.run_hours.sum())
    points = np.concatenate((known.points_bytes[keep], atoms))
    rank = np.argsort(points, kind="stable")
    scale = old / share if share > 0 else 0.0
    return PeakDistribution(
        points_bytes=points[rank],
        prob=np.concatenate((known.prob[keep] * scale, fresh * new))[rank],
        run_hours=np.concatenate((known.run_hours[keep] * scale, fresh * new * hours))[rank],
        source=np.concatenate(
            (known.source[keep], np.full(len(atoms), known.source[-1], dtype=np.int64))
        )[rank],
    )
