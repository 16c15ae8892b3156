"""Live growth: when it raises, when it waits, and when it lets the kernel decide."""

from __future__ import annotations

import itertools

import pytest

from ullage.control.growth import Envelope, Growth
from ullage.core.errors import PermanentError
from ullage.core.units import GIB, MIB
from ullage.testing.doubles import FixedBooking, RecordingSandbox


class World:
    def __init__(self, *, limit: int = 100 * MIB, ceiling: int = GIB, host: int = 16 * GIB) -> None:
        self.sandbox = RecordingSandbox()
        self.booking = FixedBooking(host)
        self.said: list[str] = []
        self.growth = Growth(
            Envelope(limit_bytes=limit, ceiling_bytes=ceiling),
            self.sandbox,
            self.booking,
            wait_for_memory_s=60,
            say=self.said.append,
        )

    def react(self, need: int, *, at: float = 0.0, waiting: bool = False) -> None:
        self.growth.react(
            at,
            need_bytes=need,
            rate_bytes_per_s=0.0,
            is_waiting=waiting,
            clock_s=lambda: at + 0.001,
        )


def test_the_first_limit_is_set_and_tasks_are_parked() -> None:
    world = World()
    assert world.sandbox.limits == [100 * MIB]
    assert world.sandbox.parkings == [True]


def test_nowhere_to_grow_parks_nobody() -> None:
    world = World(ceiling=100 * MIB)
    assert world.sandbox.parkings == []


def test_the_start_is_booked_and_cut_to_what_the_host_can_give() -> None:
    world = World(limit=400 * MIB, host=300 * MIB)
    assert world.booking.booked == [512 * MIB]
    assert world.sandbox.limits == [300 * MIB]


def test_little_need_changes_nothing() -> None:
    world = World()
    world.react(50 * MIB)
    assert world.growth.raises == 0
    assert len(world.booking.booked) == 1, "only the start was booked"


def test_need_near_the_limit_raises_it_before_anybody_waits() -> None:
    world = World()
    world.react(95 * MIB)
    assert (world.growth.raises, world.growth.waits) == (1, 0)
    assert world.sandbox.limits[-1] == world.growth.limit_bytes > 95 * MIB


def test_a_wait_is_counted_once_and_ended_by_the_raise() -> None:
    world = World()
    world.react(99 * MIB, at=5.0, waiting=True)
    assert (world.growth.raises, world.growth.waits) == (1, 1)
    assert world.growth.wait_total_s == pytest.approx(0.001)


def test_waiting_with_little_need_is_raised_all_the_same() -> None:
    """The kernel could not reclaim: whatever need says, a waiting task must go on."""
    world = World()
    world.react(10 * MIB, waiting=True)
    assert world.growth.raises == 1


def test_limits_never_fall_and_never_pass_the_ceiling() -> None:
    world = World(ceiling=900 * MIB)
    for need in range(0, 1000 * MIB, 20 * MIB):
        world.react(min(need, world.growth.limit_bytes), waiting=need > world.growth.limit_bytes)
    assert all(later > earlier for earlier, later in itertools.pairwise(world.sandbox.limits))
    assert world.sandbox.limits[-1] == 900 * MIB


def test_at_the_ceiling_the_kernel_decides_and_it_is_said() -> None:
    world = World(limit=200 * MIB, ceiling=300 * MIB)
    world.react(199 * MIB, waiting=True)
    world.react(300 * MIB, at=1.0, waiting=True)
    assert world.growth.limit_bytes == 300 * MIB
    assert world.sandbox.parkings == [True, False]
    assert "ceiling" in world.said[-1]


def test_a_short_host_makes_tasks_wait_and_then_lets_the_kernel_decide() -> None:
    world = World(host=100 * MIB)
    world.react(100 * MIB, at=0.0, waiting=True)
    world.react(100 * MIB, at=59.0, waiting=True)
    assert world.sandbox.parkings == [True]
    assert len(world.said) == 1
    world.react(100 * MIB, at=60.0, waiting=True)
    assert world.sandbox.parkings == [True, False]
    assert world.growth.waits == 1


def test_memory_that_comes_free_ends_the_wait() -> None:
    world = World(host=100 * MIB)
    world.react(100 * MIB, at=0.0, waiting=True)
    world.booking.host_bytes = GIB
    world.react(100 * MIB, at=10.0, waiting=True)
    assert world.growth.raises == 1
    assert world.growth.wait_total_s == pytest.approx(10.001)


def test_after_the_kernel_decided_a_later_raise_parks_again() -> None:
    world = World(host=100 * MIB)
    world.react(100 * MIB, at=0.0, waiting=True)
    world.react(100 * MIB, at=61.0, waiting=True)
    world.booking.host_bytes = GIB
    world.react(95 * MIB, at=62.0)
    assert world.sandbox.parkings == [True, False, True]


def test_an_interruption_leaves_nobody_waiting() -> None:
    world = World(host=100 * MIB)
    world.react(100 * MIB, at=0.0, waiting=True)
    world.growth.hurry(1.0)
    assert world.sandbox.parkings == [True, False]


def test_without_evidence_only_what_is_needed_is_booked() -> None:
    world = World()
    world.react(95 * MIB)
    assert world.booking.booked == [512 * MIB, 512 * MIB]
    world.growth.keep_booked(GIB)
    assert world.booking.booked[-1] == pytest.approx(1.2 * GIB, rel=1e-6)


def test_a_vanished_cgroup_is_told_to_the_caller() -> None:
    world = World()
    world.sandbox.refuses = True
    with pytest.raises(PermanentError):
        world.react(99 * MIB, waiting=True)


def test_a_limit_that_serve_has_set_is_taken_over_and_left_to_it() -> None:
    world = World(limit=100 * MIB)
    world.growth.follow(100 * MIB)
    world.react(95 * MIB)
    assert world.growth.raises == 1, "the own limit is no sign of anybody else"
    world.growth.follow(80 * MIB)
    assert world.growth.limit_bytes == 80 * MIB
    world.react(79 * MIB, at=1.0)
    assert world.growth.raises == 1, "near the limit is the business of serve now"


def test_tasks_that_serve_leaves_waiting_are_helped() -> None:
    world = World(limit=100 * MIB)
    world.growth.follow(80 * MIB)
    world.react(80 * MIB, at=1.0, waiting=True)
    world.react(80 * MIB, at=1.2, waiting=True)
    assert world.growth.raises == 0
    world.react(80 * MIB, at=1.3, waiting=True)
    assert world.growth.raises == 1
    assert world.growth.limit_bytes > 80 * MIB
    assert world.growth.waits == 1


def test_a_vanished_limit_is_no_limit_to_follow() -> None:
    world = World(limit=100 * MIB)
    world.growth.follow(None)
    assert world.growth.limit_bytes == 100 * MIB


def test_when_serve_lets_go_the_run_parks_and_raises_again() -> None:
    world = World(limit=100 * MIB)
    world.growth.follow(80 * MIB, is_parked=True)
    world.react(79 * MIB, at=1.0)
    assert world.growth.raises == 0
    world.growth.follow(80 * MIB, is_parked=False)
    assert world.sandbox.parkings[-1] is True
    world.react(79 * MIB, at=2.0)
    assert world.growth.raises == 1


def test_who_gave_the_killer_back_itself_does_not_take_it_again() -> None:
    world = World(limit=100 * MIB)
    world.growth.stop_waiting(1.0)
    world.growth.follow(100 * MIB, is_parked=False)
    assert world.sandbox.parkings == [True, False]
