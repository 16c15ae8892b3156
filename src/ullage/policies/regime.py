"""Change of regime: runs that need clearly more than everything before them foretold.

Three runs in a row above the 0.99 quantile of what was known before the first of them
are no accident: the older runs are left out from then on. A fall needs no such cut: the
experts that follow recent runs are cheaper then, and lead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

IN_A_ROW = 3
MIN_BEFORE = 8
"""A regime needs this many runs before it can be said to have ended."""


def regime_start(peak_bytes: Floats, x: Floats) -> int:
    """Return the index of the first run of the present regime (0: nothing changed).

    peak_bytes: float64 of length n, oldest first (a censored peak counts as it is: the
    truth is higher still). x: the feature, NaN where it is missing. A run exceeds only
    if it lies above every reading of the runs before: their maximum, and the line and
    the log line through the feature raised by their largest ratio residual; each times
    1 + 2 max(0.002, 0.15 / n), about the 0.99 quantile including the tail.
    """
    y = peak_bytes
    n = len(y)
    if n < MIN_BEFORE + IN_A_ROW:
        return 0
    tops = np.maximum.accumulate(y)
    records = y[MIN_BEFORE : n - IN_A_ROW + 1] > tops[MIN_BEFORE - 1 : n - IN_A_ROW]
    cuts = MIN_BEFORE + np.flatnonzero(records)
    cuts = cuts[_exceeds(tops[cuts - 1][:, None], y, cuts)]
    if len(cuts) == 0:
        return 0
    if not np.isnan(x).any():
        cuts = cuts[_exceeds(_line_quantiles(x, y, cuts), y, cuts)]
        if len(cuts) and (x > 0).all():
            logs = np.exp(_line_quantiles(np.log(x), np.log(y), cuts, is_log=True))
            cuts = cuts[_exceeds(logs, y, cuts)]
    return int(cuts[-1]) if len(cuts) else 0


def _exceeds(tops: Floats, y: Floats, cuts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each cut whether the three runs from it on exceed `tops` and its margin."""
    nexts = y[cuts[:, None] + np.arange(IN_A_ROW)]
    margin = 1 + 2 * np.maximum(0.002, 0.15 / cuts)[:, None]
    result: NDArray[np.bool_] = (nexts > tops * margin).all(axis=1)
    return result


def _line_quantiles(
    x: Floats, y: Floats, cuts: NDArray[np.int64], *, is_log: bool = False
) -> Floats:
    """Return [cuts, 3]: the line through the runs before each cut, at the three runs after.

    Raised by the largest residual (a ratio, or a difference of logarithms).
    """
    scale = float(np.abs(x).max()) or 1.0
    u = x / scale
    count = cuts.astype(float)
    sum_x, sum_y = np.cumsum(u)[cuts - 1], np.cumsum(y)[cuts - 1]
    sum_xx, sum_xy = np.cumsum(u * u)[cuts - 1], np.cumsum(u * y)[cuts - 1]
    spread = sum_xx - sum_x**2 / count
    flat = spread <= 1e-12 * count
    slope = np.where(flat, 0.0, (sum_xy - sum_x * sum_y / count) / np.where(flat, 1.0, spread))
    start = (sum_y - slope * sum_x) / count
    before = np.arange(len(y))[None, :] < cuts[:, None]
    lines = start[:, None] + slope[:, None] * u[None, :]
    after = np.take_along_axis(lines, cuts[:, None] + np.arange(IN_A_ROW), axis=1)
    if is_log:
        worst = np.where(before, y - lines, -np.inf).max(axis=1)
        raised: Floats = after + worst[:, None]
        return raised
    least = 0.25 * float(y.min())
    worst = np.where(before, y / np.maximum(lines, least), 0.0).max(axis=1)
    quantiles: Floats = np.maximum(after, least) * worst[:, None]
    return quantiles
