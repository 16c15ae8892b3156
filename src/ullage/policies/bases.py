"""The bases of experts: what the features alone say of a run's peak.

Nothing, a straight line through one feature (plain, relative, in logarithms), the mean
of similar runs, or the log line corrected by what similar runs needed beside it. Not
here: kernels and residuals (policies.experts), what is similar (policies.similar).
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ullage.core.kernels import kernel
from ullage.core.statistics import Line, fit_line
from ullage.policies.similar import Similarity

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LEAST_PREDICTION = 0.25
"""No line goes below this share of the smallest peak seen."""
_FARTHEST_LOG = 10.0
"""No log line goes lower than e^-10 of the peaks seen: for the arithmetic's sake."""
_LEAST_FREEDOM = 0.05
"""1 - h at least: a point that bends the line to itself still says something."""
CORRECTION_SHRINKAGE = 0.5
"""Similar runs correct the log line as if so much closeness had said that it was right."""

BaseName = Literal["nothing", "line", "relative_line", "log_line", "similar", "similar_log_line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the experts see: n past runs, and the value of the feature for the run asked about.

    x, peak_bytes, runtime_s: float64 of length n (x NaN where the run lacks the feature,
    or all NaN without a feature). x_now: NaN where this run lacks it. similarity: of the
    latest m of the n runs, by all features; None where no feature tells.
    """

    peak_bytes: Floats
    runtime_s: Floats
    is_censored: Bools
    x: Floats
    x_now: float
    feature: str | None
    similarity: Similarity | None = None
    _has_x: Bools = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_has_x", ~self.is_censored & ~np.isnan(self.x))

    def has_x(self) -> Bools:
        """Return which runs have a known peak and the feature."""
        return self._has_x


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a base says: `now` of the run asked about, `left_out` of each past run by the others.

    In bytes, float64 of length n, NaN where it says nothing. shrink: sqrt(1 - h), h = the
    leverage of each run on what is said of it; widen: sqrt(1 + h) of the run asked about.
    """

    now: float
    left_out: Floats
    shrink: Floats
    widen: float


def lines_of(seen: Evidence, wanted: Set[BaseName]) -> dict[BaseName, Base]:
    """Return the lines through the feature that are wanted and can be drawn."""
    known = seen.has_x()
    x, y = seen.x[known], seen.peak_bytes[known]
    line = fit_line(x, y)
    if line is None:
        return {}
    least = _LEAST_PREDICTION * float(y.min())
    most = most_bytes(seen, y)
    bases: dict[BaseName, Base] = {}
    if "line" in wanted:
        bases["line"] = _base(seen, line, seen.x, seen.x_now, least=least, most=most)
    if "relative_line" in wanted:
        smooth = np.maximum(line.intercept + line.slope * x, 0.5 * y.min())
        relative = fit_line(x, y, 1.0 / smooth**2)
        if relative is not None:
            now = min(max(relative.at(seen.x_now), least), most)
            weight_now = float(1.0 / now**2 / np.mean(1.0 / smooth**2))
            bases["relative_line"] = _base(
                seen, relative, seen.x, seen.x_now, least=least, most=most, weight_now=weight_now
            )
    if "log_line" in wanted and float(x.min()) > 0 and seen.x_now > 0:
        log_line = fit_line(np.log(x), np.log(y))
        if log_line is not None:
            bases["log_line"] = _log_base(seen, log_line, math.log(y.min()), math.log(most))
    return bases


def _log_base(seen: Evidence, line: Line, least_log: float, most_log: float) -> Base:
    """Return what a line through logarithms says, in bytes."""
    log_x = np.log(np.where(seen.x > 0, seen.x, np.nan))
    lowest = least_log - _FARTHEST_LOG
    logs = _base(seen, line, log_x, math.log(seen.x_now), least=lowest, most=most_log)
    return Base(
        now=math.exp(logs.now),
        left_out=np.exp(logs.left_out),
        shrink=logs.shrink,
        widen=logs.widen,
    )


def _base(
    seen: Evidence,
    line: Line,
    x: Floats,
    x_now: float,
    *,
    least: float,
    most: float,
    weight_now: float = 1.0,
) -> Base:
    """Return a line's predictions; `weight_now` is what a run at x_now would weigh in the fit."""
    left_out, shrink = base_arrays(
        x, seen.has_x(), line.left_out, line.own_leverage, line.intercept, line.slope, least, most
    )
    return Base(
        now=min(max(line.at(x_now), least), most),
        left_out=left_out,
        shrink=shrink,
        widen=math.sqrt(1.0 + weight_now * line.leverage(x_now)),
    )


@kernel
def base_arrays(
    x: Floats,
    is_known: Bools,
    left_out_known: Floats,
    own_leverage: Floats,
    intercept: float,
    slope: float,
    least: float,
    most: float,
) -> tuple[Floats, Floats]:
    """Return what a line says of all runs, of known ones without themselves, and their shrink."""
    known = np.flatnonzero(is_known)
    left_out = intercept + slope * x
    left_out[known] = left_out_known
    shrink = np.ones(len(x))
    shrink[known] = np.sqrt(np.maximum(1.0 - own_leverage, _LEAST_FREEDOM))
    return np.minimum(np.maximum(left_out, least), most), shrink


def similar_bases(seen: Evidence, log_line: Base | None) -> dict[BaseName, Base]:
    """Return the mean of similar runs, and the log line corrected by them where there is one."""
    similarity = seen.similarity
    if similarity is None:
        return {}
    first = len(seen.peak_bytes) - similarity.closeness.shape[1]
    is_known, peaks = ~seen.is_censored[first:], seen.peak_bytes[first:]
    foretold = similarity.foretell(np.log(peaks), is_known)
    bases: dict[BaseName, Base] = {"similar": _of_logs(foretold, first)}
    if log_line is not None:
        line = np.log(np.append(log_line.left_out[first:], log_line.now))
        error = np.log(peaks) - line[:-1]
        has_error = is_known & ~np.isnan(error)
        correction = similarity.foretell(error, has_error, shrinkage=CORRECTION_SHRINKAGE)
        corrected = np.where(np.isnan(line), foretold, line + correction)
        bases["similar_log_line"] = _of_logs(corrected, first)
    return bases


def _of_logs(logs: Floats, first: int) -> Base:
    """Return the base of what is said of the runs from `first` on and, last, of this one."""
    left_out = np.append(np.full(first, np.nan), np.exp(logs[:-1]))
    return Base(
        now=math.exp(float(logs[-1])), left_out=left_out, shrink=np.ones(len(left_out)), widen=1.0
    )


def most_bytes(seen: Evidence, peak_bytes: Floats) -> float:
    """Return the largest of these peaks, x the ratio of this input to the largest seen, if beyond.

    A line is bound by the peaks it was drawn through: what is only known to be "at least"
    must not bend what it says of the others.
    """
    top = float(peak_bytes.max())
    x = seen.x[seen.has_x()]
    if len(x) == 0 or np.isnan(seen.x_now) or not 0 < float(x.max()) < seen.x_now:
        return top
    return top * seen.x_now / float(x.max())
