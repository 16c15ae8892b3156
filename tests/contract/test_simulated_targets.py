"""The simulated world keeps the same contract as the real ones, but for events.

Its driver delivers events itself (simulation.world_daemons), so its source has none to give.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from ullage.core.errors import ConfigError, PermanentError
from ullage.core.selectors import cgroup_pattern
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import LiveTarget, ServiceSpec, TargetKind, UpdateMode
from ullage.simulation.world import World
from ullage.simulation.world_ports import WorldActuator, WorldFaults, WorldFinder, WorldSource
from ullage.testing.target_contract import TargetContract


class CheckedFinder(WorldFinder):
    """Selectors of the simulation are patterns of ids: refuse what the settings would refuse."""

    def find(self, spec: ServiceSpec) -> list[LiveTarget]:
        """Return whom the selector names; PermanentError where it cannot be meant."""
        try:
            cgroup_pattern(spec.selector.removeprefix(f"{spec.kind}:"))
        except ConfigError as error:
            raise PermanentError(str(error)) from error
        return super().find(spec)


class SimulatedWorld:
    """Implements testing.target_contract.TargetWorld."""

    def __init__(self, kind: TargetKind) -> None:
        self.world = World()
        self.can_park = False
        faults = WorldFaults()
        self.spec = ServiceSpec(
            workload_key="web",
            kind=kind,
            selector=f"{kind}:/target-*",
            mode=UpdateMode.IN_PLACE,
        )
        self.finder = CheckedFinder(self.world, faults)
        self.source = WorldSource(self.world, faults)
        self.actuator = WorldActuator(self.world, faults, ServeSettings())
        self._numbers = itertools.count(1)

    def make(self, limit_bytes: int | None) -> str:
        """Add a target with this limit."""
        target = self.world.add(
            f"target-{next(self._numbers)}",
            kind=self.spec.kind,
            limit_bytes=limit_bytes,
            need_bytes=1 << 20,
        )
        return target.target_id

    def fill(self, target_id: str, size_bytes: int) -> None:
        """Let need rise in one piece."""
        self.world.leap(target_id, size_bytes)

    def empty(self, target_id: str) -> None:
        """Let need fall."""
        self.world.leap(target_id, 0)

    def set_limit(self, target_id: str, limit_bytes: int) -> None:
        """Change the limit as somebody else would."""
        assert self.world.set_limit(target_id, limit_bytes)

    def remove(self, target_id: str) -> None:
        """Let the target end."""
        self.world.remove(target_id)


@pytest.mark.parametrize("kind", list(TargetKind), ids=str)
class TestSimulatedTargets(TargetContract):
    has_events = False

    @pytest.fixture
    def world(self, kind: TargetKind) -> SimulatedWorld:
        return SimulatedWorld(kind)


def test_its_clock_is_before_ours_so_that_outcomes_are_not_from_the_future() -> None:
    assert World().clock.now() < datetime.now(UTC)
