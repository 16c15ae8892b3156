"""The peer `krr`: Robusta's Kubernetes Resource Recommender, its simple strategy.

Source: Robusta KRR, strategy "simple", defaults of versions 1.x: history 336 h (14 days),
memory buffer 15 %, least memory 100 MiB, with the option to use OOM kills (buffer 25 %).

    target = max(1.15 x M, 1.25 x F, 100 MiB)
    M = the largest peak of the last 14 days, F = the largest limit that failed in them

Its rule that fewer than 100 points give no answer is off: a run is one point, and most
workloads would never be answered. An answer takes effect at the next start, where it
differs from the limit in force by more than 20 % of that; else the limit stays.
After an OOM: max(target, 1.25 x the limit that failed). Where nothing is known of the
last 14 days it has no answer, and the limit in force stays.

It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked: peaks 800 and 1000 MiB -> target 1150 MiB. In force 1000 MiB: 15 % off, stays
1000. In force 4096 MiB: 72 % off, 1150. Failed at 1150 -> 1437.5 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.units import MIB
from ullage.core.view import RunHistory
from ullage.peers.first_limit import (
    DAY_S,
    failed_before_bytes,
    known_within,
    limit_in_force_bytes,
    raised_bytes,
    single,
)

WINDOW_S = 14 * DAY_S
BUFFER_RATIO = 1.15
OOM_BUFFER_RATIO = 1.25
LEAST_BYTES = 100 * MIB
CHANGE_RATIO = 0.20
"""A target this near the limit in force changes nothing."""


@dataclass(frozen=True, slots=True)
class KrrPolicy:
    """1.15 x the largest peak of 14 days."""

    policy_id: str = "krr"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the target, or the limit in force where they are near each other."""
        recent = known_within(history, question, WINDOW_S)
        current = limit_in_force_bytes(history, question)
        target = _target_bytes(history.peak_bytes[recent], failed_before_bytes(history)[recent])
        limit: float
        if question.failed_limits_bytes:
            limit = max(target, raised_bytes(question, OOM_BUFFER_RATIO))
        elif not recent.any() or abs(target - current) <= CHANGE_RATIO * current:
            limit = current
        else:
            limit = target
        return single(limit, policy_id=self.policy_id, runs_used=int(recent.sum()))


def _target_bytes(peaks: NDArray[np.float64], failed: NDArray[np.float64]) -> float:
    largest = BUFFER_RATIO * float(peaks.max(initial=0.0))
    failures = OOM_BUFFER_RATIO * float(np.fmax.reduce(failed, initial=0.0))
    return max(largest, failures, float(LEAST_BYTES))
