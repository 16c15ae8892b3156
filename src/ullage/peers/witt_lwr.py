"""The peer `witt-lwr`: the line on the input that would have wasted least, bagged.

Source: Witt, van Santen, Leser, "Learning Low-Wastage Memory Allocations for Scientific
Workflows at IceCube", HPCS 2019: low-wastage regression.

    limit = max(b + m x, smallest peak)
    (b, m) minimise W(b, m) = sum over past runs i of t_i (a_i (2^(k_i + 1) - 1) - y_i)
    a_i = max(b + m x_i, smallest peak); k_i = the least k with a_i 2^k >= y_i
    after an OOM: 2 x the limit that failed

A run whose limit fails k times and is doubled each time reserves a (1 + 2 + ... + 2^k) =
a (2^(k + 1) - 1) over its runtime t: attempts fail at their end. W is not convex and
jumps where the line crosses a run, so its minimum lies at lines that touch runs. How it is
searched here (ours): start from the best of the flat lines through the peaks and the least
squares line; then, until nothing is gained, at most PASSES times: move the line up or down
to the run that is best to touch; turn it about that run to the best second one. At most
CANDIDATES lines are looked at in a step, spread evenly over the runs by their residual (by
their slope). Bagged: the mean line of BAGS samples with replacement, from a generator with
a fixed seed. (The mean of lines that each touch runs touches none, and fails just below
them. The best of the ten on the whole past does better on some data and is not bagging.)

The original is trained offline. Here a fit is renewed whenever the number of runs has
grown by 5 %: a limit after n runs is from the first g <= n of them, g on a fixed grid. The
latest fits are kept, and used for exactly the same runs alone.
Without an input size the line is flat.
It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked: runs of 1 s, (x, y) = (1, 10), (2, 20). The line y = 10 x wastes 0. The flat line
at 10: run 2 fails once, 10 (2^2 - 1) - 20 = 10, W = 10; at 20: 20 - 10 = 10, W = 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.doubling import doubled_waste_bytes
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single
from ullage.peers.input_size import least_squares, observed, refit_counts

Floats = NDArray[np.float64]

BAGS = 10
CANDIDATES = 48
PASSES = 4
SEED = 20_190_701
MIN_GAIN_RATIO = 1e-9
_STEEPEST = 1e30
"""Bytes per unit of the input: no line of runs is steeper."""
KEPT_FITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Runs to learn from: inputs x, peaks y, runtimes t, all float64 of length n."""

    x: Floats
    y: Floats
    t: Floats

    def take(self, rows: NDArray[np.int64]) -> _Runs:
        return _Runs(x=self.x[rows], y=self.y[rows], t=self.t[rows])

    def is_same(self, other: _Runs) -> bool:
        pairs = ((self.x, other.x), (self.y, other.y), (self.t, other.t))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


class _Fit(NamedTuple):
    """(intercept, slope) and the runs that it was fitted to."""

    runs: _Runs
    line: tuple[float, float]


@dataclass(frozen=True, slots=True)
class WittLwrPolicy:
    """The mean of the least wasteful lines of ten samples of the past."""

    policy_id: str = "witt-lwr"
    is_guarded: bool = False
    _fits: dict[str, _Fit] = field(default_factory=dict, repr=False, compare=False)

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the line's limit, or twice what failed."""
        past = observed(history, question)
        limit: float
        if question.failed_limits_bytes:
            limit = raised_bytes(question)
        elif len(history) == 0:
            limit = first_limit_bytes(question)
        else:
            count = refit_counts(1, len(past.row))[-1]
            used = past.row[:count]
            runs = _Runs(
                x=past.input_bytes[:count], y=past.peak_bytes[:count], t=history.runtime_s[used]
            )
            intercept, slope = self._line(question.workload_key, runs)
            limit = max(intercept + slope * past.asked_bytes, float(runs.y.min()))
        return single(limit, policy_id=self.policy_id, runs_used=len(past.row))

    def _line(self, workload_key: str, runs: _Runs) -> tuple[float, float]:
        """Return the line for exactly these runs, a kept one where there is one."""
        kept = self._fits.get(workload_key)
        if kept is None or not kept.runs.is_same(runs):
            self._fits.pop(workload_key, None)
            if len(self._fits) >= KEPT_FITS:
                self._fits.pop(next(iter(self._fits)))
            kept = self._fits[workload_key] = _Fit(runs, bagged_line(runs.x, runs.y, runs.t))
        return kept.line


def bagged_line(x: Floats, y: Floats, runtime_s: Floats) -> tuple[float, float]:
    """Return (intercept, slope): the mean of the least wasteful lines of BAGS samples.

    x, y, runtime_s: float64 of length n >= 1. Samples that are all of one run count too.
    """
    generator = np.random.default_rng(SEED)
    runs = _Runs(x=x, y=y, t=runtime_s)
    rows = generator.integers(len(x), size=(BAGS, len(x)))
    lines = [least_wasteful_line(runs.take(sample), float(y.min())) for sample in rows]
    intercept, slope = np.mean(lines, axis=0)
    return float(intercept), float(slope)


def wasted_byte_seconds(
    intercepts: Floats, slopes: Floats, runs: _Runs, least_bytes: float
) -> Floats:
    """Return W of each line. intercepts, slopes: float64 of length c; answer: length c."""
    limits = np.maximum(intercepts[:, None] + slopes[:, None] * runs.x, least_bytes)
    wasted: Floats = doubled_waste_bytes(limits, runs.y) @ runs.t
    return wasted


def least_wasteful_line(runs: _Runs, least_bytes: float) -> tuple[float, float]:
    """Return (intercept, slope) of the best line found by moving and turning it."""

    def best_of(intercepts: Floats, slopes: Floats) -> tuple[float, int]:
        wasted = wasted_byte_seconds(intercepts, slopes, runs, least_bytes)
        at = int(np.argmin(wasted))
        return float(wasted[at]), at

    fitted = least_squares(runs.x, runs.y)
    heights = _spread(runs.y)
    intercepts, slopes = np.append(heights, fitted[0]), np.append(0 * heights, fitted[1])
    least, at = best_of(intercepts, slopes)
    line = float(intercepts[at]), float(slopes[at])
    for _ in range(PASSES):
        moved = _spread(runs.y - line[1] * runs.x)
        touched = float(moved[best_of(moved, np.full_like(moved, line[1]))[1]])
        line_wasted, line = _turned(runs, touched, line[1], best_of)
        if not line_wasted < least * (1 - MIN_GAIN_RATIO):
            break
        least = line_wasted
    return line


def _turned(
    runs: _Runs,
    intercept: float,
    slope: float,
    best_of: Callable[[Floats, Floats], tuple[float, int]],
) -> tuple[float, tuple[float, float]]:
    """Return (W, line) of the best line through the run that a line touches and another one."""
    pivot = int(np.argmin(np.abs(runs.y - slope * runs.x - intercept)))
    apart = runs.x != runs.x[pivot]
    with np.errstate(over="ignore"):  # inputs that differ by next to nothing: no line at all
        rises = (runs.y[apart] - runs.y[pivot]) / (runs.x[apart] - runs.x[pivot])
    slopes = np.append(_spread(rises[np.abs(rises) <= _STEEPEST]), slope)
    intercepts = runs.y[pivot] - slopes * runs.x[pivot]
    wasted, at = best_of(intercepts, slopes)
    return wasted, (float(intercepts[at]), float(slopes[at]))


def _spread(values: Floats) -> Floats:
    """Return the different values, at most CANDIDATES of them, evenly by rank, ends included."""
    ranked = np.unique(values)
    if len(ranked) <= CANDIDATES:
        return ranked
    spread: Floats = ranked[np.linspace(0, len(ranked) - 1, CANDIDATES).round().astype(int)]
    return spread
