"""Other people's policies on running services: KRR, VPA, Crane, Kruize, Autopilot, yardsticks.

Formulas and sources are those of the run-level peers of the same names, where there is one;
here they read samples and interval peaks of a running target instead of one peak a run.
All of them are asked at the same moments as ours and their answer is taken at once, which is
more than they do for themselves (KRR applies at the next start, VPA outside its bounds or
after 12 h).

    krr         max(1.15 x M, 1.25 x F, 100 MiB)    M = largest need, F = largest limit that
                failed, of 14 days
    vpa         max(1.15 x edge(p90), 250 MiB)      of daily peaks, half-life 24 h; the day that
                has not ended counts with its peak so far; an OOM kill at need u makes it
                max(u + 100 MiB, 1.2 x u)
    crane       max(1.15 x edge(p99), bump(F))      of samples of 7 days, half-life 48 h, linear
                buckets of 100 MiB; bump(F) = max(F + 100 MiB, 1.2 x F) of an OOM kill in them
    kruize      min(1.2 x M, M + 1.05 x S)          M = largest need, S = largest rise from one
                interval to the next, of 15 days
    autopilot-window    1.1 x S_max                 (minimal tolerance) S_max = the largest need
                of ten days (five half-lives of 48 h; the window's length is not published)
    autopilot-p98       1.1 x S_p98                 (low tolerance) on the load-adjusted
                histogram: a sample b of age t weighs b x 2^(-t / 48 h). Its largest answer of the
                last hour is not taken: it is asked but once or twice in an hour
    p98-1.1     1.1 x the 98th percentile of all samples
    max-1.2     1.2 x the largest need

None of them knows censoring. Worked: needs 800, 1000 MiB: krr 1150, max-1.2 1200 MiB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ullage.core.errors import ConfigError
from ullage.core.histograms import histogram_quantile
from ullage.core.service import Direction, LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.statistics import weighted_quantile
from ullage.peers import crane, krr, kruize, vpa
from ullage.peers.first_limit import DAY_S

Floats = NDArray[np.float64]
Rule = Callable[[TargetHistory, float], float]
"""(history, asked at in epoch seconds) -> limit in bytes."""

AUTOPILOT_HALF_LIFE_S = 2 * DAY_S
AUTOPILOT_WINDOW_S = 5 * AUTOPILOT_HALF_LIFE_S
AUTOPILOT_MARGIN_RATIO = 1.10


@dataclass(frozen=True, slots=True)
class PeerServicePolicy:
    """A peer's rule behind the port of service policies."""

    policy_id: str
    rule: Rule

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        """Answer the rule on what is known; hold where nothing is."""
        wanted = None
        if len(history.at_s):
            wanted = math.ceil(self.rule(history, question.asked_at.timestamp()))
        limit = question.limit_bytes
        direction = Direction.HOLD
        if wanted is not None and wanted != limit:
            direction = Direction.GROW if limit is not None and wanted > limit else Direction.CUT
        return LimitProposal(
            target_id=question.target_id,
            wanted_bytes=wanted,
            direction=direction,
            reason=self.policy_id,
            policy=self.policy_id,
        )


def _recent(history: TargetHistory, since_s: float) -> Floats:
    return np.asarray(history.need_bytes[history.at_s > since_s], float)


def krr_rule(history: TargetHistory, asked_s: float) -> float:
    """Return max(1.15 x M, 1.25 x F, 100 MiB) of 14 days."""
    since_s = asked_s - krr.WINDOW_S
    failed = history.oom_at_least_bytes[history.oom_at_s > since_s]
    return max(
        krr.BUFFER_RATIO * float(_recent(history, since_s).max(initial=0.0)),
        krr.OOM_BUFFER_RATIO * float(failed.max(initial=0)),
        float(krr.LEAST_BYTES),
    )


def vpa_rule(history: TargetHistory, asked_s: float) -> float:
    """Return max(1.15 x the upper edge of the p90 of daily peaks, 250 MiB)."""
    values = np.concatenate((
        np.asarray(history.need_bytes, float),
        vpa.bumped_bytes(np.asarray(history.oom_at_least_bytes, float)),
    ))  # fmt: skip
    at_s = np.concatenate((history.at_s, history.oom_at_s))
    day = ((at_s - history.first_seen_at.timestamp()) // DAY_S).astype(np.int64)
    days, place = np.unique(day, return_inverse=True)
    peaks = np.zeros(len(days))
    np.maximum.at(peaks, place, values)
    edge = histogram_quantile(
        peaks,
        np.asarray(days * DAY_S, float),
        vpa.PERCENTILE,
        half_life_s=vpa.HALF_LIFE_S,
        buckets=vpa.BUCKETS,
    )
    return max(vpa.MARGIN_RATIO * edge, float(vpa.LEAST_BYTES))


def crane_rule(history: TargetHistory, asked_s: float) -> float:
    """Return the margin on the p99 of 7 days, or the OOM protection where it is higher."""
    since_s = asked_s - crane.WINDOW_S
    kept = history.at_s > since_s
    edge = histogram_quantile(
        np.asarray(history.need_bytes[kept], float), history.at_s[kept], crane.PERCENTILE,
        half_life_s=crane.HALF_LIFE_S, buckets=crane.BUCKETS,
    )  # fmt: skip
    failed = np.asarray(history.oom_at_least_bytes[history.oom_at_s > since_s], float)
    protected = np.maximum(failed + crane.BUMP_BYTES, failed * crane.BUMP_RATIO)
    percentile = 0.0 if math.isnan(edge) else crane.MARGIN_RATIO * edge
    return max(percentile, float(protected.max(initial=0.0)))


def kruize_rule(history: TargetHistory, asked_s: float) -> float:
    """Return min(1.2 x M, M + 1.05 x the largest rise from one interval to the next)."""
    kept = history.peak_at_s > asked_s - kruize.WINDOW_S
    peaks = np.asarray(history.peak_bytes[kept], float)
    spike = float(np.diff(peaks).max(initial=0.0))
    return kruize.buffered_bytes(float(peaks.max(initial=0.0)), spike_bytes=spike)


def autopilot_max_rule(history: TargetHistory, asked_s: float) -> float:
    """Return 1.1 x the largest need of ten days."""
    largest = _recent(history, asked_s - AUTOPILOT_WINDOW_S).max(initial=0.0)
    return AUTOPILOT_MARGIN_RATIO * float(largest)


def autopilot_p98_rule(history: TargetHistory, asked_s: float) -> float:
    """Return 1.1 x the p98 of the load-adjusted decayed samples."""
    need = np.asarray(history.need_bytes, float)
    weights = need * np.exp2((history.at_s - asked_s) / AUTOPILOT_HALF_LIFE_S)
    level = weighted_quantile(need, weights, 0.98)
    return AUTOPILOT_MARGIN_RATIO * (0.0 if math.isnan(level) else level)


def p98_rule(history: TargetHistory, asked_s: float) -> float:
    """Return 1.1 x the smallest sample at or below which 98 % of samples lie."""
    need = np.asarray(history.need_bytes, float)
    place = math.ceil(0.98 * len(need)) - 1
    return 1.1 * float(np.partition(need, place)[place])


def max_rule(history: TargetHistory, asked_s: float) -> float:
    """Return 1.2 x the largest need."""
    return 1.2 * float(history.need_bytes.max(initial=0))


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "max-1.2": max_rule,
        "p98-1.1": p98_rule,
        "krr": krr_rule,
        "vpa": vpa_rule,
        "crane": crane_rule,
        "kruize": kruize_rule,
        "autopilot-window": autopilot_max_rule,
        "autopilot-p98": autopilot_p98_rule,
    }
)
SERVICE_PEER_IDS: tuple[str, ...] = tuple(_RULES)
"""Every peer that can be replayed on the usage of services."""


def make_service_peer(policy_id: str) -> PeerServicePolicy:
    """Return the peer with this id. ConfigError for an id that is none (it names the nearest)."""
    rule = _RULES.get(policy_id)
    if rule is None:
        from difflib import get_close_matches

        asked = policy_id[:40].strip().lower().replace("_", "-")
        near = get_close_matches(asked, ("ullage", *_RULES), n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"unknown policy {policy_id[:40]!a}: did you mean {near!r}? "
            f"For services there are ullage, {', '.join(_RULES)}, oracle"
        )
    return PeerServicePolicy(policy_id, rule)
