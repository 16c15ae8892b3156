"""policies.runs: the whole policy, on workloads whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ullage.core.allocation import Prices
from ullage.core.decide import decide_run
from ullage.core.decision import Reason
from ullage.core.replay import replay_run
from ullage.core.scoring import expert_cost_gbh
from ullage.core.spending import Spending
from ullage.core.units import GIB, MIB
from ullage.core.view import RunHistory
from ullage.policies.budget import FAILURE_GRID_GBH
from ullage.policies.experts import EXPERTS
from ullage.policies.regime import regime_start
from ullage.policies.runs import UllageRunPolicy
from ullage.testing.histories import run_history, run_question

POLICY = UllageRunPolicy()
SLOPES = (0.4, 1.0, 3.7, 12.0)
BASES_MIB = (8, 30, 64, 70, 150, 500)
SIZES = {
    "even": (0.1, 0.28, 0.46, 0.64, 0.82, 1.0),
    "geometric": (0.03, 0.06, 0.12, 0.25, 0.5, 1.0),
    "clustered": (0.2, 0.22, 0.25, 0.8, 0.9, 1.0),
}


def _linear(x: list[float], peaks: list[float], **more: object) -> RunHistory:
    return run_history(peaks, numbers={"input_bytes": x}, **more)  # type: ignore[arg-type]


class TestSixRuns:
    """After six runs of different input size a new size gets 0.97..1.15 x its real peak."""

    @pytest.mark.parametrize("spacing", SIZES)
    @pytest.mark.parametrize("base_mib", BASES_MIB)
    @pytest.mark.parametrize("attempts_left", [1, 3])
    def test_a_new_size_fits_closely(self, spacing: str, base_mib: int, attempts_left: int) -> None:
        for seed in range(12):
            draw = np.random.default_rng([seed, base_mib])
            slope = SLOPES[seed % len(SLOPES)]
            span_bytes = draw.uniform(100, 2000) * MIB / slope
            sizes = draw.permutation(SIZES[spacing]) * span_bytes
            noise = draw.uniform(0.99, 1.01, 6)
            peaks = (base_mib * MIB + slope * sizes) * noise
            durations = draw.uniform(0.1, 2.0, 6)
            new = draw.uniform(0.75 * sizes.min(), 1.3 * sizes.max())
            real = (base_mib * MIB + slope * new) * draw.uniform(0.99, 1.01)
            if real < 64 * MIB:
                continue
            decision = decide_run(
                _linear(sizes.tolist(), peaks.tolist(), runtime_s=durations.tolist()),
                run_question(numbers={"input_bytes": new}, attempts_left=attempts_left),
                POLICY,
            )
            assert 0.97 <= decision.limit_bytes / real <= 1.15, (seed, decision.recommendation)

    def test_scores_of_the_first_runs_do_not_mislead(self) -> None:
        """The six runs were scored when next to nothing was known: that says little now."""
        x = np.array([1.0, 2, 3, 5, 7, 9]) * 1e8
        misleading = {e.name: np.full(6, 9.0) for e in EXPERTS} | {"constant": np.full(6, 0.1)}
        history = _linear(x.tolist(), (64 * MIB + 2 * x).tolist(), expert_costs=misleading)
        question = run_question(numbers={"input_bytes": 8e8})
        assert 0.97 <= decide_run(history, question, POLICY).limit_bytes / (64 * MIB + 16e8) <= 1.15

    def test_without_the_input_the_largest_peak_is_what_counts(self) -> None:
        x = [1e8, 2e8, 3e8, 5e8, 7e8, 9e8]
        history = _linear(x, [2 * size for size in x])
        decision = decide_run(history, run_question(), POLICY)
        assert 18e8 <= decision.limit_bytes <= 18e8 * 1.6
        assert decision.recommendation.feature is None


def _scored(peaks: np.ndarray, cheap: str, *, x: np.ndarray) -> RunHistory:
    n = len(peaks)
    costs = {e.name: np.full(n, 1.0) for e in EXPERTS} | {cheap: np.full(n, 0.5)}
    return _linear(x.tolist(), peaks.tolist(), expert_costs=costs)


@pytest.mark.parametrize("cheap", [e.name for e in EXPERTS])
def test_the_cheapest_expert_leads(cheap: str) -> None:
    draw = np.random.default_rng(5)
    x = draw.uniform(1e8, 1e9, 60)
    peaks = (1e8 + 2 * x) * draw.uniform(0.9, 1.1, 60)
    history = _scored(peaks, cheap, x=x)
    answer = POLICY.recommend(history, run_question(numbers={"input_bytes": 5e8}))
    assert answer.expert == cheap
    assert answer.ladder.limit_bytes[0] == answer.expert_ladders[cheap].limit_bytes[0]


def test_old_scores_fade() -> None:
    n = 300
    x = np.linspace(1e8, 1e9, n)
    history = _linear(x.tolist(), (2 * x).tolist())
    then_now = np.where(np.arange(n) < 200, 0.0, 1.0)
    costs = {e.name: np.full(n, 5.0) for e in EXPERTS}
    costs |= {"constant": then_now, "least_squares": 0.75 * (1 - then_now)}
    history = replace(history, expert_costs=costs)
    answer = POLICY.recommend(history, run_question(numbers={"input_bytes": 5e8}))
    assert answer.expert == "least_squares"


def test_a_similar_input_expert_does_not_lead_beyond_the_inputs_seen() -> None:
    x = np.linspace(1e8, 1e9, 40)
    history = _scored(2 * x, "local_narrow", x=x)
    costs = dict(history.expert_costs) | {"least_squares": np.full(40, 0.55)}
    history = replace(history, expert_costs=costs)
    inside = POLICY.recommend(history, run_question(numbers={"input_bytes": 5e8}))
    beyond = POLICY.recommend(history, run_question(numbers={"input_bytes": 3e9}))
    assert (inside.expert, beyond.expert) == ("local_narrow", "least_squares")
    assert beyond.ladder.limit_bytes[0] >= 6e9


def test_an_input_that_explains_nothing_does_not_lift_the_limit_far_out() -> None:
    draw = np.random.default_rng(2)
    x = draw.uniform(1e8, 1e9, 40)
    peaks = 5e8 * draw.uniform(0.9, 1.1, 40)
    decision = decide_run(
        _linear(x.tolist(), peaks.tolist()), run_question(numbers={"input_bytes": 1e11}), POLICY
    )
    assert decision.limit_bytes < 8e8


def test_every_expert_leaves_a_ladder_to_be_scored() -> None:
    draw = np.random.default_rng(5)
    x = draw.uniform(1e8, 1e9, 12)
    history = _linear(x.tolist(), (1e8 + 2 * x).tolist())
    for changes in ({}, {"can_grow": True}, {"failed_limits_bytes": (GIB,)}, {"attempts_left": 0}):
        question = run_question(numbers={"input_bytes": 5e8}, **changes)
        answer = POLICY.recommend(history, question)
        assert set(answer.expert_ladders) == {e.name for e in EXPERTS}
        assert (
            answer.expert_ladders
            == POLICY.recommend(history, run_question(numbers={"input_bytes": 5e8})).expert_ladders
        )


def test_the_deciding_runs_are_those_near_the_limit() -> None:
    peaks = [100 * MIB, 900 * MIB, 110 * MIB, 905 * MIB, 120 * MIB, 910 * MIB] * 5
    answer = POLICY.recommend(run_history(peaks), run_question())
    numbers = [int(name.split("-")[1]) for name in answer.deciding_run_ids]
    assert len(numbers) == 5
    assert all(peaks[number] >= 900 * MIB for number in numbers)


def test_with_neither_retry_nor_growth_the_ceiling() -> None:
    history = run_history([100 * MIB] * 50)
    decision = decide_run(history, run_question(attempts_left=0), POLICY)
    assert decision.ladder.limit_bytes == (64 * GIB,)
    assert Reason.NO_RETRY_LEFT in decision.reasons
    answer = POLICY.recommend(history, run_question(attempts_left=0))
    assert answer.ladder.limit_bytes == (64 * GIB,)
    assert answer.spent_prob == ()


def test_the_last_attempt_of_the_ladder_is_the_ceiling() -> None:
    history = run_history([100 * MIB, 120 * MIB, 110 * MIB])
    once = decide_run(history, run_question(attempts_left=1), POLICY).ladder
    assert len(once.limit_bytes) == 2
    assert once.limit_bytes[-1] == 64 * GIB
    many = decide_run(history, run_question(attempts_left=50), POLICY).ladder
    assert many.limit_bytes[-1] < GIB


class TestGrowth:
    """A limit that can grow starts about where the run will end, not above every doubt."""

    def test_it_starts_lower_than_one_that_cannot(self) -> None:
        draw = np.random.default_rng(0)
        peaks = draw.lognormal(np.log(GIB), 0.5, 100)
        history = run_history(peaks.tolist())
        growing = decide_run(history, run_question(can_grow=True), POLICY)
        fixed = decide_run(history, run_question(can_grow=False), POLICY)
        assert np.median(peaks) <= growing.limit_bytes < 0.7 * fixed.limit_bytes
        rungs = np.array(growing.ladder.limit_bytes)
        assert 3 <= len(rungs) <= 40
        assert (rungs[1:-1] >= 1.05 * rungs[:-2]).all()
        assert rungs[-1] > peaks.max()

    def test_it_neither_spends_the_budget_nor_is_cut_to_attempts(self) -> None:
        history = run_history([100 * MIB, 200 * MIB, 300 * MIB])
        decision = decide_run(history, run_question(can_grow=True, attempts_left=0), POLICY)
        assert decision.recommendation.spent_prob == ()
        assert decision.limit_bytes < 400 * MIB


class TestBudget:
    """2 % of first attempts may fail, and are spent."""

    def test_the_curve_is_recorded_on_the_shared_grid(self) -> None:
        answer = POLICY.recommend(run_history([100 * MIB, 200 * MIB]), run_question())
        assert len(answer.spent_prob) == len(FAILURE_GRID_GBH)
        assert list(answer.spent_prob) == sorted(answer.spent_prob, reverse=True)

    def test_a_smaller_budget_costs_more_room(self) -> None:
        draw = np.random.default_rng(0)
        history = run_history(draw.lognormal(np.log(GIB), 0.5, 200).tolist())

        def limit(budget: float) -> int:
            question = run_question(failure_budget_ratio=budget, prices=Prices(rho=1.0))
            return decide_run(history, question, POLICY).limit_bytes

        assert limit(0.002) > limit(0.02) > limit(0.2)

    def test_failures_make_the_policy_more_careful(self) -> None:
        draw = np.random.default_rng(0)
        peaks = draw.lognormal(np.log(GIB), 0.5, 200).tolist()
        question = run_question(prices=Prices(rho=1.0))
        good = decide_run(run_history(peaks), question, POLICY)
        spent = replace(question, spending=Spending(runs_count=200, failures_count=20))
        bad = decide_run(run_history(peaks), spent, POLICY)
        assert bad.limit_bytes > good.limit_bytes

    def test_a_dear_workload_may_fail_more_often_where_many_cheap_ones_never_do(self) -> None:
        draw = np.random.default_rng(0)
        history = run_history(draw.lognormal(np.log(GIB), 0.5, 200).tolist())
        question = run_question(prices=Prices(rho=1.0))
        calm = Spending(runs_count=900, mean_prob=(0.0,) * len(FAILURE_GRID_GBH))
        alone = decide_run(history, question, POLICY)
        among_calm = decide_run(history, replace(question, spending=calm), POLICY)
        assert among_calm.ladder.oom_prob[0] > alone.ladder.oom_prob[0]
        assert among_calm.recommendation.failure_gbh < alone.recommendation.failure_gbh

    def test_a_given_price_replaces_the_search(self) -> None:
        history = run_history([100 * MIB, 200 * MIB, 300 * MIB])
        cheap = run_question(prices=Prices(rho=0.01, failure_gbh=0.0))
        dear = run_question(prices=Prices(failure_gbh=1e9))
        assert POLICY.recommend(history, cheap).ladder.limit_bytes[0] <= 200 * MIB
        assert POLICY.recommend(history, dear).ladder.limit_bytes[0] >= 600 * MIB

    def test_critical_mode_holds_every_decision_to_the_budget(self) -> None:
        draw = np.random.default_rng(0)
        calm = ((0.0,) * len(FAILURE_GRID_GBH),) * 200
        history = run_history(
            draw.lognormal(np.log(GIB), 0.8, 200).tolist(),
            spent_prob=calm,
            first_oom_prob=(0.0,) * 200,
        )
        question = run_question(prices=Prices(rho=0.5))
        pooled = decide_run(history, question, POLICY).ladder
        critical = decide_run(history, question, UllageRunPolicy(is_critical=True)).ladder
        assert critical.oom_prob[0] <= 0.02 < pooled.oom_prob[0]

    @pytest.mark.parametrize("sigma", [0.1, 0.5])
    def test_over_many_runs_the_share_of_failures_stays_near_the_budget(self, sigma: float) -> None:
        draw = np.random.default_rng(11)
        peaks = draw.lognormal(np.log(GIB), sigma, 500)
        curves: list[tuple[float, ...]] = []
        announced: list[float] = []
        failed: list[int] = []
        question = run_question(attempts_left=99, prices=Prices(rho=1.0))
        for i in range(20, 500):
            past = run_history(
                peaks[:i].tolist(),
                first_failed=failed,
                spent_prob=((),) * 20 + tuple(curves),
                first_oom_prob=(None,) * 20 + tuple(announced),
            )
            answer = POLICY.recommend(past, question)
            run = replay_run(answer.ladder.limit_bytes, peak_bytes=peaks[i], runtime_s=60)
            curves.append(answer.spent_prob)
            announced.append(answer.ladder.oom_prob[0])
            if run.is_first_failed:
                failed.append(i)
        assert 0.005 <= len(failed) / 480 <= 0.035


class TestRegime:
    """Three runs in a row far above what was foretold start a new history."""

    def test_the_older_runs_are_left_out(self) -> None:
        history = run_history([100 * MIB] * 20 + [400 * MIB, 410 * MIB, 405 * MIB])
        decision = decide_run(history, run_question(), POLICY)
        assert decision.reasons == (Reason.LEARNED, Reason.REGIME_CHANGE)
        assert decision.recommendation.runs_used == 3
        assert set(decision.recommendation.deciding_run_ids) <= {"run-20", "run-21", "run-22"}

    def test_it_stays_cut_afterwards(self) -> None:
        peaks = [100.0] * 20 + [400.0] * 10
        assert regime_start(np.array(peaks), np.full(30, np.nan)) == 20

    @pytest.mark.parametrize("last", [[400.0, 400.0], [400.0, 100.0, 400.0, 400.0], [101.0] * 3])
    def test_less_than_that_is_no_change(self, last: list[float]) -> None:
        peaks = np.array([100.0] * 20 + last)
        assert regime_start(peaks, np.full(len(peaks), np.nan)) == 0

    @pytest.mark.parametrize("power", [1.0, 2.0])
    def test_larger_inputs_are_no_change(self, power: float) -> None:
        x = np.array([*np.linspace(1, 2, 15), 5, 6, 7])
        assert regime_start(100 * x**power, x) == 0

    def test_larger_peaks_than_the_inputs_explain_are(self) -> None:
        x = np.array([*np.linspace(1, 2, 15), 5, 6, 7])
        y = 100 * x
        y[15:] *= 3
        assert regime_start(y, x) == 15

    def test_few_runs_have_no_regime(self) -> None:
        peaks = np.array([100.0] * 5 + [400.0] * 3)
        assert regime_start(peaks, np.full(8, np.nan)) == 0


class TestCensored:
    """A killed run needed at least its limit, and is never learned as its peak."""

    def test_an_oom_lifts_the_next_limit(self) -> None:
        peaks = [1.0 * GIB] * 10
        before = decide_run(run_history(peaks), run_question(), POLICY)
        killed = run_history([*peaks, 1.2 * GIB], censored=[10])
        after = decide_run(killed, run_question(), POLICY)
        assert after.limit_bytes > max(before.limit_bytes, 1.2 * GIB)

    def test_a_run_that_stopped_early_changes_nothing_much(self) -> None:
        peaks = [1.0 * GIB] * 10
        stopped = run_history([*peaks, 0.01 * GIB], censored=[10])
        before = decide_run(run_history(peaks), run_question(), POLICY)
        after = decide_run(stopped, run_question(), POLICY)
        assert after.ladder == before.ladder


def test_following_the_leader_beats_the_constant_expert_on_a_linear_workload() -> None:
    """The loop as it is lived: decide, run, score, learn; judged by waste."""
    draw = np.random.default_rng(4)
    n = 60
    x = draw.uniform(1e8, 2e9, n)
    peaks = (1e8 + 2 * x) * draw.uniform(0.97, 1.03, n)
    costs = {e.name: np.full(n, np.nan) for e in EXPERTS}
    waste, constant_waste = 0.0, 0.0
    for i in range(10, n):
        past = _linear(
            x[:i].tolist(),
            peaks[:i].tolist(),
            expert_costs={name: cost[:i] for name, cost in costs.items()},
        )
        question = run_question(numbers={"input_bytes": x[i]}, attempts_left=99)
        answer = POLICY.recommend(past, question)
        known = {"peak_bytes": peaks[i], "runtime_s": 60.0}
        for name, ladder in answer.expert_ladders.items():
            costs[name][i] = expert_cost_gbh(ladder, prices=Prices(), **known)
        waste += replay_run(answer.ladder.limit_bytes, **known).waste_gbh
        constant = answer.expert_ladders["constant"].limit_bytes
        constant_waste += replay_run(constant, **known).waste_gbh
    assert waste < 0.2 * constant_waste
