"""The peers `retry-1.2`, `retry-1.5`, `retry-2`: start at the request, multiply after each OOM.

Source: the retry rules that users write for workflow engines: Nextflow
(`memory = { base * task.attempt }` and its multiplying kin), Flyte and Argo (retry with
more memory). They learn nothing: every run starts at its base.

    limit of attempt k = base x f^(k - 1), base = request (else the first limit), f = 1.2, 1.5, 2

Each attempt gets f x the limit that failed, rounded up to whole bytes, so that a floor
of the platform raises the later attempts too.

Worked: base 1000 bytes, f = 1.2: 1000, 1200, 1440, 1728.
"""

from __future__ import annotations

from dataclasses import dataclass

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryFactorPolicy:
    """The request x factor_ratio per failed attempt. factor_ratio: > 1."""

    factor_ratio: float
    is_guarded: bool = False

    @property
    def policy_id(self) -> str:
        """Return retry- and the factor."""
        return f"retry-{self.factor_ratio:g}"

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the base, or the factor times what failed."""
        failed = bool(question.failed_limits_bytes)
        raised = raised_bytes(question, self.factor_ratio)
        limit = raised if failed else first_limit_bytes(question)
        return single(limit, policy_id=self.policy_id, runs_used=0)
