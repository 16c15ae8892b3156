"""The service loop: collect, watch, rescue, decide, guard, record, apply; again and again.

Level-triggered: each pass looks at the world as it is and forgets what it wanted before. One
broad `except` per workload leaves a broken one alone and lets the others go on. The same
controller runs in `ullage serve` and in simulation.world. Not here: threads, timers, signals
and file descriptors (control.daemon), what an adapter does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ullage.control.changes import Changes
from ullage.control.deciding import Deciding, Wish
from ullage.control.entries import entry, hold_entry
from ullage.control.fleet import Fleet
from ullage.control.histories import Histories
from ullage.control.raising import Raising
from ullage.control.settling import Settling
from ullage.control.tracked import Counts, ServeParts, Tick, Tracked, is_acting
from ullage.control.undoing import Undoing
from ullage.control.views import Collector
from ullage.control.watching import Watching, busy_groups
from ullage.core.errors import AdapterError
from ullage.core.live_guards import cuts_allowed
from ullage.core.service import (
    Direction,
    EntryKind,
    FleetState,
    GuardCode,
    HostCapacity,
    JournalEntry,
    LiveReading,
    ServeSettings,
    ServiceSpec,
    TargetEvent,
)
from ullage.core.units import MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """What one pass did, for logs and the readiness page. holds: code -> targets."""

    number: int
    targets_count: int
    has_lease: bool
    has_store: bool
    changes_count: int
    holds: dict[str, int] = field(default_factory=dict)


_PEEK_EVERY = 32
"""Targets read between two looks at events: some milliseconds."""


def _no_peek() -> None:
    """Look at nothing."""


class Controller:
    """Watches the targets of `specs` and moves their limits within the safety contract.

    Not thread-safe: the daemon calls one method at a time. `keep_lease` is to be called about
    every third of the lease's span, `run_once` every sample interval, `on_events` at once.
    """

    def __init__(
        self,
        parts: ServeParts,
        specs: Sequence[ServiceSpec],
        settings: ServeSettings,
        *,
        owner: str = "",
    ) -> None:
        self.counts = Counts()
        self._parts = parts
        self._settings = settings
        self._owner = owner
        self._histories = Histories(settings)
        self._changes = Changes(parts, settings, self.counts)
        self._watching = Watching(self._changes, settings, self.counts)
        self._collector = Collector(parts.sources, self._histories, settings, self.counts)
        self._fleet = Fleet(parts, specs, settings, self._histories, self._watching)
        self._settling = Settling(parts, self._changes)
        self._deciding = Deciding(
            parts,
            settings,
            self.counts,
            self._collector,
            self._watching,
            self._fleet.group_needs,
        )
        self._raising = Raising(
            parts, settings, self._changes, self._watching, self._deciding, self.counts
        )
        self._undoing = Undoing(parts, self._changes, self._deciding)
        self._number = 0
        self._changed = 0
        self._token = 0
        self._observe_left = 0
        self._observe_code = GuardCode.S17_SETTLING
        self._last_clocks: tuple[datetime, float] | None = None
        self._last_host = HostCapacity(total_bytes=0, free_bytes=0)
        self._last_orders = FleetState()
        self._breaker_at: datetime | None = None

    # -- the loop, as a table of contents ------------------------------------------------------

    def run_once(self, now: datetime, *, peek: Callable[[], None] = _no_peek) -> TickReport:
        """Make one pass over all targets.

        peek: called after listing and now and then while targets are read, when `on_events` may
        be called: a pass over thousands of targets must not keep a rescue waiting.
        """
        tick = self._begin(now, is_full=True)
        self._find(tick, peek=peek)
        self._collect(tick, self._fleet.all(), peek=peek)
        self._settle(tick, self._fleet.all())
        self._watch(tick, self._fleet.all())
        self._rescue(tick, self._fleet.all())
        self._flush(tick)
        wishes = self._decide(tick)
        self._hold(tick, wishes)
        self._act(tick, wishes)
        return self._end(tick)

    def on_events(self, events: Iterable[TargetEvent], now: datetime) -> None:
        """React at once: look at the targets that events point to, and save whom they endanger."""
        targets = [found for event in events if (found := self._fleet.get(event.target_id))]
        if not targets:
            return
        targets = list({tracked.target.target_id: tracked for tracked in targets}.values())
        tick = self._begin(now, is_full=False)
        self._collect(tick, targets, is_full=False)
        self._settle(tick, targets)
        self._watch(tick, targets)
        self._rescue(tick, targets)
        self._flush(tick)

    def on_event(self, event: TargetEvent, now: datetime) -> None:
        """React to one event (see `on_events`, which shares memory out among many)."""
        self.on_events([event], now)

    def keep_lease(self, now: datetime) -> bool:
        """Renew the lease or take it; say whether it is held. A new tenure settles first (S17)."""
        lease = self._parts.lease
        try:
            is_held = (self._token == lease.token != 0 and lease.renew(now)) or lease.acquire(now)
        except AdapterError:
            self._changes.is_store_up = False
            is_held = lease.still_mine()
        if is_held and lease.token != self._token:
            self._take_over(now)
        return is_held and self._token == lease.token

    def _holds_lease(self, now: datetime) -> bool:
        """Say whether the lease is held; a rescue does not wait for a disk to say it again.

        Its age is looked at again before each write (S9), and the timer renews it.
        """
        lease = self._parts.lease
        is_ours = self._token == lease.token != 0
        return (is_ours and lease.still_mine()) or self.keep_lease(now)

    def stop(self, now: datetime) -> None:
        """End in good order: give parked tasks their OOM killer back, tell, release the lease."""
        tick = self._begin(now, is_full=False)
        for tracked in self._fleet.all():
            self._guarded(tracked, tick, self._raising.unpark)
        if tick.has_lease:
            self._changes.record([entry(EntryKind.STOP, now)], self._fleet.all())
            with suppress(AdapterError):  # the store has gone: its last minute of readings too
                self._parts.store.flush(now)
        self._parts.lease.release()

    def targets(self) -> list[Tracked]:
        """Return what is known of every target now, for `top` and the metrics page. Read only."""
        return self._fleet.all()

    @property
    def orders(self) -> FleetState:
        """What people ordered, as the latest pass saw it."""
        return self._last_orders

    @property
    def host(self) -> HostCapacity:
        """The host's memory, as the latest pass saw it."""
        return self._last_host

    @property
    def capped_count(self) -> int:
        """How many targets are beyond the cap (S19)."""
        return self._fleet.capped_count

    def replace_specs(self, specs: Sequence[ServiceSpec]) -> None:
        """Watch other workloads from the next pass on; who is no longer meant is let go."""
        self._fleet.replace_specs(specs)

    def undo(self, now: datetime, limits: Mapping[str, int], why: str) -> list[str]:
        """Give targets limits back that they had (target -> bytes, -1 = none); say what was done.

        Nothing happens without the lease. See control.undoing.
        """
        tick = self._begin(now, is_full=False)
        if not tick.has_lease:
            return []
        self._find(tick)
        targets = [one for one in self._fleet.all() if one.target.target_id in limits]
        self._collect(tick, targets, is_full=False)
        self._settle(tick, targets)
        words = self._undoing.restore(targets, limits, tick, why)
        self._flush(tick)
        return words

    # -- begin ---------------------------------------------------------------------------------

    def _begin(self, now: datetime, *, is_full: bool) -> Tick:
        mono_s = self._parts.clock.monotonic_s()
        token_before = self._token
        rows = self._look_at_clocks(now, mono_s)
        has_lease = self.keep_lease(now) if is_full else self._holds_lease(now)
        if is_full:
            self._number += 1
            self.counts.ticks += 1
        if has_lease and self._token == token_before:  # else states were read just now
            for row in rows:
                span = timedelta(seconds=float(str(row.body["jump_s"])))
                self._changes.keep(self._fleet.shift_moments(span))
        if has_lease and (is_full or rows):
            self._changes.record(rows)
        fleet = self._orders() if is_full else self._last_orders
        host = self._host()
        reserve_bytes = int(host.total_bytes * self._settings.host_reserve_ratio)
        room_bytes = host.room_bytes - reserve_bytes if host.total_bytes else MAX_BYTES
        return Tick(
            number=self._number,
            at=now,
            mono_s=mono_s,
            fleet=fleet,
            host=host,
            room_bytes=max(0, room_bytes),
            has_lease=has_lease,
            has_store=self._changes.is_store_up,
            observe_only=self._observe_code if self._observe_left > 0 else None,
        )

    def _look_at_clocks(self, now: datetime, mono_s: float) -> list[JournalEntry]:
        """Notice a jump of the wall clock (S20): two ticks only observe."""
        last, self._last_clocks = self._last_clocks, (now, mono_s)
        if last is None:
            return []
        jump_s = (now - last[0]).total_seconds() - (mono_s - last[1])
        if abs(jump_s) <= self._settings.clock_jump.total_seconds():
            return []
        self.counts.clock_jumps += 1
        self._observe_left = self._settings.settle_ticks
        self._observe_code = GuardCode.S20_CLOCK_JUMP
        if jump_s < 0:
            self._fleet.forget_recent()
        return [entry(EntryKind.CLOCK_JUMP, now, jump_s=round(jump_s, 3), tick=self._number)]

    def _take_over(self, now: datetime) -> None:
        """Begin a tenure: learn what the one before left, then observe for two ticks (S17)."""
        self._token = self._parts.lease.token
        self._observe_left = self._settings.settle_ticks
        self._observe_code = GuardCode.S17_SETTLING
        self._changes.forget_states()
        self._deciding.begin_tenure()
        mono_s = self._parts.clock.monotonic_s()
        try:
            self._fleet.load(now, mono_s)
        except AdapterError:
            self._changes.is_store_up = False
        row = entry(EntryKind.START, now, owner=self._owner, tick=self._number)
        self._changes.record([row])

    def _orders(self) -> FleetState:
        """Return what people ordered; while the store does not answer, what they ordered last."""
        try:
            self._last_orders = self._parts.store.fleet()
        except AdapterError:
            self._changes.is_store_up = False
        if self._breaker_at is not None and self._last_orders.breaker_since_at is None:
            # Open, but not stored yet.
            return replace(self._last_orders, breaker_since_at=self._breaker_at)
        return self._last_orders

    def _host(self) -> HostCapacity:
        with suppress(AdapterError):  # the last answer is better than none
            self._last_host = self._parts.host.read()
        return self._last_host

    # -- the steps -----------------------------------------------------------------------------

    def _find(self, tick: Tick, *, peek: Callable[[], None] = _no_peek) -> None:
        for gone in self._fleet.find(tick, peek=peek):
            self._guarded(gone, tick, lambda one: self._bury(one, tick))
        if self._fleet.capped_count:
            self.counts.guard_blocks[str(GuardCode.S19_CAP)] += self._fleet.capped_count

    def _bury(self, tracked: Tracked, tick: Tick) -> None:
        """Close the accounts of a target that has vanished; its past stays in the record."""
        rows = self._settling.vanished(tracked, tick)
        rows += self._watching.end(tracked, tick, verdict="vanished")
        if rows and tick.has_lease:
            self._changes.note(rows, [tracked])

    def _collect(
        self,
        tick: Tick,
        targets: Sequence[Tracked],
        *,
        is_full: bool = True,
        peek: Callable[[], None] = _no_peek,
    ) -> None:
        fresh: list[LiveReading] = []
        for number, tracked in enumerate(targets, 1):
            is_new = self._guarded(tracked, tick, lambda one: self._collector.collect(one, tick))
            if is_new and tracked.reading is not None:
                fresh.append(tracked.reading)
            if number % _PEEK_EVERY == 0 or number == len(targets):
                peek()
        try:
            if is_full and tick.has_lease and fresh:
                self._parts.store.add_readings(fresh)
        except AdapterError:
            tick.has_store = self._changes.is_store_up = False

    def _settle(self, tick: Tick, targets: Sequence[Tracked]) -> None:
        if not tick.has_lease:
            return
        for tracked in targets:
            self._guarded(tracked, tick, lambda one: self._settling.settle(one, tick))
        tick.has_store = self._changes.is_store_up

    def _watch(self, tick: Tick, targets: Sequence[Tracked]) -> None:
        if not tick.has_lease:
            return
        acting_count = self._fleet.acting_count()
        for tracked in targets:
            opened_at = self._guarded(
                tracked, tick, lambda one: self._raising.watch(one, tick, acting_count)
            )
            if isinstance(opened_at, datetime):
                self._breaker_at = opened_at

    def _rescue(self, tick: Tick, targets: Sequence[Tracked]) -> None:
        self._raising.rescue(targets, tick, self._guarded)

    def _flush(self, tick: Tick) -> None:
        """Record what was done at once: restores, rescues, OOM kills, the breaker."""
        if not tick.has_lease:
            self._let_go(tick)
            return
        if self._changes.flush(breaker_since_at=self._breaker_at):
            self._breaker_at = None
        tick.has_store = self._changes.is_store_up

    def _let_go(self, tick: Tick) -> None:
        """Without lease nobody waits for us: but another holder's parking is left alone (S6)."""
        for tracked in self._fleet.all():
            if not self._changes.is_store_up:
                self._guarded(tracked, tick, self._raising.unpark)

    def _decide(self, tick: Tick) -> list[Wish]:
        opted_in = self._fleet.acting_count()
        tick.cuts_left_count = cuts_allowed(opted_in, self._settings)
        tick.busy_groups = busy_groups(self._fleet.all())
        wishes: list[Wish] = []
        end_s = self._parts.clock.monotonic_s() + self._settings.decide_at_most.total_seconds()
        for tracked in self._fleet.due(tick):
            if wishes and self._parts.clock.monotonic_s() >= end_s:
                break
            self._fleet.put_off(tracked, tick)
            if tick.mono_s < tracked.broken_until_s:
                continue
            self._guarded(
                tracked, tick, lambda one: wishes.append(self._deciding.decide(one, tick))
            )
        return wishes

    def _hold(self, tick: Tick, wishes: Sequence[Wish]) -> None:
        """Count why limits stay (S24), and record where the reasons have changed."""
        rows, about = [], []
        for wish in wishes:
            proposal, tracked = wish.proposal, wish.tracked
            for code in proposal.guards:
                self.counts.guard_blocks[str(code)] += 1
            is_hold = proposal.direction is Direction.HOLD
            codes = proposal.guards if is_hold else ()
            if is_hold and self._is_news(tracked, codes, tick):
                rows.append(hold_entry(tracked, tick, codes, proposal.wanted_bytes))
                about.append(tracked)
                tracked.hold_recorded_s = tick.mono_s
            tracked.hold_codes = codes
            tracked.wanted_bytes = proposal.wanted_bytes
        if rows and tick.has_lease:
            self._changes.record(rows, about)

    def _is_news(self, tracked: Tracked, codes: tuple[GuardCode, ...], tick: Tick) -> bool:
        last_s = tracked.hold_recorded_s
        if last_s is None:
            return True
        wait_s = self._settings.hold_record_interval.total_seconds()
        return codes != tracked.hold_codes and tick.mono_s - last_s >= wait_s

    def _act(self, tick: Tick, wishes: Sequence[Wish]) -> None:
        """Record all decisions, then carry them out: growth first, it cannot wait."""
        if not tick.has_lease:
            return
        acting = [one for one in (wish.tracked for wish in wishes) if self._may_plan(one, tick)]
        self._raising.plan_envelopes(acting, tick)
        moving = [wish for wish in wishes if wish.proposal.direction is not Direction.HOLD]
        moving.sort(key=lambda wish: wish.proposal.direction is Direction.CUT)
        self._changed += self._raising.carry_out(
            moving, tick, self._guarded, opted_in_count=self._fleet.acting_count()
        )

    def _may_plan(self, tracked: Tracked, tick: Tick) -> bool:
        return is_acting(self._settings, tracked.spec) and tick.observe_only is None

    def _end(self, tick: Tick) -> TickReport:
        self._flush(tick)
        self._observe_left = max(0, self._observe_left - 1)
        holds = Counter(str(code) for one in self._fleet.all() for code in one.hold_codes)
        return TickReport(
            number=tick.number,
            targets_count=len(self._fleet.all()),
            has_lease=tick.has_lease,
            has_store=self._changes.is_store_up,
            changes_count=self._changed,
            holds=dict(holds),
        )

    # -- one broad except per workload -----------------------------------------------------------

    def _guarded(self, tracked: Tracked, tick: Tick, step: Callable[[Tracked], object]) -> object:
        """Run one step for one target; what it raises concerns this target alone.

        It is not decided about for a while; it is still read, watched and rescued.
        """
        try:
            return step(tracked)
        except Exception as error:
            was_broken = tick.mono_s < tracked.broken_until_s
            name = type(error).__name__
            self.counts.broken[name] += 1
            tracked.broken_until_s = tick.mono_s + self._settings.broken_hold.total_seconds()
            tracked.hold_codes = (GuardCode.QUARANTINED,)
            if tick.has_lease and not was_broken:
                words = f"{name}: {error}"[:200]
                self._changes.note([entry(EntryKind.BROKEN, tick.at, tracked, words=words)], [])
            return None
