"""Carry out: growth at once inside the envelope, everything else after its row is durable.

Rescues and restores are pre-authorised (S6): the envelope, or the row of the cut that they
undo, is durable already; their own rows follow right after the write. Cuts and the policy's
changes are recorded first, all of a tick in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from ullage.control.changes import Changes
from ullage.control.deciding import Deciding, Wish
from ullage.control.entries import decision_entry, entry, outcome_entry
from ullage.control.rescue import Ask, ask_of, share_out
from ullage.control.settling import is_late_write
from ullage.control.tracked import Counts, ServeParts, Tick, Tracked, is_acting
from ullage.control.watching import CALM, OUTGROWN, Watching
from ullage.core.errors import AdapterError
from ullage.core.live_guards import ceiling_of, guard
from ullage.core.service import (
    ChangeResult,
    Direction,
    EntryKind,
    FreezeScope,
    GrowthEnvelope,
    GuardCode,
    JournalEntry,
    LimitDecision,
    LimitProposal,
    ModelStep,
    ServeSettings,
    TargetState,
)

Guarded = Callable[[Tracked, Tick, Callable[[Tracked], object]], object]


class Raising:
    """Moves limits; the order of rows and writes is that of control.changes."""

    def __init__(
        self,
        parts: ServeParts,
        settings: ServeSettings,
        changes: Changes,
        watching: Watching,
        deciding: Deciding,
        counts: Counts,
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._changes = changes
        self._watching = watching
        self._deciding = deciding
        self._counts = counts

    # -- watch ---------------------------------------------------------------------------------

    def watch(self, tracked: Tracked, tick: Tick, acting_count: int) -> datetime | None:
        """Count OOM kills, give back what a cut took where it did harm, end calm watches.

        Returns the moment at which the breaker opened, if it did.
        """
        opened_at = self._count_ooms(tracked, tick, acting_count)
        if is_late_write(tracked):
            self._undo_late_write(tracked, tick)
        watch = tracked.state.watch
        if watch is not None and tracked.state.pending is None:
            sign = tracked.harm_sign or self._watching.harm(tracked)
            if sign:
                tracked.harm_sign = sign
                self._restore(tracked, tick, sign)
            elif (tracked.limit_bytes or 0) >= watch.from_bytes:
                self._end_watch(tracked, tick, OUTGROWN)
            elif self._watching.is_over(tracked, tick, self._deciding.collector.delay_s(tracked)):
                self._end_watch(tracked, tick, CALM)
        if tracked.state.watch is None and tracked.state.instance != tracked.target.instance:
            self._begin_instance(tracked)
        return opened_at

    def _count_ooms(self, tracked: Tracked, tick: Tick, acting_count: int) -> datetime | None:
        oom = self._watching.new_ooms(tracked, tick)
        if oom is None:
            return None
        self._deciding.collector.add_oom(tracked, oom)
        rows, opened_at = self._watching.count_oom(tracked, oom, tick, acting_count)
        self._changes.note(rows, [tracked])
        return opened_at

    def _end_watch(self, tracked: Tracked, tick: Tick, verdict: str) -> None:
        self._changes.note(self._watching.end(tracked, tick, verdict=verdict), [tracked])

    def _restore(self, tracked: Tracked, tick: Tick, sign: str) -> None:
        """Give back the limit before the cut; until that is settled the watch goes on."""
        watch = tracked.state.watch
        assert watch is not None
        if self._raise_back(tracked, tick, watch.from_bytes, reason=f"harm_{sign}"):
            self._end_watch(tracked, tick, sign)

    def _undo_late_write(self, tracked: Tracked, tick: Tick) -> None:
        voided = tracked.voided
        if voided is not None and voided.expected_bytes is not None:
            # Its limit is not ours and not a person's: what stood before comes back.
            self._raise_back(tracked, tick, voided.expected_bytes, reason="late_write")

    def _raise_back(self, tracked: Tracked, tick: Tick, to_bytes: int, *, reason: str) -> bool:
        """Restore a limit; say whether nothing is left to be done."""
        if tracked.limit_bytes is None or tracked.limit_bytes >= to_bytes:
            return True
        proposal = LimitProposal(
            target_id=tracked.target.target_id,
            wanted_bytes=to_bytes,
            direction=Direction.RESTORE,
            reason=reason,
            policy="watch",
            step=ModelStep.KEEP,
            evidence_bytes=to_bytes,
            guards=(GuardCode.S11_RESTORED,),
        )
        result = self._raise_now(tracked, proposal, tick)
        return result not in (None, ChangeResult.UNKNOWN)

    def _begin_instance(self, tracked: Tracked) -> None:
        """Begin anew for a new life of the target; people's edits and quarantines stay.

        Where the limit outlived the restart (a container keeps it) it is still ours to undo.
        """
        old = tracked.state
        is_kept = old.our_limit_bytes is not None and old.our_limit_bytes == tracked.limit_bytes
        tracked.state = TargetState(
            target_id=old.target_id,
            workload_key=old.workload_key,
            instance=tracked.target.instance,
            original_limit_bytes=old.original_limit_bytes if is_kept else None,
            our_limit_bytes=old.our_limit_bytes if is_kept else None,
            last_change_at=old.last_change_at,
            hands_off_until_at=old.hands_off_until_at,
            quarantine_until_at=old.quarantine_until_at,
            quarantines=old.quarantines,
            is_parked=old.is_parked,
            oom_kills=old.oom_kills,
            oom_instance=old.oom_instance,
            last_ours_at=old.last_ours_at,
        )
        tracked.voided = None

    # -- rescue --------------------------------------------------------------------------------

    def rescue(self, targets: Sequence[Tracked], tick: Tick, guarded: Guarded) -> None:
        """Raise whoever is in trouble, the riskiest first; tell who could not be saved (S3)."""
        if not tick.has_lease:
            return
        asks: list[tuple[Tracked, Ask]] = []
        for tracked in targets:
            ask = self._ask(tracked, tick)
            if ask is not None:
                asks.append((tracked, ask))
        granted = share_out([ask for _, ask in asks], tick.room_bytes)
        asks.sort(key=lambda pair: (-pair[1].urgency_ratio, pair[1].target_id))
        for tracked, ask in asks:
            got_bytes = granted.get(ask.target_id, ask.limit_bytes)
            guarded(tracked, tick, lambda one, a=ask, g=got_bytes: self._save(one, a, g, tick))  # type: ignore[misc]

    def _ask(self, tracked: Tracked, tick: Tick) -> Ask | None:
        if not is_acting(self._settings, tracked.spec) or tracked.is_ambiguous:
            return None
        ceiling_bytes = ceiling_of(tracked.spec, tracked.reading, tick.host)
        ask = ask_of(tracked, tick, self._settings, ceiling_bytes)
        if ask is None:
            tracked.unsaved_why, tracked.waiting_since_s = "", None
        return ask

    def _save(self, tracked: Tracked, ask: Ask, granted_bytes: int, tick: Tick) -> None:
        wanted_bytes = ask.wanted_bytes
        if wanted_bytes is None:
            self._unsaved(tracked, ask, tick, GuardCode.S3_AT_MAXIMUM)
            return
        if granted_bytes <= ask.limit_bytes:
            self._unsaved(tracked, ask, tick, GuardCode.S3_NO_CAPACITY)
            return
        is_short = granted_bytes < wanted_bytes
        short = (GuardCode.S3_NO_CAPACITY,) if is_short else ()
        proposal = LimitProposal(
            target_id=ask.target_id,
            wanted_bytes=granted_bytes,
            direction=Direction.GROW,
            reason="rescue",
            policy="rescue",
            evidence=f"urgency {ask.urgency_ratio:.2f}",
            step=ModelStep.KEEP,
            evidence_bytes=granted_bytes,
            guards=(GuardCode.S3_RESCUE, *short),
        )
        if self._raise_now(tracked, proposal, tick) is ChangeResult.APPLIED:
            tick.room_bytes -= granted_bytes - ask.limit_bytes
            if is_short:
                self._unsaved(tracked, ask, tick, GuardCode.S3_NO_CAPACITY)
            else:
                tracked.unsaved_why, tracked.waiting_since_s = "", None
            if (
                tracked.state.watch is not None
            ) and granted_bytes >= tracked.state.watch.from_bytes:
                self._end_watch(tracked, tick, OUTGROWN)
        elif not self._changes.is_store_up:
            self._unsaved(tracked, ask, tick, GuardCode.S18_STORE)

    def _unsaved(self, tracked: Tracked, ask: Ask, tick: Tick, why: GuardCode) -> None:
        """Say who could not be saved, once; nobody waits for ever for what nobody can give."""
        if tracked.waiting_since_s is None:
            tracked.waiting_since_s = tick.mono_s
        waited_s = tick.mono_s - tracked.waiting_since_s
        can_wait = why is GuardCode.S3_NO_CAPACITY
        if not can_wait or waited_s >= self._settings.wait_for_memory.total_seconds():
            self.unpark(tracked)
        if tracked.unsaved_why == why:
            return
        tracked.unsaved_why = why
        self._counts.unsaved += 1
        self._counts.guard_blocks[str(why)] += 1
        row = entry(
            EntryKind.UNSAVED,
            tick.at,
            tracked,
            why=str(why),
            limit_bytes=tracked.limit_bytes,
            wanted_bytes=ask.wanted_bytes,
            need_bytes=tracked.reading.need_bytes if tracked.reading else None,
        )
        self._changes.note([row], [])

    # -- one raise, now ------------------------------------------------------------------------

    def _raise_now(
        self, tracked: Tracked, proposal: LimitProposal, tick: Tick
    ) -> ChangeResult | None:
        """Raise at once where that is pre-authorised, else after its row; None = not made."""
        view = self._deciding.collector.view(tracked, tick, is_rescue=True)
        proposal = guard(proposal, view, self._settings, is_rescue=True)
        if proposal.direction is Direction.HOLD or proposal.wanted_bytes is None:
            tracked.hold_codes = proposal.guards
            for code in proposal.guards[-1:]:
                self._counts.guard_blocks[str(code)] += 1
            if GuardCode.FROZEN in proposal.guards:
                self.unpark(tracked)
            return None
        decision = self._deciding.decision(proposal, view, tick)
        is_covered = self._is_covered(tracked, proposal, tick)
        before = tracked.state

        def row() -> JournalEntry:
            return decision_entry(
                tracked,
                decision,
                view,
                tick,
                evidence_bytes=proposal.evidence_bytes,
                is_after=is_covered,
            )

        if is_covered:
            self._changes.prepare(tracked, decision, tick)
            return self._write_now(tracked, decision, tick, before=before, row_after=row)
        original = self._changes.ensure_original(tracked, tick)
        self._changes.prepare(tracked, decision, tick)
        if not self._changes.record([*original, row()], [tracked]):
            self._not_recorded(tracked, before, GuardCode.S6_NO_ENVELOPE)
            return None
        return self._write_now(tracked, decision, tick)

    def _not_recorded(self, tracked: Tracked, before: TargetState, *codes: GuardCode) -> None:
        """Take a change back that could not be made durable before its effect."""
        tracked.state = before
        if before.original_limit_bytes is None:
            codes = (*codes, GuardCode.S22_NO_ORIGINAL)
        tracked.hold_codes = (*codes, GuardCode.S6_NOT_RECORDED)
        for code in tracked.hold_codes:
            self._counts.guard_blocks[str(code)] += 1

    def _write_now(
        self,
        tracked: Tracked,
        decision: LimitDecision,
        tick: Tick,
        *,
        before: TargetState | None = None,
        row_after: Callable[[], JournalEntry] | None = None,
    ) -> ChangeResult | None:
        outcome = self._changes.carry_out(tracked, decision, tick)
        if outcome is None:
            if before is not None:
                tracked.state = before  # nothing was written, and nothing recorded
            return None
        settled = self._changes.settle(tracked, outcome.result, outcome.limit_bytes, tick)

        def rows() -> list[JournalEntry]:
            row = outcome_entry(
                tracked, outcome, direction=decision.direction, new_bytes=decision.new_bytes
            )
            return [*([row_after()] if row_after else []), row, *settled]

        self._changes.note_later(rows, tracked)
        return outcome.result

    def _is_covered(self, tracked: Tracked, proposal: LimitProposal, tick: Tick) -> bool:
        """Say whether a raise is pre-authorised by a row that is durable (S6)."""
        state, wanted_bytes = tracked.state, proposal.wanted_bytes or 0
        if state.original_limit_bytes is None or self._changes.is_full:
            return False
        watch, envelope = state.watch, state.envelope
        if proposal.direction is Direction.RESTORE and watch is not None:
            return wanted_bytes <= watch.from_bytes
        return (
            envelope is not None
            and wanted_bytes <= envelope.ceiling_bytes
            and tick.mono_s < tracked.envelope_until_s
            and tick.at <= envelope.until_at
        )

    # -- envelopes and parking -------------------------------------------------------------------

    def plan_envelopes(self, targets: Sequence[Tracked], tick: Tick) -> None:
        """Pre-authorise growth (S6), store the limit before any change (S22), park (S3)."""
        rows: list[JournalEntry] = []
        changed: list[tuple[Tracked, TargetState]] = []
        for tracked in targets:
            if tracked.is_ambiguous or not tracked.is_listed or tracked.limit_bytes is None:
                continue
            before = tracked.state
            rows += self._changes.ensure_original(tracked, tick)
            rows += self._envelope(tracked, tick)
            tracked.state = replace(tracked.state, is_parked=self._may_park(tracked, tick))
            changed.append((tracked, before))
        news = [(one, before) for one, before in changed if one.state is not before]
        news = [(one, before) for one, before in news if one.state != before]
        if news and not self._changes.record(rows, [one for one, _ in news]):
            for tracked, before in news:
                tracked.state = before
            return
        for tracked, _ in changed:
            self._park(tracked)

    def _envelope(self, tracked: Tracked, tick: Tick) -> list[JournalEntry]:
        span, known = self._settings.envelope_span, tracked.state.envelope
        ceiling_bytes = ceiling_of(tracked.spec, tracked.reading, tick.host)
        left_s = tracked.envelope_until_s - tick.mono_s
        is_fresh = left_s > span.total_seconds() / 2 and known is not None
        # After a jump of the wall clock the recorded moment is no longer the one meant.
        is_meant = (
            known is not None
            and abs((known.until_at - tick.at).total_seconds() - left_s)
            <= self._settings.clock_jump.total_seconds()
        )
        if known is not None and is_fresh and is_meant and known.ceiling_bytes == ceiling_bytes:
            return []
        until_at = tick.at + span
        tracked.envelope_until_s = tick.mono_s + span.total_seconds()
        tracked.state = replace(
            tracked.state,
            envelope=GrowthEnvelope(ceiling_bytes=ceiling_bytes, until_at=until_at),
        )
        return [
            entry(
                EntryKind.ENVELOPE,
                tick.at,
                tracked,
                ceiling_bytes=ceiling_bytes,
                until_at=until_at.isoformat(),
            )
        ]

    def _may_park(self, tracked: Tracked, tick: Tick) -> bool:
        """Tasks may wait at the limit only while somebody is able to raise it."""
        is_frozen = any(
            freeze.scope is FreezeScope.EVERYTHING
            and freeze.workload_key in (None, tracked.spec.workload_key)
            for freeze in tick.fleet.freezes
        )
        ceiling_bytes = ceiling_of(tracked.spec, tracked.reading, tick.host)
        can_grow = (tracked.limit_bytes or 0) < ceiling_bytes
        is_lost = tracked.unsaved_why != "" and not can_grow
        return not is_frozen and not is_lost and can_grow and self._changes.is_store_up

    def _park(self, tracked: Tracked) -> None:
        if self._parts.lease.still_mine():
            actuator = self._parts.actuators[tracked.target.kind]
            actuator.set_parking(tracked.target.target_id, tracked.state.is_parked)

    def unpark(self, tracked: Tracked) -> None:
        """Give parked tasks the kernel's OOM killer back."""
        if not tracked.state.is_parked:
            return
        tracked.state = replace(tracked.state, is_parked=False)
        try:
            actuator = self._parts.actuators[tracked.target.kind]
            actuator.set_parking(tracked.target.target_id, False)
        except AdapterError:
            return  # vanished: nobody is parked in it

    # -- decisions of the policy -------------------------------------------------------------------

    def carry_out(
        self, wishes: Sequence[Wish], tick: Tick, guarded: Guarded, *, opted_in_count: int
    ) -> int:
        """Record all wishes' decisions durably, then carry them out; return how many were made."""
        prepared: list[tuple[Tracked, LimitDecision, TargetState]] = []
        rows: list[JournalEntry] = []
        for wish in wishes:
            tracked, before = wish.tracked, wish.tracked.state
            if before.pending is not None:
                continue
            decision = self._deciding.decision(wish.proposal, wish.view, tick)
            rows += self._changes.ensure_original(tracked, tick)
            if decision.direction is Direction.CUT:
                self._watching.begin(tracked, decision, tick)
            self._changes.prepare(tracked, decision, tick)
            rows.append(
                decision_entry(
                    tracked,
                    decision,
                    wish.view,
                    tick,
                    evidence_bytes=wish.proposal.evidence_bytes,
                    opted_in_count=opted_in_count,
                )
            )
            prepared.append((tracked, decision, before))
        if rows and not self._changes.record(rows, [one for one, _, _ in prepared]):
            for tracked, _, before in prepared:
                self._not_recorded(tracked, before)
            self._changes.forget_states()
            return 0
        done = 0
        for tracked, decision, _ in prepared:
            made = guarded(tracked, tick, lambda one, d=decision: self._carry_one(one, d, tick))  # type: ignore[misc]
            done += made is ChangeResult.APPLIED
        self._changes.flush()
        return done

    def _carry_one(
        self, tracked: Tracked, decision: LimitDecision, tick: Tick
    ) -> ChangeResult | None:
        result = self._write_now(tracked, decision, tick)
        if result is None:
            tracked.hold_codes = (GuardCode.S9_NO_LEASE,)
        elif result is not ChangeResult.APPLIED:
            code = {
                ChangeResult.CONFLICT: GuardCode.S8_CONFLICT,
                ChangeResult.REFUSED: GuardCode.REFUSED,
                ChangeResult.VANISHED: GuardCode.VANISHED,
                ChangeResult.UNKNOWN: GuardCode.S7_PENDING,
            }[result]
            tracked.hold_codes = (code,)
            self._counts.guard_blocks[str(code)] += 1
        return result
