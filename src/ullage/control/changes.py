"""From a decision to a changed limit and a row about it: what S6, S7, S8, S9 and S22 ask for.

The order is the contract: the row is durable (or the envelope that allows the growth is), the
lease is looked at, the limit is compared and set, the outcome is recorded. An unknown outcome
stays pending until the world has been looked at; nothing is retried blind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from ullage.control.entries import entry
from ullage.control.tracked import Counts, ServeParts, Tick, Tracked
from ullage.core.errors import AdapterError, FencedError
from ullage.core.service import (
    ChangeOutcome,
    ChangeResult,
    Direction,
    EntryKind,
    JournalEntry,
    LimitChange,
    LimitDecision,
    ServeSettings,
    TargetState,
)

UNLIMITED_BYTES = -1
"""How a state writes "it had no limit"."""


class Changes:
    """Writes rows and limits in the order of the contract."""

    def __init__(self, parts: ServeParts, settings: ServeSettings, counts: Counts) -> None:
        self.is_store_up = True
        self._parts = parts
        self._settings = settings
        self._counts = counts
        self._backlog: list[JournalEntry] = []
        self._later: list[Callable[[], list[JournalEntry]]] = []
        self._states: dict[str, TargetState] = {}

    # -- rows --------------------------------------------------------------------------------

    @property
    def backlog_count(self) -> int:
        """How many rows wait for the store to come back (S19)."""
        return len(self._backlog) + len(self._later)

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait that no more may be made."""
        return self.backlog_count >= self._settings.backlog_max_count

    def record(
        self,
        entries: Sequence[JournalEntry],
        tracked: Sequence[Tracked] = (),
        *,
        breaker_since_at: datetime | None = None,
    ) -> bool:
        """Make rows durable, with those that still wait, and the states; say whether they are."""
        for one in tracked:
            self._states[one.target.target_id] = one.state
        self._write_later()
        rows = [*self._backlog, *entries]
        if not rows and not self._states:
            return True
        try:
            self._parts.journal.append(
                rows,
                token=self._parts.lease.token,
                states=list(self._states.values()),
                breaker_since_at=breaker_since_at,
            )
        except FencedError:
            self._counts.fenced += 1
            return False
        except AdapterError:
            self.is_store_up = False
            return False
        self.is_store_up = True
        self._backlog.clear()
        self._states.clear()
        return True

    def note(self, entries: Sequence[JournalEntry], tracked: Sequence[Tracked]) -> None:
        """Keep rows of what has happened already, in order, for the next `flush` or `record`."""
        self._write_later()
        self._backlog.extend(entries)
        for one in tracked:
            self._states[one.target.target_id] = one.state

    def note_later(self, rows: Callable[[], list[JournalEntry]], tracked: Tracked) -> None:
        """Keep rows to be worded when nobody waits: the next in trouble comes first (S3)."""
        self._later.append(rows)
        self._states[tracked.target.target_id] = tracked.state

    def keep(self, states: Sequence[TargetState]) -> None:
        """Have states stored with the next rows."""
        self._states.update({state.target_id: state for state in states})

    def _write_later(self) -> None:
        later, self._later = self._later, []
        for rows in later:
            self._backlog.extend(rows())

    def flush(self, *, breaker_since_at: datetime | None = None) -> bool:
        """Record what was noted; what cannot be written now waits."""
        return self.record((), breaker_since_at=breaker_since_at)

    def forget_states(self) -> None:
        """Drop states not stored: another holder may have written newer ones. Rows stay."""
        self._states.clear()

    # -- limits ------------------------------------------------------------------------------

    def prepare(self, tracked: Tracked, decision: LimitDecision, tick: Tick) -> None:
        """Enter the change into the target's state, where a crash will find it (S7, S17)."""
        assert decision.new_bytes is not None
        change = LimitChange(
            target_id=decision.target_id,
            decision_id=decision.decision_id,
            expected_bytes=decision.old_bytes,
            new_bytes=decision.new_bytes,
            token=self._parts.lease.token,
            is_cut=decision.direction is Direction.CUT,
            floor_bytes=tracked.spec.floor_bytes,
        )
        tracked.state = replace(tracked.state, pending=change, last_change_at=tick.at)
        tracked.pending_read_count = tracked.read_count

    def ensure_original(self, tracked: Tracked, tick: Tick) -> list[JournalEntry]:
        """Return the row of the limit before our first change (S22), if it is not stored yet."""
        if tracked.state.original_limit_bytes is not None or tracked.reading is None:
            return []
        limit_bytes = tracked.reading.limit_bytes
        original_bytes = UNLIMITED_BYTES if limit_bytes is None else limit_bytes
        tracked.state = replace(tracked.state, original_limit_bytes=original_bytes)
        return [entry(EntryKind.ORIGINAL, tick.at, tracked, limit_bytes=limit_bytes)]

    def carry_out(
        self, tracked: Tracked, decision: LimitDecision, tick: Tick
    ) -> ChangeOutcome | None:
        """Write the prepared change; None if the lease forbids it: then nothing has happened.

        It stays pending until it is settled, by its outcome or by reading the world. The lease
        is looked at here, immediately before the write (S9).
        """
        change = tracked.state.pending
        if change is None:
            return None
        if not self._parts.lease.still_mine() or self._parts.lease.token != change.token:
            return None
        try:
            outcome = self._parts.actuators[tracked.target.kind].apply(change)
        except AdapterError as error:
            outcome = ChangeOutcome(
                decision_id=change.decision_id,
                at=tick.at,
                result=ChangeResult.UNKNOWN,
                words=str(error),
            )
        self._counts.decisions[str(decision.direction), str(outcome.result)] += 1
        return outcome

    def settle(
        self, tracked: Tracked, result: ChangeResult, limit_bytes: int | None, tick: Tick
    ) -> list[JournalEntry]:
        """Bring the state in line with what became of the pending change; return its rows."""
        change = tracked.state.pending
        if change is None or result is ChangeResult.UNKNOWN:
            return []
        if result is ChangeResult.APPLIED:
            self._applied(tracked, change, limit_bytes)
            return []
        self.drop(tracked)
        if result is ChangeResult.VANISHED:
            tracked.is_vanished = True
        if result is ChangeResult.CONFLICT:
            return self.hands_off(tracked, limit_bytes, change.expected_bytes, tick)
        return []

    def drop(self, tracked: Tracked) -> None:
        """Forget a pending change that had no effect; a cut without effect needs no watch."""
        change, watch = tracked.state.pending, tracked.state.watch
        if change is not None and watch is not None and watch.decision_id == change.decision_id:
            watch = None
        tracked.state = replace(tracked.state, pending=None, watch=watch)

    def hands_off(
        self, tracked: Tracked, found_bytes: int | None, expected_bytes: int | None, tick: Tick
    ) -> list[JournalEntry]:
        """Let somebody else's edit win, and leave the target alone for a day (S8).

        Not where the limit found is the one that we left: then only our view was old.
        """
        if found_bytes == tracked.state.our_limit_bytes and found_bytes is not None:
            return []
        span = self._settings.hands_off
        tracked.hands_off_until_s = tick.mono_s + span.total_seconds()
        tracked.state = replace(
            tracked.state,
            our_limit_bytes=found_bytes,
            hands_off_until_at=tick.at + span,
            watch=None,
        )
        return [
            entry(
                EntryKind.HANDS_OFF,
                tick.at,
                tracked,
                found_bytes=found_bytes,
                expected_bytes=expected_bytes,
                until_at=(tick.at + span).isoformat(),
            )
        ]

    def _applied(self, tracked: Tracked, change: LimitChange, limit_bytes: int | None) -> None:
        now_bytes = change.new_bytes if limit_bytes is None else limit_bytes
        tracked.state = replace(tracked.state, pending=None, our_limit_bytes=now_bytes)
        if tracked.reading is not None:
            tracked.reading = replace(tracked.reading, limit_bytes=now_bytes)
        tracked.voided = None
