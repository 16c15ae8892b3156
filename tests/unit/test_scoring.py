"""core.scoring: every published figure, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ullage.core.allocation import Ladder, Prices
from ullage.core.decide import decide_run
from ullage.core.replay import replay_run
from ullage.core.scoring import (
    expert_cost_gbh,
    expert_costs_gbh,
    macro_reserved_over_used,
    outcomes_of,
    score,
)
from ullage.core.units import MIB
from ullage.core.workload import Attempt, ControlKind, Outcome, Run, Workload
from ullage.policies.runs import UllageRunPolicy
from ullage.testing.histories import ASKED_AT, run_history, run_question

GB = 10**9
LADDER = Ladder(limit_bytes=(GB, 2 * GB), oom_prob=(0.1, 0.0))


def test_expert_cost_is_slack_plus_priced_failures() -> None:
    cost = expert_cost_gbh(LADDER, peak_bytes=1.5 * GB, runtime_s=3600, prices=Prices(rho=4.0))
    assert cost == pytest.approx(0.5 + 4.0)
    prices = Prices(rho=1.0, failure_gbh=10.0, ttf_ratio=0.5)
    cost = expert_cost_gbh(LADDER, peak_bytes=1.5 * GB, runtime_s=3600, prices=prices)
    assert cost == pytest.approx(0.5 + 0.5 + 10.0)
    cost = expert_cost_gbh(LADDER, peak_bytes=0.5 * GB, runtime_s=3600, prices=prices)
    assert cost == pytest.approx(0.5)


def test_every_figure() -> None:
    replays = [
        replay_run((GB, 2 * GB), peak_bytes=1.5 * GB, runtime_s=3600),
        replay_run((GB,), peak_bytes=0.5 * GB, runtime_s=3600),
    ]
    figures = score(outcomes_of(replays), usd_per_gbh=0.5)
    assert figures.runs_count == 2
    assert figures.used_gbh == pytest.approx(2.0)
    assert figures.reserved_gbh == pytest.approx(4.0)
    assert figures.waste_gbh == pytest.approx(2.0)
    assert figures.failed_gbh == pytest.approx(1.0)
    assert figures.slack_gbh == pytest.approx(1.0)
    assert figures.waste_over_used_ratio == pytest.approx(1.0)
    assert figures.reserved_over_used_ratio == pytest.approx(2.0)
    assert figures.maq_ratio == pytest.approx(0.5)
    assert figures.oom_run_share_ratio == pytest.approx(0.5)
    assert figures.ooms_per_run == pytest.approx(0.5)
    assert figures.attempts_per_run == pytest.approx(1.5)
    assert figures.lost_hours == pytest.approx(1.0)
    assert figures.cost_usd == pytest.approx(2.0)


def test_no_runs_cannot_tell() -> None:
    figures = score(outcomes_of([]))
    assert figures.runs_count == 0
    assert figures.waste_over_used_ratio is None
    assert figures.maq_ratio is None
    assert figures.oom_run_share_ratio is None
    assert figures.cost_usd is None


def test_part_of_the_runs_and_the_mean_over_workloads() -> None:
    replays = [
        replay_run((2 * GB,), peak_bytes=GB, runtime_s=3600),
        replay_run((8 * GB,), peak_bytes=GB, runtime_s=3600),
        replay_run((8 * GB,), peak_bytes=GB, runtime_s=3600),
    ]
    outcomes = outcomes_of(replays)
    assert score(outcomes.where(np.array([True, False, False]))).reserved_gbh == pytest.approx(2)
    # Two workloads, 2 and 8 times what was used: geometric mean 4, however many runs.
    assert macro_reserved_over_used(outcomes, np.array([0, 1, 1])) == pytest.approx(4.0)


def _run(*, outcome: Outcome = Outcome.OK, oom_kills: int = 0) -> Run:
    attempt = Attempt(
        number=1,
        started_at=ASKED_AT,
        limit_bytes=None,
        final_limit_bytes=None,
        peak_bytes=300 * MIB,
        runtime=timedelta(hours=1),
        outcome=outcome,
        exit_code=0,
        oom_kills=oom_kills,
    )
    return Run(
        run_id="r",
        workload=Workload(key="w", key_reason="named"),
        started_at=ASKED_AT,
        known_at=ASKED_AT,
        features=run_question().features,
        control=ControlKind.OBSERVE,
        outcome=outcome,
        exit_code=0,
        attempts=(attempt,),
    )


def test_experts_are_scored_on_an_ended_run_by_their_own_ladders() -> None:
    history = run_history([280 * MIB, 290 * MIB, 310 * MIB])
    decision = decide_run(history, run_question(), UllageRunPolicy())
    costs = expert_costs_gbh(decision, _run())
    assert set(costs) == set(decision.recommendation.expert_ladders) >= {"constant", "recent"}
    ladder = decision.recommendation.expert_ladders["constant"]
    assert costs["constant"] == pytest.approx((ladder.limit_bytes[0] - 300 * MIB) / GB)


@pytest.mark.parametrize(
    "run", [_run(outcome=Outcome.ERROR), _run(oom_kills=1), replace(_run(), attempts=())]
)
def test_experts_are_not_scored_where_the_peak_is_not_known(run: Run) -> None:
    decision = decide_run(run_history([280 * MIB]), run_question(), UllageRunPolicy())
    assert expert_costs_gbh(decision, run) == {}
