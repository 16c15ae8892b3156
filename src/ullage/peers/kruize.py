"""The peer `kruize`: Kruize (Autotune), the memory limit of its long-term recommendation.

Source: Kruize Autotune, generic recommendation engine of versions 0.0.x: memory is
the same in its cost and performance profiles (100th percentile); the long term is 15 days.

    limit = min(1.2 x M, M + 1.05 x S)
    M = the largest peak of 15 days, S = the largest spike: rise within one interval

Its intervals are 15 minutes of a running container; a recorded run is one number. A run
climbs from nothing to its peak, and in which span is not recorded: here its spike is its
peak, so S = M and the first term decides. Where nothing is known of 15 days it has no
answer, and the limit in force stays. It has no rule for an OOM: ours for it is 2 x the limit
that failed, as for the yardsticks. It knows nothing of censoring.

Worked: M = 1000, S = 1000: min(1200, 2050) = 1200. M = 1000, S = 100: min(1200, 1105) = 1105.
"""

from __future__ import annotations

from dataclasses import dataclass

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import (
    DAY_S,
    known_within,
    limit_in_force_bytes,
    raised_bytes,
    single,
)

WINDOW_S = 15 * DAY_S
BUFFER_RATIO = 1.2
SPIKE_RATIO = 1.05


@dataclass(frozen=True, slots=True)
class KruizePolicy:
    """1.2 x the largest peak of 15 days, less where spikes are known to be small."""

    policy_id: str = "kruize"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the formula on recorded peaks, the limit in force without any."""
        recent = known_within(history, question, WINDOW_S)
        limit: float
        if question.failed_limits_bytes:
            limit = raised_bytes(question)
        elif recent.any():
            largest = float(history.peak_bytes[recent].max())
            limit = buffered_bytes(largest, spike_bytes=largest)
        else:
            limit = limit_in_force_bytes(history, question)
        return single(limit, policy_id=self.policy_id, runs_used=int(recent.sum()))


def buffered_bytes(largest_bytes: float, *, spike_bytes: float) -> float:
    """Return min(1.2 x the largest usage, the largest usage + 1.05 x the largest spike)."""
    return min(BUFFER_RATIO * largest_bytes, largest_bytes + SPIKE_RATIO * spike_bytes)
