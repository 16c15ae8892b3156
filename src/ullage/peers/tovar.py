"""The peer `tovar`: the first allocation that wastes least on the past runs, without features.

Source: Tovar, da Silva, Juve, Deelman, Allcock, Thain, Livny, "A Job Sizing Strategy for
High-Throughput Scientific Workflows", IEEE TPDS 29(2), 2018, objective "minimum waste".

    limit = argmin over seen peaks a of   a x tau + a_max x T(a)
    tau = mean runtime, T(a) = (1/n) x sum of the runtimes of runs with a peak > a,
    a_max = the largest seen peak
    after an OOM: the largest peak seen; where that failed (or is below what failed) the
    node; where that failed the node again, 2 x as large

The first term is what every run reserves, the second what the retries of those above a
reserve at a_max. Of equal costs the larger limit is taken. 'The node' is 2 x the largest
limit ever set for the workload, this run's failed ones included, since none is given: a
node that was needed once is in the next one.
It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.

Worked: peaks 1, 2, 10 GB with runtimes 10, 10, 10 s: tau = 10.
a = 1: 1 x 10 + 10 x 20/3 = 76.7; a = 2: 20 + 10 x 10/3 = 53.3; a = 10: 100. Limit 2 GB.
Failed at 2: 10 GB; at 10: the node, 20 GB; at 20: 40 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.peers.first_limit import (
    failed_bytes,
    first_limit_bytes,
    node_bytes,
    single,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TovarPolicy:
    """The seen peak that would have cost least as everybody's first limit."""

    policy_id: str = "tovar"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the least wasteful seen peak; after an OOM the largest seen, then the node."""
        limit: float
        if question.failed_limits_bytes:
            limit = _retry_bytes(history, question)
        elif len(history) == 0:
            limit = first_limit_bytes(question)
        else:
            limit = least_wasteful_bytes(history.peak_bytes, history.runtime_s)
        return single(limit, policy_id=self.policy_id, runs_used=len(history))


def least_wasteful_bytes(peaks: Floats, runtime_s: Floats) -> float:
    """Return argmin over a in peaks of a x tau + a_max x T(a).

    peaks, runtime_s: float64 > 0 of length n >= 1. O(n log n).
    """
    largest_first = np.argsort(-peaks, kind="stable")
    a, t = peaks[largest_first], runtime_s[largest_first]
    longer_s = np.concatenate(([0.0], np.cumsum(t)))
    above = np.searchsorted(-a, -a, side="left")
    cost = a * longer_s[-1] + a[0] * longer_s[above]
    return float(a[np.argmin(cost)])


def _retry_bytes(history: RunHistory, question: RunQuestion) -> float:
    failed = failed_bytes(question)
    largest = float(history.peak_bytes.max(initial=0.0))
    return largest if failed < largest else node_bytes(history, question)
