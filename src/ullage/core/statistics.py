"""Weighted quantiles, effective counts, straight lines and ranks.

Not here: distributions of peaks (policies.distributions) and figures of merit
(core.scoring).

NaN rule, the same for every function: an item whose value or weight is NaN, or whose
weight is not above zero, does not count; where nothing is left the answer is NaN,
never zero. Infinite values are the caller's mistake and are not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.kernels import kernel

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_FULL_LEVERAGE = 1 - 1e-9


def weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the smallest value at or below which at least `level` of the weight lies.

    values, weights: float64 of length n. level: 0..1. No interpolation: the answer is
    one of the values.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.5)
    2.0
    """
    counts = (weights > 0) & ~np.isnan(values)
    if not counts.any():
        return float("nan")
    kept, mass = values[counts], weights[counts]
    order = np.argsort(kept, kind="stable")
    return float(sorted_quantile(kept[order], mass[order], level))


@kernel
def sorted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the weighted quantile of values that rise; weights >= 0, not all of them 0."""
    below = np.cumsum(weights)
    at = np.searchsorted(below, level * below[-1] * (1 - 1e-12))
    return values[min(at, len(values) - 1)]  # type: ignore[no-any-return]


@kernel
def effective_count(weights: Floats) -> float:
    """Return n_eff = (sum w)^2 / sum w^2: how many equal items the weights are worth (Kish).

    0.0 for no weight at all.

    >>> effective_count(np.array([1.0, 1.0, 1.0, 0.0]))
    3.0
    """
    kept = np.where(weights > 0, weights, 0.0)
    most = kept.max() if len(kept) else 0.0
    if not most > 0:
        return 0.0
    kept = kept / most
    return float(kept.sum() ** 2 / (kept * kept).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A straight line y = intercept + slope * x, and what each point says without itself.

    left_out: float64 of length n, the value the line through all *other* points has at
        point i (leave-one-out prediction). own_leverage: float64 of length n, h of each point.
    """

    intercept: float
    slope: float
    left_out: Floats
    own_leverage: Floats
    x_mean: float
    spread: float
    weight_total: float

    def at(self, x: float) -> float:
        """Return the line's value at `x`."""
        return self.intercept + self.slope * x

    def leverage(self, x: float) -> float:
        """Return 1/W + (x - mean)^2 / Sxx: how far `x` is from what was seen.

        In units where the mean weight is 1, so about 1/n in the middle and growing outside.
        """
        return 1 / self.weight_total + (x - self.x_mean) ** 2 / self.spread


def fit_line(x: Floats, y: Floats, weights: Floats | None = None) -> Line | None:
    """Fit y on x by (weighted) least squares, with leave-one-out predictions.

    x, y: float64 of length n without NaN. weights: length n, > 0 (default: equal).
    Returns None for fewer than two different x. With w scaled to mean 1, W = sum w and
    Sxx = sum w (x - x_mean)^2, point i has the leverage h = w (1/W + (x - x_mean)^2/Sxx)
    and its leave-one-out residual is e/(1 - h) (Allen's PRESS). A point with h = 1 (the
    only one at its x while all others share another) is predicted by the others' mean.

    >>> line = fit_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    >>> line.intercept, line.slope
    (1.0, 2.0)
    """
    if len(x) < 2:
        return None
    found = least_squares(x, y, np.ones(len(x)) if weights is None else weights)
    intercept, slope, left_out, own_leverage, x_mean, spread, total = found
    if not spread > 0:
        return None
    return Line(
        intercept=float(intercept), slope=float(slope), left_out=left_out,
        own_leverage=own_leverage, x_mean=float(x_mean), spread=float(spread),
        weight_total=float(total),
    )  # fmt: skip


@kernel
def least_squares(
    x: Floats, y: Floats, weights: Floats
) -> tuple[float, float, Floats, Floats, float, float, float]:
    """Return intercept, slope, left_out, own_leverage, x_mean, spread, weight_total of a Line.

    The spread is 0.0, and the rest nothing, where x does not vary.
    """
    w = weights / weights.mean()
    total = w.sum()
    x_mean, y_mean = (w * x).sum() / total, (w * y).sum() / total
    dx = x - x_mean
    spread = (w * dx * dx).sum()
    if not spread > 1e-18 * max(x_mean * x_mean, 1e-300) * total:
        return 0.0, 0.0, y, w, x_mean, 0.0, total
    slope = (w * dx * (y - y_mean)).sum() / spread
    intercept = y_mean - slope * x_mean
    lever = w * (1 / total + dx * dx / spread)
    error = y - (intercept + slope * x)
    others = (total * y_mean - w * y) / np.maximum(total - w, 1e-300)
    alone = lever > _FULL_LEVERAGE
    left_out = np.where(alone, others, y - error / np.where(alone, 1.0, 1 - lever))
    return intercept, slope, left_out, np.minimum(lever, 1.0), x_mean, spread, total


@kernel
def rank_shares(values: Floats, order: Ints, is_known: Bools) -> Floats:
    """Return for each value the share of the known ones below it, equal ones counted half: 0..1.

    values: float64 of length n; a NaN counts as the largest. order: their argsort.
    is_known: at least one.

    >>> x = np.array([5.0, 1.0, 5.0, 9.0])
    >>> rank_shares(x, np.argsort(x), np.array([True, True, False, False])).tolist()
    [0.75, 0.25, 0.75, 1.0]
    """
    rising = values[order]
    known = np.append(0.0, np.cumsum(is_known[order]))
    is_last = np.append(rising[1:] != rising[:-1], True)
    last = np.append(-1, np.flatnonzero(is_last))
    group = np.cumsum(is_last) - is_last
    low, high = known[last[group] + 1], known[last[group + 1] + 1]
    shares = np.empty(len(values))
    shares[order] = (low + high) / (2.0 * known[-1])
    return shares


@kernel
def correlation(x: Floats, y: Floats) -> float:
    """Return Pearson's correlation of two arrays without NaN; NaN where one is constant."""
    dx, dy = x - x.mean(), y - y.mean()
    scale = np.sqrt((dx * dx).sum() * (dy * dy).sum())
    return (dx * dy).sum() / scale if scale > 0 else np.nan


def rank_places(values: Floats) -> Floats:
    """Return the share of all values below each, equal ones counted half: (rank - 1/2) / n."""
    return rank_shares(values, np.argsort(values), np.ones(len(values), bool))


def average_ranks(values: Floats) -> Floats:
    """Return ranks 1..n; equal values share the mean of their ranks. No NaN allowed.

    >>> average_ranks(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    return np.round(rank_places(values) * (2 * len(values))) / 2 + 0.5


def rank_correlation(x: Floats, y: Floats, *, y_places: Floats | None = None) -> float:
    """Return Spearman's rank correlation over the pairs without NaN, -1..1.

    NaN for fewer than three pairs, or where x or y is constant. y_places: rank_places of a
    y without NaN, where it is compared with several x.
    """
    lacks = np.isnan(x) if y_places is not None else np.isnan(x) | np.isnan(y)
    if lacks.any():
        x, y, y_places = x[~lacks], y[~lacks], None
    if len(x) < 3:
        return float("nan")
    return float(correlation(rank_places(x), rank_places(y) if y_places is None else y_places))
