"""The peer `crane`: Crane's resource recommendation for memory.

Source: Crane (gocrane.io), resource recommender, defaults of versions 0.x:
mem-percentile 0.99, margin 0.15, history 7 days, half-life 48 h, buckets of 100 MiB,
OOM protection for 7 days with ratio 1.2 and at least 100 MiB.

    limit = max(1.15 x edge(p99), max over the OOMs of 7 days of bump(F))
    p99 = of a histogram of the peaks of 7 days, a peak that is t old weighs 2^(-t / 48 h);
    edge = the upper edge of its bucket of 100 MiB; bump(F) = max(F + 100 MiB, 1.2 x F) for
    an OOM at the limit F

A run gives one sample, its peak, at its end. After an OOM the same formula holds with the
limit that has just failed. Where nothing is known of the last 7 days it has no answer,
and the limit in force stays. It knows nothing of censoring: a peak that is only a lower
bound is taken as the peak. There is no largest bucket here.

Worked: peaks 250 and 120 MiB, equally old: p99 in the bucket 200..300 MiB, 1.15 x 300 =
345 MiB. Failed at 345: bump max(445, 414) = 445 MiB. Failed at 1000: 1200 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.histograms import LinearBuckets, histogram_quantile
from ullage.core.units import MIB
from ullage.core.view import RunHistory
from ullage.peers.first_limit import (
    DAY_S,
    failed_before_bytes,
    known_within,
    limit_in_force_bytes,
    single,
)

PERCENTILE = 0.99
MARGIN_RATIO = 1.15
WINDOW_S = 7 * DAY_S
HALF_LIFE_S = 2 * DAY_S
BUCKETS = LinearBuckets(width_bytes=100.0 * MIB)
BUMP_BYTES = 100 * MIB
BUMP_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class CranePolicy:
    """1.15 x the 99th percentile of 7 days, above what failed in them."""

    policy_id: str = "crane"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the percentile with its margin, or the OOM protection where it is higher."""
        recent = known_within(history, question, WINDOW_S)
        if recent.any():
            usual = MARGIN_RATIO * histogram_quantile(
                history.peak_bytes[recent],
                history.known_at_s[recent],
                PERCENTILE,
                half_life_s=HALF_LIFE_S,
                buckets=BUCKETS,
            )
        else:
            usual = float(limit_in_force_bytes(history, question))
        failed = np.append(failed_before_bytes(history)[recent], question.failed_limits_bytes)
        limit = max(usual, _protected_bytes(failed))
        return single(limit, policy_id=self.policy_id, runs_used=int(recent.sum()))


def _protected_bytes(failed: NDArray[np.float64]) -> float:
    """Return bump(F) of the largest limit that failed, 0 for none."""
    largest = float(np.fmax.reduce(failed, initial=0.0))
    return max(largest + BUMP_BYTES, largest * BUMP_RATIO) if largest else 0.0
