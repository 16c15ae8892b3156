"""The peer `dataflow-prime`: vertical autoscaling of a Dataflow Prime batch job.

Source: Google Cloud, Dataflow documentation, "Vertical Autoscaling" (2025): a batch job's
pool is scaled up only after four out-of-memory errors, the whole pool for the rest of the
job, and never down. By how much is not published: step = 1.25, 1.5 (`dataflow-prime`) or 2.

    pool = base x step^floor(k / 4), k = OOMs of the pool so far
    base = the first limit (request, else the default) of the pool's first run

On runs the pool is a workload: all its runs are given the pool's memory, and what later
ones request changes nothing. The first run with a recorded limit tells the base: its
limit, or where it was OOM-killed m times, the largest limit that failed / step^(m - 1).
The OOMs of the run that asks count too. After an OOM: max(pool, step x the limit that failed).

Kinder than the original: there a work item fails up to four times at the same size before
anything is raised; here each failed attempt raises its own retry, and only the pool waits
for four. Not replayed: the 3 to 5 minutes to replace a worker and the 10 minutes without
scaling after it (runs do not share workers here), streaming (scaled down too), the range
of worker sizes (6 to 16 GiB): the platform's bounds hold for every policy alike.

Worked: request 1000, step 1.5: 3 OOMs so far -> 1000; 4 to 7 -> 1500; 8 -> 2250. The first
attempt of a run failed at 1000 with 2 known OOMs: retry max(1000, 1500) = 1500.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import first_limit_bytes, raised_bytes, single

OOMS_PER_RAISE = 4
PUBLISHED_ID = "dataflow-prime"
USUAL_STEP_RATIO = 1.5
MOST_RAISES = 50
"""1.25^50 is 70,000: beyond that the bounds decide, and numbers stay finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataflowPrimePolicy:
    """A pool that grows by step_ratio (> 1) after every four OOMs, and never shrinks."""

    step_ratio: float = USUAL_STEP_RATIO
    is_guarded: bool = False

    @property
    def policy_id(self) -> str:
        """Return dataflow-prime, with the step where it is not the usual one."""
        is_usual = self.step_ratio == USUAL_STEP_RATIO
        return PUBLISHED_ID if is_usual else f"{PUBLISHED_ID}-{self.step_ratio:g}"

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the pool's memory, after an OOM at least a step above what failed."""
        limit = self._pool_bytes(history, question)
        if question.failed_limits_bytes:
            limit = max(limit, raised_bytes(question, self.step_ratio))
        return single(limit, policy_id=self.policy_id, runs_used=len(history))

    def _pool_bytes(self, history: RunHistory, question: RunQuestion) -> float:
        ooms_count = int(history.ooms_count.sum()) + len(question.failed_limits_bytes)
        raises = min(ooms_count // OOMS_PER_RAISE, MOST_RAISES)
        base = self._recorded_base_bytes(history) or first_limit_bytes(question)
        return base * self.step_ratio**raises

    def _recorded_base_bytes(self, history: RunHistory) -> float:
        """Return the first limit of the first run whose limits are recorded, 0 without one."""
        recorded = np.flatnonzero(~np.isnan(history.limit_bytes))
        if len(recorded) == 0 or len(history.ooms_count) == 0:
            return 0.0
        first = recorded[0]
        ooms_count = int(history.ooms_count[first])
        if ooms_count == 0 or len(history.failed_bytes) == 0:
            return float(history.limit_bytes[first])
        raises = min(ooms_count - 1, MOST_RAISES)
        return float(np.nan_to_num(history.failed_bytes[first])) / float(self.step_ratio**raises)
