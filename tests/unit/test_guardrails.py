"""core.guardrails: each guard alone, on what it is there for."""

from __future__ import annotations

import pytest

from ullage.core.allocation import Bounds, Ladder
from ullage.core.decision import Reason
from ullage.core.guardrails import (
    above_failed,
    at_ceiling_when_last,
    clamp_reasons,
    fallback_ladder,
    in_whole_mib,
    is_overspent,
    is_sound,
    within_bounds,
)
from ullage.core.units import GIB, MIB
from ullage.testing.histories import run_history, run_question

BOUNDS = Bounds(floor_bytes=64 * MIB, ceiling_bytes=8 * GIB)
NAN, INF = float("nan"), float("inf")


def _ladder(*limits: float, probs: tuple[float, ...] | None = None) -> Ladder:
    falling = tuple(0.5**i for i in range(len(limits)))
    return Ladder(limit_bytes=limits, oom_prob=probs or falling)  # type: ignore[arg-type]


def test_a_sane_ladder_is_sound() -> None:
    assert is_sound(_ladder(GIB, 2 * GIB))
    assert is_sound(_ladder(GIB, 2 * GIB, probs=(0.1, 0.1)))


@pytest.mark.parametrize(
    "nonsense",
    [
        Ladder(limit_bytes=(), oom_prob=()),
        _ladder(NAN),
        _ladder(INF),
        _ladder(GIB, NAN),
        _ladder(0),
        _ladder(-GIB),
        _ladder(1 << 60),
        _ladder(2 * GIB, GIB),
        _ladder(GIB, GIB),
        _ladder(True),
        _ladder("4GiB"),  # type: ignore[arg-type]
        _ladder(None),  # type: ignore[arg-type]
        _ladder(GIB, probs=(NAN,)),
        _ladder(GIB, probs=(1.5,)),
        _ladder(GIB, probs=(-0.1,)),
        _ladder(GIB, 2 * GIB, probs=(0.1, 0.2)),
        _ladder(GIB, 2 * GIB, probs=(0.1,)),
    ],
    ids=repr,
)
def test_nonsense_is_not_sound(nonsense: Ladder) -> None:
    assert not is_sound(nonsense)


def test_the_fallback_is_the_largest_peak_and_some() -> None:
    history = run_history([100 * MIB, 400 * MIB, 200 * MIB], censored=[1])
    ladder = fallback_ladder(history, run_question())
    assert ladder.limit_bytes == (460 * MIB,)
    assert ladder.oom_prob == (0.25,)
    nothing = run_history([])
    assert fallback_ladder(nothing, run_question(request_bytes=GIB)).limit_bytes == (GIB,)
    assert fallback_ladder(nothing, run_question()).limit_bytes == (64 * GIB,)
    poisoned = run_history([NAN, 100 * MIB])
    assert fallback_ladder(poisoned, run_question()).limit_bytes == (115 * MIB,)


@pytest.mark.parametrize(
    ("runs", "failures", "overspent"),
    [(20, 3, True), (20, 2, False), (100, 7, False), (100, 8, True), (5, 0, False), (1, 1, True)],
)
def test_far_more_failures_than_the_budget(runs: int, failures: int, overspent: bool) -> None:
    chances = (0.01,) * runs
    history = run_history([GIB] * runs, first_failed=range(failures), first_oom_prob=chances)
    assert is_overspent(history, 0.02) is overspent
    # Runs that were not under the budget say nothing about it.
    history = run_history([GIB] * runs, first_failed=range(failures), first_oom_prob=(None,) * runs)
    assert not is_overspent(history, 0.02)
    assert not is_overspent(run_history([GIB] * runs, first_failed=range(failures)), 0.02)


def test_failures_that_were_announced_are_no_overspending() -> None:
    """A workload that shares a budget may be planned to fail more often than others."""
    history = run_history([GIB] * 100, first_failed=range(12), first_oom_prob=(0.08,) * 100)
    assert not is_overspent(history, 0.02)
    history = run_history([GIB] * 100, first_failed=range(25), first_oom_prob=(0.08,) * 100)
    assert is_overspent(history, 0.02)


def test_whole_mib_rounded_up_and_merged() -> None:
    ladder = in_whole_mib(_ladder(MIB + 1, 2 * MIB - 1, 5 * MIB, probs=(0.3, 0.2, 0.1)))
    assert ladder == Ladder(limit_bytes=(2 * MIB, 5 * MIB), oom_prob=(0.2, 0.1))


def test_above_a_limit_that_failed() -> None:
    ladder = _ladder(GIB, 2 * GIB, 3 * GIB)
    assert above_failed(ladder, 2 * GIB, BOUNDS).limit_bytes == (3 * GIB,)
    assert above_failed(ladder, 2 * GIB - 1, BOUNDS).limit_bytes == (2 * GIB, 3 * GIB)
    assert above_failed(ladder, 4 * GIB, BOUNDS).limit_bytes == (6 * GIB,)
    assert above_failed(ladder, 7 * GIB, BOUNDS).limit_bytes == (8 * GIB,)
    assert above_failed(ladder, 9 * GIB, BOUNDS).limit_bytes == (8 * GIB,)


def test_the_ceiling_where_nothing_is_left() -> None:
    ladder = _ladder(GIB, 2 * GIB)
    last = run_question(attempts_left=0, can_grow=False)
    assert at_ceiling_when_last(ladder, last).limit_bytes == (64 * GIB,)
    for other in (run_question(attempts_left=1), run_question(attempts_left=0, can_grow=True)):
        assert at_ceiling_when_last(ladder, other) == ladder


def test_bounds() -> None:
    ladder = within_bounds(_ladder(MIB, 32 * MIB, GIB, 9 * GIB, 10 * GIB), BOUNDS)
    assert ladder.limit_bytes == (64 * MIB, GIB, 8 * GIB)
    assert ladder.oom_prob == (0.5, 0.25, 0.25)
    assert within_bounds(_ladder(9 * GIB), BOUNDS).limit_bytes == (8 * GIB,)
    crossed = Bounds(floor_bytes=2 * GIB, ceiling_bytes=GIB)
    assert within_bounds(_ladder(3 * GIB), crossed).limit_bytes == (GIB,)
    assert within_bounds(_ladder(MIB), crossed).limit_bytes == (GIB,)


def test_clamping_is_told() -> None:
    assert clamp_reasons(_ladder(9 * GIB), BOUNDS) == (Reason.CLAMPED_TO_CEILING,)
    assert clamp_reasons(_ladder(MIB), BOUNDS) == (Reason.CLAMPED_TO_FLOOR,)
    assert clamp_reasons(_ladder(GIB, 9 * GIB), BOUNDS) == ()


def test_bounds_leave_chances_that_are_not_told_untold() -> None:
    told_nothing = Ladder(limit_bytes=(MIB, 32 * MIB, GIB, 9 * GIB), oom_prob=())
    within = within_bounds(told_nothing, BOUNDS)
    assert within == Ladder(limit_bytes=(64 * MIB, GIB, 8 * GIB), oom_prob=())
