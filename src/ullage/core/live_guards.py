"""The guards between a policy's wish and a live change: one small pure function each.

A guard takes (proposal, view, settings) and returns the proposal as it is, a smaller cut, or a
hold with a reason code. No guard turns a hold into a cut, or limits a growth below what need
proves (S5); the bounds come last (S4). Not here: what is checked at the moment of a write, the
lease and the comparison with the limit that the decision saw (control.changes), and S1 in the
actuator, which repeats the live floor with what it reads in the same call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import numpy as np

from ullage.core.allocation import round_up
from ullage.core.service import (
    Direction,
    FreezeScope,
    GuardCode,
    HostCapacity,
    LimitProposal,
    LiveReading,
    ModelStep,
    ServeSettings,
    ServiceSpec,
    TargetHistory,
    TargetView,
    UpdateMode,
    live_floor_bytes,
)
from ullage.core.units import MAX_BYTES

Guard: TypeAlias = Callable[[LimitProposal, TargetView, ServeSettings], LimitProposal]


def hold(proposal: LimitProposal, code: GuardCode) -> LimitProposal:
    """Return the proposal as a hold, with the code that says why; the wish stays readable."""
    return replace(proposal, direction=Direction.HOLD, guards=(*proposal.guards, code))


# -- may anything be done at all ---------------------------------------------------------------


def s21_opt_in(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold unless the workload and the global switch both say that Ullage may act."""
    is_on = settings.is_acting and view.spec.mode is UpdateMode.IN_PLACE
    return p if is_on else hold(p, GuardCode.S21_OBSERVE)


def frozen(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts where a person froze them, everything where they froze everything."""
    for freeze in view.fleet.freezes:
        is_meant = freeze.workload_key in (None, view.spec.workload_key)
        is_over = freeze.until_at is not None and freeze.until_at <= view.at
        if is_meant and not is_over and (_is_cut(p) or freeze.scope is FreezeScope.EVERYTHING):
            return hold(p, GuardCode.FROZEN)
    return p


def s9_lease(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold where this process does not hold the lease (checked again before each write)."""
    return p if view.has_lease else hold(p, GuardCode.S9_NO_LEASE)


def s17_s20_observe_only(
    p: LimitProposal, view: TargetView, settings: ServeSettings
) -> LimitProposal:
    """Hold in the ticks after a start (S17) or a jump of the wall clock (S20)."""
    return p if view.observe_only is None else hold(p, view.observe_only)


def s7_pending(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold while an earlier change's outcome is unknown: never two at once, never blind."""
    return p if view.state.pending is None else hold(p, GuardCode.S7_PENDING)


def s8_hands_off(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold for a day after somebody else changed the limit."""
    return p if view.state.hands_off_until_at is None else hold(p, GuardCode.S8_HANDS_OFF)


def s4_unlimited(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold where there is no limit, or nothing is known about it: a first limit is a cut."""
    is_known = view.reading is not None and view.reading.limit_bytes is not None
    return p if is_known else hold(p, GuardCode.S4_UNLIMITED)


# -- may this be cut -----------------------------------------------------------------------------


def s2_evidence(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts on stale, future, poisoned, gappy or thin telemetry; growth may go on."""
    if not _is_cut(p):
        return p
    code = lacking_evidence(view, settings)
    return p if code is None else hold(p, code)


def lacking_evidence(view: TargetView, settings: ServeSettings) -> GuardCode | None:
    """Return what is wrong with the telemetry of a view, None if it is fit to cut on (S2).

    Stale: older than the source's delay + 3 intervals, at most 10 min. Thin: fewer than 100
    readings, or less than 3 h from the first to the last.
    """
    age_s = view.telemetry_age_s
    if view.poisoned_count > 0:
        return GuardCode.S2_POISONED
    if age_s is None or age_s > stale_after_s(view.source_delay_s, settings):
        return GuardCode.S2_STALE
    if age_s < -settings.future_slack.total_seconds():
        return GuardCode.S2_FUTURE
    if is_thin(view.history, settings):
        return GuardCode.S2_THIN
    return GuardCode.S2_GAPPY if view.gap_ratio > settings.gap_ratio else None


def is_thin(history: TargetHistory, settings: ServeSettings) -> bool:
    """Say whether a past is too short to cut on: too few readings, or over too short a span."""
    at_s = history.at_s
    if len(at_s) < settings.least_samples_count:
        return True
    first_s = min(float(at_s[0]), history.first_seen_at.timestamp())
    return bool(float(at_s[-1]) - first_s < settings.least_history.total_seconds())


def stale_after_s(source_delay_s: float, settings: ServeSettings) -> float:
    """Return the age in seconds from which a reading is stale.

    Worked: 30 s samples, no delay -> 90 s; a delay of 1 h -> 600 s.
    """
    intervals_s = settings.stale_intervals_count * settings.sample_interval.total_seconds()
    return min(source_delay_s + intervals_s, settings.stale_at_most.total_seconds())


def s18_store(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts while the store does not answer."""
    return hold(p, GuardCode.S18_STORE) if _is_cut(p) and not view.has_store else p


def s12_breaker(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts while the breaker is open."""
    is_open = view.fleet.breaker_since_at is not None
    return hold(p, GuardCode.S12_BREAKER) if _is_cut(p) and is_open else p


def s16_feedback(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts where feedback asks for more room; feedback never makes one."""
    is_asked = view.spec.workload_key in view.fleet.conservative
    return hold(p, GuardCode.S16_FEEDBACK) if _is_cut(p) and is_asked else p


def s11_after_a_cut(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts while one is being watched, and while the workload is in quarantine."""
    if not _is_cut(p):
        return p
    if view.is_quarantined:
        return hold(p, GuardCode.S11_QUARANTINE)
    return p if view.state.watch is None else hold(p, GuardCode.S11_WATCHING)


def s10_blast_radius(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold cuts beyond the tick's share, of a second replica, and during an incident."""
    if not _is_cut(p):
        return p
    if view.fleet.incident:
        return hold(p, GuardCode.S10_INCIDENT)
    if view.is_group_busy:
        return hold(p, GuardCode.S10_GROUP)
    return p if view.cuts_left_count > 0 else hold(p, GuardCode.S10_BLAST_RADIUS)


# -- how far -----------------------------------------------------------------------------------


def s5_one_step(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Make a cut one step at most; a growth at least what need proves."""
    if p.wanted_bytes is None or p.direction is Direction.HOLD:
        return p
    if p.direction is not Direction.CUT:
        return replace(p, wanted_bytes=max(p.wanted_bytes, p.evidence_bytes))
    least_bytes = round_up(_limit(view) * (1 - settings.cut_step_ratio))
    if p.wanted_bytes >= least_bytes:
        return p
    return replace(p, wanted_bytes=least_bytes, guards=(*p.guards, GuardCode.S5_STEP_LIMITED))


def s1_live_floor(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Lift a cut to the live floor; hold where the floor is not below the limit."""
    if not _is_cut(p) or p.wanted_bytes is None or view.reading is None:
        return p
    limit_bytes = _limit(view)
    floor_bytes = round_up(
        live_floor_bytes(view.reading.need_bytes, limit_bytes, view.spec.floor_bytes, settings)
    )
    if p.wanted_bytes >= floor_bytes:
        return p
    if floor_bytes >= limit_bytes:
        return hold(p, GuardCode.S1_LIVE_FLOOR)
    return replace(p, wanted_bytes=floor_bytes, guards=(*p.guards, GuardCode.S1_LIVE_FLOOR))


def s5_worth_it(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Hold changes of less than 5 %, but for a growth that need proves."""
    if p.wanted_bytes is None or p.direction is Direction.HOLD:
        return p
    limit_bytes = _limit(view)
    if p.direction is not Direction.CUT and p.evidence_bytes > limit_bytes:
        return p
    moved_bytes = abs(p.wanted_bytes - limit_bytes)
    is_small = moved_bytes < settings.small_step_ratio * limit_bytes or moved_bytes == 0
    return hold(p, GuardCode.S5_SMALL_STEP) if is_small else p


def s4_bounds(p: LimitProposal, view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Keep a change within min..max(settings, node, host); the last word on every number.

    A growth that ends at or below the present limit is a hold. A cut from above the maximum
    goes towards it by steps; where the maximum is below the live floor it holds.
    """
    if p.wanted_bytes is None or p.direction is Direction.HOLD or view.reading is None:
        return p
    limit_bytes, ceiling_bytes = _limit(view), ceiling_of(view.spec, view.reading, view.host)
    if p.direction is Direction.CUT:
        need_bytes, floor_bytes = view.reading.need_bytes, view.spec.floor_bytes
        live_bytes = live_floor_bytes(need_bytes, limit_bytes, floor_bytes, settings)
        if ceiling_bytes < live_bytes:
            return hold(p, GuardCode.S4_BOUNDS_BELOW_USAGE)
        bounded_bytes = max(p.wanted_bytes, round_up(floor_bytes))
        return _moved(p, bounded_bytes) if bounded_bytes < limit_bytes else _clamped_hold(p)
    if p.direction is Direction.RESTORE:
        # It had that much before; what a restore gives back was never taken from others.
        return p if p.wanted_bytes > limit_bytes else _clamped_hold(p)
    room_bytes = limit_bytes + view.host.room_bytes if view.host.total_bytes else MAX_BYTES
    top_bytes = min(ceiling_bytes, room_bytes)
    bounded_bytes = min(p.wanted_bytes, top_bytes)
    return _moved(p, bounded_bytes) if bounded_bytes > limit_bytes else _clamped_hold(p)


def ceiling_of(spec: ServiceSpec, reading: LiveReading | None, host: HostCapacity) -> int:
    """Return the highest limit that settings and machine allow; 2**50 where nothing says."""
    node_bytes = reading.node_bytes if reading else None
    bounds = (spec.max_bytes, node_bytes, host.total_bytes)
    return min((bound for bound in bounds if bound), default=MAX_BYTES)


GUARDS: tuple[tuple[str, Guard], ...] = (
    ("S21", s21_opt_in),
    ("freeze", frozen),
    ("S9", s9_lease),
    ("S17/S20", s17_s20_observe_only),
    ("S7", s7_pending),
    ("S8", s8_hands_off),
    ("S4 unlimited", s4_unlimited),
    ("S18", s18_store),
    ("S2", s2_evidence),
    ("S12", s12_breaker),
    ("S16", s16_feedback),
    ("S11", s11_after_a_cut),
    ("S10", s10_blast_radius),
    ("S5 step", s5_one_step),
    ("S1", s1_live_floor),
    ("S5 small", s5_worth_it),
    ("S4 bounds", s4_bounds),
)
"""In the order in which they speak: opt-in first, bounds last (S4)."""

RESCUE_GUARDS = ("S21", "freeze", "S9", "S7", "S4 unlimited", "S4 bounds")
"""What nothing bypasses, a rescue neither (S3): opt-in, kill switch, fence, bounds; and while a
change is pending the world is looked at first (S7)."""


def guard(
    proposal: LimitProposal, view: TargetView, settings: ServeSettings, *, is_rescue: bool = False
) -> LimitProposal:
    """Return what the guards leave of a proposal; the first hold is the last word."""
    for name, check in GUARDS:
        if proposal.direction is Direction.HOLD:
            break
        if not is_rescue or name in RESCUE_GUARDS:
            proposal = check(proposal, view, settings)
    return proposal


# -- S14: an answer that cannot be meant ---------------------------------------------------------


def is_sound(proposal: LimitProposal, view: TargetView) -> bool:
    """Say whether a policy's answer can be meant (S14).

    A whole number of bytes, 0 < x <= 2**50, not above the node, not below live need; a
    direction that fits; for this target.
    """
    if proposal.target_id != view.target.target_id:
        return False
    if proposal.direction is Direction.HOLD:
        return True
    wanted, reading = proposal.wanted_bytes, view.reading
    if reading is None or reading.limit_bytes is None:
        return False
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer):
        return False
    node_bytes = reading.node_bytes or MAX_BYTES
    if not 0 < wanted <= min(node_bytes, MAX_BYTES) or wanted < reading.need_bytes:
        return False
    rises = wanted > reading.limit_bytes
    return proposal.direction is (Direction.GROW if rises else Direction.CUT)


def s14_fallback(view: TargetView, settings: ServeSettings) -> LimitProposal:
    """Return the empirical rule's wish: the largest need seen x 1.15; without history, keep.

    OOM kills count as at least what they were seen with.
    """
    history, reading = view.history, view.reading
    seen = (history.need_bytes, history.peak_bytes, history.oom_at_least_bytes)
    largest_bytes = max((int(array.max()) for array in seen if len(array)), default=0)
    if reading is None or reading.limit_bytes is None or largest_bytes <= 0:
        return keep(view, step=ModelStep.KEEP)
    wanted_bytes = round_up(min(largest_bytes * settings.fallback_ratio, MAX_BYTES))
    rises = wanted_bytes > reading.limit_bytes
    return LimitProposal(
        target_id=view.target.target_id,
        wanted_bytes=wanted_bytes,
        direction=Direction.GROW if rises else Direction.CUT,
        reason="largest_need",
        evidence="the largest need seen x 1.15",
        policy="fallback",
        step=ModelStep.EMPIRICAL,
        guards=(GuardCode.S14_NONSENSE, GuardCode.S14_FALLBACK),
    )


def keep(view: TargetView, *, step: ModelStep = ModelStep.MODEL) -> LimitProposal:
    """Return the wish that the limit stays."""
    codes = (GuardCode.S14_NONSENSE,) if step is ModelStep.KEEP else ()
    return LimitProposal(
        target_id=view.target.target_id,
        wanted_bytes=None,
        direction=Direction.HOLD,
        reason="keep",
        policy="fallback" if codes else "",
        step=step,
        guards=(*codes, GuardCode.KEEP),
    )


# -- S10, S11: figures that the loop asks for ------------------------------------------------------


def cuts_allowed(opted_in_count: int, settings: ServeSettings) -> int:
    """Return how many cuts one tick may make (S10): max(1, 5 % of the opted-in).

    Worked: 10 -> 1; 100 -> 5; 0 -> 1.
    """
    return max(1, math.floor(opted_in_count * settings.blast_ratio))


def quarantine_span(quarantines: int, settings: ServeSettings) -> timedelta:
    """Return how long the n-th quarantine in a row lasts (S11): 24 h, doubling to 7 d.

    Worked: 1 -> 24 h; 2 -> 48 h; 4 -> 7 d.
    """
    doubled = settings.quarantine * (1 << min(max(quarantines - 1, 0), 20))
    return min(doubled, settings.quarantine_at_most)


def _is_cut(proposal: LimitProposal) -> bool:
    return proposal.direction is Direction.CUT


def _limit(view: TargetView) -> int:
    return (view.reading.limit_bytes if view.reading else None) or 0


def _moved(proposal: LimitProposal, bytes_: int) -> LimitProposal:
    if bytes_ == proposal.wanted_bytes:
        return proposal
    codes = (*proposal.guards, GuardCode.S4_CLAMPED)
    return replace(proposal, wanted_bytes=bytes_, guards=codes)


def _clamped_hold(proposal: LimitProposal) -> LimitProposal:
    return hold(proposal, GuardCode.S4_CLAMPED)
