"""The simulated world as ports: finder, source, actuator, host, lease, journal and store.

One `WorldDisk` is shared by all daemons of a world, as a state directory is. Faults are
switched on by name (`WorldFaults`); each is one that a real adapter can show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from ullage.core.audit import seal
from ullage.core.errors import FencedError, PermanentError, TransientError
from ullage.core.live_change import refusal_of, whole_pages_bytes
from ullage.core.service import (
    ChangeOutcome,
    ChangeResult,
    FleetState,
    HostCapacity,
    JournalEntry,
    JournalRecord,
    LimitChange,
    LiveReading,
    LiveTarget,
    ServeSettings,
    ServiceSpec,
    TargetEvent,
    TargetHistory,
    TargetState,
)
from ullage.simulation.world import World


class CrashError(BaseException):
    """The daemon dies here. Not an Exception: nothing may catch it."""


@dataclass(slots=True)
class WorldFaults:
    """What goes wrong at present. Per target by id; what is counted is used up.

    reads: target -> "fail", "frozen", "poison", "kib", "future", "late".
    applies: target -> list of "unknown_done", "unknown_not_done", "refuse", "edit", "slip",
        used one by one. store: "" or why it fails. listing_fails: workloads.
    crash_point: "" or a named point; hits after `crash_after` passes of it.
    """

    reads: dict[str, str] = field(default_factory=dict)
    poison: object = float("nan")
    applies: dict[str, list[str]] = field(default_factory=dict)
    store: str = ""
    listing_fails: set[str] = field(default_factory=set)
    crash_point: str = ""
    crash_after: int = 0
    slipped: list[LimitChange] = field(default_factory=list)
    """Writes of a daemon that was paused on the way to the kernel."""

    def pass_point(self, name: str) -> None:
        """Die here if that is what is asked for."""
        if name != self.crash_point:
            return
        if self.crash_after > 0:
            self.crash_after -= 1
            return
        self.crash_point = ""
        raise CrashError(name)


CRASH_POINTS = ("before_append", "after_append", "before_apply", "after_apply", "before_park")
"""Where a daemon can die between deciding, recording, applying and recording again."""


class WorldFinder:
    """Finds targets by a pattern of their id."""

    def __init__(self, world: World, faults: WorldFaults) -> None:
        self._world = world
        self._faults = faults

    def find(self, spec: ServiceSpec) -> list[LiveTarget]:
        """Return the targets of the kind whose id matches; the empty selector finds nobody."""
        if spec.workload_key in self._faults.listing_fails:
            raise TransientError("the listing failed: try again")
        if not spec.selector:
            return []
        return [
            LiveTarget(
                target_id=target.target_id,
                workload_key=spec.workload_key,
                instance=target.instance,
                kind=target.kind,
                mode=spec.mode,
            )
            for target in self._world.targets.values()
            if target.kind is spec.kind and fnmatchcase(target.target_id, spec.selector)
        ]


class WorldSource:
    """Reads targets, with the faults that are on."""

    delay_s = 0.0

    def __init__(self, world: World, faults: WorldFaults) -> None:
        self._world = world
        self._faults = faults
        self._last: dict[str, LiveReading] = {}

    def read(self, target: LiveTarget) -> LiveReading:
        """Return the target's memory now, or what the fault makes of it."""
        fault = self._faults.reads.get(target.target_id, "")
        if fault == "fail":
            raise TransientError("the source does not answer: try again")
        if fault == "frozen" and target.target_id in self._last:
            return self._last[target.target_id]
        reading = self._now(target)
        last = self._last.get(target.target_id)
        self._last[target.target_id] = reading
        return self._spoilt(reading, last, fault) if fault else reading

    def _now(self, wanted: LiveTarget) -> LiveReading:
        target_id = wanted.target_id
        target = self._world.targets.get(target_id)
        if target is None or target.instance != wanted.instance:  # as sources of cgroups do
            raise PermanentError(f"{target_id} has vanished")
        now = self._world.clock.now()
        return LiveReading(
            target_id=target_id,
            at=now,
            known_at=now,
            usage_bytes=target.usage_bytes,
            need_bytes=target.need_bytes,
            limit_bytes=target.limit_bytes,
            oom_kills=target.oom_kills,
            is_waiting=target.is_waiting,
            psi_full_avg10_ratio=target.psi_ratio,
            node_bytes=self._world.host_bytes,
        )

    def _spoilt(self, reading: LiveReading, last: LiveReading | None, fault: str) -> LiveReading:
        poison: Any = self._faults.poison
        if fault == "poison":
            return replace(reading, need_bytes=poison, usage_bytes=poison)
        if fault == "kib":
            return replace(
                reading,
                usage_bytes=reading.usage_bytes // 1024,
                need_bytes=reading.need_bytes // 1024,
            )
        if fault == "future":
            ahead = timedelta(hours=1)
            return replace(reading, at=reading.at + ahead)
        if fault == "late" and last is not None:
            return replace(last, at=reading.at - timedelta(minutes=20))
        return reading

    def watch(self, targets: Sequence[LiveTarget]) -> None:
        """Events of the world reach everybody."""

    def wake_fds(self) -> Sequence[int]:
        """Return none: the world's driver delivers events itself."""
        return ()

    def events(self) -> list[TargetEvent]:
        """Return none: the world's driver delivers events itself."""
        return []

    def close(self) -> None:
        """Keep nothing."""


class WorldActuator:
    """Sets limits by the rules of the kernel, and of the port: S1 and S8 in the same call."""

    def __init__(self, world: World, faults: WorldFaults, settings: ServeSettings) -> None:
        self._world = world
        self._faults = faults
        self._settings = settings
        self.written: list[LimitChange] = []
        """What reached the kernel, in order (S7: no id twice)."""
        self.witness: Callable[[LimitChange], None] = lambda change: None
        """Called when an order arrives that is not a paused daemon's: for who checks S6, S9."""

    def apply(self, change: LimitChange) -> ChangeOutcome:
        """Compare and set, with the faults that are on."""
        self._faults.pass_point("before_apply")
        faults = self._faults.applies.get(change.target_id, [])
        fault = faults.pop(0) if faults else ""
        if fault != "slip":
            self.witness(change)
        if fault == "slip":
            self._faults.slipped.append(change)
            raise CrashError("paused on the way to the kernel")
        if fault == "unknown_not_done":
            return self._outcome(change, ChangeResult.UNKNOWN, None, "timed out")
        if fault == "refuse":
            return self._outcome(change, ChangeResult.REFUSED, None, "EINVAL")
        target = self._world.targets.get(change.target_id)
        if fault == "edit" and target is not None and target.limit_bytes is not None:
            self._world.set_limit(change.target_id, target.limit_bytes * 2)
        outcome = self.force(change)
        self._faults.pass_point("after_apply")
        if fault == "unknown_done":
            return self._outcome(change, ChangeResult.UNKNOWN, None, "timed out")
        return outcome

    def force(self, change: LimitChange) -> ChangeOutcome:
        """Do what the order says, as the kernel and the port's rules have it."""
        target = self._world.targets.get(change.target_id)
        if target is None:
            return self._outcome(change, ChangeResult.VANISHED, None, "no such target")
        need_bytes = target.need_bytes
        refusal = refusal_of(change, target.limit_bytes, need_bytes, self._settings)
        if refusal is not None:
            return self._outcome(change, refusal.result, target.limit_bytes, refusal.words)
        self.written.append(change)
        is_set = self._world.set_limit(change.target_id, whole_pages_bytes(change.new_bytes))
        result = ChangeResult.APPLIED if is_set else ChangeResult.REFUSED
        outcome = self._outcome(change, result, target.limit_bytes, "" if is_set else "EBUSY")
        return replace(outcome, need_bytes=need_bytes)

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """Park, or give the OOM killer back."""
        self._faults.pass_point("before_park")
        if target_id not in self._world.targets:
            raise PermanentError(f"{target_id} has vanished")
        self._world.set_parking(target_id, is_parking)

    def _outcome(
        self, change: LimitChange, result: ChangeResult, limit_bytes: int | None, words: str
    ) -> ChangeOutcome:
        return ChangeOutcome(
            decision_id=change.decision_id,
            at=self._world.clock.now(),
            result=result,
            limit_bytes=limit_bytes,
            words=words,
        )


class WorldHost:
    """The host's memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self) -> HostCapacity:
        """Return what there is and what nobody needs."""
        return HostCapacity(total_bytes=self._world.host_bytes, free_bytes=self._world.free_bytes())


class WorldDisk:
    """What survives a daemon: records, states, people's orders, the lease. Implements
    core.service_ports.Journal and ServiceStore."""

    def __init__(self, faults: WorldFaults) -> None:
        self.records: list[JournalRecord] = []
        self.state_of: dict[str, TargetState] = {}
        self.orders = FleetState()
        self.holder = ""
        self.token = 0
        self.expires_s = 0.0
        self._faults = faults

    def append(
        self,
        entries: Sequence[JournalEntry],
        *,
        token: int,
        states: Sequence[TargetState] = (),
        breaker_since_at: datetime | None = None,
    ) -> list[JournalRecord]:
        """Seal and keep, all or nothing."""
        self._faults.pass_point("before_append")
        self.check()
        if token < self.token:
            raise FencedError(f"token {token} is older than {self.token}: another holder writes")
        made: list[JournalRecord] = []
        last = self.records[-1] if self.records else None
        for entry in entries:
            last = seal(last, entry, token=token)
            made.append(last)
        self.records.extend(made)
        self.state_of.update({state.target_id: state for state in states})
        if breaker_since_at is not None:
            self.orders = replace(self.orders, breaker_since_at=breaker_since_at)
        self._faults.pass_point("after_append")
        return made

    def each(self, since_number: int = 0) -> Iterator[JournalRecord]:
        """Yield the records after a number."""
        yield from self.records[since_number:]

    def states(self) -> list[TargetState]:
        """Return all states."""
        self.check()
        return list(self.state_of.values())

    def fleet(self) -> FleetState:
        """Return people's orders."""
        self.check()
        return self.orders

    def add_readings(self, readings: Sequence[LiveReading]) -> None:
        """Keep nothing: the world is asked again after a restart (S2 is thin then)."""
        self.check()

    def flush(self, at: datetime) -> None:
        """Keep nothing (see `add_readings`)."""
        self.check()

    def histories(self, since: datetime) -> Iterator[tuple[str, TargetHistory]]:
        """Yield nothing (see `add_readings`)."""
        self.check()
        yield from ()

    def check(self) -> None:
        """Raise what a broken disk raises."""
        if self._faults.store == "locked":
            raise TransientError("the store is locked: try again")
        if self._faults.store:
            raise PermanentError(f"the store does not take writes: {self._faults.store}")


class WorldLease:
    """One daemon's side of the lease on the disk."""

    def __init__(
        self, disk: WorldDisk, owner: str, mono_s: Callable[[], float], settings: ServeSettings
    ) -> None:
        self._disk = disk
        self._owner = owner
        self._mono_s = mono_s
        self._span_s = settings.lease_span.total_seconds()
        self._write_s = self._span_s * settings.lease_write_ratio
        self._renewed_s: float | None = None
        self._token = 0

    @property
    def token(self) -> int:
        """Return the token of this daemon's tenure."""
        return self._token

    def acquire(self, now: datetime) -> bool:
        """Take the lease where nobody holds it."""
        self._disk.check()
        if self._disk.holder not in ("", self._owner) and self._mono_s() < self._disk.expires_s:
            self._renewed_s = None
            return False
        self._disk.token += 1
        self._token = self._disk.token
        self._disk.holder = self._owner
        return self._prolong()

    def renew(self, now: datetime) -> bool:
        """Prolong the lease while it is ours, however late: nobody has taken it."""
        self._disk.check()
        if self._disk.holder != self._owner or self._disk.token != self._token:
            self._renewed_s = None
            return False
        return self._prolong()

    def still_mine(self) -> bool:
        """Say whether a write is allowed."""
        return self._renewed_s is not None and self.age_s() < self._write_s

    def age_s(self) -> float:
        """Return the seconds since the last renewal."""
        return float("inf") if self._renewed_s is None else self._mono_s() - self._renewed_s

    def release(self) -> None:
        """Give it back."""
        self._renewed_s = None
        if self._disk.holder == self._owner:
            self._disk.holder = ""

    def _prolong(self) -> bool:
        self._renewed_s = self._mono_s()
        self._disk.expires_s = self._renewed_s + self._span_s
        return True
