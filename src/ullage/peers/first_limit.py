"""What peers share: the first limit without history, raises above what failed, windows, the node.

Not here: any peer's own rule.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import Ladder
from ullage.core.decision import Reason, Recommendation, RunQuestion
from ullage.core.units import GIB, MAX_BYTES
from ullage.core.view import RunHistory

DAY_S = 86_400.0

LAST_RESORT_BYTES = 4 * GIB
"""For a workload that has neither history nor request, where the site has no default."""

NODE_RATIO = 2.0
"""Where no node size is given, the node is this many times the largest limit ever set."""


def first_limit_bytes(question: RunQuestion) -> int:
    """Return the limit of a workload without own history: its request, the default, or 4 GiB.

    The same for every peer, so that they differ by their rules alone.
    """
    return question.request_bytes or question.default_bytes or LAST_RESORT_BYTES


def failed_bytes(question: RunQuestion) -> int:
    """Return the largest limit at which this run has been OOM-killed, 0 for none."""
    return max(question.failed_limits_bytes, default=0)


def raised_bytes(question: RunQuestion, factor: float = 2.0) -> int:
    """Return `factor` x the largest limit that failed, in whole bytes and above it.

    Worked: failed at 100 bytes: x1.25 is 125; failed at 1 byte: x1.2 is 2.
    """
    failed = failed_bytes(question)
    return max(math.ceil(failed * factor), failed + 1)


def limit_in_force_bytes(history: RunHistory, question: RunQuestion) -> int:
    """Return what the workload runs under where a peer changes nothing.

    The limit of the last attempt of the run known last; where no limit is recorded, the
    first limit.
    """
    recorded = history.limit_bytes[~np.isnan(history.limit_bytes)]
    return int(recorded[-1]) if len(recorded) else first_limit_bytes(question)


def known_within(history: RunHistory, question: RunQuestion, window_s: float) -> NDArray[np.bool_]:
    """Return which runs became known in the last `window_s` seconds, as bool of length n."""
    return history.known_at_s >= question.asked_at.timestamp() - window_s


def failed_before_bytes(history: RunHistory) -> NDArray[np.float64]:
    """Return failed_bytes of length n, NaN everywhere where it is not recorded."""
    if len(history.failed_bytes) == len(history):
        return history.failed_bytes
    return np.full(len(history), np.nan)


def node_bytes(history: RunHistory, question: RunQuestion) -> int:
    """Return the size of 'the node' in a rule where none is given.

    2 x the largest limit ever set for the workload: in its past runs (limit_bytes,
    failed_bytes), and at this run's failed attempts. Without any, 2 x the first limit.

    Worked: limits 1 GiB and 3 GiB so far, this run failed at 2 GiB: 6 GiB.
    """
    recorded = np.concatenate((history.limit_bytes, history.failed_bytes))
    largest = float(np.fmax.reduce(recorded, initial=float(failed_bytes(question))))
    return math.ceil(NODE_RATIO * (largest or first_limit_bytes(question)))


def single(limit_bytes: float, *, policy_id: str, runs_used: int) -> Recommendation:
    """Return a peer's answer: one limit in whole bytes (rounded up), no OOM chance told.

    policy_id: whose rule it was. runs_used: past runs that had a say.
    """
    limit = max(1, math.ceil(min(limit_bytes, MAX_BYTES)))
    return Recommendation(
        ladder=Ladder(limit_bytes=(limit,), oom_prob=()),
        reasons=(Reason.PEER,),
        expert=policy_id,
        runs_used=runs_used,
    )
