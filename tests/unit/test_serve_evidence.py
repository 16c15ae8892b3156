"""Evidence of a target that lies or is gone: poisoned readings, OOM kills told by their events."""

from __future__ import annotations

import pytest
from serve_worlds import DOCKER, V1, SmallWorld

from ullage.core.errors import DataError
from ullage.core.service import EntryKind, EventKind, GuardCode, LiveReading, TargetEvent
from ullage.core.units import GIB
from ullage.simulation.world_ports import WorldSource


def test_a_source_that_cannot_believe_its_answer_has_poisoned_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = SmallWorld([DOCKER])
    small.run.advance(300)

    def lie(source: WorldSource, target: object) -> LiveReading:
        raise DataError("docker: 99 bytes of cache in 1 used")

    with monkeypatch.context() as patch:
        patch.setattr(WorldSource, "read", lie)
        small.run.tick()
    small.run.advance(60)
    assert small.counts.rejected_readings["poisoned"] == 1
    assert not small.counts.broken
    assert small.daemon.controller.targets()[0].hold_codes == (GuardCode.S2_POISONED,)


def told(small: SmallWorld, *, is_kill: bool = True) -> None:
    """Deliver the event of an OOM kill of the first target."""
    now = small.world.clock.now()
    event = TargetEvent(
        target_id=small.target.target_id, kind=EventKind.OOM, at=now, is_kill=is_kill
    )
    small.daemon.controller.on_events([event], now)


def test_s23_a_kill_of_a_target_that_never_returns_is_counted_by_its_event() -> None:
    small = SmallWorld([DOCKER])
    small.run.advance(60)
    limit_bytes = small.target.limit_bytes
    del small.world.targets[small.target.target_id]
    told(small)
    told(small)  # the same moment twice is one kill
    small.run.advance(120)
    [row] = small.rows(EntryKind.OOM)
    assert row.entry.body["at_least_bytes"] == limit_bytes == 4 * GIB
    assert row.entry.body["kills"] == 1
    assert small.counts.oom_kills["organic"] == 1


def test_s23_a_kill_is_not_counted_again_by_the_reading_that_comes_late() -> None:
    small = SmallWorld([DOCKER])
    small.run.advance(60)
    small.run.faults.reads[small.target.target_id] = "fail"
    small.target.oom_kills += 1
    told(small)
    del small.run.faults.reads[small.target.target_id]
    small.run.advance(120)
    assert [row.entry.body["kills"] for row in small.rows(EntryKind.OOM)] == [1]


def test_s23_a_hint_alone_is_no_evidence() -> None:
    small = SmallWorld([V1])
    small.run.advance(60)
    del small.world.targets[small.target.target_id]
    told(small, is_kill=False)
    small.run.advance(60)
    assert small.rows(EntryKind.OOM) == []


def test_s23_a_kill_that_is_read_is_counted_by_the_reading_alone() -> None:
    small = SmallWorld([DOCKER])
    small.run.advance(60)
    small.target.oom_kills += 1
    told(small)
    small.run.advance(60)
    assert [row.entry.body["kills"] for row in small.rows(EntryKind.OOM)] == [1]
