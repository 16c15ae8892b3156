"""The peer `ponder`: largest seen or a steep regression on the input, capped at the request.

Source: Lehmann, Bader, De Mecquenem, Wang, Bountris, Friederici, Leser, Thamsen, "Ponder:
Online Prediction of Task Memory Requirements for Scientific Workflows", e-Science 2024.

    n < 5 runs:  M + 128 MiB if an input >= x has been seen, else the request
    r <= 0.3:    M + 128 MiB       (r = Pearson's correlation of inputs and peaks)
    else:        min(max(f(x), smallest peak), M) + max(128 MiB, 2 sigma(x))
    then at most the request, and at least 256 MiB
    after an OOM: the request; where that failed, 2 x the limit that failed

M = the largest peak. f(x) = b + m x minimises sum c_i (y_i - f(x_i))^2, c_i = 1 where the
peak y_i is above the line and 0.02 where it is below (over-estimates weigh 0.02).
sigma(x)^2 = sum w_i (y_i - f(x_i))^2 / sum w_i, weighted by the distance of the inputs:
w_i = 1 / (1 + |x_i - x|), inputs in bytes. The shape of the weight is ours, for it is not in
what this was written from: of five that were tried it wastes least at as few failures.

Without a request nothing caps it, and 'the request' of the first and last lines is the
first limit of every peer. Without an input size it is the rule for r <= 0.3 (r unknown).
It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked, in MiB with request 10,000: inputs 1..5, peaks 1000, 2000, ..., 5000: r = 1, f exact,
sigma 0: x = 2.5: 2500 + 128 = 2628; x = 9: f = 9000, clamped 5000 + 128 = 5128.
sigma: errors 0 at distance 0 and 300 MiB at distance 2: w = 1, 1/3, sigma^2 =
(300^2 / 3)/(4/3) = 22,500, sigma 150, offset 300 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.units import MIB
from ullage.core.view import RunHistory
from ullage.peers.first_limit import failed_bytes, first_limit_bytes, raised_bytes, single
from ullage.peers.input_size import Observed, least_squares, observed

Floats = NDArray[np.float64]

FEW_RUNS = 5
CORRELATION = 0.3
OVER_WEIGHT = 0.02
OFFSET_BYTES = 128 * MIB
LEAST_BYTES = 256 * MIB
SIGMAS = 2.0
MAX_PASSES = 50
"""Passes until no run changes sides; a handful is usual. The last line stands if they end."""


@dataclass(frozen=True, slots=True)
class PonderPolicy:
    """The largest seen, or where inputs tell of peaks a line that few peaks exceed."""

    policy_id: str = "ponder"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the formula, at most the request; after an OOM the request, then x2."""
        past = observed(history, question)
        request = first_limit_bytes(question)
        limit: float
        if question.failed_limits_bytes:
            failed = failed_bytes(question)
            limit = request if failed < request else raised_bytes(question)
        elif len(history) == 0:
            limit = request
        else:
            foretold = _foretold_bytes(past)
            limit = request if foretold is None else foretold
            if question.request_bytes:
                limit = min(limit, question.request_bytes)
            limit = max(limit, LEAST_BYTES)
        return single(limit, policy_id=self.policy_id, runs_used=len(past.row))


def _foretold_bytes(past: Observed) -> float | None:
    """Return the limit before cap and floor, None where the request is to be used."""
    x, y, asked = past.input_bytes, past.peak_bytes, past.asked_bytes
    largest = float(y.max())
    if len(y) < FEW_RUNS and not (x >= asked).any():
        return None
    if len(y) < FEW_RUNS or not correlation(x, y) > CORRELATION:
        return largest + OFFSET_BYTES
    intercept, slope = steep_line(x, y)
    foretold = min(max(intercept + slope * asked, float(y.min())), largest)
    sigma = nearby_sigma(x, y - intercept - slope * x, asked)
    return foretold + max(OFFSET_BYTES, SIGMAS * sigma)


def correlation(x: Floats, y: Floats) -> float:
    """Return Pearson's r of x and y (length n), NaN where either is constant."""
    dx, dy = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((dx @ dx) * (dy @ dy)))
    return float(dx @ dy) / scale if scale > 0 else float("nan")


def steep_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return (intercept, slope) of least squares where points below the line weigh 0.02.

    x, y: float64 of length n >= 2. Iterated: weighted least squares with the weights of
    the line before, until no point changes sides (this is Newton's method, the loss is
    convex, so the line is the minimum).
    """
    intercept, slope = least_squares(x, y)
    was_above = y > intercept + slope * x
    for _ in range(MAX_PASSES):
        weight = np.where(was_above, 1.0, OVER_WEIGHT)
        total = weight.sum()
        x_mean, y_mean = float(weight @ x / total), float(weight @ y / total)
        dx = x - x_mean
        spread = float(weight @ (dx * dx))
        slope = float(weight @ (dx * (y - y_mean))) / spread if spread > 0 else 0.0
        intercept = y_mean - slope * x_mean
        is_above = y > intercept + slope * x
        if (is_above == was_above).all():
            break
        was_above = is_above
    return intercept, slope


def nearby_sigma(x: Floats, errors: Floats, asked: float) -> float:
    """Return the root mean square of `errors`, those at inputs near `asked` weighing most."""
    weight = 1.0 / (1.0 + np.abs(x - asked))
    return float(np.sqrt(weight @ (errors * errors) / weight.sum()))
