"""`ullage serve` as a process: descriptors, timers, signals around the controller.

One thread does everything that matters: it waits for events of the sources, for the next pass
and the next renewal of the lease, and calls the controller. Whoever looks on (metrics, notices)
gets a finished picture and cannot hold it up. Two daemons on one state: one has the lease, the
other watches without acting and asks for it once a second.

Signals: TERM and INT end it in good order (limits stay as they are, parked tasks get the OOM
killer back, the lease is released); HUP reads the settings again; a second TERM ends at once.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import FrameType

from ullage.control.picture import alerts_of, counted, target_statuses, unmatched
from ullage.control.reconcile import Controller, TickReport
from ullage.control.tracked import ServeParts
from ullage.control.undoing import limits_at
from ullage.core.errors import AdapterError, ConfigError, UllageError
from ullage.core.intents import AskedIntent, IntentVerb, OrderBook
from ullage.core.serve_status import ServeStatus, StatusSink, StoreStatus
from ullage.core.service import (
    FleetState,
    Freeze,
    FreezeScope,
    ServeSettings,
    ServiceSpec,
)

STANDBY_ASKS_S = 1.0
"""How often one that does not hold the lease asks for it."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger("ullage.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonParts:
    """What the daemon needs besides the controller's ports.

    reload: reads settings anew and returns the workloads; ConfigError leaves the old ones.
    specs_now: the workloads of the settings plus registered services; asked at each pass.
    measure: how much the store holds. tidy: retention, about once an hour.
    """

    parts: ServeParts
    orders: OrderBook
    reload: Callable[[], None]
    specs_now: Callable[[], Sequence[ServiceSpec]]
    measure: Callable[[], StoreStatus]
    tidy: Callable[[datetime], None]
    sinks: Sequence[StatusSink]
    owner: str


class Daemon:
    """Runs until it is told to stop."""

    def __init__(self, made: DaemonParts, settings: ServeSettings) -> None:
        self.counts: dict[str, Counter[str]] = {
            "loop_errors": Counter(),
            "reloads": Counter(),
            "intents": Counter(),
            "events": Counter(),
            "late_ticks": Counter(),
            "takeovers": Counter(),
        }
        self._made = made
        self._settings = settings
        self._clock = made.parts.clock
        self._specs = tuple(made.specs_now())
        self._controller = Controller(made.parts, self._specs, settings, owner=made.owner)
        self._started_at = self._clock.now()
        self._is_stopping = False
        self._wants_reload = False
        self._is_leader = False
        self._had_store = True
        self._report: TickReport | None = None
        self._tick_s = 0.0
        self._next_tick_s = self._next_lease_s = self._clock.monotonic_s()
        self._next_tidy_s = self._clock.monotonic_s() + 60
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._store_status = StoreStatus()

    # -- life ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until a signal ends it. Signals are only taken over in the main thread."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        wake_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            while not self._is_stopping:
                self.step()
        finally:
            signal.set_wakeup_fd(wake_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._stop()

    def step(self) -> None:
        """Wait for the next thing to do, and do it."""
        self._wait()
        if self._is_stopping:
            return
        if self._wants_reload:
            self._wants_reload = False
            self._reload()
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_lease_s:
            self._safely("lease", self._keep_lease)
        if now_s >= self._next_tick_s:
            self._tick(now_s)

    def request_stop(self) -> None:
        """End at the next opportunity; also from another thread."""
        self._is_stopping = True
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._wants_reload = True
            return
        if self._is_stopping:
            raise SystemExit(128 + number)
        self._is_stopping = True

    def _stop(self) -> None:
        self._safely("stop", lambda: self._controller.stop(self._clock.now()))
        for source in set(self._made.parts.sources.values()):
            self._safely("close", source.close)
        for sink in self._made.sinks:
            self._safely("close", sink.close)
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- waiting -------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Sleep until a descriptor wakes us or a timer is due; react to events at once."""
        due_s = min(self._next_tick_s, self._next_lease_s)
        self._poll(max(0.0, due_s - self._clock.monotonic_s()))

    def _peek(self) -> None:
        """React to events in the middle of a pass, without waiting for any."""
        self._poll(0.0)

    def _poll(self, wait_s: float) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        sources = {
            fd: source
            for source in set(self._made.parts.sources.values())
            for fd in source.wake_fds()
        }
        for fd in sources:
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(int(wait_s * 1000 + 0.999))}
        if self._wake_read in ready:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        woken = {id(sources[fd]): sources[fd] for fd in ready if fd in sources}
        if woken and not self._is_stopping:
            events = []
            for source in woken.values():
                with suppress(UllageError, OSError):
                    events += source.events()
            for event in events:
                self.counts["events"][str(event.kind)] += 1
            if events:
                self._safely("event", lambda: self._controller.on_events(events, self._now()))

    # -- the lease and the pass ------------------------------------------------------------------

    def _keep_lease(self) -> None:
        began_s = self._clock.monotonic_s()
        was_leader, is_leader = self._is_leader, self._controller.keep_lease(self._now())
        self._note_lease(is_leader)
        if is_leader and not was_leader:
            self._next_tick_s = began_s  # look at the world at once (S17)
        span_s = self._settings.lease_span.total_seconds()
        wait_s = span_s / 3 if is_leader else min(STANDBY_ASKS_S, span_s / 3)
        self._next_lease_s = began_s + wait_s

    def _note_lease(self, is_leader: bool) -> None:
        """Tell of a lease that was taken or lost, by the timer or in a pass."""
        if is_leader and not self._is_leader:
            self.counts["takeovers"][""] += 1
            _log.info("holding the lease, token %d", self._made.parts.lease.token)
        elif not is_leader and self._is_leader:
            _log.warning("the lease is lost: standing by")
        self._is_leader = is_leader

    def _note_store(self, has_store: bool) -> None:
        if not has_store and self._had_store:
            _log.error("the store cannot be written: no cuts until it can (`ullage doctor`)")
        elif has_store and not self._had_store:
            _log.info("the store can be written again")
        self._had_store = has_store

    def _tick(self, now_s: float) -> None:
        interval_s = self._settings.sample_interval.total_seconds()
        missed = int((now_s - self._next_tick_s) // interval_s)
        if missed:
            self.counts["late_ticks"][""] += missed
        self._next_tick_s += interval_s * (missed + 1)
        self._safely("specs", self._look_for_specs)
        if self._is_leader:
            self._safely("intent", self._obey)
        self._report = None
        self._safely("tick", self._run_once)
        self._tick_s = self._clock.monotonic_s() - now_s
        if self._is_leader and now_s >= self._next_tidy_s:
            self._next_tidy_s = now_s + 3600
            self._safely("tidy", lambda: self._made.tidy(self._now()))
        self._safely("show", self._show)

    def _run_once(self) -> None:
        self._report = self._controller.run_once(self._now(), peek=self._peek)
        if self._report.number == self._settings.settle_ticks:
            gc.freeze()  # what lives as long as we do is not searched for garbage in a rescue
        self._note_lease(self._report.has_lease)
        self._note_store(self._report.has_store)

    def _look_for_specs(self) -> None:
        specs = tuple(self._made.specs_now())
        if specs != self._specs:
            self._specs = specs
            self._controller.replace_specs(specs)

    def _reload(self) -> None:
        try:
            self._made.reload()
        except ConfigError as error:
            self.counts["reloads"]["refused"] += 1
            _log.error("settings not taken over: %s", error)
            return
        self.counts["reloads"]["done"] += 1
        _log.info("settings read again")
        self._safely("specs", self._look_for_specs)

    # -- people's orders -------------------------------------------------------------------------

    def _obey(self) -> None:
        for asked in self._made.orders.intents():
            result = obey(asked, self._controller, self._made.parts, self._made.orders, self._now())
            self.counts["intents"][str(asked.intent.verb)] += 1
            self._made.orders.answer(asked.number, result, self._now())

    # -- telling ---------------------------------------------------------------------------------

    def _show(self) -> None:
        with suppress(AdapterError):
            self._store_status = self._made.measure()
        status = self.status()
        alerts = alerts_of(status)
        for sink in self._made.sinks:
            sink.show(status, alerts)

    def status(self) -> ServeStatus:
        """Return the picture of this moment."""
        now, report = self._now(), self._report
        targets = self._controller.targets()
        fleet = self._controller.orders
        return ServeStatus(
            at=now,
            started_at=self._started_at,
            owner=self._made.owner,
            pid=os.getpid(),
            mode="act" if self._settings.is_acting else "observe",
            tick_number=report.number if report else 0,
            tick_s=self._tick_s,
            is_leader=self._is_leader,
            has_store=report.has_store if report else False,
            token=self._made.parts.lease.token,
            breaker_since_at=fleet.breaker_since_at,
            freezes=_freezes(fleet, now),
            targets=target_statuses(targets, now),
            counts=counted(self._controller.counts, self.counts),
            unmatched=unmatched(self._specs, targets),
            ambiguous=tuple(one.target.target_id for one in targets if one.is_ambiguous),
            capped_count=self._controller.capped_count,
            store=self._store_status,
            host_free_bytes=self._controller.host.free_bytes,
            host_total_bytes=self._controller.host.total_bytes,
        )

    def _safely(self, where: str, step: Callable[[], object]) -> None:
        """Do one thing; what it raises is counted and told, and the loop goes on."""
        try:
            step()
        except Exception as error:
            self.counts["loop_errors"][where] += 1
            _log.error("%s: %s: %s", where, type(error).__name__, str(error)[:300])
            if where == "tick":
                self._report = None

    def _now(self) -> datetime:
        return self._clock.now()


def obey(
    asked: AskedIntent,
    controller: Controller,
    parts: ServeParts,
    orders: OrderBook,
    now: datetime,
) -> tuple[str, ...]:
    """Carry one intent out; return what came of it, a line per target.

    First cuts are frozen, then limits restored: the loop must not take back what a person
    gave. The journal is read in one pass.
    """
    intent = asked.intent
    is_all = intent.verb is IntentVerb.RESTORE
    scope = FreezeScope.EVERYTHING if is_all else FreezeScope.CUTS
    freeze = Freeze(
        scope=scope,
        workload_key=intent.workload_key,
        since_at=now,
        by=intent.by,
        why=f"{intent.verb} {intent.why}".strip(),
    )
    orders.freeze(freeze)
    limits = _limits_for(asked, parts)
    words = controller.undo(now, limits, f"{intent.verb} asked by {intent.by or 'somebody'}")
    return tuple(words) or ("nothing to restore: no limit was ever changed here",)


def _limits_for(asked: AskedIntent, parts: ServeParts) -> Mapping[str, int]:
    intent = asked.intent
    states = [
        state
        for state in parts.store.states()
        if state.original_limit_bytes is not None
        and intent.workload_key in (None, state.workload_key)
    ]
    originals = {
        state.target_id: state.original_limit_bytes
        for state in states
        if state.original_limit_bytes is not None
    }
    if intent.verb is IntentVerb.RESTORE or intent.to_at is None:
        return originals
    then = limits_at(parts.journal.each(), intent.to_at)
    return {name: then.get(name, original) for name, original in originals.items()}


def _freezes(fleet: FleetState, now: datetime) -> tuple[str, ...]:
    return tuple(
        freeze.workload_key or ""
        for freeze in fleet.freezes
        if freeze.until_at is None or freeze.until_at > now
    )
