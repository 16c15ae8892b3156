"""Undo: give targets the limits back that they had at a moment, or before Ullage (S22).

A pass of the loop like any other: under its lease, compared with the limit that is there (S8),
recorded before its effect (S6). What takes memory away keeps to the live floor (S1): then the
limit stays, and the answer says so. Afterwards cuts stay frozen until a person unfreezes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ullage.control.changes import UNLIMITED_BYTES, Changes
from ullage.control.deciding import Deciding
from ullage.control.entries import decision_entry, outcome_entry
from ullage.control.tracked import ServeParts, Tick, Tracked
from ullage.core.service import (
    ChangeResult,
    Direction,
    EntryKind,
    GuardCode,
    JournalRecord,
    LimitProposal,
    TargetState,
)
from ullage.core.units import format_bytes

UNDO_POLICY = "undo"
"""The policy's name in the rows of an undo."""


def limits_at(records: Iterable[JournalRecord], at: datetime) -> dict[str, int]:
    """Return target -> limit in force at `at`, as far as the journal tells; -1 = no limit."""
    limits: dict[str, int] = {}
    originals: dict[str, int] = {}
    for record in records:
        entry = record.entry
        if entry.target_id is None:
            continue
        body = entry.body
        if entry.kind is EntryKind.ORIGINAL:
            originals.setdefault(entry.target_id, _number(body.get("limit_bytes")))
        if entry.at > at:
            continue
        if entry.kind in (EntryKind.OUTCOME, EntryKind.SETTLED):
            if body.get("result") == str(ChangeResult.APPLIED) and body.get("limit_bytes"):
                limits[entry.target_id] = _number(body["limit_bytes"])
        elif entry.kind is EntryKind.HANDS_OFF:
            limits[entry.target_id] = _number(body.get("found_bytes"))
    return originals | limits


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else UNLIMITED_BYTES


class Undoing:
    """Makes one pass that restores limits."""

    def __init__(self, parts: ServeParts, changes: Changes, deciding: Deciding) -> None:
        self._parts = parts
        self._changes = changes
        self._deciding = deciding

    def restore(
        self, targets: Sequence[Tracked], limits: Mapping[str, int], tick: Tick, why: str
    ) -> list[str]:
        """Restore `limits` (target -> bytes); return one line per target, in words."""
        return [
            f"{tracked.spec.workload_key}, {tracked.target.target_id}: "
            + self._restore(tracked, limits[tracked.target.target_id], tick, why)
            for tracked in targets
            if tracked.target.target_id in limits
        ]

    def _restore(self, tracked: Tracked, wanted_bytes: int, tick: Tick, why: str) -> str:
        now_bytes, reading = tracked.limit_bytes, tracked.reading
        if reading is None:
            return "not readable now, nothing changed"
        if wanted_bytes == UNLIMITED_BYTES:
            if now_bytes is None:
                return "no limit, as it was"
            return "it had no limit then: take the present one away yourself, Ullage cannot"
        if now_bytes == wanted_bytes:
            return f"{format_bytes(wanted_bytes)}, as it was"
        if _is_open(tracked):
            return "an earlier change is not settled yet: ask again in a minute"
        is_cut = now_bytes is None or wanted_bytes < now_bytes
        view = self._deciding.collector.view(tracked, tick)
        proposal = LimitProposal(
            target_id=tracked.target.target_id,
            wanted_bytes=wanted_bytes,
            direction=Direction.RESTORE,
            reason=UNDO_POLICY,
            evidence=why[:200],
            policy=UNDO_POLICY,
        )
        decision = self._deciding.decision(proposal, view, tick)
        before = tracked.state
        original = self._changes.ensure_original(tracked, tick)
        self._changes.prepare(tracked, decision, tick)
        pending = tracked.state.pending
        assert pending is not None
        # A watch ends: what it would give back is no longer what people want.
        tracked.state = replace(tracked.state, pending=replace(pending, is_cut=is_cut), watch=None)
        row = decision_entry(tracked, decision, view, tick)
        if not self._changes.record([*original, row], [tracked]):
            tracked.state = before
            return "the store does not answer, so nothing was changed"
        outcome = self._changes.carry_out(tracked, decision, tick)
        if outcome is None:
            return "the lease was lost, so nothing was changed"
        rows = [
            outcome_entry(
                tracked, outcome, direction=decision.direction, new_bytes=decision.new_bytes
            )
        ]
        rows += self._changes.settle(tracked, outcome.result, outcome.limit_bytes, tick)
        self._changes.record(rows, [tracked])
        if outcome.result is ChangeResult.APPLIED:
            return f"{format_bytes(now_bytes)} -> {format_bytes(outcome.limit_bytes)}"
        tracked.hold_codes = (GuardCode.REFUSED,)
        return f"{outcome.result}: {outcome.words}" if outcome.words else str(outcome.result)


def _is_open(tracked: Tracked) -> bool:
    return tracked.state.pending is not None


def _as_ordered(state: TargetState, *, is_cut: bool) -> TargetState:
    """Return the prepared state with the live floor asked for (S1) where memory is taken away.

    A watch ends: what it would give back is no longer what people want.
    """
    assert state.pending is not None
    return replace(state, pending=replace(state.pending, is_cut=is_cut), watch=None)
