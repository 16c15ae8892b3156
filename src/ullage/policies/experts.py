"""The experts: different readings of the same history, each a distribution of the peak.

An expert is a base (nothing, a line through the feature, a line in logarithms), a kind
of residual (added, or a ratio) and a kernel (all runs alike, the recent ones, those of
similar input). Its support points for a run with feature value x are base(x) combined
with the leave-one-out residual of each past run. Not here: which one to follow
(policies.leader).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ullage.core.kernels import kernel
from ullage.core.statistics import rank_correlation, rank_places, rank_shares
from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.policies.bases import Base, BaseName, Evidence, lines_of, most_bytes, similar_bases
from ullage.policies.distributions import PeakDistribution, peak_distribution
from ullage.policies.similar import MIN_SIMILAR_RUNS, similarity_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MIN_FEATURE_RUNS = 3
"""A feature needs this many runs whose peak is known."""
FEATURE_RUNS = 256
"""The latest runs say which feature peaks follow."""
FAVOURED_FEATURE = "input_bytes"
FAVOURED_MARGIN = 0.1
"""Another feature has to correlate better by this much (few runs correlate by chance)."""
RECENT_DECAY = 0.9
NARROW_RANK = 0.08
WIDE_RANK = 0.25
_LEAST_WEIGHT = 1e-9
_FARTHEST_RATIO = 1.5
"""No point lies above the largest peak, scaled by how far the input is beyond all seen, x this."""

KernelName = Literal["even", "recent", "input", "foretold", "similar"]
LINES = ("line", "relative_line", "log_line", "similar_log_line")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """How one expert reads the history.

    kernel: which runs count more: all alike; the recent; those whose input, or whose
    foretold peak, has a rank within about `rank_width` of this run's; those like this run
    in all features.
    """

    name: str
    base: BaseName = "nothing"
    is_ratio: bool = False
    kernel: KernelName = "even"
    rank_width: float = 0.0

    @property
    def follows_feature(self) -> bool:
        """Whether it looks at the one feature that peaks follow best."""
        return self.kernel == "input" or self.base in LINES

    @property
    def follows_all(self) -> bool:
        """Whether it compares runs in all features."""
        return self.kernel == "similar" or self.base in ("similar", "similar_log_line")

    @property
    def needs_like_input(self) -> bool:
        """Whether it has nothing to go by for an input larger than all seen."""
        return self.kernel == "input" and self.base == "nothing"


EXPERTS = (
    Expert(name="constant"),
    Expert(name="recent", kernel="recent"),
    Expert(name="local_narrow", kernel="input", rank_width=NARROW_RANK),
    Expert(name="local", kernel="input", rank_width=WIDE_RANK),
    Expert(name="least_squares", base="line"),
    Expert(name="least_squares_ratio", base="line", is_ratio=True),
    Expert(name="relative_least_squares", base="relative_line", is_ratio=True),
    Expert(name="log_log", base="log_line", is_ratio=True),
    Expert(name="local_least_squares", base="line", kernel="input", rank_width=WIDE_RANK),
    Expert(
        name="local_log_log", base="log_line", is_ratio=True, kernel="input", rank_width=WIDE_RANK
    ),
    Expert(name="similar_runs", kernel="similar"),
    Expert(name="similar_mean_similar", base="similar", is_ratio=True, kernel="similar"),
    Expert(
        name="similar_mean_local",
        base="similar",
        is_ratio=True,
        kernel="foretold",
        rank_width=WIDE_RANK,
    ),
    Expert(name="similar_log_log", base="similar_log_line", is_ratio=True),
    Expert(
        name="similar_log_log_similar", base="similar_log_line", is_ratio=True, kernel="similar"
    ),
)


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


def evidence_of(history: RunHistory, features: Features, *, since: int = 0) -> Evidence:
    """Return what the experts see of `history` from run `since` on."""
    numbers = features.numbers
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


def compared(seen: Evidence, history: RunHistory, features: Features) -> Evidence:
    """Return the evidence with the similarity of its runs, by all features."""
    since = len(history) - len(seen.peak_bytes)
    return replace(seen, similarity=similarity_of(history, features, since=since))


def read_all(seen: Evidence, experts: Sequence[Expert] = EXPERTS) -> list[Reading]:
    """Return the readings of the experts that this evidence allows, in their fixed order."""
    known_count = 0 if np.isnan(seen.x_now) else int(seen.has_x().sum())
    zeros = np.zeros(len(seen.peak_bytes))
    bases: dict[BaseName, Base] = {
        "nothing": Base(now=0.0, left_out=zeros, shrink=zeros + 1.0, widen=1.0)
    }
    wanted: set[BaseName] = {expert.base for expert in experts}
    if "similar_log_line" in wanted:
        wanted.add("log_line")
    if known_count >= MIN_FEATURE_RUNS and wanted != {"nothing"}:
        bases |= lines_of(seen, wanted)
    bases |= similar_bases(seen, bases.get("log_line"))
    weights = _Weights(seen, bases)
    residuals: dict[tuple[str, bool], Floats] = {}
    most = _FARTHEST_RATIO * most_bytes(seen, seen.peak_bytes)
    seen_most = _FARTHEST_RATIO * float(seen.peak_bytes.max())
    readings = []
    for expert in experts:
        base = bases.get(expert.base)
        if base is None or (expert.kernel == "input" and known_count < MIN_SIMILAR_RUNS):
            continue
        if expert.kernel == "similar" and seen.similarity is None:
            continue
        key = (expert.base, expert.is_ratio)
        if key not in residuals:
            residuals[key] = residual_of(
                seen.peak_bytes, base.left_out, base.shrink, expert.is_ratio
            )
        readings.append(
            _reading(
                expert,
                base,
                residuals[key],
                weights.of(expert),
                most_bytes=seen_most if expert.base == "similar" else most,
            )
        )
    return readings


class _Weights:
    """The weights of the past runs under each kernel, each made once."""

    def __init__(self, seen: Evidence, bases: Mapping[BaseName, Base]) -> None:
        self._seen = seen
        self._bases = bases
        self._made: dict[tuple[str, float], Floats] = {}
        self._input_distance: Floats | None = None

    def of(self, expert: Expert) -> Floats:
        key = (expert.kernel, expert.rank_width)
        if key not in self._made:
            self._made[key] = self._make(expert)
        return self._made[key]

    def _make(self, expert: Expert) -> Floats:
        seen = self._seen
        if expert.kernel == "recent":
            return recency(seen.is_censored)
        if expert.kernel == "input":
            if self._input_distance is None:
                self._input_distance = rank_distance(seen.x, seen.x_now, seen.has_x())
            return rank_kernel(self._input_distance, expert.rank_width)
        if expert.kernel == "foretold":
            base = self._bases[expert.base]
            is_known = ~seen.is_censored & ~np.isnan(base.left_out)
            return rank_kernel(rank_distance(base.left_out, base.now, is_known), expert.rank_width)
        if expert.kernel == "similar":
            assert seen.similarity is not None
            now = seen.similarity.closeness[-1]
            older = np.zeros(len(seen.peak_bytes) - len(now))
            return np.append(older, np.maximum(now / now.max(), _LEAST_WEIGHT))
        return np.ones(len(seen.peak_bytes))


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
    weights: Floats = np.maximum(RECENT_DECAY**age, _LEAST_WEIGHT)
    return weights


def rank_positions(known_x: Floats, x: Floats) -> Floats:
    """Return the share of `known_x` (sorted) below each of `x`, ties counted half: 0..1."""
    low = np.searchsorted(known_x, x, side="left")
    high = np.searchsorted(known_x, x, side="right")
    share: Floats = (low + high) / (2 * len(known_x))
    return share


def rank_distance(x: Floats, x_now: float, is_known: Bools) -> Floats:
    """Return u - u_now, u = rank of x among known runs, 0..1; NaN where x is NaN."""
    shares = rank_shares(x, np.argsort(x), is_known)
    known_x = x[is_known]
    below, equal = (known_x < x_now).sum(), (known_x == x_now).sum()
    distance: Floats = shares - (2 * below + equal) / (2 * len(known_x))
    return np.where(np.isnan(x), np.nan, distance)


@kernel
def rank_kernel(distance: Floats, width: float) -> Floats:
    """Return exp(-(distance / width)^2 / 2), 0 where the distance is NaN."""
    weights = np.maximum(np.exp(-0.5 * (distance / width) ** 2), 1e-12)
    return np.where(np.isnan(distance), 0.0, weights)


@kernel
def residual_of(peaks: Floats, left_out: Floats, shrink: Floats, is_ratio: bool) -> Floats:
    """Return the residual of a Reading, NaN where the base says nothing."""
    if is_ratio:
        return np.log(peaks / left_out) * shrink
    return (peaks - left_out) * shrink


def _reading(
    expert: Expert, base: Base, residual: Floats, weights: Floats, *, most_bytes: float
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
