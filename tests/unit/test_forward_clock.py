"""Wall clocks that jump while a run lasts, or between two runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ullage.control.forward_clock import ForwardClock
from ullage.core.view import history_of, moment_of_view
from ullage.testing.doubles import ManualClock
from ullage.testing.records import START, begun_run, ended, one_attempt

HOUR = timedelta(hours=1)


def test_a_clock_set_back_goes_on_by_the_monotonic_one() -> None:
    machine = ManualClock(START)
    clock = ForwardClock(machine)
    machine.advance(timedelta(seconds=10))
    assert clock.now() == START + timedelta(seconds=10)
    machine.set_wall(START - HOUR)
    machine.advance(timedelta(seconds=5))
    assert clock.now() == START + timedelta(seconds=15)
    assert clock.monotonic_s() == 15.0


def test_a_clock_set_forward_is_followed_and_never_taken_back() -> None:
    machine = ManualClock(START)
    clock = ForwardClock(machine)
    machine.set_wall(START + HOUR)
    assert clock.now() == START + HOUR
    machine.set_wall(START)
    machine.advance(timedelta(seconds=5))
    assert clock.now() == START + HOUR + timedelta(seconds=5)


@given(
    jumps=st.lists(
        st.tuples(st.timedeltas(-9 * HOUR, 9 * HOUR), st.timedeltas(timedelta(), HOUR)), max_size=8
    )
)
def test_no_run_is_longer_than_the_clocks_say_or_ends_before_it_starts(
    jumps: list[tuple[timedelta, timedelta]],
) -> None:
    machine = ManualClock(START)
    clock = ForwardClock(machine)
    before, spent = clock.now(), timedelta()
    for jump, span in jumps:
        machine.set_wall(machine.now() + jump)
        machine.advance(span)
        spent += span
        now = clock.now()
        assert now >= max(before, machine.now(), START + spent)
        before = now


def test_what_is_recorded_is_known_whatever_the_clock_says() -> None:
    """A run that ended under a clock an hour ahead is seen by the next decision."""
    ahead = ended(begun_run(1), one_attempt(), known_at=START + HOUR)
    now = START + timedelta(minutes=2)
    assert len(history_of([ahead], at=now)) == 0
    at = moment_of_view([ahead, begun_run(2)], now=now)
    assert at == START + HOUR
    assert len(history_of([ahead], at=at)) == 1


def test_a_clock_that_is_right_is_the_moment_of_a_view() -> None:
    past = ended(begun_run(1), one_attempt())
    assert moment_of_view([past], now=START + HOUR) == START + HOUR
    assert moment_of_view([], now=datetime(2026, 1, 1, tzinfo=UTC)).year == 2026
