"""Small worlds for tests of the service loop: one or two targets, short periods, one daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ullage.core.service import (
    EntryKind,
    JournalRecord,
    ServeSettings,
    ServiceSpec,
    TargetKind,
    UpdateMode,
)
from ullage.core.service_ports import ServicePolicy
from ullage.core.units import GIB
from ullage.simulation.world import SimTarget, World
from ullage.simulation.world_daemons import WorldRun
from ullage.testing.doubles import LargestNeed

QUICK = ServeSettings(
    is_acting=True,
    decide_interval=timedelta(seconds=30),
    least_samples_count=4,
    least_history=timedelta(minutes=2),
    gap_window=timedelta(minutes=2),
    recent_samples_count=40,
    peaks_kept=timedelta(days=1),
    watch=timedelta(minutes=5),
)
V1, V2, DOCKER = TargetKind.CGROUP1, TargetKind.CGROUP2, TargetKind.DOCKER


class SmallWorld:
    """A world with targets named a, b, ...; `run` holds disk, faults and daemons."""

    def __init__(
        self,
        kinds: Sequence[TargetKind] = (V1,),
        *,
        settings: ServeSettings = QUICK,
        policies: Sequence[ServicePolicy] | None = None,
        host_bytes: int = 64 * GIB,
        limit_bytes: int = 4 * GIB,
        **spec: Any,
    ) -> None:
        self.settings = settings
        self.world = World(host_bytes=host_bytes)
        self.targets: list[SimTarget] = []
        specs: dict[str, ServiceSpec] = {}
        for name, kind in zip("abcdefghij", kinds, strict=False):
            self.targets.append(self.world.add(name, kind=kind, limit_bytes=limit_bytes))
            base = ServiceSpec(
                workload_key=f"w-{kind}",
                kind=kind,
                selector=f"{kind}:/*",
                mode=UpdateMode.IN_PLACE,
                max_bytes=16 * GIB,
            )
            specs[str(kind)] = replace(base, **spec)
        self.run = WorldRun(
            self.world,
            list(specs.values()),
            settings,
            lambda: list(policies) if policies is not None else [LargestNeed()],
        )
        self.daemon = self.run.start()

    @property
    def target(self) -> SimTarget:
        """The first target."""
        return self.targets[0]

    @property
    def counts(self) -> Any:
        """What the first daemon counted."""
        return self.daemon.controller.counts

    def rows(self, *kinds: EntryKind) -> list[JournalRecord]:
        """Return the journal's rows of some kinds."""
        return [record for record in self.run.records if record.entry.kind in kinds]

    def cuts(self) -> list[int]:
        """Return the limits to which cuts went, in order."""
        return [change.new_bytes for change in self.run.actuator.written if change.is_cut]

    def until_cut(self, *, at_most_s: float = 1800) -> None:
        """Let time pass until the next cut is made."""
        before, waited_s = len(self.cuts()), 0.0
        while len(self.cuts()) == before and waited_s < at_most_s:
            self.run.advance(30)
            waited_s += 30
        assert len(self.cuts()) > before, "no cut was made"

    def demand(self, demand_bytes: int) -> None:
        """Let the first target ask for memory, piece by piece."""
        self.target.demand_bytes = demand_bytes
        self.run.follow()
