"""Controllers that live in a simulated world: started, paused, killed and started again.

The driver stands where the real daemon's loop stands: it renews the lease, makes a pass every
sample interval, and delivers events at once; in a pass, only where the controller looks up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ullage.control.reconcile import Controller
from ullage.control.tracked import ServeParts
from ullage.core.service import (
    JournalRecord,
    ServeSettings,
    ServiceSpec,
    TargetEvent,
    TargetKind,
)
from ullage.core.service_ports import ServicePolicy
from ullage.simulation.world import World
from ullage.simulation.world_ports import (
    CrashError,
    WorldActuator,
    WorldDisk,
    WorldFaults,
    WorldFinder,
    WorldHost,
    WorldLease,
    WorldSource,
)


@dataclass(slots=True)
class Daemon:
    """One `ullage serve`. next_tick_s: by the monotonic clock."""

    name: str
    controller: Controller
    next_tick_s: float
    is_paused: bool = False
    is_dead: bool = False

    @property
    def is_running(self) -> bool:
        """Whether it does anything."""
        return not (self.is_paused or self.is_dead)


class WorldRun:
    """A world, its disk, and the daemons that look after it."""

    def __init__(
        self,
        world: World,
        specs: Sequence[ServiceSpec],
        settings: ServeSettings,
        policies: Callable[[], Sequence[ServicePolicy]],
    ) -> None:
        self.world = world
        self.faults = WorldFaults()
        self.disk = WorldDisk(self.faults)
        self.actuator = WorldActuator(world, self.faults, settings)
        self.daemons: list[Daemon] = []
        self._specs = specs
        self._settings = settings
        self._policies = policies
        self._events: list[TargetEvent] = []
        self._starts = 0
        world.tell = self._events.append

    @property
    def records(self) -> list[JournalRecord]:
        """The journal so far."""
        return self.disk.records

    def start(self) -> Daemon:
        """Start a daemon; it acts if nobody holds the lease."""
        self._starts += 1
        name = f"daemon-{self._starts}"
        world, faults = self.world, self.faults
        source = WorldSource(world, faults)
        parts = ServeParts(
            clock=world.clock,
            finders={kind: WorldFinder(world, faults) for kind in TargetKind},
            sources=dict.fromkeys(TargetKind, source),
            actuators=dict.fromkeys(TargetKind, self.actuator),
            host=WorldHost(world),
            lease=WorldLease(self.disk, name, world.clock.monotonic_s, self._settings),
            journal=self.disk,
            store=self.disk,
            policies=self._policies(),
        )
        controller = Controller(parts, self._specs, self._settings, owner=name)
        daemon = Daemon(name, controller, world.clock.monotonic_s())
        self.daemons.append(daemon)
        return daemon

    def kill(self, daemon: Daemon) -> None:
        """kill -9: nothing is said, nothing given back."""
        daemon.is_dead = True

    def live(self) -> list[Daemon]:
        """Return the daemons that run."""
        return [daemon for daemon in self.daemons if daemon.is_running]

    # -- time ----------------------------------------------------------------------------------

    def advance(self, span_s: float) -> None:
        """Let time pass: leases are renewed, passes made, demands followed, events delivered."""
        step_s = self._settings.lease_span.total_seconds() / 3
        clock = self.world.clock
        end_s = clock.monotonic_s() + span_s
        while (left_s := end_s - clock.monotonic_s()) > 1e-9:
            clock.advance(min(step_s, left_s))
            for daemon in self.live():
                self._run(daemon, lambda one: one.controller.keep_lease(clock.now()))
            self.follow()
            for daemon in self.live():
                if clock.monotonic_s() >= daemon.next_tick_s:
                    daemon.next_tick_s += self._settings.sample_interval.total_seconds()
                    daemon.next_tick_s = max(daemon.next_tick_s, clock.monotonic_s())
                    self._run(daemon, self._pass)
            self.deliver()

    def tick(self) -> None:
        """Make one pass of every daemon now."""
        for daemon in self.live():
            self._run(daemon, self._pass)
        self.deliver()

    def follow(self) -> None:
        """Let every target take what it wants, piece by piece, with events in between."""
        for target_id in list(self.world.targets):
            for _ in self.world.pieces(target_id):
                self.deliver()
        self.deliver()

    def deliver(self) -> None:
        """Hand the events on until there are none: a rescue may raise the next one."""
        for _ in range(50):
            if not self._events:
                return
            events, self._events[:] = list(self._events), []
            for daemon in self.live():
                now = self.world.clock.now()
                self._run(daemon, lambda one, e=events, n=now: one.controller.on_events(e, n))  # type: ignore[misc]

    def _pass(self, daemon: Daemon) -> None:
        """Make a pass; events that wait are delivered in its middle, as the real daemon does."""
        daemon.controller.run_once(self.world.clock.now(), peek=lambda: self._peek(daemon))

    def _peek(self, daemon: Daemon) -> None:
        if self._events:
            daemon.controller.on_events(list(self._events), self.world.clock.now())

    def wake_slipped(self) -> None:
        """Let writes of paused daemons reach the kernel at last (S9)."""
        slipped, self.faults.slipped[:] = list(self.faults.slipped), []
        for change in slipped:
            self.actuator.force(change)

    def _run(self, daemon: Daemon, step: Callable[[Daemon], object]) -> None:
        try:
            step(daemon)
        except CrashError:
            daemon.is_dead = True
