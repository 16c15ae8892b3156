"""The peer `witt-p95`: the 95th percentile of the peaks, doubled after an OOM.

Source: Witt, van Santen, Leser, "Learning Low-Wastage Memory Allocations for Scientific
Workflows at IceCube", HPCS 2019, and Witt, Wagner, Leser, "Feedback-Based Resource
Allocation for Batch Scheduling of Scientific Workflows", HPCS 2019: the percentile
predictor of both.

    limit = p95 of all past peaks, interpolated between neighbours: with the peaks sorted
            y_0 <= ... <= y_(n-1) and r = 0.95 (n - 1), i = floor(r):
            y_i + (r - i) x (y_(i+1) - y_i)
    after an OOM: 2 x the limit that failed

It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked: peaks 100, 200, 300: r = 1.9, 200 + 0.9 x 100 = 290. Failed at 290: 580.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class WittPercentilePolicy:
    """The 95th percentile of all past peaks."""

    policy_id: str = "witt-p95"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the percentile, or twice what failed."""
        limit: float
        if question.failed_limits_bytes:
            limit = raised_bytes(question)
        elif len(history) == 0:
            limit = first_limit_bytes(question)
        else:
            limit = float(np.quantile(history.peak_bytes, LEVEL))
        return single(limit, policy_id=self.policy_id, runs_used=len(history))
