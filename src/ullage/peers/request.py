"""The peer `request`: what people asked for, doubled after an OOM. It learns nothing.

Source: how clusters are run without any of the others; the recorded request of the run.

    limit = request (the site's default, 4 GiB, where there is none)
    after an OOM: 2 x the limit that failed

Worked: request 3 GiB -> 3 GiB, whatever is known of the past; failed there -> 6 GiB.
"""

from __future__ import annotations

from dataclasses import dataclass

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """The recorded request."""

    policy_id: str = "request"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the request, or twice what failed."""
        failed = bool(question.failed_limits_bytes)
        limit = raised_bytes(question) if failed else first_limit_bytes(question)
        return single(limit, policy_id=self.policy_id, runs_used=0)
