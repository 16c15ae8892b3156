"""The peer `witt-lr`: least squares on the input size, raised by the spread of its errors.

Source: Witt, Wagner, Leser, "Feedback-Based Resource Allocation for Batch Scheduling of
Scientific Workflows", HPCS 2019: linear regression with an offset, as later peers replay it.

    limit = f(x) x (1 + sigma)
    f(x) = b + m x, least squares of the peaks y_i on the inputs x_i (bytes)
    sigma = standard deviation (1/n) of the relative errors (y_i - f(x_i)) / f(x_i)
    after an OOM: 2 x the limit that failed

Without an input size, or where all inputs are alike, f is the mean. Where f(x) <= 0 (a
line that was extrapolated) the limit is the smallest peak seen, for a share of nothing is
nothing; past runs where f(x_i) <= 0 do not count for sigma.
It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked: inputs 1, 2, 3 and peaks 100, 300, 200: m = (-1 x 100 + 1 x 200)/2 = 50,
b = 200 - 50 x 2 = 100, f = 150, 200, 250. Relative errors -1/3, 1/2, -1/5: mean -0.01111,
mean square (0.11111 + 0.25 + 0.04)/3 = 0.13370, sigma = sqrt(0.13370 - 0.00012) = 0.36549.
For x = 2: 200 x 1.36549 = 273.10.
"""

from __future__ import annotations

from dataclasses import dataclass

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single
from ullage.peers.input_size import Observed, least_squares, observed


@dataclass(frozen=True, slots=True)
class WittLrPolicy:
    """A line through the past, x (1 + the standard deviation of its relative errors)."""

    policy_id: str = "witt-lr"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the raised line, or twice what failed."""
        past = observed(history, question)
        limit: float
        if question.failed_limits_bytes:
            limit = raised_bytes(question)
        elif len(history) == 0:
            limit = first_limit_bytes(question)
        else:
            limit = raised_line_bytes(past)
        return single(limit, policy_id=self.policy_id, runs_used=len(past.row))


def raised_line_bytes(past: Observed) -> float:
    """Return f(x) x (1 + sigma) for the run that asks; `past` holds at least one run."""
    intercept, slope = least_squares(past.input_bytes, past.peak_bytes)
    predicted = intercept + slope * past.asked_bytes
    if not predicted > 0:
        return float(past.peak_bytes.min())
    fitted = intercept + slope * past.input_bytes
    above = fitted > 0
    errors = past.peak_bytes[above] / fitted[above] - 1
    return predicted * (1 + (float(errors.std()) if above.any() else 0.0))
