"""The peer `sizey`: four models, weighted by their accuracy, each with an offset of its own.

Source: Bader, Skalski, Lehmann, Scheinert, Will, Thamsen, Kao, "Sizey: Memory-Efficient
Execution of Scientific Workflow Tasks", IEEE CLUSTER 2024, as its evaluation ran it:
accuracy alone (alpha 0), interpolation, dynamic offset.

    limit = sum over models m of w_m f_m(x) (1 + o_m),  w_m = exp(A_m) / sum exp(A)
    f_m   = least squares, nearest neighbours, network, forest, on the input size alone;
            a prediction below zero is 0.05 x the smallest peak
    A_m   = mean over cross validation of -min(1, |y - f_m(x)| / y)
    o_m   = of {std of e, median of e > 0, median of |e|, std of e > 0} the one that would
            have wasted least on the errors kept, e_i = (y_i - f_i) / f_i; 0.05 without errors
    after an OOM: the largest peak seen, if it is > 1.05 x the limit that failed and not
    (Kendall's tau of inputs and peaks > 0.25 and x > the input of that peak); else x2

Waste of an offset: as the limits f_i (1 + o) under x2 retries, each run counting alike.
std is over n; the offsets of no under-error are 0; of equals the first is taken.

The errors kept are those of predictions made for runs that were sized: a run whose limit
is recorded, by the fit in force. Published, one list serves all tasks, so that
one task's offset is made of other tasks' errors (a defect): `is_shared=True` does that, and
then an answer depends on which workloads this object was asked about before. Else
(the default) each workload has its own, and the answer is a function of its history.

Fits are renewed whenever the number of runs has grown by 5 % since the first run that was
sized (the original: after every task, 5 to 7 s each); cross validation with each. What was
fitted is kept for the latest workloads, for exactly the same runs. With fewer than 3
runs the mean stands for all models. Without an input size all models are the mean.
It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked: four models say 100, 200, 100, 100 with A = 0, -1, 0, 0 and no errors: weights 1,
0.36788, 1, 1: (300 + 73.576)/3.36788 = 110.92, x 1.05 = 116.47.
Predictions of 100 for peaks 150, 100, 120: e = 0.5, 0, 0.2: std 0.2055, median of
under-errors 0.35, median of |e| 0.2, std of under-errors 0.15. Waste at the limits
120.55: 3 x 120.55 - 150 + 20.55 + 0.55 = 232.7; 135: 255 + 35 + 15 = 305; 120: 210 + 20 +
0 = 230; 115: 195 + 15 + 225 = 435. So o = 0.2, and a prediction of 100 gives 120.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.doubling import doubled_waste_bytes
from ullage.peers.first_limit import failed_bytes, first_limit_bytes, raised_bytes, single
from ullage.peers.input_size import Observed, observed, refit_counts
from ullage.peers.sizey_models import (
    MODELS,
    FittedModels,
    accuracies,
    fit_models,
    kendall_tau,
    require_scikit_learn,
)

Floats = NDArray[np.float64]

FEW_RUNS = 3
FIRST_OFFSET = 0.05
TAU = 0.25
WORTH_RATIO = 1.05
KEPT_TRACKS = 64


class Predictions:
    """Peaks foretold for runs that were sized, and what they were: [4, k] and [k], bytes."""

    def __init__(self) -> None:
        self.foretold: Floats = np.zeros((len(MODELS), 0))
        self.peaks: Floats = np.zeros(0)

    def add(self, foretold: Floats, peaks: Floats) -> None:
        """Append those of more runs."""
        self.foretold = np.concatenate((self.foretold, foretold), axis=1)
        self.peaks = np.concatenate((self.peaks, peaks))


class _Track:
    """One workload as its runs become known: the fit in force, and what fits have foretold."""

    def __init__(self, first_sized: int) -> None:
        self._first_sized = first_sized
        self._x: Floats = np.zeros(0)
        self._y: Floats = np.zeros(0)
        self._fit_count = 0
        self._models: FittedModels | None = None
        self.accuracies: Floats = np.zeros(len(MODELS))
        """Of the fit in force, once it is rated."""
        self._is_rated = False
        self.predictions = Predictions()

    def continues(self, past: Observed, first_sized: int) -> bool:
        """Say whether this track is of the same runs, so far as it goes."""
        n = len(self._x)
        return (
            first_sized == self._first_sized
            and np.array_equal(past.input_bytes[:n], self._x)
            and np.array_equal(past.peak_bytes[:n], self._y)
        )

    def foretold_bytes(self, past: Observed) -> Floats:
        """Take in the runs that have become known, and return the four predictions for x."""
        x, y = past.input_bytes, past.peak_bytes
        counts = refit_counts(max(self._first_sized, FEW_RUNS), len(x))
        seen = max(len(self._x), counts[0])
        for count, until in zip(counts, [*counts[1:], len(x)], strict=True):
            if count < self._fit_count:
                continue
            if count > self._fit_count or self._models is None:
                self._models, self._fit_count = fit_models(x[:count], y[:count]), count
                self._is_rated = False
            asked = np.append(x[seen:until], past.asked_bytes)
            foretold = self._models.peaks_bytes(asked, least_bytes=float(y[:count].min()))
            self.predictions.add(foretold[:, :-1], y[seen:until])
            seen = max(seen, until)
        if not self._is_rated:
            self.accuracies = accuracies(x[: self._fit_count], y[: self._fit_count])
            self._is_rated = True
        self._x, self._y = x, y
        return foretold[:, -1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeyPolicy:
    """Four models on the input size. is_shared: error lists shared across workloads."""

    is_shared: bool = False
    policy_id: str = "sizey"
    is_guarded: bool = False
    _tracks: dict[tuple[str, bool], _Track] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_scikit_learn()

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the weighted predictions with their offsets; after an OOM the retry rule."""
        past = observed(history, question)
        limit: float
        if question.failed_limits_bytes:
            limit = _retry_bytes(past, question)
        elif len(history) == 0:
            limit = first_limit_bytes(question)
        elif len(past.row) < FEW_RUNS:
            limit = float(past.peak_bytes.mean()) * (1 + FIRST_OFFSET)
        else:
            limit = self._foretold_bytes(history, question, past)
        return single(limit, policy_id=self.policy_id, runs_used=len(past.row))

    def _foretold_bytes(self, history: RunHistory, question: RunQuestion, past: Observed) -> float:
        track = self._track(history, question, past)
        foretold = track.foretold_bytes(past)
        kept = self._all_predictions() if self.is_shared else track.predictions
        return interpolated_bytes(foretold, track.accuracies, offsets(kept.foretold, kept.peaks))

    def _track(self, history: RunHistory, question: RunQuestion, past: Observed) -> _Track:
        """Return what is kept of this workload, begun anew where its runs are not the same."""
        first_sized = _first_sized(history, past)
        key = (question.workload_key, past.has_input)
        track = self._tracks.get(key)
        if track is None or not track.continues(past, first_sized):
            self._tracks.pop(key, None)
            if len(self._tracks) >= KEPT_TRACKS and not self.is_shared:
                self._tracks.pop(next(iter(self._tracks)))
            track = self._tracks[key] = _Track(first_sized)
        return track

    def _all_predictions(self) -> Predictions:
        every = Predictions()
        for track in self._tracks.values():
            every.add(track.predictions.foretold, track.predictions.peaks)
        return every


def interpolated_bytes(foretold: Floats, accuracies: Floats, raised_by: Floats) -> float:
    """Return the softmax-weighted sum of f_m (1 + o_m). All float64 of length m."""
    weights = np.exp(accuracies)
    return float(weights @ (foretold * (1 + raised_by)) / weights.sum())


def offsets(foretold: Floats, peaks: Floats) -> Floats:
    """Return o_m of each model, float64 of length m.

    foretold: float64 [m, k], bytes; peaks: float64 of length k. Predictions that are not
    above zero do not count. 0.05 where none is left.
    """
    return np.array([_offset(row[row > 0], peaks[row > 0]) for row in foretold])


def _offset(foretold: Floats, peaks: Floats) -> float:
    if len(peaks) == 0:
        return FIRST_OFFSET
    error = peaks / foretold - 1
    under = error[error > 0]
    candidates = np.array(
        [
            error.std(),
            np.median(under) if len(under) else 0.0,
            np.median(np.abs(error)),
            under.std() if len(under) else 0.0,
        ]
    )
    wasted = doubled_waste_bytes(foretold * (1 + candidates[:, None]), peaks).sum(axis=1)
    return float(candidates[np.argmin(wasted)])


def _first_sized(history: RunHistory, past: Observed) -> int:
    """Return how many usable runs are known before the first one with a recorded limit."""
    if len(history.limit_bytes) != len(history):
        return len(past.row)
    sized = ~np.isnan(history.limit_bytes[past.row])
    return int(np.argmax(sized)) if sized.any() else len(past.row)


def _retry_bytes(past: Observed, question: RunQuestion) -> float:
    failed = failed_bytes(question)
    if len(past.peak_bytes):
        at = int(np.argmax(past.peak_bytes))
        largest = float(past.peak_bytes[at])
        if largest > WORTH_RATIO * failed and not (
            past.asked_bytes > past.input_bytes[at]
            and kendall_tau(past.input_bytes, past.peak_bytes) > TAU
        ):
            return largest
    return raised_bytes(question)
