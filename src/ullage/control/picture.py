"""The loop's picture of itself, and what in it a person should be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ullage.control.changes import UNLIMITED_BYTES
from ullage.control.tracked import Counts, Tracked
from ullage.core.serve_status import Alert, ServeStatus, TargetStatus
from ullage.core.service import GuardCode, ServiceSpec

_ALERTS: Mapping[GuardCode, tuple[str, str, str]] = {
    GuardCode.S4_BOUNDS_BELOW_USAGE: (
        "UllageMaximumBelowUsage",
        "warning",
        "the maximum in the settings is below what it uses",
    ),
    GuardCode.S3_NO_CAPACITY: (
        "UllageRescueFailed",
        "critical",
        "it needs memory now and the host has none to give",
    ),
    GuardCode.S3_AT_MAXIMUM: (
        "UllageRescueFailed",
        "critical",
        "it needs memory now and its maximum is reached",
    ),
    GuardCode.QUARANTINED: (
        "UllageWorkloadBroken",
        "warning",
        "something about it broke and it is left alone for now",
    ),
    GuardCode.AMBIGUOUS: (
        "UllageWorkloadAmbiguous",
        "warning",
        "more than one workload of the settings selects it",
    ),
    GuardCode.S11_QUARANTINE: (
        "UllageCutDidHarm",
        "warning",
        "a cut did harm: its limit was given back, and cuts are off for it",
    ),
    GuardCode.S2_STALE: ("UllageTelemetryStale", "warning", "its readings are too old to act on"),
    GuardCode.S8_HANDS_OFF: (
        "UllageHandsOff",
        "info",
        "somebody else changed its limit, so it is left alone for a day",
    ),
}
"""Reason code -> (alert, severity, words). Each alert has a runbook."""


def counted(counts: Counts, own: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Return all counters by name and label; pairs of labels are joined by a bar."""
    found: dict[str, dict[str, int]] = {
        "decisions": {f"{a}|{b}": n for (a, b), n in counts.decisions.items()},
        "guard_blocks": dict(counts.guard_blocks),
        "oom_kills": dict(counts.oom_kills),
        "rejected_readings": dict(counts.rejected_readings),
        "broken": dict(counts.broken),
        "unsaved": {"": counts.unsaved},
        "clock_jumps": {"": counts.clock_jumps},
        "fenced": {"": counts.fenced},
        "ticks": {"": counts.ticks},
    }
    for name, counter in own.items():
        found[name] = dict(counter)
    return found


def target_statuses(targets: Iterable[Tracked], now: datetime) -> tuple[TargetStatus, ...]:
    """Return what is shown of each target."""
    return tuple(_status(one, now) for one in targets)


def _status(tracked: Tracked, now: datetime) -> TargetStatus:
    reading, original = tracked.reading, tracked.state.original_limit_bytes
    return TargetStatus(
        target_id=tracked.target.target_id,
        workload_key=tracked.spec.workload_key,
        kind=str(tracked.target.kind),
        mode=str(tracked.spec.mode),
        limit_bytes=reading.limit_bytes if reading else None,
        need_bytes=reading.need_bytes if reading else None,
        usage_bytes=reading.usage_bytes if reading else None,
        wanted_bytes=tracked.wanted_bytes,
        original_bytes=None if original == UNLIMITED_BYTES else original,
        age_s=(now - reading.at).total_seconds() if reading else None,
        oom_kills=reading.oom_kills if reading else 0,
        is_waiting=bool(reading and reading.is_waiting),
        is_watched=tracked.state.watch is not None,
        holds=tuple(str(code) for code in tracked.hold_codes),
    )


def unmatched(specs: Sequence[ServiceSpec], targets: Iterable[Tracked]) -> tuple[str, ...]:
    """Return the workloads whose selector matches nobody now."""
    seen = {one.spec.workload_key for one in targets}
    return tuple(spec.workload_key for spec in specs if spec.workload_key not in seen)


def alerts_of(status: ServeStatus) -> tuple[Alert, ...]:
    """Return what a person should know now, at most one alert per name and workload."""
    found: dict[tuple[str, str], Alert] = {}
    for alert in _alerts(status):
        found.setdefault((alert.name, alert.workload_key), alert)
    return tuple(found.values())


def _alerts(status: ServeStatus) -> Iterable[Alert]:
    if not status.has_store:
        yield _alert("UllageStoreDown", "critical", "", "the store does not answer: no cuts (S18)")
    if not status.is_leader:
        return
    if status.breaker_since_at is not None:
        yield _alert(
            "UllageBreakerOpen",
            "critical",
            "",
            "OOM kills after cuts: all cuts are off until `ullage unfreeze --breaker` (S12)",
        )
    if status.capped_count:
        words = f"{status.capped_count} targets are beyond the cap and left alone (S19)"
        yield _alert("UllageTargetsCapped", "warning", "", words)
    for workload_key in status.unmatched:
        words = "its selector matches nobody (S13)"
        yield _alert("UllageWorkloadUnmatched", "info", workload_key, words)
    for target in status.targets:
        for code in target.holds:
            known = _ALERTS.get(GuardCode(code))
            if known is not None:
                name, severity, words = known
                yield _alert(name, severity, target.workload_key, words)


def _alert(name: str, severity: str, workload_key: str, words: str) -> Alert:
    return Alert(name=name, severity=severity, workload_key=workload_key, summary=words)
