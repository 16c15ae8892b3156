"""What `top`, `get decisions` and `describe` show of services: rows of named values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ullage.core.serve_status import ServeStatus, TargetStatus
from ullage.core.service import (
    EntryKind,
    FleetState,
    JournalRecord,
    ServiceOom,
    TargetState,
)
from ullage.core.units import format_bytes, format_duration
from ullage.outcomes.render import plural, utc_text
from ullage.outcomes.tables import Table, Value

DECISION_KINDS = (EntryKind.DECISION, EntryKind.HOLD, EntryKind.OUTCOME, EntryKind.SETTLED)
"""What a table of decisions is made of."""


def targets_table(status: ServeStatus, *, limit: int) -> Table:
    """Return one row for each live target, the one nearest to its limit first."""
    ordered = sorted(status.targets, key=_urgency)[:limit]
    return Table(
        columns=(
            "workload",
            "target",
            "need_bytes",
            "limit_bytes",
            "slack_ratio",
            "wanted_bytes",
            "mode",
            "doing",
            "usage_bytes",
            "original_bytes",
            "oom_kills_count",
            "age_s",
        ),
        wide=frozenset({"usage_bytes", "original_bytes", "oom_kills_count", "age_s"}),
        rows=tuple(_target_row(one) for one in ordered),
        empty="no live targets: does a selector match anything? `ullage config check` says",
    )


def _urgency(target: TargetStatus) -> tuple[bool, float, str]:
    slack = target.slack_ratio
    return (not target.is_waiting, 2.0 if slack is None else slack, target.target_id)


def _target_row(target: TargetStatus) -> Mapping[str, Value]:
    doing = "waits for memory" if target.is_waiting else "watched" if target.is_watched else ""
    return {
        "workload": target.workload_key,
        "target": target.target_id,
        "need_bytes": target.need_bytes,
        "limit_bytes": target.limit_bytes,
        "slack_ratio": target.slack_ratio,
        "wanted_bytes": target.wanted_bytes,
        "mode": target.mode,
        "doing": doing or ", ".join(target.holds) or None,
        "usage_bytes": target.usage_bytes,
        "original_bytes": target.original_bytes,
        "oom_kills_count": target.oom_kills,
        "age_s": target.age_s,
    }


def status_line(status: ServeStatus, age_s: float) -> str:
    """Return the line above the table: who acts, how, and since when."""
    limits = [one.limit_bytes for one in status.targets if one.limit_bytes is not None]
    needs = [one.need_bytes for one in status.targets if one.need_bytes is not None]
    words = [
        f"{status.mode} mode",
        plural(len(status.targets), "target"),
        f"need {format_bytes(sum(needs))} of {format_bytes(sum(limits))}",
        f"pass {status.tick_number} took {format_duration(status.tick_s)}",
    ]
    if not status.has_store:
        words.append("STORE DOWN: no cuts")
    if status.breaker_since_at is not None:
        words.append("BREAKER OPEN: no cuts")
    if status.freezes:
        names = ", ".join(name or "all" for name in status.freezes)
        words.append(f"frozen: {names}")
    if age_s > 90:
        words.append(f"OLD: no daemon has shown itself for {format_duration(age_s)}")
    return "; ".join(words)


def decisions_table(
    records: Sequence[JournalRecord], *, of: str | None = None, limit: int
) -> Table:
    """Return one row for each decision and each change of the reasons to hold, newest first."""
    results = _results(records)
    rows = [
        _decision_row(one, results)
        for one in records
        if one.entry.kind in (EntryKind.DECISION, EntryKind.HOLD)
    ]
    return Table(
        columns=(
            "at",
            "workload",
            "target",
            "direction",
            "old_bytes",
            "new_bytes",
            "outcome",
            "reason",
            "guards",
            "policy",
            "decision_id",
            "evidence",
        ),
        wide=frozenset({"guards", "policy", "decision_id", "evidence"}),
        rows=tuple(rows[:limit]),
        empty="no decisions about services yet"
        + ("" if of is None else f" for {of}")
        + ": `ullage serve` makes them",
    )


def _results(records: Iterable[JournalRecord]) -> dict[str, str]:
    """Return decision id -> what became of it; the settled word comes last and counts."""
    found: dict[str, str] = {}
    for record in records:  # newest first
        body: Any = record.entry.body
        if record.entry.kind in (EntryKind.OUTCOME, EntryKind.SETTLED) and body["decision_id"]:
            found.setdefault(str(body["decision_id"]), str(body["result"]))
    return found


def _decision_row(record: JournalRecord, results: Mapping[str, str]) -> Mapping[str, Value]:
    entry, body = record.entry, dict[str, Any](record.entry.body)
    is_hold = entry.kind is EntryKind.HOLD
    reasons = body.get("codes") if is_hold else body.get("reasons")
    return {
        "at": entry.at,
        "workload": entry.workload_key,
        "target": entry.target_id,
        "direction": "hold" if is_hold else body.get("direction"),
        "old_bytes": body.get("limit_bytes") if is_hold else body.get("old_bytes"),
        "new_bytes": None if is_hold else body.get("new_bytes"),
        "outcome": None if is_hold else results.get(str(body.get("decision_id")), "open"),
        "reason": ", ".join(map(str, reasons or [])),
        "guards": ", ".join(map(str, body.get("guards") or [])) or None,
        "policy": body.get("policy"),
        "decision_id": body.get("decision_id"),
        "evidence": body.get("evidence"),
    }


def describe_service(
    workload_key: str,
    states: Sequence[TargetState],
    fleet: FleetState,
    ooms: Sequence[ServiceOom],
) -> dict[str, Any]:
    """Return all that is stored of one service, as plain values."""
    freezes = [one for one in fleet.freezes if one.workload_key in (None, workload_key)]
    return {
        "workload": workload_key,
        "targets_count": len(states),
        "frozen": [f"{one.scope} since {utc_text(one.since_at)}" for one in freezes],
        "breaker_open": fleet.breaker_since_at is not None,
        "oom_kills_count": sum(one.kills for one in ooms),
        "targets": [_state_values(state) for state in states],
    }


def _state_values(state: TargetState) -> dict[str, Any]:
    original = state.original_limit_bytes
    return {
        "target": state.target_id,
        "original_limit_bytes": None if original in (None, -1) else original,
        "limit_bytes": state.our_limit_bytes,
        "may_grow_to_bytes": state.envelope.ceiling_bytes if state.envelope else None,
        "change_pending": state.pending is not None,
        "watched_until": utc_text(state.watch.until_at) if state.watch else None,
        "hands_off_until": _moment(state.hands_off_until_at),
        "quarantine_until": _moment(state.quarantine_until_at),
        "last_change": _moment(state.last_change_at),
    }


def _moment(at: Any) -> str | None:
    return None if at is None else utc_text(at)


def service_text(description: Mapping[str, Any]) -> list[str]:
    """Return a description as lines for people."""
    lines = [
        f"{description['workload']}: a service with "
        f"{plural(description['targets_count'], 'target')}, "
        f"{plural(description['oom_kills_count'], 'OOM kill')}"
    ]
    lines += [f"  frozen: {words}" for words in description["frozen"]]
    if description["breaker_open"]:
        lines.append("  breaker open: no cuts until `ullage unfreeze --breaker`")
    for target in description["targets"]:
        lines.append(f"  {target['target']}")
        limit, original = target["limit_bytes"], target["original_limit_bytes"]
        if limit is None and original is None:
            lines.append("    never changed by Ullage")
        else:
            ours = "not changed since" if limit is None else format_bytes(limit)
            lines.append(f"    limit {ours}, before Ullage {format_bytes(original)}")
        for name in ("watched_until", "hands_off_until", "quarantine_until", "last_change"):
            if target[name]:
                lines.append(f"    {name.replace('_', ' ')} {target[name]}")
    return lines
