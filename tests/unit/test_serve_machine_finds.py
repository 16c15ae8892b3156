"""What the state machine found (ROBUSTNESS.md), each in the smallest world that shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from serve_worlds import DOCKER, QUICK, V1, V2, SmallWorld

from ullage.core.audit import audit
from ullage.core.service import EntryKind
from ullage.core.units import GIB


def kills_told(small: SmallWorld) -> list[int]:
    return [int(str(row.entry.body["kills"])) for row in small.rows(EntryKind.OOM)]


def test_s2_one_reading_from_the_future_does_not_hide_those_that_follow() -> None:
    small = SmallWorld([V1])
    small.run.advance(120)
    small.run.faults.reads[small.target.target_id] = "future"
    small.run.advance(30)
    small.run.faults.reads.clear()
    small.run.advance(30)
    assert not small.counts.rejected_readings["out_of_order"]
    small.demand(6 * GIB)
    assert small.target.need_bytes == 6 * GIB
    assert small.target.oom_kills == 0


@pytest.mark.parametrize("kind", [V2, DOCKER])
def test_s12_a_kill_from_before_a_cut_is_not_blamed_on_it(kind: object) -> None:
    """Nobody leads when it dies; the next holder cuts; the one before wakes and leads again."""
    small = SmallWorld([kind])  # type: ignore[list-item]
    small.run.advance(60)
    small.daemon.is_paused = True
    small.world.leap(small.target.target_id, 5 * GIB)
    second = small.run.start()
    small.until_cut()
    small.daemon.is_paused = False
    small.run.tick()
    small.run.kill(second)
    small.run.advance(60)
    assert kills_told(small) == [1]
    assert {row.entry.body["attribution"] for row in small.rows(EntryKind.OOM)} == {"organic"}
    assert audit(small.run.records, QUICK) == []


@pytest.mark.parametrize("is_watched", [False, True])
def test_s23_a_kill_in_a_new_life_is_told_once(is_watched: bool) -> None:
    """Restart and kill between two passes; with and without a cut that is being watched."""
    small = SmallWorld([V2])
    if is_watched:
        small.until_cut()
    else:
        small.run.advance(60)
    small.daemon.is_paused = True
    small.world.restart(small.target.target_id)
    small.world.leap(small.target.target_id, 7 * GIB)
    small.daemon.is_paused = False
    small.run._events.clear()
    small.run.tick()
    small.run.tick()
    small.run.kill(small.daemon)
    small.run.start()
    small.run.advance(90)
    assert kills_told(small) == [1]


def test_s23_what_the_life_before_was_read_to_have_is_not_the_new_ones() -> None:
    """Killed, read, restarted; then only readings that are too old to be taken."""
    small = SmallWorld([V1])
    small.world.leap(small.target.target_id, 5 * GIB)
    small.until_cut()
    before = kills_told(small)
    small.run.faults.reads[small.target.target_id] = "late"
    small.world.restart(small.target.target_id)
    small.run.advance(60)
    assert kills_told(small) == before


def test_s23_an_old_reading_does_not_let_a_kill_count_again() -> None:
    """A source that shows fewer kills than were told has an old picture."""
    small = SmallWorld([V2])
    small.run.advance(60)
    small.world.leap(small.target.target_id, 5 * GIB)
    small.run.deliver()
    assert kills_told(small) == [1]
    small.target.oom_kills = 0
    small.run.tick()
    small.target.oom_kills = 1
    small.run.advance(60)
    assert kills_told(small) == [1]


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_s20_a_jump_before_a_takeover_shortens_no_window(jump_s: float) -> None:
    """Recorded moments mean spans: they move with a wall clock that was set."""
    settings = replace(QUICK, hands_off=timedelta(minutes=40))
    small = SmallWorld([V1], settings=settings)
    small.until_cut()
    name = small.target.target_id
    small.world.set_limit(name, 3 * GIB)
    small.run.advance(60)
    small.world.clock.jump(jump_s)
    small.run.advance(60)
    small.run.kill(small.daemon)
    small.run.start()
    writes = len([one for one in small.run.actuator.written if one.target_id == name])
    small.run.advance(30 * 60)
    assert len([one for one in small.run.actuator.written if one.target_id == name]) == writes
    small.run.advance(40 * 60)
    assert len([one for one in small.run.actuator.written if one.target_id == name]) > writes
    assert audit(small.run.records, settings) == []


@pytest.mark.parametrize(("is_edited", "whose"), [(True, "organic"), (False, "ullage")])
def test_s12_a_kill_in_a_new_life_is_ours_only_at_the_limit_of_our_cut(
    is_edited: bool, whose: str
) -> None:
    """Cut, restart, somebody lowers the limit, and the new life asks for more than that."""
    small = SmallWorld([V2])
    small.until_cut()
    small.daemon.is_paused = True
    small.world.restart(small.target.target_id)
    if is_edited:
        small.world.set_limit(small.target.target_id, GIB)
    small.world.leap(small.target.target_id, 7 * GIB)
    small.daemon.is_paused = False
    small.run._events.clear()
    small.run.tick()
    [row] = small.rows(EntryKind.OOM)
    assert row.entry.body["attribution"] == whose
    assert audit(small.run.records, small.settings) == []
