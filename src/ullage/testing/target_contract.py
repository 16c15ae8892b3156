"""What every finder, source and actuator of live targets must do, real or simulated.

Subclass `TargetContract` and give `world`: something that can make targets, fill them, and
remove them behind the adapters' back. Sizes are small and whole MiB; nothing asserts on speed.
"""

from __future__ import annotations

import select
from datetime import UTC, datetime
from typing import Protocol

import pytest

from ullage.core.errors import AdapterError, PermanentError
from ullage.core.serve_settings import ServeSettings, live_floor_bytes
from ullage.core.service import (
    ChangeOutcome,
    ChangeResult,
    EventKind,
    LimitChange,
    LiveTarget,
    ServiceSpec,
)
from ullage.core.service_ports import TargetActuator, TargetFinder, TargetSource
from ullage.core.units import MAX_BYTES, MIB
from ullage.testing.sandbox_contract import PATIENCE_S, wait_until

FLOOR_BYTES = MIB


class TargetWorld(Protocol):
    """A world with targets of one kind, and the adapters over it."""

    finder: TargetFinder
    source: TargetSource
    actuator: TargetActuator
    spec: ServiceSpec
    """Selects every target that `make` makes, and nobody else."""
    can_park: bool
    """Tasks can be made to wait at the limit."""

    def make(self, limit_bytes: int | None) -> str:
        """Make a target with this limit; return its target_id."""
        ...

    def fill(self, target_id: str, size_bytes: int) -> None:
        """Have something inside need so much until `empty`; returns when it is held or killed."""
        ...

    def empty(self, target_id: str) -> None:
        """End what `fill` has begun."""
        ...

    def set_limit(self, target_id: str, limit_bytes: int) -> None:
        """Change the limit as somebody else would."""
        ...

    def remove(self, target_id: str) -> None:
        """Make the target vanish."""
        ...


def change_of(
    target_id: str,
    expected_bytes: int | None,
    new_bytes: int,
    *,
    is_cut: bool = False,
    floor_bytes: int = FLOOR_BYTES,
) -> LimitChange:
    """Return an order, with a name of its own."""
    return LimitChange(
        target_id=target_id,
        decision_id=f"d-{target_id[-12:]}-{new_bytes}",
        expected_bytes=expected_bytes,
        new_bytes=new_bytes,
        token=1,
        is_cut=is_cut,
        floor_bytes=floor_bytes,
    )


class TargetContract:
    """The suite. has_events: the source tells of events itself."""

    has_events = True

    @pytest.fixture
    def world(self) -> TargetWorld:
        """Return a world without targets."""
        raise NotImplementedError

    def target(self, world: TargetWorld, limit_bytes: int | None = 200 * MIB) -> LiveTarget:
        """Make one target and find it."""
        target_id = world.make(limit_bytes)
        return next(one for one in world.finder.find(world.spec) if one.target_id == target_id)

    def limit_of(self, world: TargetWorld, target: LiveTarget) -> int | None:
        """Return the limit that a reading shows."""
        return world.source.read(target).limit_bytes

    # -- who is meant -------------------------------------------------------------------

    def test_finds_whom_the_selector_names_and_nobody_else(self, world: TargetWorld) -> None:
        """All of them, each once, with workload, kind and mode of the settings."""
        made = {world.make(100 * MIB), world.make(100 * MIB)}
        found = world.finder.find(world.spec)
        assert {target.target_id for target in found} == made
        assert len(found) == 2
        for target in found:
            assert target.workload_key == world.spec.workload_key
            assert (target.kind, target.mode) == (world.spec.kind, world.spec.mode)
            assert target.target_id.startswith(f"{world.spec.kind}:")
            assert target.instance

    @pytest.mark.parametrize("selector", ["", " ", "\t"])
    def test_an_empty_selector_finds_nobody(self, world: TargetWorld, selector: str) -> None:
        """S13: nothing named, nobody meant, however many there are."""
        world.make(100 * MIB)
        spec = ServiceSpec(workload_key="all", kind=world.spec.kind, selector=selector)
        assert world.finder.find(spec) == []

    def test_a_selector_that_matches_nothing_finds_nobody(self, world: TargetWorld) -> None:
        """A workload that matches nothing is no error."""
        world.make(100 * MIB)
        spec = ServiceSpec(
            workload_key="none", kind=world.spec.kind, selector=f"{world.spec.selector}-not"
        )
        assert world.finder.find(spec) == []

    def test_a_selector_that_cannot_be_meant_is_refused(self, world: TargetWorld) -> None:
        """A failed selector targets nobody: an error, never a list."""
        for selector in ("web", "a\nb=c", "x" * 5000):
            spec = ServiceSpec(workload_key="bad", kind=world.spec.kind, selector=selector)
            with pytest.raises(PermanentError, match="selector"):
                world.finder.find(spec)

    # -- reading ------------------------------------------------------------------------

    def test_a_reading_shows_limit_usage_and_need(self, world: TargetWorld) -> None:
        """In bytes; both moments aware; need within usage."""
        target = self.target(world)
        world.fill(target.target_id, 48 * MIB)
        reading = world.source.read(target)
        assert reading.target_id == target.target_id
        assert reading.limit_bytes == 200 * MIB
        assert 48 * MIB <= reading.need_bytes <= reading.usage_bytes < 200 * MIB
        assert reading.at.tzinfo is not None
        assert reading.known_at >= reading.at
        assert (reading.oom_kills, reading.is_waiting) == (0, False)
        assert world.source.delay_s >= 0

    def test_no_limit_is_none(self, world: TargetWorld) -> None:
        """Never a number near 2^63, and never 0."""
        assert self.limit_of(world, self.target(world, None)) is None

    # -- changing -----------------------------------------------------------------------

    def test_a_growth_is_applied_and_read_back(self, world: TargetWorld) -> None:
        """The outcome tells the limit after it, and its decision."""
        target = self.target(world)
        change = change_of(target.target_id, 200 * MIB, 300 * MIB)
        outcome = world.actuator.apply(change)
        assert self.told(outcome, change) == (ChangeResult.APPLIED, 300 * MIB)
        assert self.limit_of(world, target) == 300 * MIB

    def test_a_cut_above_the_floor_is_applied(self, world: TargetWorld) -> None:
        """And it tells the need that it has read."""
        target = self.target(world)
        world.fill(target.target_id, 40 * MIB)
        change = change_of(target.target_id, 200 * MIB, 160 * MIB, is_cut=True)
        outcome = world.actuator.apply(change)
        assert self.told(outcome, change) == (ChangeResult.APPLIED, 160 * MIB)
        assert outcome.need_bytes is not None
        assert outcome.need_bytes >= 40 * MIB
        assert self.limit_of(world, target) == 160 * MIB

    def test_a_cut_below_the_live_floor_is_refused(self, world: TargetWorld) -> None:
        """S1, also where the change does not call itself a cut, and one byte decides."""
        target = self.target(world)
        world.fill(target.target_id, 100 * MIB)
        need_bytes = world.source.read(target).need_bytes
        floor_bytes = live_floor_bytes(need_bytes, 200 * MIB, FLOOR_BYTES, ServeSettings())
        for is_cut in (True, False):
            below_bytes = min(floor_bytes - 2 * MIB, need_bytes + 45 * MIB)
            change = change_of(target.target_id, 200 * MIB, below_bytes, is_cut=is_cut)
            outcome = world.actuator.apply(change)
            assert self.told(outcome, change) == (ChangeResult.REFUSED, 200 * MIB)
            assert "floor" in outcome.words
        assert self.limit_of(world, target) == 200 * MIB
        assert world.source.read(target).oom_kills == 0

    def test_the_policys_own_minimum_is_part_of_the_floor(self, world: TargetWorld) -> None:
        """An idle target is not cut below the settings' minimum."""
        target = self.target(world)
        change = change_of(
            target.target_id, 200 * MIB, 120 * MIB, is_cut=True, floor_bytes=150 * MIB
        )
        assert world.actuator.apply(change).result is ChangeResult.REFUSED

    def test_somebody_elses_edit_wins(self, world: TargetWorld) -> None:
        """S8: nothing is written where the limit is not what the decision saw."""
        target = self.target(world)
        world.set_limit(target.target_id, 180 * MIB)
        for expected_bytes in (200 * MIB, None):
            change = change_of(target.target_id, expected_bytes, 300 * MIB)
            outcome = world.actuator.apply(change)
            assert self.told(outcome, change) == (ChangeResult.CONFLICT, 180 * MIB)
        assert self.limit_of(world, target) == 180 * MIB

    def test_applying_twice_equals_once(self, world: TargetWorld) -> None:
        """S7: the second time the world is not what it was, so nothing happens."""
        target = self.target(world)
        change = change_of(target.target_id, 200 * MIB, 240 * MIB)
        assert world.actuator.apply(change).result is ChangeResult.APPLIED
        assert world.actuator.apply(change).result is ChangeResult.CONFLICT
        assert self.limit_of(world, target) == 240 * MIB

    def test_limits_are_whole_pages_and_rounding_is_no_conflict(self, world: TargetWorld) -> None:
        """A cut ends at or above what was asked; what the kernel made of it is told."""
        target = self.target(world)
        asked_bytes = 160 * MIB + 5
        outcome = world.actuator.apply(
            change_of(target.target_id, 200 * MIB + 7, asked_bytes, is_cut=True)
        )
        assert outcome.result is ChangeResult.APPLIED
        assert outcome.limit_bytes == 160 * MIB + 4096
        assert self.limit_of(world, target) == outcome.limit_bytes
        second = change_of(target.target_id, asked_bytes + 4000, 200 * MIB)
        assert world.actuator.apply(second).result is ChangeResult.APPLIED

    @pytest.mark.parametrize("new_bytes", [0, -1, -(1 << 63), MAX_BYTES + 1, 1 << 63])
    def test_a_limit_that_cannot_be_meant_is_refused(
        self, world: TargetWorld, new_bytes: int
    ) -> None:
        """S4: integers within 1..2^50, whatever the model says."""
        target = self.target(world)
        change = change_of(target.target_id, 200 * MIB, new_bytes)
        assert world.actuator.apply(change).result is ChangeResult.REFUSED
        assert self.limit_of(world, target) == 200 * MIB

    def test_whom_no_selector_names_is_not_touched(self, world: TargetWorld) -> None:
        """Whatever the order says: unknown ids, other kinds, hostile ones."""
        self.target(world)
        for target_id in ("", "cgroup1:", "docker:../../x", "cgroup2:/", "nonsense", "a:b\nc"):
            outcome = world.actuator.apply(change_of(target_id, None, 100 * MIB))
            assert outcome.result in (ChangeResult.REFUSED, ChangeResult.VANISHED)

    # -- vanishing ----------------------------------------------------------------------

    def test_a_vanished_target_is_told_not_raised(self, world: TargetWorld) -> None:
        """Between list and read, and between read and apply."""
        target = self.target(world)
        world.remove(target.target_id)
        with pytest.raises(AdapterError):
            world.source.read(target)
        change = change_of(target.target_id, 200 * MIB, 300 * MIB)
        assert world.actuator.apply(change).result is ChangeResult.VANISHED
        assert world.finder.find(world.spec) == []

    def test_watching_what_has_vanished_is_no_error(self, world: TargetWorld) -> None:
        """The loop sees it at its next reading."""
        target = self.target(world)
        world.remove(target.target_id)
        world.source.watch([target])
        world.source.events()

    # -- events -------------------------------------------------------------------------

    def test_an_oom_kill_wakes_the_loop_and_is_counted(self, world: TargetWorld) -> None:
        """The event names the target, and the reading after it has the count."""
        if not self.has_events:
            pytest.skip("gap declared: events are delivered by somebody else")
        target, other = self.target(world, 40 * MIB), self.target(world)
        world.source.watch([target, other])
        world.fill(target.target_id, 100 * MIB)
        kinds = self.wait_for(world, target, EventKind.OOM)
        assert {target_id for target_id, _ in kinds} == {target.target_id}
        assert world.source.read(target).oom_kills >= 1
        assert world.source.read(other).oom_kills == 0

    def test_an_oom_kill_is_told_though_its_target_has_vanished(self, world: TargetWorld) -> None:
        """S23: one last reading with the kill, the limit at death; then it is gone."""
        if not self.has_events:
            pytest.skip("gap declared: events are delivered by somebody else")
        target = self.target(world, 40 * MIB)
        world.source.watch([target])
        before = world.source.read(target)
        world.fill(target.target_id, 100 * MIB)
        self.wait_for(world, target, EventKind.OOM)
        world.remove(target.target_id)
        last = world.source.read(target)
        assert (last.target_id, last.limit_bytes) == (target.target_id, 40 * MIB)
        assert last.oom_kills > before.oom_kills
        assert before.at <= last.at <= last.known_at
        with pytest.raises(AdapterError):
            world.source.read(target)

    def test_who_vanishes_unharmed_has_no_last_words(self, world: TargetWorld) -> None:
        """Its end is no evidence of need."""
        target = self.target(world)
        world.source.watch([target])
        world.source.read(target)
        world.remove(target.target_id)
        world.source.events()
        with pytest.raises(AdapterError):
            world.source.read(target)

    def test_who_is_watched_no_more_wakes_nobody(self, world: TargetWorld) -> None:
        """`watch` names all of them, every time."""
        if not self.has_events:
            pytest.skip("gap declared: events are delivered by somebody else")
        target, other = self.target(world, 40 * MIB), self.target(world, 40 * MIB)
        world.source.watch([target, other])
        world.source.watch([other])
        world.fill(target.target_id, 100 * MIB)
        world.fill(other.target_id, 100 * MIB)
        kinds = self.wait_for(world, other, EventKind.OOM)
        assert {target_id for target_id, _ in kinds} == {other.target_id}

    def test_waiting_tasks_wake_the_loop_and_go_on(self, world: TargetWorld) -> None:
        """Parked at the limit nobody dies; a growth lets them go on."""
        if not world.can_park:
            pytest.skip("gap declared: tasks of this kind of target cannot be made to wait")
        target = self.target(world, 40 * MIB)
        world.source.watch([target])
        world.actuator.set_parking(target.target_id, True)
        world.fill(target.target_id, 100 * MIB)
        self.wait_for(world, target, EventKind.WAITING)
        assert world.source.read(target).is_waiting
        change = change_of(target.target_id, 40 * MIB, 200 * MIB)
        assert world.actuator.apply(change).result is ChangeResult.APPLIED
        assert wait_until(lambda: world.source.read(target).need_bytes >= 100 * MIB)
        assert world.source.read(target).oom_kills == 0

    def test_a_quiet_world_has_no_events(self, world: TargetWorld) -> None:
        """Nothing to tell is an empty list, at once."""
        world.source.watch([self.target(world)])
        assert world.source.events() == []

    # -- words of the suite -------------------------------------------------------------

    def told(self, outcome: ChangeOutcome, change: LimitChange) -> tuple[ChangeResult, int | None]:
        """Return result and limit, after checking what every outcome has."""
        assert outcome.decision_id == change.decision_id
        assert outcome.at <= datetime.now(UTC)
        assert outcome.result is ChangeResult.APPLIED or outcome.words
        return outcome.result, outcome.limit_bytes

    def wait_for(
        self, world: TargetWorld, target: LiveTarget, kind: EventKind
    ) -> set[tuple[str, EventKind]]:
        """Return all (target_id, kind) until `kind` of `target` has come."""
        seen: set[tuple[str, EventKind]] = set()

        def has_come() -> bool:
            fds = world.source.wake_fds()
            if fds:
                select.select(fds, [], [], 0.05)
            seen.update((event.target_id, event.kind) for event in world.source.events())
            return (target.target_id, kind) in seen

        assert wait_until(has_come, patience_s=PATIENCE_S), f"no {kind} came, only {seen}"
        return seen
