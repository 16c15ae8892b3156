"""What a service may need in its next interval: twelve readings of its past interval peaks.

Each base is a column over the same grid of intervals: row k holds what the base said of
interval k when only the intervals before k were known. Margins, prices and the choice among
them are in policies.service_rules. In whatever unit the peaks have; all bases are
proportional to the peaks and none falls when a peak is raised.

The bases: the largest peak of five weeks, a day, 6 h, 2 h, 1 h; the latest peak; the 98th
percentile of two days, the 95th of a day; the largest peak where an old one counts less
(half as much after two days, after 12 h); the largest at this time of the day (+- 1 h, seven
days), at this time of the week (+- 1 h, four weeks). None is below the latest peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
KEPT_S = 35 * DAY_S
"""Five weeks: weekly and month-end cycles are real."""

SEASON_ROOM_S = HOUR_S
SEASON_DAYS = 7
SEASON_WEEKS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeakGrid:
    """Interval peaks without holes, oldest first: what a rule is asked about and scored on.

    peaks: float64 of length n; a hole holds the peak before it. is_seen: bool of length n,
    the interval had readings. number: int64 of length n, intervals since the epoch of the grid
    (rises by one). interval_s: length of an interval.
    """

    peaks: Floats
    is_seen: Bools
    number: Ints
    interval_s: float

    def __len__(self) -> int:
        return len(self.peaks)

    def without_last(self) -> PeakGrid:
        """Return all intervals but the latest."""
        return PeakGrid(
            peaks=self.peaks[:-1],
            is_seen=self.is_seen[:-1],
            number=self.number[:-1],
            interval_s=self.interval_s,
        )


def peak_grid(at_s: Floats, peaks: Floats, interval_s: float) -> PeakGrid:
    """Return the last five weeks of interval peaks as a grid; holes hold the peak before them.

    at_s: float64 of length n >= 0, starts of intervals, rising. peaks: float64 of length n.
    Two starts are in the same interval where floor(at / interval) is the same.

    >>> grid = peak_grid(np.array([0.0, 1800.0, 5400.0]), np.array([1.0, 2.0, 3.0]), 1800.0)
    >>> grid.peaks.tolist(), grid.is_seen.tolist()
    ([1.0, 2.0, 2.0, 3.0], [True, True, False, True])
    """
    if len(at_s) == 0:
        nothing = np.zeros(0)
        return PeakGrid(
            peaks=nothing, is_seen=nothing > 0, number=np.zeros(0, np.int64), interval_s=interval_s
        )
    number = np.floor(at_s / interval_s).astype(np.int64)
    kept = number > number[-1] - _count(KEPT_S, interval_s)
    number, peaks = number[kept], peaks[kept]
    place = number - number[0]
    length = int(place[-1]) + 1
    dense = np.zeros(length)
    np.maximum.at(dense, place, peaks)
    is_seen = np.zeros(length, bool)
    is_seen[place] = True
    latest = np.maximum.accumulate(np.where(is_seen, np.arange(length), 0))
    return PeakGrid(
        peaks=dense[latest],
        is_seen=is_seen,
        number=np.arange(number[0], number[0] + length),
        interval_s=interval_s,
    )


def _count(span_s: float, interval_s: float) -> int:
    return max(1, round(span_s / interval_s))


def _largest(peaks: Floats, first: int, width: int) -> Floats:
    """Return for rows first..n the largest of the `width` peaks before each; first >= 1."""
    if width >= len(peaks):
        return np.maximum.accumulate(peaks)[first - 1 :]
    if first == len(peaks):
        return np.array([peaks[-width:].max()])
    low = max(0, first - width)
    part = np.concatenate((np.zeros(max(0, width - first)), peaks[low:]))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(part, width).max(axis=1), float)


def _percentile(peaks: Floats, first: int, width: int, level: float) -> Floats:
    """Return for rows first..n the `level` percentile of the (up to) `width` peaks before each.

    The smallest of them at or below which at least `level` of them lie.
    """
    n = len(peaks)
    if first == n:
        latest = peaks[-width:]
        at = math.ceil(level * len(latest)) - 1
        return np.array([np.partition(latest, at)[at]])
    begin = max(first, width)
    found = []
    if first < width:  # short rows, filled up with what is sorted behind everything
        rows = np.arange(first, min(width, n + 1))
        part = np.concatenate((np.full(width - first, np.inf), peaks[: rows[-1]]))
        ordered = np.sort(np.lib.stride_tricks.sliding_window_view(part, width), axis=1)
        found.append(ordered[np.arange(len(rows)), np.ceil(level * rows).astype(np.int64) - 1])
    if begin <= n:
        at = math.ceil(level * width) - 1
        windows = np.lib.stride_tricks.sliding_window_view(peaks[begin - width :], width)
        found.append(np.partition(windows, at, axis=1)[:, at])
    return np.concatenate(found)


def _fading(peaks: Floats, first: int, half_life_count: float) -> Floats:
    """Return for rows first..n max over i < k of peak_i x 2^(-(k - 1 - i) / half life)."""
    n = len(peaks)
    if first == n:
        return np.array([float((peaks * np.exp2(-np.arange(n)[::-1] / half_life_count)).max())])
    with np.errstate(divide="ignore"):
        rising = np.log2(peaks) + np.arange(n) / half_life_count
    best = np.maximum.accumulate(rising)[first - 1 :]
    return np.asarray(np.exp2(best - np.arange(first - 1, n) / half_life_count), float)


def _seasonal(peaks: Floats, first: int, period_s: float, periods: int, step_s: float) -> Floats:
    """Return for rows first..n the largest peak at this time of earlier periods, +- an hour.

    0 where no earlier period is known.
    """
    period, room = _count(period_s, step_s), _count(SEASON_ROOM_S, step_s)
    rows = len(peaks) + 1 - first
    if rows == 1:
        around = np.arange(-room, min(room, period - 1) + 1)
        places = (first + around - period * np.arange(1, periods + 1)[:, None]).ravel()
        return np.array([peaks[places[places >= 0]].max(initial=0.0)])
    best = np.zeros(rows)
    for back in range(period, period * periods + 1, period):
        for offset in range(-room, min(room, back - 1) + 1):
            begin = first - back + offset  # row k reads peaks[k - back + offset], before k
            skipped = max(0, -begin)
            if skipped < rows:
                read = peaks[begin + skipped : begin + rows]
                best[skipped : skipped + len(read)] = np.maximum(
                    best[skipped : skipped + len(read)], read
                )
    return best


BaseColumn = Callable[[Floats, int, float], Floats]
"""(peaks, first row, seconds of an interval) -> the base for rows first..n."""


def _max_of(span_s: float) -> BaseColumn:
    return lambda peaks, first, step_s: _largest(peaks, first, _count(span_s, step_s))


def _percentile_of(level: float, span_s: float) -> BaseColumn:
    return lambda peaks, first, step_s: _percentile(peaks, first, _count(span_s, step_s), level)


def _fading_by(half_life_s: float) -> BaseColumn:
    return lambda peaks, first, step_s: _fading(peaks, first, half_life_s / step_s)


def _of_the_day(peaks: Floats, first: int, step_s: float) -> Floats:
    seasonal = _seasonal(peaks, first, DAY_S, SEASON_DAYS, step_s)
    recent = _largest(peaks, first, _count(HOUR_S, step_s))
    day = _largest(peaks, first, _count(DAY_S, step_s))
    return np.where(seasonal > 0, np.maximum(seasonal, recent), day)


def _of_the_week(peaks: Floats, first: int, step_s: float) -> Floats:
    seasonal = _seasonal(peaks, first, 7 * DAY_S, SEASON_WEEKS, step_s)
    recent = _largest(peaks, first, _count(HOUR_S, step_s))
    return np.where(seasonal > 0, np.maximum(seasonal, recent), _of_the_day(peaks, first, step_s))


BASES: tuple[tuple[str, BaseColumn], ...] = (
    ("max of 5 weeks", _max_of(KEPT_S)),
    ("max of a day", _max_of(DAY_S)),
    ("max of 6 h", _max_of(6 * HOUR_S)),
    ("max of 2 h", _max_of(2 * HOUR_S)),
    ("max of 1 h", _max_of(HOUR_S)),
    ("latest peak", _max_of(0.0)),
    ("p98 of 2 days", _percentile_of(0.98, 2 * DAY_S)),
    ("p95 of a day", _percentile_of(0.95, DAY_S)),
    ("max fading by half in 2 days", _fading_by(2 * DAY_S)),
    ("max fading by half in 12 h", _fading_by(12 * HOUR_S)),
    ("max at this time of the day", _of_the_day),
    ("max at this time of the week", _of_the_week),
)
"""Name (for people) and column of every base, in the order of the arrays."""


def base_rows(peaks: Floats, interval_s: float, *, first: int) -> Floats:
    """Return float64 [n + 1 - first, bases]: row r is what each base says of interval first + r.

    peaks: float64 of length n >= 1 without holes. first: 1..n; row n is the interval that has
    not begun. Row k rests on peaks[:k] alone.

    >>> base_rows(np.array([4.0, 2.0, 3.0]), 1800.0, first=3)[0, :6].tolist()
    [4.0, 4.0, 4.0, 4.0, 3.0, 3.0]
    """
    columns = [column(peaks, first, interval_s) for _, column in BASES]
    return np.maximum(np.stack(columns, axis=1), peaks[first - 1 :, None])


def base_row_of(peaks: Floats, interval_s: float, base: int, *, first: int) -> Floats:
    """Return one column of `base_rows`: the base with this index, for rows first..n."""
    return np.maximum(BASES[base][1](peaks, first, interval_s), peaks[first - 1 :])
