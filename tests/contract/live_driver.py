"""Drives the real controller over real targets, where the daemon's threads would stand.

Periods are short; journal, lease and store are in memory.
"""

from __future__ import annotations

import select
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ullage.control.reconcile import Controller
from ullage.control.tracked import ServeParts
from ullage.core.service import EntryKind, HostCapacity, JournalEntry, ServeSettings
from ullage.core.units import GIB
from ullage.simulation.world_ports import WorldDisk, WorldFaults, WorldLease
from ullage.testing.doubles import LargestNeed
from ullage.testing.target_contract import TargetWorld

SETTINGS = ServeSettings(
    is_acting=True,
    sample_interval=timedelta(milliseconds=50),
    decide_interval=timedelta(milliseconds=100),
    least_samples_count=4,
    least_history=timedelta(milliseconds=200),
    gap_window=timedelta(milliseconds=400),
    gap_ratio=0.9,
    stale_intervals_count=40,
    recent_samples_count=20,
    peak_interval=timedelta(milliseconds=200),
    peaks_kept=timedelta(milliseconds=400),
    watch=timedelta(milliseconds=150),
    blast_ratio=1.0,
)


class RealClock:
    """Implements core.ports.Clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


class RoomyHost:
    """Implements core.service_ports.HostMemory."""

    def read(self) -> HostCapacity:
        return HostCapacity(total_bytes=16 * GIB, free_bytes=8 * GIB)


class Driver:
    """Stands where the daemon's threads stand: polls the source's events and the timer."""

    def __init__(self, world: TargetWorld, *, is_acting: bool = True) -> None:
        settings = replace(SETTINGS, is_acting=is_acting)
        self.world = world
        self.disk = WorldDisk(WorldFaults())
        clock = RealClock()
        spec = world.spec
        self.controller = Controller(
            ServeParts(
                clock=clock,
                finders={spec.kind: world.finder},
                sources={spec.kind: world.source},
                actuators={spec.kind: world.actuator},
                host=RoomyHost(),
                lease=WorldLease(self.disk, "here", clock.monotonic_s, settings),
                journal=self.disk,
                store=self.disk,
                policies=[LargestNeed()],
            ),
            [spec],
            settings,
        )
        self.reactions_s: list[float] = []
        self._next_s = time.monotonic()

    def step(self) -> None:
        wait_s = max(0.0, self._next_s - time.monotonic())
        select.select(self.world.source.wake_fds(), [], [], wait_s)
        woken_s = time.perf_counter()
        events = self.world.source.events()
        if events:
            count = len(self.disk.records)
            self.controller.on_events(events, datetime.now(UTC))
            if len(self.disk.records) > count:
                self.reactions_s.append(time.perf_counter() - woken_s)
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + SETTINGS.sample_interval.total_seconds()
            self.tick()

    def tick(self) -> None:
        """Make one pass; as in the daemon, events are looked at in between."""
        self.controller.run_once(datetime.now(UTC), peek=self._peek)

    def _peek(self) -> None:
        events = self.world.source.events()
        if events:
            self.controller.on_events(events, datetime.now(UTC))

    def count(self, direction: str) -> int:
        """Return how many applied changes went that way."""
        wanted = {
            record.entry.body.get("decision_id")
            for record in self.disk.records
            if record.entry.kind is EntryKind.DECISION
            and record.entry.body.get("direction") == direction
        }
        return sum(
            record.entry.kind is EntryKind.OUTCOME
            and record.entry.body.get("result") == "applied"
            and record.entry.body.get("decision_id") in wanted
            for record in self.disk.records
        )

    def told(self, kind: EntryKind) -> list[JournalEntry]:
        """Return the journal's rows of one kind."""
        return [one.entry for one in self.disk.records if one.entry.kind is kind]
