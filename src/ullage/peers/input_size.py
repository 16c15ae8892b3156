"""What the learned peers share: the one feature they use, and when a slow fit is renewed.

Their publications know a run by its input size alone: the feature `input_bytes`.
Not here: any peer's own rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import RunQuestion
from ullage.core.statistics import fit_line
from ullage.core.view import RunHistory

Floats = NDArray[np.float64]

INPUT_SIZE = "input_bytes"
REFIT_GROWTH_RATIO = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Past runs as a peer with one feature sees them, oldest known first, of length n.

    input_bytes: float64, 0 everywhere where the feature is not used. peak_bytes: float64.
    asked_bytes: the input of the run that asks, 0 where the feature is not used.
    has_input: bool, the feature is used.
    row: int64, which runs of the history these are.
    """

    input_bytes: Floats
    peak_bytes: Floats
    asked_bytes: float
    has_input: bool
    row: NDArray[np.int64]


def observed(history: RunHistory, question: RunQuestion) -> Observed:
    """Return the runs that a peer with one feature can learn from.

    Those whose input size is known. Where the run that asks has none, or no past run has:
    all runs, with the input 0 for each, so that every model is one of the peaks alone.
    """
    asked = question.features.numbers.get(INPUT_SIZE, math.nan)
    inputs = history.numbers.get(INPUT_SIZE)
    rows = np.arange(len(history))
    known = np.zeros(len(history), bool) if inputs is None else np.isfinite(inputs)
    if inputs is None or not math.isfinite(asked) or not known.any():
        return Observed(
            input_bytes=np.zeros(len(history)),
            peak_bytes=history.peak_bytes,
            asked_bytes=0.0,
            has_input=False,
            row=rows,
        )
    return Observed(
        input_bytes=inputs[known],
        peak_bytes=history.peak_bytes[known],
        asked_bytes=float(asked),
        has_input=True,
        row=rows[known],
    )


def least_squares(inputs: Floats, peaks: Floats) -> tuple[float, float]:
    """Return (intercept, slope) of least squares; (mean, 0) for fewer than two inputs."""
    line = fit_line(inputs, peaks)
    return (float(peaks.mean()), 0.0) if line is None else (line.intercept, line.slope)


def refit_counts(first_count: int, count: int) -> list[int]:
    """Return the numbers of runs, from first_count up to `count`, at which a model is fitted anew.

    Each is 5 % more than the one before it, at least one more: a function of the two
    counts, so that the same history always has the same fit.

    Worked: from 38 to 43: 38, 40 (39.9 rounded up), 42.
    """
    counts = []
    fit = max(first_count, 1)
    while fit <= count:
        counts.append(fit)
        fit = max(fit + 1, math.ceil(REFIT_GROWTH_RATIO * fit))
    return counts
