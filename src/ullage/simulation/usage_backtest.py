"""Protocol D: what a service policy would have done to recorded usage, decision by decision.

A policy is asked every half an hour or hour, with what was known then; its answer takes effect
10 s later. A sample above the limit is an OOM kill, without a cost of restarting. The limit is
then raised until the sample fits, to 1.2 x the sample, for every policy alike (emergency growth),
and stays there until the next decision. Samples within the actuation delay after an OOM kill
belong to it. Slack counts above the floor of 64 MiB, which no policy can go below, and above the
need. Nothing is scored before an instance has 3 h and 100 samples: until then
nobody's limit moves.

The same ServicePolicy objects answer here as in the live loop. Not here: reading files
(usage_file), the figures of many instances (usage_figures).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ullage.core.allocation import FLOOR_BYTES
from ullage.core.service import ServiceQuestion, TargetHistory
from ullage.core.service_ports import ServicePolicy
from ullage.core.units import MAX_BYTES
from ullage.simulation.runs_table import Floats, Ints
from ullage.simulation.usage_file import UsageTrace

ORACLE = "oracle"
WARM_UP_S = 3 * 3600.0
WARM_UP_SAMPLES = 100
DAY_S = 24 * 3600.0
LONGEST_GAPS = 5
"""A sample stands for the time to the next one, at most so many usual intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageWorld:
    """What is the same for every policy."""

    decide_every_s: float = 1800.0
    actuation_delay_s: float = 10.0
    growth_ratio: float = 1.2
    floor_bytes: int = FLOOR_BYTES
    peak_interval_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageOutcome:
    """One instance under one policy. first_day_peak_bytes: what an OOM kill is priced in."""

    name: str
    scored_hours: float
    slack_gbh: float
    used_gbh: float
    ooms_count: int
    changes_count: int
    decisions_count: int
    first_day_peak_bytes: int

    def cost_gbh(self, price_hours: float) -> float:
        """Return slack plus OOM kills at their price in hours of the first day's peak."""
        oom_gbh = price_hours * self.first_day_peak_bytes / 1e9
        return self.slack_gbh + oom_gbh * self.ooms_count


def decision_moments(trace: UsageTrace, world: UsageWorld) -> Floats:
    """Return when the policies are asked: float64, epoch seconds; none in a trace too short."""
    if len(trace) <= WARM_UP_SAMPLES:
        return np.zeros(0)
    evidence_s = max(WARM_UP_S, float(trace.at_s[WARM_UP_SAMPLES - 1] - trace.at_s[0]))
    first = int(np.ceil(evidence_s / world.decide_every_s))
    count = int(np.ceil((trace.at_s[-1] - trace.at_s[0]) / world.decide_every_s))
    return np.asarray(trace.at_s[0] + world.decide_every_s * np.arange(first, count), float)


def replay_usage(trace: UsageTrace, policy: ServicePolicy, world: UsageWorld) -> UsageOutcome:
    """Replay one instance under one policy."""
    return _Replay(trace, world).run(policy)


def replay_oracle(trace: UsageTrace, world: UsageWorld) -> UsageOutcome:
    """Replay the floor: the largest need until the next decision, known beforehand."""
    return _Replay(trace, world).run(None)


class _Replay:
    """One instance on its way: the limit in force and what it has led to."""

    def __init__(self, trace: UsageTrace, world: UsageWorld) -> None:
        self._trace, self._world = trace, world
        steps = np.diff(trace.at_s)
        usual = float(np.median(steps)) if len(steps) else 1.0
        self._span_s = np.minimum(np.append(steps, usual), LONGEST_GAPS * usual)
        number = np.floor((trace.at_s - trace.at_s[0]) / world.peak_interval_s)
        self._begin = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
        self._peak_at_s = trace.at_s[0] + number[self._begin] * world.peak_interval_s
        self._peaks = np.maximum.reduceat(trace.need_bytes, self._begin)
        self._limits: list[int] = []
        self._limit: int | None = None
        self._oom_at_s: list[float] = []
        self._oom_bytes: list[int] = []
        self._slack = self._used = self._hours = 0.0
        self._changes = 0

    def run(self, policy: ServicePolicy | None) -> UsageOutcome:
        """Ask and replay to the end; None = the oracle."""
        trace, world = self._trace, self._world
        moments = decision_moments(trace, world)
        places = np.searchsorted(trace.at_s, np.append(moments, np.inf), side="right")
        for asked_s, begin, end in zip(moments, places[:-1], places[1:], strict=True):
            if policy is None:
                wanted = int(trace.need_bytes[begin:end].max(initial=0))
                self._limit = max(wanted, world.floor_bytes)
            else:
                wanted = self._asked(policy, float(asked_s), int(begin))
            self._live(float(asked_s), int(begin), int(end), max(wanted, world.floor_bytes))
        return UsageOutcome(
            name=trace.name,
            scored_hours=self._hours,
            slack_gbh=self._slack / 3600e9,
            used_gbh=self._used / 3600e9,
            ooms_count=len(self._oom_at_s),
            changes_count=self._changes,
            decisions_count=len(moments),
            first_day_peak_bytes=first_day_peak_bytes(trace),
        )

    def _asked(self, policy: ServicePolicy, asked_s: float, known: int) -> int:
        question = ServiceQuestion(
            target_id=self._trace.name,
            workload_key=self._trace.workload,
            asked_at=datetime.fromtimestamp(asked_s, UTC),
            need_bytes=int(self._trace.need_bytes[known - 1]),
            usage_bytes=int(self._trace.need_bytes[known - 1]),
            limit_bytes=self._limit,
            floor_bytes=self._world.floor_bytes,
            ceiling_bytes=MAX_BYTES,
        )
        wanted = policy.recommend(self._history(known), question).wanted_bytes
        if wanted is None:
            return self._limit or 0
        return wanted

    def _history(self, known: int) -> TargetHistory:
        """Return what is known of the first `known` samples, the last interval's peak so far."""
        trace = self._trace
        intervals = int(np.searchsorted(self._begin, known))
        peaks = self._peaks[:intervals].copy()
        peaks[-1] = trace.need_bytes[self._begin[intervals - 1] : known].max()
        return TargetHistory(
            at_s=trace.at_s[:known],
            need_bytes=trace.need_bytes[:known],
            limit_bytes=np.full(known, -1),
            peak_at_s=self._peak_at_s[:intervals],
            peak_bytes=peaks,
            peak_interval_s=self._world.peak_interval_s,
            oom_at_s=np.array(self._oom_at_s, float),
            oom_at_least_bytes=np.array(self._oom_bytes, np.int64),
            first_seen_at=datetime.fromtimestamp(float(trace.at_s[0]), UTC),
        )

    def _live(self, asked_s: float, begin: int, end: int, wanted: int) -> None:
        """Let the samples from `begin` to `end` happen; the wanted limit comes after a delay."""
        at_s, need = self._trace.at_s, self._trace.need_bytes
        before = wanted if self._limit is None else self._limit
        self._changes += int(self._limit is not None and wanted != self._limit)
        self._limit = wanted
        delay_s = self._world.actuation_delay_s
        arrives = int(np.searchsorted(at_s, asked_s + delay_s))
        at = begin
        while at < end:
            limit, upto = (before, min(arrives, end)) if at < arrives else (self._limit, end)
            failed = np.flatnonzero(need[at:upto] > limit)
            stop = at + int(failed[0]) if len(failed) else upto
            self._hold(at, stop, limit)
            if len(failed):
                at = self._fail(stop, limit, end)
                before = self._limit
            else:
                at = stop

    def _fail(self, at: int, limit: int, end: int) -> int:
        """Count an OOM kill, raise the limit, return the first sample after the delay."""
        at_s, need = self._trace.at_s, self._trace.need_bytes
        self._oom_at_s.append(float(at_s[at]))
        self._oom_bytes.append(int(need[at]))
        past = int(np.searchsorted(at_s, at_s[at] + self._world.actuation_delay_s))
        past = min(max(past, at + 1), end)
        largest = int(need[at:past].max())
        raised = int(np.ceil(self._world.growth_ratio * largest))
        self._hold(at, past, limit)
        self._limit = max(self._limit or 0, raised)
        return past

    def _hold(self, begin: int, end: int, limit: int) -> None:
        span_s = self._span_s[begin:end]
        need = self._trace.need_bytes[begin:end].astype(float)
        useful = np.maximum(need, self._world.floor_bytes)
        self._slack += float((np.maximum(limit - useful, 0.0) * span_s).sum())
        self._used += float((need * span_s).sum())
        self._hours += float(span_s.sum()) / 3600


def first_day_peak_bytes(trace: UsageTrace) -> int:
    """Return the largest need of the first 24 h."""
    first: Ints = trace.need_bytes[trace.at_s < trace.at_s[0] + DAY_S]
    return int(first.max())
