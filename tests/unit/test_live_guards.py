"""Each guard of a live decision, by its number in the safety contract; all through `guard`.

tests/mutants switches each off and wants at least one of these to fail.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.live_guards import (
    GUARDS,
    RESCUE_GUARDS,
    cuts_allowed,
    guard,
    is_sound,
    quarantine_span,
    s14_fallback,
    stale_after_s,
)
from ullage.core.service import (
    Direction,
    FleetState,
    Freeze,
    FreezeScope,
    GuardCode,
    HostCapacity,
    LimitChange,
    LimitProposal,
    ModelStep,
    ServeSettings,
    TargetState,
    TargetView,
    UpdateMode,
    Watch,
    live_floor_bytes,
)
from ullage.core.units import GIB, MIB
from ullage.testing.service_records import (
    AT,
    TARGET_ID,
    live_reading,
    proposal_to,
    service_spec,
    target_history,
    target_view,
)

SETTINGS = ServeSettings(is_acting=True)
CUT_BYTES = 3500 * MIB
GROWN_BYTES = 5 * GIB


def guarded(
    wanted_bytes: int, *, rescue: bool = False, settings: ServeSettings = SETTINGS, **view: Any
) -> LimitProposal:
    """Return what the guards leave of a wish for `wanted_bytes`, seen with `view`'s changes."""
    seen = target_view(**view)
    limit_bytes = seen.reading.limit_bytes if seen.reading else None
    wish = proposal_to(wanted_bytes, limit_bytes=limit_bytes or 4 * GIB)
    return guard(wish, seen, settings, is_rescue=rescue)


def state(**changes: Any) -> TargetState:
    return replace(target_view().state, **changes)


def holds(code: GuardCode, wanted_bytes: int = CUT_BYTES, **view: Any) -> bool:
    left = guarded(wanted_bytes, **view)
    return left.direction is Direction.HOLD and left.guards[-1] is code


def test_nothing_forbids_this_cut() -> None:
    left = guarded(CUT_BYTES)
    assert (left.direction, left.wanted_bytes, left.guards) == (Direction.CUT, CUT_BYTES, ())


def test_bounds_come_last() -> None:
    assert next(name for name, _ in GUARDS) == "S21"
    assert [name for name, _ in GUARDS][-1] == "S4 bounds"


def test_s1_a_cut_stops_at_the_live_floor() -> None:
    reading = live_reading(need_bytes=3400 * MIB, usage_bytes=3400 * MIB)
    left = guarded(3500 * MIB, reading=reading)
    assert left.wanted_bytes == 3740 * MIB
    assert GuardCode.S1_LIVE_FLOOR in left.guards


def test_s1_no_cut_where_the_floor_is_above_the_limit() -> None:
    reading = live_reading(need_bytes=3900 * MIB, usage_bytes=3900 * MIB)
    assert holds(GuardCode.S1_LIVE_FLOOR, reading=reading)


def test_s1_never_refuses_growth() -> None:
    reading = live_reading(need_bytes=4 * GIB, usage_bytes=4 * GIB)
    assert guarded(GROWN_BYTES, reading=reading).direction is Direction.GROW


@pytest.mark.parametrize(
    ("code", "view"),
    [
        (GuardCode.S2_STALE, {"telemetry_age_s": 91.0}),
        (GuardCode.S2_STALE, {"telemetry_age_s": None}),
        (GuardCode.S2_FUTURE, {"telemetry_age_s": -6.0}),
        (GuardCode.S2_POISONED, {"poisoned_count": 1}),
        (GuardCode.S2_GAPPY, {"gap_ratio": 0.21}),
        (GuardCode.S2_THIN, {"history": target_history(samples=99, interval_s=200)}),
        (GuardCode.S2_THIN, {"history": target_history(samples=350)}),
    ],
)
def test_s2_no_cut_without_evidence_but_growth(code: GuardCode, view: dict[str, Any]) -> None:
    assert holds(code, **view)
    assert guarded(GROWN_BYTES, **view).direction is Direction.GROW


def test_s2_stale_is_the_sources_delay_and_three_intervals() -> None:
    assert stale_after_s(0.0, SETTINGS) == 90
    assert stale_after_s(60.0, SETTINGS) == 150
    assert stale_after_s(3600.0, SETTINGS) == 600


def test_s3_a_rescue_passes_by_what_a_decision_may_not() -> None:
    view = {
        "state": state(hands_off_until_at=AT + timedelta(hours=1)),
        "observe_only": GuardCode.S17_SETTLING,
        "fleet": FleetState(breaker_since_at=AT, incident="deploy"),
        "has_store": False,
        "is_quarantined": True,
    }
    assert guarded(4 * GIB + 64 * MIB, **view).direction is Direction.HOLD
    assert guarded(4 * GIB + 64 * MIB, rescue=True, **view).direction is Direction.GROW


def test_s3_a_rescue_obeys_opt_in_fence_kill_switch_and_bounds() -> None:
    everything = Freeze(scope=FreezeScope.EVERYTHING, workload_key=None, since_at=AT)
    assert guarded(GROWN_BYTES, rescue=True, has_lease=False).direction is Direction.HOLD
    off = service_spec(mode=UpdateMode.OFF)
    assert guarded(GROWN_BYTES, rescue=True, spec=off).direction is Direction.HOLD
    frozen = FleetState(freezes=(everything,))
    assert guarded(GROWN_BYTES, rescue=True, fleet=frozen).direction is Direction.HOLD
    low = service_spec(max_bytes=4 * GIB + MIB)
    assert guarded(GROWN_BYTES, rescue=True, spec=low).wanted_bytes == 4 * GIB + MIB
    assert set(RESCUE_GUARDS) <= {name for name, _ in GUARDS}


def test_s4_growth_ends_at_the_maximum_the_node_and_the_host() -> None:
    assert guarded(20 * GIB).wanted_bytes == 16 * GIB
    assert guarded(20 * GIB, reading=live_reading(node_bytes=8 * GIB)).wanted_bytes == 8 * GIB
    short = HostCapacity(total_bytes=32 * GIB, free_bytes=GIB)
    assert guarded(20 * GIB, host=short).wanted_bytes == 5 * GIB


def test_s4_clamping_never_turns_a_hold_into_a_cut() -> None:
    low = service_spec(max_bytes=2 * GIB)
    keep = replace(proposal_to(GROWN_BYTES), direction=Direction.HOLD)
    assert guard(keep, target_view(spec=low), SETTINGS).direction is Direction.HOLD
    assert holds(GuardCode.S4_CLAMPED, GROWN_BYTES, spec=low)


def test_s4_a_maximum_below_what_is_used_holds() -> None:
    low = service_spec(max_bytes=GIB)
    assert holds(GuardCode.S4_BOUNDS_BELOW_USAGE, spec=low)


def test_s4_a_cut_ends_at_the_minimum() -> None:
    high = service_spec(floor_bytes=3700 * MIB)
    assert guarded(3300 * MIB, spec=high).wanted_bytes == 3700 * MIB


def test_s4_nothing_is_moved_where_there_is_no_limit() -> None:
    assert holds(GuardCode.S4_UNLIMITED, reading=live_reading(limit_bytes=None))


def test_s5_one_cut_takes_a_fifth_at_most() -> None:
    left = guarded(GIB + 512 * MIB)
    assert left.wanted_bytes == 3277 * MIB
    assert left.guards == (GuardCode.S5_STEP_LIMITED,)


def test_s5_small_changes_are_not_made() -> None:
    assert holds(GuardCode.S5_SMALL_STEP, 4 * GIB - 204 * MIB)
    assert holds(GuardCode.S5_SMALL_STEP, 4 * GIB + 204 * MIB)


def test_s5_growth_is_at_least_what_need_proves() -> None:
    wish = proposal_to(4 * GIB + 64 * MIB, evidence_bytes=6 * GIB)
    assert guard(wish, target_view(), SETTINGS).wanted_bytes == 6 * GIB


def test_s7_nothing_while_a_change_is_pending() -> None:
    change = LimitChange(
        target_id=TARGET_ID, decision_id="d-1", expected_bytes=1, new_bytes=2, token=1, is_cut=False
    )
    assert holds(GuardCode.S7_PENDING, GROWN_BYTES, state=state(pending=change))
    assert guarded(GROWN_BYTES, rescue=True, state=state(pending=change)).direction is (
        Direction.HOLD
    )


def test_s8_hands_off_after_somebody_elses_edit() -> None:
    edited = state(hands_off_until_at=AT + timedelta(hours=1))
    assert holds(GuardCode.S8_HANDS_OFF, state=edited)
    assert holds(GuardCode.S8_HANDS_OFF, GROWN_BYTES, state=edited)


def test_s9_nothing_without_the_lease() -> None:
    assert holds(GuardCode.S9_NO_LEASE, has_lease=False)
    assert holds(GuardCode.S9_NO_LEASE, GROWN_BYTES, has_lease=False)


@pytest.mark.parametrize(
    ("code", "view"),
    [
        (GuardCode.S10_BLAST_RADIUS, {"cuts_left_count": 0}),
        (GuardCode.S10_GROUP, {"is_group_busy": True}),
        (GuardCode.S10_INCIDENT, {"fleet": FleetState(incident="deploy")}),
        (GuardCode.S11_QUARANTINE, {"is_quarantined": True}),
        (GuardCode.S12_BREAKER, {"fleet": FleetState(breaker_since_at=AT)}),
        (GuardCode.S16_FEEDBACK, {"fleet": FleetState(conservative=frozenset({"service"}))}),
        (GuardCode.S18_STORE, {"has_store": False}),
    ],
)
def test_s10_s11_s12_s16_s18_hold_cuts_alone(code: GuardCode, view: dict[str, Any]) -> None:
    assert holds(code, **view)
    assert guarded(GROWN_BYTES, **view).direction is Direction.GROW


def test_s11_no_second_cut_while_one_is_watched() -> None:
    watch = Watch(
        decision_id="d-1",
        from_bytes=5 * GIB,
        to_bytes=4 * GIB,
        began_at=AT,
        until_at=AT + timedelta(minutes=15),
        oom_kills=0,
        instance="one",
    )
    assert holds(GuardCode.S11_WATCHING, state=state(watch=watch))


def test_s10_and_s11_figures() -> None:
    assert [cuts_allowed(count, SETTINGS) for count in (0, 10, 39, 40, 2000)] == [1, 1, 1, 2, 100]
    hours = [quarantine_span(n, SETTINGS) / timedelta(hours=1) for n in (1, 2, 3, 4, 99)]
    assert hours == [24, 48, 96, 168, 168]


@pytest.mark.parametrize("code", [GuardCode.S17_SETTLING, GuardCode.S20_CLOCK_JUMP])
def test_s17_s20_ticks_that_only_observe(code: GuardCode) -> None:
    assert holds(code, observe_only=code)
    assert holds(code, GROWN_BYTES, observe_only=code)


def test_s21_acting_needs_the_workload_and_the_global_switch() -> None:
    assert holds(GuardCode.S21_OBSERVE, settings=ServeSettings())
    assert holds(GuardCode.S21_OBSERVE, GROWN_BYTES, spec=service_spec(mode=UpdateMode.OFF))
    assert ServeSettings().is_acting is False
    assert service_spec().mode is not UpdateMode.OFF


def test_frozen_cuts_or_everything() -> None:
    cuts = Freeze(scope=FreezeScope.CUTS, workload_key="service", since_at=AT)
    assert holds(GuardCode.FROZEN, fleet=FleetState(freezes=(cuts,)))
    assert guarded(GROWN_BYTES, fleet=FleetState(freezes=(cuts,))).direction is Direction.GROW
    everything = replace(cuts, scope=FreezeScope.EVERYTHING)
    assert holds(GuardCode.FROZEN, GROWN_BYTES, fleet=FleetState(freezes=(everything,)))
    other = FleetState(freezes=(replace(everything, workload_key="other"),))
    assert guarded(GROWN_BYTES, fleet=other).direction is Direction.GROW
    over = FleetState(freezes=(replace(everything, until_at=AT),))
    assert guarded(GROWN_BYTES, fleet=over).direction is Direction.GROW


@pytest.mark.parametrize(
    "wanted", [None, float("nan"), float("inf"), -1, 0, 1e18, 2**63, True, "3GiB", 512 * MIB]
)
def test_s14_nonsense_is_not_sound(wanted: Any) -> None:
    wish = replace(proposal_to(CUT_BYTES), wanted_bytes=wanted)
    assert not is_sound(wish, target_view())


def test_s14_sound_answers_and_the_fallback() -> None:
    view = target_view()
    assert is_sound(proposal_to(CUT_BYTES), view)
    assert not is_sound(proposal_to(40 * GIB), view), "above the node"
    assert not is_sound(replace(proposal_to(CUT_BYTES), direction=Direction.GROW), view)
    assert not is_sound(replace(proposal_to(CUT_BYTES), target_id="other"), view)
    fallback = s14_fallback(view, SETTINGS)
    assert (fallback.wanted_bytes, fallback.step) == (1178 * MIB, ModelStep.EMPIRICAL)
    nothing = s14_fallback(replace(view, history=target_history(samples=0)), SETTINGS)
    assert (nothing.direction, nothing.step) == (Direction.HOLD, ModelStep.KEEP)


def test_s24_every_hold_has_a_code() -> None:
    for name, check in GUARDS:
        left = check(proposal_to(CUT_BYTES), target_view(has_lease=False), SETTINGS)
        assert left.direction is not Direction.HOLD or left.guards, name


sizes = st.integers(0, 40 * GIB)


@given(
    wanted=st.integers(-GIB, 1 << 51),
    need=sizes,
    limit=sizes.filter(bool),
    floor=st.integers(1, 8 * GIB),
    maximum=st.none() | st.integers(1, 40 * GIB),
    room=st.integers(0, 32 * GIB),
    rescue=st.booleans(),
)
def test_whatever_is_asked_the_answer_obeys(
    wanted: int, need: int, limit: int, floor: int, maximum: int | None, room: int, rescue: bool
) -> None:
    """A cut stays above the live floor and within a step; growth within bounds; holds stay."""
    view: TargetView = target_view(
        spec=service_spec(floor_bytes=floor, max_bytes=maximum),
        reading=live_reading(need_bytes=need, usage_bytes=need, limit_bytes=limit),
        host=HostCapacity(total_bytes=32 * GIB, free_bytes=room),
    )
    left = guard(proposal_to(wanted, limit_bytes=limit), view, SETTINGS, is_rescue=rescue)
    if left.direction is Direction.HOLD:
        assert left.guards
        return
    assert isinstance(left.wanted_bytes, int)
    if left.direction is Direction.GROW:
        assert limit < left.wanted_bytes <= min(maximum or 32 * GIB, 32 * GIB, limit + room)
    elif not rescue:
        assert left.wanted_bytes >= live_floor_bytes(need, limit, floor, SETTINGS)
        assert limit * 0.8 <= left.wanted_bytes <= limit * 0.95
