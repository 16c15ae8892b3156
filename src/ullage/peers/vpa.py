"""The peer `vpa`: the Kubernetes Vertical Pod Autoscaler's memory target.

Source: kubernetes/autoscaler, vertical-pod-autoscaler, recommender defaults of the
versions 1.x as far as they are global (no per-object OOM settings).

    target = max(1.15 x edge(p90), 250 MiB)
    p90 = of a histogram of peaks where a peak that is t old weighs 2^(-t / 24 h);
    bucket i is 1e7 x 1.05^i bytes wide; edge = the upper edge of the percentile's bucket
    an OOM at the limit F adds the sample bump(F) = max(F + 100 MiB, 1.2 x F)

On runs every run is a pod with its own containers, so it gives one sample, at its end: the
larger of its peak and bump(its largest failed limit), as "used" is the larger of the
request and the day's peak, and that is the limit. A pod that starts gets the target from
the admission controller, whatever was in force. The lower (p50) and upper (p95) bounds,
their confidence factors and the 12 h rule say when the updater evicts a pod that is
running: they change no limit of a run that starts.

After an OOM: max(target with the new sample, bump(F)). The second term is ours: with many
samples the target need not move, and the pod would be killed at the same limit for ever.
It knows nothing of censoring: a peak that is only a lower bound is taken as the peak.
There is no largest bucket here (the original's ends at 1 TB).

Worked: one peak of 1e9 bytes: 1e9 = 2e8 (1.05^n - 1) at n = 36.7, bucket 36 ends at
2e8 (1.05^37 - 1) = 1.01628e9, target 1.16872e9. Failed at 1 GiB: bump 1.2 GiB (1228.8 MiB).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.histograms import ExponentialBuckets, histogram_quantile
from ullage.core.units import MIB
from ullage.core.view import RunHistory
from ullage.peers.first_limit import (
    DAY_S,
    failed_before_bytes,
    failed_bytes,
    first_limit_bytes,
    single,
)

PERCENTILE = 0.90
MARGIN_RATIO = 1.15
HALF_LIFE_S = DAY_S
BUCKETS = ExponentialBuckets(first_bytes=1e7, growth_ratio=1.05)
LEAST_BYTES = 250 * MIB
BUMP_BYTES = 100 * MIB
BUMP_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class VpaPolicy:
    """1.15 x the 90th percentile of a histogram that decays by half in a day."""

    policy_id: str = "vpa"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer the target, after an OOM at least the bumped limit."""
        samples = np.fmax(history.peak_bytes, bumped_bytes(failed_before_bytes(history)))
        at_s = history.known_at_s
        if question.failed_limits_bytes:
            bumped = float(bumped_bytes(np.array(failed_bytes(question), float)))
            samples = np.append(samples, bumped)
            at_s = np.append(at_s, question.asked_at.timestamp())
            limit = max(_target_bytes(samples, at_s), bumped)
        elif len(samples) == 0:
            limit = float(first_limit_bytes(question))
        else:
            limit = _target_bytes(samples, at_s)
        return single(limit, policy_id=self.policy_id, runs_used=len(history))


def bumped_bytes(failed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what an OOM at these limits says was used: max(+100 MiB, x1.2). NaN stays."""
    return np.maximum(failed + BUMP_BYTES, failed * BUMP_RATIO)


def _target_bytes(samples: NDArray[np.float64], at_s: NDArray[np.float64]) -> float:
    edge = histogram_quantile(samples, at_s, PERCENTILE, half_life_s=HALF_LIFE_S, buckets=BUCKETS)
    return max(MARGIN_RATIO * edge, float(LEAST_BYTES))
