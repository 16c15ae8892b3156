"""The experts: different readings of the same history, each a distribution of the peak.

An expert is a base (nothing, a line through the feature, a line in logarithms), a kind
of residual (added, or a ratio) and a kernel (all runs alike, the recent ones, those of
similar input). Its support points for a run with feature value x are base(x) combined
with the leave-one-out residual of each past run. Not here: which one to follow
(policies.leader).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ullage.core.kernels import kernel
from ullage.core.statistics import Line, fit_line, rank_correlation, rank_places, rank_shares
from ullage.core.view import RunHistory
from ullage.policies.distributions import PeakDistribution, peak_distribution

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MIN_FEATURE_RUNS = 3
"""A feature needs this many runs whose peak is known ..."""
MIN_SIMILAR_RUNS = 8
"""... and a comparison with similar inputs this many."""
FEATURE_RUNS = 256
"""The latest runs say which feature peaks follow."""
FAVOURED_FEATURE = "input_bytes"
FAVOURED_MARGIN = 0.1
"""Another feature has to correlate better by this much (few runs correlate by chance)."""
RECENT_DECAY = 0.9
NARROW_RANK = 0.08
WIDE_RANK = 0.25
_LEAST_PREDICTION = 0.25
"""No line goes below this share of the smallest peak seen."""
_FARTHEST_LOG = 10.0
"""No log line goes lower than e^-10 of the peaks seen: for the arithmetic's sake."""
_FARTHEST_RATIO = 1.5
"""No point lies above the largest peak, scaled by how far the input is beyond all seen, x this."""
_LEAST_FREEDOM = 0.05
"""1 - h at least: a point that bends the line to itself still says something."""

Base = Literal["nothing", "line", "relative_line", "log_line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """How one expert reads the history; `rank_width` 0 means no kernel over the input."""

    name: str
    base: Base = "nothing"
    is_ratio: bool = False
    is_recent: bool = False
    rank_width: float = 0.0

    @property
    def follows_feature(self) -> bool:
        """Whether it looks at the feature at all."""
        return self.base != "nothing" or self.rank_width > 0


EXPERTS = (
    Expert(name="constant"),
    Expert(name="recent", is_recent=True),
    Expert(name="local_narrow", rank_width=NARROW_RANK),
    Expert(name="local", rank_width=WIDE_RANK),
    Expert(name="least_squares", base="line"),
    Expert(name="least_squares_ratio", base="line", is_ratio=True),
    Expert(name="relative_least_squares", base="relative_line", is_ratio=True),
    Expert(name="log_log", base="log_line", is_ratio=True),
    Expert(name="local_least_squares", base="line", rank_width=WIDE_RANK),
    Expert(name="local_log_log", base="log_line", is_ratio=True, rank_width=WIDE_RANK),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the experts see: n past runs, and the value of the feature for the run asked about.

    x, peak_bytes, runtime_s: float64 of length n (x NaN where the run lacks the feature,
    or all NaN without a feature). x_now: NaN where this run lacks it.
    """

    peak_bytes: Floats
    runtime_s: Floats
    is_censored: Bools
    x: Floats
    x_now: float
    feature: str | None
    _has_x: Bools = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_has_x", ~self.is_censored & ~np.isnan(self.x))

    def has_x(self) -> Bools:
        """Return which runs have a known peak and the feature."""
        return self._has_x


@dataclass(frozen=True, slots=True)
class Reading:
    """An expert's reading: predictions without each run, and for the run asked about.

    left_out: length n, NaN where the run says nothing. now: the base at x_now.
    residual: (y - left_out) or log(y / left_out), times sqrt(1 - h): a left-out error is
    wider than the noise by 1 / sqrt(1 - h) at a point with leverage h, and the error of a
    new run by `widen` = sqrt(1 + h_now). weights: length n; NaN residuals count for nothing.
    """

    expert: Expert
    now: float
    left_out: Floats
    residual: Floats
    widen: float
    weights: Floats
    most_bytes: float

    def points(self) -> Floats:
        """Return where each past run puts the peak of the run asked about, in bytes."""
        return points_of(self.residual, self.now, self.widen, self.most_bytes, self.expert.is_ratio)


@kernel
def points_of(
    residual: Floats, now: float, widen: float, most_bytes: float, is_ratio: bool
) -> Floats:
    """Return Reading.points: the base at x_now with each residual, at most `most_bytes`."""
    if is_ratio:
        return np.minimum(now * np.exp(np.minimum(widen * residual, 50.0)), most_bytes)
    return np.minimum(now + widen * residual, most_bytes)


def choose_feature(
    history: RunHistory, numbers: Mapping[str, float], *, since: int = 0
) -> str | None:
    """Return the numeric feature of this run that follows peaks from run `since` on best, or None.

    By the strongest rank correlation over the latest runs with a known peak; `input_bytes` wins
    unless another beats it clearly, then the name decides. Constant features and those
    with fewer than three runs drop out.
    """
    known = since + np.flatnonzero(~history.is_censored[since:])[-FEATURE_RUNS:]
    peaks = history.peak_bytes[known]
    places = rank_places(peaks)
    best: tuple[float, str] | None = None
    for name in sorted(numbers):
        x = history.numbers.get(name)
        if x is None or not np.isfinite(numbers[name]):
            continue
        strength = abs(rank_correlation(x[known], peaks, y_places=places))
        if np.isnan(strength):
            continue
        strength += FAVOURED_MARGIN if name == FAVOURED_FEATURE else 0.0
        if best is None or strength > best[0] + 1e-12:
            best = (strength, name)
    return None if best is None else best[1]


def evidence_of(history: RunHistory, numbers: Mapping[str, float], *, since: int = 0) -> Evidence:
    """Return what the experts see of `history` from run `since` on."""
    feature = choose_feature(history, numbers, since=since)
    n = len(history)
    x = np.full(n, np.nan) if feature is None else history.numbers[feature]
    return Evidence(
        peak_bytes=history.peak_bytes[since:],
        runtime_s=history.runtime_s[since:],
        is_censored=history.is_censored[since:],
        x=x[since:],
        x_now=float("nan") if feature is None else float(numbers[feature]),
        feature=feature,
    )


def read_all(seen: Evidence) -> list[Reading]:
    """Return the readings of all experts that this evidence allows, in their fixed order."""
    known_count = 0 if np.isnan(seen.x_now) else int(seen.has_x().sum())
    zeros = np.zeros(len(seen.peak_bytes))
    bases = {"nothing": _Base(now=0.0, left_out=zeros, shrink=zeros + 1.0, widen=1.0)}
    if known_count >= MIN_FEATURE_RUNS:
        bases |= _lines(seen)
    kernels: dict[float, Floats] = {0.0: np.ones(len(seen.peak_bytes))}
    distance: Floats | None = None
    residuals: dict[tuple[str, bool], Floats] = {}
    most = _FARTHEST_RATIO * _most_bytes(seen, seen.peak_bytes)
    readings = []
    for expert in EXPERTS:
        base = bases.get(expert.base)
        if base is None or (expert.rank_width > 0 and known_count < MIN_SIMILAR_RUNS):
            continue
        if expert.rank_width not in kernels:
            distance = rank_distance(seen) if distance is None else distance
            kernels[expert.rank_width] = rank_kernel(distance, expert.rank_width)
        weights = kernels[expert.rank_width]
        if expert.is_recent:
            weights = recency(seen.is_censored)
        key = (expert.base, expert.is_ratio)
        if key not in residuals:
            residuals[key] = residual_of(
                seen.peak_bytes, base.left_out, base.shrink, expert.is_ratio
            )
        readings.append(_reading(expert, base, residuals[key], weights, most_bytes=most))
    return readings


def distribution(seen: Evidence, reading: Reading) -> PeakDistribution | None:
    """Return the distribution of the peak that a reading gives, or None without any point."""
    return peak_distribution(
        reading.points(),
        reading.weights,
        is_censored=seen.is_censored,
        runtime_s=seen.runtime_s,
    )


def recency(is_censored: Bools) -> Floats:
    """Return weights RECENT_DECAY^age, age counted in runs whose peak is known."""
    known = (~is_censored).astype(float)
    age = known[::-1].cumsum()[::-1] - known
    weights: Floats = np.maximum(RECENT_DECAY**age, 1e-9)
    return weights


def rank_positions(known_x: Floats, x: Floats) -> Floats:
    """Return the share of `known_x` (sorted) below each of `x`, ties counted half: 0..1."""
    low = np.searchsorted(known_x, x, side="left")
    high = np.searchsorted(known_x, x, side="right")
    share: Floats = (low + high) / (2 * len(known_x))
    return share


def rank_distance(seen: Evidence) -> Floats:
    """Return u - u_now, u = rank of the input among known runs, 0..1; NaN without input."""
    known = seen.has_x()
    shares = rank_shares(seen.x, np.argsort(seen.x), known)
    known_x = seen.x[known]
    below, equal = (known_x < seen.x_now).sum(), (known_x == seen.x_now).sum()
    distance: Floats = shares - (2 * below + equal) / (2 * len(known_x))
    return np.where(np.isnan(seen.x), np.nan, distance)


@kernel
def rank_kernel(distance: Floats, width: float) -> Floats:
    """Return exp(-(distance / width)^2 / 2), 0 where the distance is NaN."""
    weights = np.maximum(np.exp(-0.5 * (distance / width) ** 2), 1e-12)
    return np.where(np.isnan(distance), 0.0, weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    now: float
    left_out: Floats
    shrink: Floats
    widen: float


def _lines(seen: Evidence) -> dict[str, _Base]:
    """Return the lines through the feature that can be drawn."""
    known = seen.has_x()
    x, y = seen.x[known], seen.peak_bytes[known]
    line = fit_line(x, y)
    if line is None:
        return {}
    least = _LEAST_PREDICTION * float(y.min())
    most = _most_bytes(seen, y)
    bases: dict[str, _Base] = {
        "line": _base(seen, line, seen.x, seen.x_now, least=least, most=most)
    }
    smooth = np.maximum(line.intercept + line.slope * x, 0.5 * y.min())
    relative = fit_line(x, y, 1.0 / smooth**2)
    if relative is not None:
        now = min(max(relative.at(seen.x_now), least), most)
        weight_now = float(1.0 / now**2 / np.mean(1.0 / smooth**2))
        bases["relative_line"] = _base(
            seen, relative, seen.x, seen.x_now, least=least, most=most, weight_now=weight_now
        )
    if float(x.min()) > 0 and seen.x_now > 0:
        log_line = fit_line(np.log(x), np.log(y))
        if log_line is not None:
            log_x = np.log(np.where(seen.x > 0, seen.x, np.nan))
            lowest, highest = math.log(y.min()) - _FARTHEST_LOG, math.log(most)
            logs = _base(seen, log_line, log_x, math.log(seen.x_now), least=lowest, most=highest)
            bases["log_line"] = _Base(
                now=math.exp(logs.now),
                left_out=np.exp(logs.left_out),
                shrink=logs.shrink,
                widen=logs.widen,
            )
    return bases


def _base(
    seen: Evidence,
    line: Line,
    x: Floats,
    x_now: float,
    *,
    least: float,
    most: float,
    weight_now: float = 1.0,
) -> _Base:
    """Return a line's predictions; `weight_now` is what a run at x_now would weigh in the fit."""
    left_out, shrink = base_arrays(
        x, seen.has_x(), line.left_out, line.own_leverage, line.intercept, line.slope, least, most
    )
    return _Base(
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


@kernel
def residual_of(peaks: Floats, left_out: Floats, shrink: Floats, is_ratio: bool) -> Floats:
    """Return the residual of a Reading, NaN where the base says nothing."""
    if is_ratio:
        return np.log(peaks / left_out) * shrink
    return (peaks - left_out) * shrink


def _reading(
    expert: Expert, base: _Base, residual: Floats, weights: Floats, *, most_bytes: float
) -> Reading:
    return Reading(
        expert=expert,
        now=base.now,
        left_out=base.left_out,
        residual=residual,
        widen=base.widen,
        weights=weights,
        most_bytes=most_bytes,
    )


def _most_bytes(seen: Evidence, peak_bytes: Floats) -> float:
    """Return the largest of these peaks, x the ratio of this input to the largest seen, if beyond.

    A line is bound by the peaks it was drawn through: what is only known to be "at least"
    must not bend what it says of the others.
    """
    top = float(peak_bytes.max())
    x = seen.x[seen.has_x()]
    if len(x) == 0 or np.isnan(seen.x_now) or not 0 < float(x.max()) < seen.x_now:
        return top
    return top * seen.x_now / float(x.max())
