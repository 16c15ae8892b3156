"""The yardsticks `max-1.1`, `p95-1.2`, `last-1.3`: one number of the past and a margin.

Source: rules of thumb that everybody has used; no publication.

    max-1.1:  1.1 x the largest peak         p95-1.2:  1.2 x the 95th percentile of the peaks
    last-1.3: 1.3 x the peak of the run known last
    after an OOM: 2 x the limit that failed

The percentile is the smallest peak that at least 95 % of the peaks do not exceed. All runs
count alike: a peak that is only a lower bound (an OOM kill, an error) is taken as it is,
since these rules know nothing of censoring.

Worked: peaks 100, 300, 200 -> max-1.1 330; p95-1.2 360 (rank 0.95 x 3 = 2.85, the third:
300); last-1.3 260. Failed at 330 -> 660.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.statistics import weighted_quantile
from ullage.core.view import RunHistory
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single

Statistic = Callable[[NDArray[np.float64]], float]
"""From all past peaks in bytes, oldest known first, to one number of bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YardstickPolicy:
    """margin_ratio x one statistic of all past peaks, x2 after an OOM."""

    policy_id: str
    statistic: Statistic
    margin_ratio: float
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the statistic x the margin, the first limit without history."""
        peaks = history.peak_bytes
        limit: float
        if question.failed_limits_bytes:
            limit = raised_bytes(question)
        elif len(peaks) == 0:
            limit = first_limit_bytes(question)
        else:
            limit = self.margin_ratio * self.statistic(peaks)
        return single(limit, policy_id=self.policy_id, runs_used=len(peaks))


def max_1_1() -> YardstickPolicy:
    """Return `max-1.1`."""
    return YardstickPolicy(policy_id="max-1.1", statistic=_largest, margin_ratio=1.1)


def p95_1_2() -> YardstickPolicy:
    """Return `p95-1.2`."""
    return YardstickPolicy(policy_id="p95-1.2", statistic=_p95, margin_ratio=1.2)


def last_1_3() -> YardstickPolicy:
    """Return `last-1.3`."""
    return YardstickPolicy(policy_id="last-1.3", statistic=_latest, margin_ratio=1.3)


def _largest(peaks: NDArray[np.float64]) -> float:
    return float(peaks.max())


def _p95(peaks: NDArray[np.float64]) -> float:
    return weighted_quantile(peaks, np.ones(len(peaks)), 0.95)


def _latest(peaks: NDArray[np.float64]) -> float:
    return float(peaks[-1])
