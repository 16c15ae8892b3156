"""Journal entries: what each kind says, in one place. core.audit_rules reads the same words."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from ullage.control.tracked import Tick, Tracked
from ullage.core.service import (
    ChangeOutcome,
    Direction,
    EntryKind,
    GuardCode,
    JournalEntry,
    JsonValue,
    LimitDecision,
    LimitProposal,
    ServiceOom,
    TargetView,
)


def entry(
    kind: EntryKind, at: datetime, tracked: Tracked | None = None, /, **body: JsonValue
) -> JournalEntry:
    """Return an entry about `tracked`, or about the loop itself."""
    return JournalEntry(
        kind=kind,
        at=at,
        target_id=tracked.target.target_id if tracked else None,
        workload_key=tracked.spec.workload_key if tracked else None,
        body=body,
    )


def inputs_of(view: TargetView) -> dict[str, JsonValue]:
    """Return the facts that a decision rests on: recorded with it, and hashed into its digest."""
    reading, history, spec = view.reading, view.history, view.spec
    return {
        "limit_bytes": reading.limit_bytes if reading else None,
        "need_bytes": reading.need_bytes if reading else None,
        "usage_bytes": reading.usage_bytes if reading else None,
        "node_bytes": reading.node_bytes if reading else None,
        "oom_kills": reading.oom_kills if reading else None,
        "read_at": reading.at.isoformat() if reading else None,
        "age_s": view.telemetry_age_s,
        "delay_s": view.source_delay_s,
        "samples_count": len(history.at_s),
        "span_s": float(history.at_s[-1] - history.at_s[0]) if len(history.at_s) else 0.0,
        "first_seen_at": history.first_seen_at.isoformat(),
        "peak_bytes": int(history.peak_bytes.max()) if len(history.peak_bytes) else None,
        "gap_ratio": round(view.gap_ratio, 4),
        "poisoned_count": view.poisoned_count,
        "floor_bytes": spec.floor_bytes,
        "max_bytes": spec.max_bytes,
        "host_bytes": view.host.total_bytes,
        "group": spec.group_key,
        "group_largest_bytes": max(view.group_needs_bytes, default=None),
        "mode": str(spec.mode),
        "instance": view.target.instance,
        "is_conservative": spec.workload_key in view.fleet.conservative,
        "incident": bool(view.fleet.incident),
    }


def decision_of(
    proposal: LimitProposal, view: TargetView, tick: Tick, *, serial: int, token: int
) -> LimitDecision:
    """Return a decision; its id is unique per tenure (token) and serial, the same in every replay.

    What it rests on goes into its row (`decision_entry`), which a rescue writes afterwards.
    """
    name = hashlib.sha256(f"{token}.{serial}.{proposal.target_id}".encode())
    return LimitDecision(
        decision_id=f"d-{name.hexdigest()[:20]}",
        target_id=proposal.target_id,
        workload_key=view.spec.workload_key,
        asked_at=tick.at,
        old_bytes=view.reading.limit_bytes if view.reading else None,
        new_bytes=proposal.wanted_bytes,
        direction=proposal.direction,
        reasons=(proposal.reason,),
        guards=proposal.guards,
        policy=proposal.policy,
        step=proposal.step,
        evidence=proposal.evidence,
    )


def decision_entry(
    tracked: Tracked,
    decision: LimitDecision,
    view: TargetView,
    tick: Tick,
    *,
    evidence_bytes: int = 0,
    opted_in_count: int = 0,
    is_after: bool = False,
) -> JournalEntry:
    """Return the row that is durable before a cut, and before growth outside the envelope.

    is_after: the effect came first, inside the envelope, or as the undoing of a recorded cut.
    inputs_digest: sha256 of the canonical JSON of what the decision saw.
    """
    inputs = inputs_of(view)
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return entry(
        EntryKind.DECISION,
        decision.asked_at,
        tracked,
        decision_id=decision.decision_id,
        old_bytes=decision.old_bytes,
        new_bytes=decision.new_bytes,
        direction=str(decision.direction),
        reasons=list(decision.reasons),
        guards=[str(code) for code in decision.guards],
        policy=decision.policy,
        step=str(decision.step),
        evidence=decision.evidence,
        evidence_bytes=evidence_bytes,
        inputs_digest=hashlib.sha256(text.encode()).hexdigest(),
        inputs=inputs,
        tick=tick.number,
        opted_in_count=opted_in_count,
        is_after=is_after,
    )


def outcome_entry(
    tracked: Tracked, outcome: ChangeOutcome, *, direction: Direction, new_bytes: int | None
) -> JournalEntry:
    """Return the row of what became of a change."""
    return entry(
        EntryKind.OUTCOME,
        outcome.at,
        tracked,
        decision_id=outcome.decision_id,
        result=str(outcome.result),
        direction=str(direction),
        new_bytes=new_bytes,
        limit_bytes=outcome.limit_bytes,
        need_bytes=outcome.need_bytes,
        words=outcome.words[:200],
    )


def hold_entry(
    tracked: Tracked, tick: Tick, codes: tuple[GuardCode, ...], wanted_bytes: int | None
) -> JournalEntry:
    """Return the row that says why a limit stays."""
    return entry(
        EntryKind.HOLD,
        tick.at,
        tracked,
        codes=[str(code) for code in codes],
        wanted_bytes=wanted_bytes,
        limit_bytes=tracked.limit_bytes,
    )


def oom_entry(tracked: Tracked, oom: ServiceOom, at: datetime) -> JournalEntry:
    """Return the row of one OOM kill."""
    watch = tracked.state.watch
    return entry(
        EntryKind.OOM,
        at,
        tracked,
        instance=oom.instance,
        died_at=oom.at.isoformat(),
        at_least_bytes=oom.at_least_bytes,
        limit_bytes=oom.limit_bytes,
        kills=oom.kills,
        kills_total=tracked.reading.oom_kills if tracked.reading else None,
        attribution=str(oom.attribution),
        decision_id=watch.decision_id if watch else None,
    )
