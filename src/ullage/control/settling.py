"""Compare what the record says with what the world shows: pending changes, other people's edits.

After an unknown outcome, and after a crash, the world is looked at before anything else is
done to a target (S7, S17). A limit that nobody of ours has set is somebody's edit (S8).
"""

from __future__ import annotations

from dataclasses import replace

from ullage.control.changes import Changes
from ullage.control.entries import entry
from ullage.control.tracked import ServeParts, Tick, Tracked
from ullage.core.service import ChangeResult, EntryKind, JournalEntry, LimitChange


class Settling:
    """Settles one target at a time, by its latest reading."""

    def __init__(self, parts: ServeParts, changes: Changes) -> None:
        self._parts = parts
        self._changes = changes

    def settle(self, tracked: Tracked, tick: Tick) -> None:
        """Bring state and world together, as far as a reading allows."""
        self._expire(tracked, tick)
        if not self._has_looked(tracked, tick):
            return
        if tracked.state.pending is not None:
            self._settle_pending(tracked, tracked.state.pending, tick)
        elif tracked.state.our_limit_bytes is not None:
            self._notice_edit(tracked, tick)
        tracked.is_adopted = False

    def vanished(self, tracked: Tracked, tick: Tick) -> list[JournalEntry]:
        """Settle a pending change of a target that is gone."""
        change = tracked.state.pending
        if change is None:
            return []
        self._changes.drop(tracked)
        return [_settled(tracked, change, ChangeResult.VANISHED, None, tick)]

    def _expire(self, tracked: Tracked, tick: Tick) -> None:
        state = tracked.state
        if state.hands_off_until_at is not None and tick.mono_s >= tracked.hands_off_until_s:
            tracked.state = replace(tracked.state, hands_off_until_at=None)
        if state.envelope is not None and tick.mono_s >= tracked.envelope_until_s:
            tracked.state = replace(tracked.state, envelope=None)

    def _has_looked(self, tracked: Tracked, tick: Tick) -> bool:
        """Say whether the latest reading was taken after the latest change."""
        reading, changed_at = tracked.reading, tracked.state.last_change_at
        if reading is None or tracked.read_count <= tracked.pending_read_count:
            return False
        # Where the clock went back a change lies in the future: what is read now is later.
        return changed_at is None or reading.at >= min(changed_at, tick.at)

    def _settle_pending(self, tracked: Tracked, change: LimitChange, tick: Tick) -> None:
        found_bytes = tracked.limit_bytes
        if found_bytes == change.new_bytes:
            result = ChangeResult.APPLIED
        elif found_bytes == change.expected_bytes:
            result = ChangeResult.REFUSED
            tracked.voided = change if change.is_cut else None
        else:
            result = ChangeResult.CONFLICT
        rows = [_settled(tracked, change, result, found_bytes, tick)]
        rows += self._changes.settle(tracked, result, found_bytes, tick)
        self._changes.note(rows, [tracked])

    def _notice_edit(self, tracked: Tracked, tick: Tick) -> None:
        state, found_bytes = tracked.state, tracked.limit_bytes
        if found_bytes == state.our_limit_bytes or state.instance != tracked.target.instance:
            return
        envelope = state.envelope
        is_ours = (
            tracked.is_adopted
            and envelope is not None
            and found_bytes is not None
            and (state.our_limit_bytes or 0) < found_bytes <= envelope.ceiling_bytes
        )
        if is_ours:
            # Grown inside the envelope just before a crash: its row is what is missing.
            tracked.state = replace(state, our_limit_bytes=found_bytes)
            row = entry(
                EntryKind.SETTLED,
                tick.at,
                tracked,
                decision_id=None,
                result=str(ChangeResult.APPLIED),
                limit_bytes=found_bytes,
                words="grown inside the envelope, unrecorded when the holder died",
            )
            self._changes.note([row], [tracked])
        elif not is_late_write(tracked):
            rows = self._changes.hands_off(tracked, found_bytes, state.our_limit_bytes, tick)
            self._changes.note(rows, [tracked])


def is_late_write(tracked: Tracked) -> bool:
    """Say whether the limit is what an earlier holder's change would have set, come late (S9)."""
    voided = tracked.voided
    return voided is not None and tracked.limit_bytes == voided.new_bytes


def _settled(
    tracked: Tracked,
    change: LimitChange,
    result: ChangeResult,
    found_bytes: int | None,
    tick: Tick,
) -> JournalEntry:
    return entry(
        EntryKind.SETTLED,
        tick.at,
        tracked,
        decision_id=change.decision_id,
        result=str(result),
        new_bytes=change.new_bytes,
        is_cut=change.is_cut,
        limit_bytes=found_bytes,
        words="settled by reading the target",
    )
