"""The service loop in small worlds: what concerns the order of rows and writes, by S-number.

tests/mutants takes each behaviour away and wants at least one of these to fail.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serve_worlds import DOCKER, QUICK, V1, V2, SmallWorld

from ullage.core.service import (
    EntryKind,
    Freeze,
    FreezeScope,
    GuardCode,
    LimitChange,
    LimitProposal,
    ServiceQuestion,
    TargetHistory,
    UpdateMode,
)
from ullage.core.units import GIB, MIB
from ullage.simulation.world_ports import CRASH_POINTS, WorldDisk
from ullage.testing.doubles import LargestNeed


def codes_of(small: SmallWorld) -> tuple[GuardCode, ...]:
    """Return why the first target's limit stays."""
    return small.daemon.controller.targets()[0].hold_codes


class Answers:
    """A policy that says what it is told to, or raises it."""

    policy_id = "answers"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        if isinstance(self.answer, Exception):
            raise self.answer
        if callable(self.answer):
            return self.answer(question)  # type: ignore[no-any-return]
        honest = LargestNeed().recommend(history, question)
        return replace(honest, wanted_bytes=self.answer)


def test_limits_follow_need_down_and_up_without_a_kill() -> None:
    small = SmallWorld([V1, V2, DOCKER])
    small.run.advance(4 * 3600)
    assert all(target.limit_bytes == 1229 * MIB for target in small.targets)
    for target in small.targets:
        target.demand_bytes = 6 * GIB
    small.run.advance(60)
    assert all(target.need_bytes == 6 * GIB for target in small.targets)
    assert [target.oom_kills for target in small.targets] == [0, 0, 0]


# -- S3: rescue ------------------------------------------------------------------------------------


def test_s3_tasks_that_wait_are_let_go_at_once() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    small.world.leap(small.target.target_id, 9 * GIB)
    assert small.target.is_waiting
    small.run.deliver()
    assert not small.target.is_waiting
    assert small.target.limit_bytes == 5 * GIB + 64 * MIB


def test_s3_a_rescue_goes_on_in_hands_off_and_in_quarantine() -> None:
    small = SmallWorld([V1])
    small.until_cut()
    small.world.set_limit(small.target.target_id, 2 * GIB)
    small.run.advance(60)
    assert codes_of(small)[-1] is GuardCode.S8_HANDS_OFF
    small.demand(3 * GIB)
    assert small.target.need_bytes == 3 * GIB
    assert small.target.oom_kills == 0


def test_s3_the_riskiest_is_served_first_and_who_was_not_is_told() -> None:
    """Room for 0.98 GiB; who waits asks for 1.06, who is near the limit for 0.70."""
    small = SmallWorld([V1, V1, V1], host_bytes=int(10.2 * GIB))
    small.run.advance(90)
    near, waits, _ = small.targets
    near.need_bytes = near.demand_bytes = 3800 * MIB
    waits.demand_bytes = 9 * GIB
    waits.need_bytes, waits.is_waiting = 4 * GIB, True
    small.run.tick()
    assert waits.limit_bytes is not None
    assert waits.limit_bytes > 4 * GIB + 900 * MIB
    assert near.limit_bytes is not None
    assert near.limit_bytes < 4 * GIB + 128 * MIB
    unsaved = {record.entry.target_id for record in small.rows(EntryKind.UNSAVED)}
    assert unsaved == {near.target_id, waits.target_id}
    reasons = {record.entry.body["why"] for record in small.rows(EntryKind.UNSAVED)}
    assert reasons == {"s3_no_capacity"}


def test_s3_an_oom_kill_asks_for_more_than_the_limit_it_happened_at() -> None:
    small = SmallWorld([DOCKER])
    small.run.advance(90)
    small.world.leap(small.target.target_id, 6 * GIB)
    assert small.target.oom_kills == 1
    small.run.deliver()
    assert small.target.limit_bytes == 5 * GIB + 64 * MIB
    small.run.advance(300)
    grown = [change for change in small.run.actuator.written if not change.is_cut]
    assert len(grown) == 1, "one OOM kill, one growth (S23)"


# -- S6, S22: rows before effects ------------------------------------------------------------------


def test_s6_a_cut_is_durable_before_it_is_made() -> None:
    small = SmallWorld([V1])
    seen: list[bool] = []

    def witness(change: LimitChange) -> None:
        rows = small.rows(EntryKind.DECISION)
        ids = [record.entry.body["decision_id"] for record in rows]
        seen.append(change.decision_id in ids)

    small.run.actuator.witness = witness
    small.until_cut()
    assert seen == [True]


def test_s6_no_store_no_cut_but_growth_inside_the_envelope() -> None:
    small = SmallWorld([V1])
    small.until_cut()
    cuts = len(small.cuts())
    small.run.faults.store = "full"
    small.demand(5 * GIB)
    assert small.target.limit_bytes is not None
    assert small.target.limit_bytes > 5 * GIB
    rows = len(small.run.records)
    small.run.faults.store = ""
    small.run.advance(5)
    small.run.tick()
    told = [str(record.entry.kind) for record in small.run.records[rows:]]
    assert told.count("outcome") >= 1, "growth without a store is recorded when it is back"
    assert len(small.cuts()) == cuts


def test_s6_no_growth_outside_the_envelope_without_a_row() -> None:
    small = SmallWorld([V1])
    small.run.advance(35)
    small.run.faults.store = "full"
    assert not small.rows(EntryKind.ENVELOPE)
    small.world.leap(small.target.target_id, 6 * GIB)
    small.run.deliver()
    assert not small.run.actuator.written


def test_s6_nobody_waits_for_a_store_for_ever() -> None:
    small = SmallWorld([V1])
    small.run.advance(120)
    assert small.target.is_parking
    small.run.faults.store = "full"
    small.run.advance(60)
    assert not small.target.is_parking


def test_s22_the_original_limit_is_stored_before_the_first_change() -> None:
    small = SmallWorld([V1])
    small.until_cut()
    kinds = [record.entry.kind for record in small.run.records]
    assert kinds.index(EntryKind.ORIGINAL) < kinds.index(EntryKind.DECISION)
    stored = small.run.disk.state_of[small.target.target_id]
    assert stored.original_limit_bytes == 4 * GIB


# -- S7: at most once ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["unknown_done", "unknown_not_done"])
def test_s7_after_an_unknown_outcome_the_world_is_read(fault: str) -> None:
    small = SmallWorld([V1])
    small.run.advance(150)
    small.run.faults.applies[small.target.target_id] = [fault]
    small.run.advance(600)
    settled = small.rows(EntryKind.SETTLED)
    results = [record.entry.body["result"] for record in settled]
    assert results == ["applied" if fault == "unknown_done" else "refused"]
    ids = [change.decision_id for change in small.run.actuator.written]
    assert len(ids) == len(set(ids))


def test_s7_no_order_while_the_world_cannot_be_read() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    asked: list[str] = []
    small.run.actuator.witness = lambda change: asked.append(change.decision_id)
    small.run.faults.applies[small.target.target_id] = ["unknown_not_done"] * 20
    while not asked:
        small.run.advance(30)
    small.run.faults.reads[small.target.target_id] = "frozen"
    small.run.advance(60)
    assert len(asked) == 1, "retried blind"


# -- S8: somebody else's edit ----------------------------------------------------------------------


def test_s8_an_edit_between_decision_and_write_wins() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    small.run.faults.applies[small.target.target_id] = ["edit"]
    small.run.advance(900)
    assert small.target.limit_bytes == 8 * GIB
    assert not small.cuts()
    assert len(small.rows(EntryKind.HANDS_OFF)) == 1


def test_s8_an_edit_is_noticed_and_left_alone_for_a_day() -> None:
    small = SmallWorld([V1])
    small.until_cut()
    cuts = len(small.cuts())
    small.world.set_limit(small.target.target_id, 5 * GIB)
    small.run.advance(3600)
    assert small.target.limit_bytes == 5 * GIB
    assert len(small.cuts()) == cuts
    small.run.advance(23.1 * 3600)
    assert len(small.cuts()) > cuts


# -- S9: one writer --------------------------------------------------------------------------------


def test_s9_the_lease_is_looked_at_immediately_before_each_write() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    clock = small.world.clock
    lose: list[float] = []

    class SlowDisk:
        """Syncing takes longer than the lease lives."""

        def append(self, entries: Any, **given: Any) -> Any:
            made = WorldDisk.append(small.run.disk, entries, **given)
            if any(entry.kind is EntryKind.DECISION for entry in entries):
                clock.advance(30)
                lose.append(1)
            return made

    parts = small.daemon.controller._parts
    object.__setattr__(parts, "journal", SlowDisk())
    small.run.advance(120)
    assert lose
    assert not small.run.actuator.written


def test_s9_another_daemon_takes_over_within_20_s() -> None:
    small = SmallWorld([V1])
    small.run.advance(120)
    small.run.start()
    small.run.advance(60)
    small.daemon.is_paused = True
    small.run.advance(20)
    assert small.run.disk.holder == "daemon-2"
    small.daemon.is_paused = False
    small.run.advance(600)
    tokens = [record.token for record in small.run.records]
    assert tokens == sorted(tokens)
    assert small.run.disk.holder == "daemon-2"


def test_s9_a_zombies_late_write_is_undone_by_the_next_pass() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    small.run.faults.applies[small.target.target_id] = ["slip"]
    while not small.daemon.is_dead:
        small.run.advance(30)
    small.run.start()
    small.run.advance(60)
    small.run.wake_slipped()
    assert small.target.limit_bytes is not None
    assert small.target.limit_bytes < 4 * GIB, "the write slipped through"
    small.run.tick()
    assert small.target.limit_bytes == 4 * GIB


# -- S10..S12: blast radius, watch, breaker --------------------------------------------------------


def test_s10_one_replica_of_a_group_at_a_time() -> None:
    small = SmallWorld([V1, V1, V1, V1])
    small.until_cut()
    small.run.advance(240)
    assert len(small.cuts()) == 1


def harmed(small: SmallWorld, sign: str) -> None:
    """Let a sign of harm show right after a cut."""
    target = small.target
    if sign == "psi":
        target.psi_ratio = 0.5
    elif sign == "restart":
        small.world.restart(target.target_id)
    elif sign == "near":
        target.demand_bytes = int((target.limit_bytes or 0) * 0.95)
        small.run.follow()
    else:
        small.world.leap(target.target_id, 7 * GIB)
        small.run.deliver()


@pytest.mark.parametrize("sign", ["psi", "restart", "near", "waiting", "oom"])
def test_s11_harm_gives_the_limit_back_within_60_s_and_quarantines(sign: str) -> None:
    small = SmallWorld([DOCKER if sign == "oom" else V1])
    small.until_cut()
    harmed(small, sign)
    small.run.advance(60)
    assert (small.target.limit_bytes or 0) >= 4 * GIB
    cuts = len(small.cuts())
    ended = small.rows(EntryKind.WATCH_ENDED)
    assert [record.entry.body["verdict"] for record in ended] == [sign]
    small.target.psi_ratio = None
    small.run.advance(20 * 3600)
    assert len(small.cuts()) == cuts, "24 h without cuts"
    if sign in ("psi", "restart"):
        small.run.advance(5 * 3600)
        assert len(small.cuts()) > cuts


def test_s11_silence_is_not_calm() -> None:
    small = SmallWorld([V1])
    small.until_cut()
    small.run.faults.reads[small.target.target_id] = "fail"
    small.run.advance(3600)
    assert not small.rows(EntryKind.WATCH_ENDED)
    assert len(small.cuts()) == 1


def test_s12_two_ooms_of_ours_in_an_hour_end_all_cuts_until_a_person_rearms() -> None:
    small = SmallWorld([DOCKER, V2, V1])
    for target in small.targets[:2]:
        while not small.run.disk.state_of.get(target.target_id) or not (
            small.run.disk.state_of[target.target_id].watch
        ):
            small.run.advance(30)
        small.world.leap(target.target_id, 7 * GIB)
        small.run.deliver()
    ooms = small.rows(EntryKind.OOM)
    assert [record.entry.body["attribution"] for record in ooms] == ["ullage", "ullage"]
    assert len(small.rows(EntryKind.BREAKER)) == 1
    cuts = len(small.cuts())
    small.run.advance(3 * 24 * 3600)
    assert len(small.cuts()) == cuts
    small.run.disk.orders = replace(small.run.disk.orders, breaker_since_at=None)
    small.run.advance(3600)
    assert len(small.cuts()) > cuts


# -- S13, S14, S19, S21 ----------------------------------------------------------------------------


def test_s13_an_empty_selector_means_nobody() -> None:
    small = SmallWorld([V1], selector="")
    small.run.advance(600)
    assert small.daemon.controller.targets() == []
    blank = SmallWorld([V1], selector=" ")
    blank.run.advance(600)
    assert blank.daemon.controller.targets() == []


def test_s13_a_listing_that_fails_targets_nobody() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    small.run.faults.listing_fails.add("w-cgroup1")
    small.run.advance(900)
    assert not small.cuts()
    assert codes_of(small)[-1] is GuardCode.S13_EMPTY_SELECTOR


@pytest.mark.parametrize(
    "answer",
    [float("nan"), -5, 0, 10**18, True, "4GiB", ValueError("broken"), 1, lambda question: None],
)
def test_s14_nonsense_falls_back_to_the_largest_need(answer: Any) -> None:
    small = SmallWorld([V1], policies=[Answers(answer)])
    small.until_cut()
    body = small.rows(EntryKind.DECISION)[0].entry.body
    assert body["step"] == "empirical"
    assert "s14_nonsense" in body["guards"]
    small.run.advance(4 * 3600)
    assert small.target.limit_bytes == 1178 * MIB


def test_s14_the_last_good_model_comes_before_the_rule() -> None:
    small = SmallWorld([V1], policies=[Answers(ValueError("broken")), LargestNeed()])
    small.until_cut()
    assert small.rows(EntryKind.DECISION)[0].entry.body["step"] == "last_good"


def test_s14_an_answer_that_takes_too_long_is_not_used() -> None:
    small = SmallWorld([V1])
    small.run.advance(60)
    slow = LargestNeed()

    def think(history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        small.world.clock.advance(2)
        return LargestNeed.recommend(slow, history, question)

    slow.recommend = think  # type: ignore[method-assign]
    object.__setattr__(small.daemon.controller._parts, "policies", [slow])
    small.run.advance(300)
    assert small.counts.broken["policy too slow"] > 0


def test_s19_targets_beyond_the_cap_are_left_alone() -> None:
    small = SmallWorld([V1, V1, V1], settings=replace(QUICK, targets_max_count=2))
    small.run.advance(60)
    assert len(small.daemon.controller.targets()) == 2


def test_s21_nothing_is_written_without_both_switches() -> None:
    for small in (
        SmallWorld([V1], mode=UpdateMode.OFF),
        SmallWorld([V1], settings=replace(QUICK, is_acting=False)),
    ):
        small.run.advance(1800)
        small.demand(6 * GIB)
        assert not small.run.actuator.written
        assert not small.target.is_parking
        assert codes_of(small)[-1] is GuardCode.S21_OBSERVE


def test_frozen_everything_gives_parked_tasks_their_killer_back() -> None:
    small = SmallWorld([V1])
    small.run.advance(120)
    assert small.target.is_parking
    order = Freeze(
        scope=FreezeScope.EVERYTHING, workload_key=None, since_at=small.world.clock.now()
    )
    small.run.disk.orders = replace(small.run.disk.orders, freezes=(order,))
    small.run.advance(90)
    assert not small.target.is_parking


# -- S17, S18, S20 ---------------------------------------------------------------------------------


def test_s17_parked_tasks_are_released_at_the_start() -> None:
    small = SmallWorld([V1])
    small.run.advance(120)
    small.run.kill(small.daemon)
    small.world.leap(small.target.target_id, 8 * GIB)
    assert small.target.is_waiting
    small.run.advance(16)
    daemon = small.run.start()
    daemon.controller.keep_lease(small.world.clock.now())
    assert not small.target.is_waiting  # before any pass, which might save it too late


def test_s17_two_ticks_only_observe_after_a_start() -> None:
    settings = replace(QUICK, least_samples_count=0, least_history=timedelta(), gap_ratio=1.0)
    small = SmallWorld([V1], settings=settings)
    small.run.tick()
    small.run.tick()
    assert not small.run.actuator.written
    small.run.advance(60)
    assert small.run.actuator.written


@pytest.mark.parametrize("point", [*CRASH_POINTS, "slip"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_s17_a_crash_anywhere_leaves_nothing_pending_and_nobody_waiting(
    point: str, after: int
) -> None:
    small = SmallWorld([V1])
    small.run.advance(60)
    if point == "slip":
        small.run.faults.applies[small.target.target_id] = ["slip"]
    else:
        small.run.faults.crash_point, small.run.faults.crash_after = point, after
    small.run.advance(1200)
    small.run.start()
    small.run.advance(600)
    state = small.run.disk.state_of[small.target.target_id]
    assert state.pending is None or state.pending.token == small.run.disk.token
    small.demand(5 * GIB)
    assert not small.target.is_waiting
    assert small.target.oom_kills == 0


def test_s18_cuts_end_in_the_tick_in_which_the_store_fails() -> None:
    small = SmallWorld([V1])
    small.run.advance(90)
    small.run.faults.store = "full"
    small.run.advance(9)
    small.run.tick()
    assert not small.cuts()
    report = small.daemon.controller.run_once(small.world.clock.now())
    assert not report.has_store


@pytest.mark.parametrize("jump_s", [3600, -3600, 61])
def test_s20_a_jump_of_the_wall_clock_means_two_observing_ticks(jump_s: float) -> None:
    settings = replace(QUICK, gap_ratio=1.0, least_samples_count=0, least_history=timedelta())
    small = SmallWorld([V1], settings=settings)
    small.run.advance(29)
    small.run.tick()
    small.run.tick()
    small.world.clock.jump(jump_s)
    small.run.tick()
    small.run.tick()
    assert not small.cuts()
    assert len(small.rows(EntryKind.CLOCK_JUMP)) == 1


# -- S23, S24 --------------------------------------------------------------------------------------


def test_s23_an_oom_kill_counts_once_through_events_ticks_and_takeovers() -> None:
    small = SmallWorld([DOCKER])
    small.run.start()
    small.run.advance(120)
    small.world.leap(small.target.target_id, 6 * GIB)
    small.run.deliver()
    small.run.tick()
    small.run.kill(small.daemon)
    small.run.advance(120)
    ooms = small.rows(EntryKind.OOM)
    assert [record.entry.body["kills"] for record in ooms] == [1]
    assert ooms[0].entry.body["at_least_bytes"] == 4 * GIB


def test_s23_what_nobody_saw_because_nobody_led_is_told_by_the_next() -> None:
    small = SmallWorld([DOCKER])
    small.run.start()
    small.run.advance(60)
    small.run.kill(small.daemon)
    small.world.leap(small.target.target_id, 6 * GIB)
    small.run.advance(60)
    assert len(small.rows(EntryKind.OOM)) == 1


def test_s24_every_hold_has_a_code_in_the_row_and_in_the_count() -> None:
    small = SmallWorld([V1, V2])
    small.run.advance(1800)
    holds = small.rows(EntryKind.HOLD)
    assert holds
    known = {str(code) for code in GuardCode}
    for record in holds:
        codes = record.entry.body["codes"]
        assert isinstance(codes, list)
        assert codes
        assert set(codes) <= known
    assert sum(small.counts.guard_blocks.values()) > 0


# -- one workload's trouble ------------------------------------------------------------------------


def test_what_breaks_for_one_target_stays_with_it() -> None:
    small = SmallWorld([V1, V2])
    small.run.advance(60)
    source = small.daemon.controller._parts.sources[V1]
    honest = source.read

    def read(target: Any) -> Any:
        if target.kind is V1:
            raise RuntimeError("a parser that nobody expected")
        return honest(target)

    source.read = read  # type: ignore[method-assign]
    small.run.advance(900)
    assert {change.target_id for change in small.run.actuator.written} == {"cgroup2:/b"}
    assert small.counts.broken["RuntimeError"] > 0
    assert len(small.rows(EntryKind.BROKEN)) == 1


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -1, 1e18, 2**63, "12GiB", True])
def test_s2_poisoned_readings_are_counted_and_end_cuts(poison: Any) -> None:
    small = SmallWorld([V1])
    small.run.advance(150)
    small.run.faults.reads[small.target.target_id] = "poison"
    small.run.faults.poison = poison
    small.run.advance(60)
    small.run.faults.reads.clear()
    cuts = len(small.cuts())
    small.run.advance(300)
    assert len(small.cuts()) == cuts
    assert small.counts.rejected_readings["poisoned"] > 0


def test_two_workloads_for_one_target_and_neither_acts() -> None:
    small = SmallWorld([V1])
    spec = small.run._specs[0]
    double = replace(spec, workload_key="double")
    small.run._specs = [spec, double]
    small.run.kill(small.daemon)
    small.run.advance(20)
    small.run.start()
    small.run.advance(900)
    assert not small.run.actuator.written
