"""Protocol D by hand: when a sample is an OOM kill, what is slack, who sees what."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ullage.core.service import Direction, LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.units import GIB, MIB
from ullage.simulation.usage_backtest import (
    UsageWorld,
    decision_moments,
    first_day_peak_bytes,
    replay_oracle,
    replay_usage,
)
from ullage.simulation.usage_compare import (
    Cell,
    against_ours,
    compare_usage,
    fit_traces,
)
from ullage.testing.usage import usage_trace

HOURS = 60
"""Samples of an hour."""


@dataclass
class Fixed:
    """Answers what it is told, and remembers what it was shown."""

    wanted_bytes: int | None
    policy_id: str = "fixed"
    seen: list[tuple[TargetHistory, ServiceQuestion]] = field(default_factory=list)

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        self.seen.append((history, question))
        return LimitProposal(
            target_id=question.target_id,
            wanted_bytes=self.wanted_bytes,
            direction=Direction.HOLD,
            reason="fixed",
        )


def test_first_question_after_3_h_and_100_samples_then_every_half_hour() -> None:
    trace = usage_trace([1.0] * (10 * HOURS + 1))
    moments = decision_moments(trace, UsageWorld())
    assert moments[0] == 3 * 3600
    assert moments[-1] == 9.5 * 3600
    assert len(moments) == 14
    slow = usage_trace([1.0] * 121, step_s=300.0)  # the 100th sample comes after 8.25 h
    assert decision_moments(slow, UsageWorld())[0] == 8.5 * 3600
    assert len(decision_moments(usage_trace([1.0] * 100), UsageWorld())) == 0


def test_slack_and_use_of_a_quiet_service() -> None:
    trace = usage_trace([GIB] * (10 * HOURS + 1))
    outcome = replay_usage(trace, Fixed(3 * GIB), UsageWorld())
    # 3 h .. 10 h; the last sample stands for one usual interval, the first is known already
    assert outcome.scored_hours == pytest.approx(7.0)
    assert outcome.slack_gbh == pytest.approx(7 * 2 * GIB / 1e9)
    assert outcome.used_gbh == pytest.approx(7 * GIB / 1e9)
    assert (outcome.ooms_count, outcome.changes_count) == (0, 0)
    assert outcome.cost_gbh(10.0) == pytest.approx(14 * GIB / 1e9)


def test_one_oom_for_a_rise_and_growth_until_the_next_decision() -> None:
    """At 3 h 10 min need goes to 2 GiB for an hour: killed once, 2.4 GiB till half past."""
    need = [GIB] * (10 * HOURS + 1)
    need[190:250] = [2 * GIB] * 60
    policy = Fixed(int(1.5 * GIB))
    outcome = replay_usage(usage_trace(need), policy, UsageWorld())
    # each decision sets 1.5 GiB again: killed at 190, at 211 (after 3.5 h) and at 241 (4 h)
    assert outcome.ooms_count == 3
    history, question = policy.seen[1]
    assert history.oom_at_s.tolist() == [190 * 60.0]
    assert history.oom_at_least_bytes.tolist() == [2 * GIB]
    assert question.limit_bytes == -int(-2.4 * GIB // 1)
    quiet_after = outcome.slack_gbh
    assert quiet_after > 0


def test_samples_within_the_delay_belong_to_one_kill_and_old_limit_holds_till_then() -> None:
    need = [GIB] * (11 * 360)  # 10 s
    at = 4 * 360 + 2
    need[at : at + 3] = [2 * GIB, 3 * GIB, 2 * GIB]
    trace = usage_trace(need, step_s=10.0)
    grown = replay_usage(trace, Fixed(int(1.5 * GIB)), UsageWorld())
    # 2 GiB kills; 2.4 GiB comes 10 s later, when 3 GiB is there: a second one, then 3.6 GiB
    assert grown.ooms_count == 2
    slow = UsageWorld(actuation_delay_s=30.0)
    assert replay_usage(trace, Fixed(int(1.5 * GIB)), slow).ooms_count == 1


def test_a_new_limit_comes_after_the_delay() -> None:
    """A cut decided at 3.5 h: the sample 5 s later still has the old limit, the one after not."""
    need = [GIB] * (10 * 720 + 1)  # 5 s
    at = int(3.5 * 720)
    need[at + 1] = need[at + 2] = 2 * GIB

    class Cuts(Fixed):
        def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
            self.wanted_bytes = int((3 if question.limit_bytes is None else 1.5) * GIB)
            return super().recommend(history, question)

    trace = usage_trace(need, step_s=5.0)
    assert replay_usage(trace, Cuts(None), UsageWorld(actuation_delay_s=60.0)).ooms_count == 0
    late = replay_usage(trace, Cuts(None), UsageWorld(actuation_delay_s=10.0))
    assert late.ooms_count == 1
    policy = Cuts(None)
    replay_usage(trace, policy, UsageWorld(actuation_delay_s=10.0))
    assert policy.seen[2][0].oom_at_s.tolist() == [(at + 2) * 5.0]


def test_a_hold_keeps_the_limit_and_the_floor_holds_for_all() -> None:
    trace = usage_trace([MIB] * (10 * HOURS + 1))
    held = replay_usage(trace, Fixed(None), UsageWorld())
    assert held.slack_gbh == 0.0  # nobody can go below the floor
    low = replay_usage(trace, Fixed(1), UsageWorld())
    assert low.slack_gbh == held.slack_gbh


def test_oracle_never_fails_and_holds_the_largest_of_each_interval() -> None:
    need = [GIB] * (10 * HOURS + 1)
    need[300] = 2 * GIB
    outcome = replay_oracle(usage_trace(need), UsageWorld())
    assert outcome.ooms_count == 0
    assert outcome.slack_gbh == pytest.approx(29 / 60 * GIB / 1e9)


def test_long_gaps_do_not_count_as_hours() -> None:
    trace = usage_trace([GIB] * (10 * HOURS + 1))
    trace.at_s[400:] += 36_000.0
    outcome = replay_usage(trace, Fixed(2 * GIB), UsageWorld())
    assert outcome.scored_hours == pytest.approx(7.0 + 4 / 60)


def test_short_and_idle_instances_are_left_out_and_counted() -> None:
    traces = [
        usage_trace([1.0] * 60),
        usage_trace([0.0] * 601),
        usage_trace([1.0] * 101, step_s=360.0),
        usage_trace([1.0] * 601),
    ]
    fit, left_out = fit_traces(traces, UsageWorld(decide_every_s=3600.0))
    assert len(fit) == 1
    assert left_out == {
        "shorter_than_10_h": 1,
        "no_use_on_its_first_day": 1,
        "fewer_than_100_samples_before_its_end": 1,
    }


def test_price_is_in_the_first_days_peak() -> None:
    need = [GIB] * 1440 + [5 * GIB] * 60
    assert first_day_peak_bytes(usage_trace(need)) == GIB


def test_compare_replays_ours_per_price_and_peers_once() -> None:
    asked: list[tuple[str, float]] = []

    def make(policy_id: str, price_hours: float) -> Fixed:
        asked.append((policy_id, price_hours))
        return Fixed(int((2 if policy_id == "ullage" else 3) * GIB))

    cells = compare_usage(
        [usage_trace([GIB] * 601, name="a"), usage_trace([GIB] * 601, name="b")],
        ["ullage", "peer", "oracle"],
        make_policy=make,
        worlds=[UsageWorld()],
        prices_hours=[1.0, 5.0],
    )
    assert [(cell.policy, cell.price_hours) for cell in cells] == [
        ("ullage", 1.0), ("peer", 1.0), ("oracle", 1.0),
        ("ullage", 5.0), ("peer", 5.0), ("oracle", 5.0),
    ]  # fmt: skip
    assert all(len(cell.outcomes) == 2 for cell in cells)
    assert cells[0].figures()["changes_per_hour"] == 0.0
    ratios = against_ours(cells)
    assert ratios["ullage"] == pytest.approx(1.0)
    assert ratios["peer"] == pytest.approx(0.5)
    assert "oracle" not in ratios  # it costs nothing here
    assert against_ours([Cell(policy="x", price_hours=1, decide_every_s=1, outcomes=())]) == {}
