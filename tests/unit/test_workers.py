"""The choice of a worker against cases calculated by hand, and each rule of the service."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ullage.core.allocation import Bounds
from ullage.core.decide import decide_run
from ullage.core.decision import Reason
from ullage.core.errors import ConfigError
from ullage.core.launch import ONE_PROCESS, PlanReason, Sdk, WorkerLayout
from ullage.core.machines import parse_machine_type
from ullage.core.prices import DATAFLOW
from ullage.core.units import GIB, MIB
from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.policies.offers import Terms
from ullage.policies.runs import UllageRunPolicy
from ullage.policies.workers import PlanRules
from ullage.testing.histories import run_history
from ullage.testing.launches import JAVA_8, POLICY
from ullage.testing.launches import process_history as history
from ullage.testing.launches import worker_plan as plan

BATCH = Terms(
    vcpu_hour_usd=DATAFLOW.batch_vcpu_hour_usd,
    gib_hour_usd=DATAFLOW.memory_gib_hour_usd,
    disk_hour_usd=25 * DATAFLOW.disk_gib_hour_usd,
    budget_ratio=0.02,
    rerun_ratio=1.0,
    gain_ratio=0.05,
    overhead_bytes=GIB,
)


def both(first: RunHistory, second: RunHistory) -> RunHistory:
    """Return two histories as one."""
    names = sorted({*first.numbers, *second.numbers})
    return run_history(
        np.append(first.peak_bytes, second.peak_bytes).tolist(),
        runtime_s=3600.0,
        numbers={n: np.append(first.numbers[n], second.numbers[n]).tolist() for n in names},
    )


def notes(of: object) -> str:
    return " ".join(of.notes)  # type: ignore[attr-defined]


# -- money -----------------------------------------------------------------------------------


def test_money_for_a_vcpu_hour_of_work_by_hand() -> None:
    layout = WorkerLayout(vcpus_count=4, processes_count=4, threads_count=1)
    by_hand = (4 * 0.056 + 15 * 0.003557 + 25 * 0.000054) / 4
    assert BATCH.work_usd(layout, np.array([15.0 * GIB]))[0] == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(0.06968, abs=1e-5)


def test_16_vcpus_bought_for_64_gib_become_8_for_40_percent_less() -> None:
    """(16 x .056 + 64 x .003557 + .00135) / 8 = .140625; (8 x .056 + ...) / 8 = .084625."""
    found = plan(
        JAVA_8,
        sdk=Sdk.JAVA,
        machine_type="n2-standard-16",
        threads_count=8,
        min_ram_bytes=64 * GIB,
    )
    assert found.shape.machine_type == "n2-highmem-8"
    assert found.before_vcpu_hour_usd == pytest.approx(0.140624750, rel=1e-9)
    assert found.vcpu_hour_usd == pytest.approx(0.084624750, rel=1e-9)
    assert found.reasons[0] is PlanReason.CHEAPER
    assert "8 of the launch's 16 vCPUs per worker do work" in notes(found)


def test_what_past_jobs_kept_busy_counts_as_useful() -> None:
    past = history(40, 52 * GIB, vcpus=16, processes=1, threads=16)
    asked = {"sdk": Sdk.JAVA, "machine_type": "n2-standard-16"}
    assert plan(past, **asked).reasons == (PlanReason.KEPT,)
    idle = plan(past, rules=PlanRules(busy_vcpus_count=3.2), **asked)
    assert idle.shape.vcpus_count == 4
    assert idle.vcpu_hour_usd < 0.5 * idle.before_vcpu_hour_usd


def test_memory_that_nobody_needs_is_not_bought() -> None:
    found = plan(history(40, 1.2 * GIB), machine_type="n1-standard-4")
    assert found.reasons == (PlanReason.CHEAPER,)
    assert found.shape.vcpus_count == 4
    assert found.shape.memory_bytes < 8 * GIB
    assert found.process_limit_bytes == (found.shape.memory_bytes - GIB) // 4
    assert found.oom_prob is not None
    assert found.oom_prob <= 0.02
    by_hand = (4 * 0.056 + found.shape.memory_bytes / GIB * 0.003557 + 25 * 0.000054) / 4
    assert found.vcpu_hour_usd == pytest.approx(by_hand, rel=1e-12)
    assert found.expected_usd == pytest.approx(by_hand * (1 + found.oom_prob), rel=1e-12)


def test_small_savings_change_nothing() -> None:
    found = plan(history(40, 3.0 * GIB), machine_type="n1-standard-4")
    assert found.reasons == (PlanReason.KEPT,)
    assert found.shape == found.before
    assert set(found.options()) == {"labels"}


def test_the_launch_that_would_die_gets_more() -> None:
    found = plan(history(40, 5 * GIB), machine_type="n1-standard-4")
    assert found.reasons == (PlanReason.SAFER,)
    assert found.before_oom_prob == 1.0
    assert found.shape.memory_bytes >= GIB + 4 * 5 * GIB
    assert found.options()["worker_machine_type"] == found.shape.machine_type
    assert "number_of_worker_harness_threads" not in found.options()


def test_prices_are_those_given() -> None:
    past = history(40, 2.4 * GIB)
    cheap = replace(DATAFLOW, memory_gib_hour_usd=DATAFLOW.memory_gib_hour_usd / 10)
    assert plan(past, machine_type="n1-standard-4").reasons == (PlanReason.CHEAPER,)
    assert plan(past, machine_type="n1-standard-4", prices=cheap).reasons == (PlanReason.KEPT,)


def test_streaming_has_a_quarter_of_the_budget_and_its_own_price() -> None:
    past = history(60, 5 * GIB, vcpus=2, processes=2, threads=12)
    found = plan(past, is_streaming=True, is_streaming_engine=True)
    assert found.oom_prob is not None
    assert found.oom_prob <= 0.005
    assert found.decision.question.failure_budget_ratio == 0.005
    by_hand = (2 * 0.069 + found.shape.memory_bytes / GIB * 0.003557 + 30 * 0.000054) / 2
    assert found.vcpu_hour_usd == pytest.approx(by_hand, rel=1e-12)


# -- what is known ---------------------------------------------------------------------------


def test_nothing_known_changes_nothing_and_says_so() -> None:
    found = plan()
    assert found.reasons == (PlanReason.NOTHING_KNOWN,)
    assert found.shape == found.before == parse_machine_type("n1-standard-1")
    assert found.oom_prob is found.before_oom_prob is None
    assert "No run of beam/orders is known, and the launch asks for no machine" in notes(found)


@pytest.mark.parametrize("asked", [{"machine_type": "n2-standard-8"}, {"min_ram_bytes": 20 * GIB}])
def test_without_history_the_launch_gets_what_it_asks_for(asked: dict[str, object]) -> None:
    found = plan(**asked)
    assert found.reasons == (PlanReason.REQUEST,)
    assert found.shape == found.before
    assert found.oom_prob is None


def test_two_runs_raise_but_never_lower() -> None:
    low = plan(history(2, GIB), machine_type="n1-standard-4")
    assert low.reasons == (PlanReason.KEPT,)
    assert "Only 2 runs with a known peak" in notes(low)
    high = plan(history(2, 6 * GIB), machine_type="n1-standard-4")
    assert high.reasons == (PlanReason.SAFER,)


def test_two_runs_change_no_vcpus_either() -> None:
    past = JAVA_8.latest(2)
    asked = {"sdk": Sdk.JAVA, "machine_type": "n2-highmem-16", "threads_count": 8}
    assert plan(past, **asked).reasons == (PlanReason.KEPT,)
    assert plan(JAVA_8, **asked).reasons == (PlanReason.CHEAPER,)


def test_runs_that_all_ran_out_of_memory_ask_for_half_as_much_again() -> None:
    past = run_history([4e9, 5e9], censored=(0, 1), first_failed=(0, 1))
    found = plan(past, machine_type="n1-standard-4")
    assert found.reasons == (PlanReason.SAFER,)
    assert found.process_limit_bytes >= 7.5e9
    assert found.oom_prob is None
    assert "Every known run was cut short" in notes(found)


def test_runs_that_were_cut_short_below_what_there_is_keep_it() -> None:
    past = run_history([1e9, 1e9], censored=(0, 1))
    found = plan(past, machine_type="n1-standard-4")
    assert found.reasons == (PlanReason.KEPT,)
    assert "Every known run was cut short" in notes(found)


def test_a_machine_too_small_for_anything_is_kept_while_nothing_is_known() -> None:
    assert plan(machine_type="e2-custom-2-1024").reasons == (PlanReason.REQUEST,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_budget_ratio": 0.0},
        {"failure_budget_ratio": float("nan")},
        {"gain_ratio": 1.0},
        {"overhead_bytes": -1},
        {"busy_vcpus_count": 0.0},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        PlanRules(**wrong)  # type: ignore[arg-type]


def test_strangers_may_raise_a_default_but_not_lower_it() -> None:
    hungry = plan(related=history(50, 8 * GIB))
    assert hungry.reasons == (PlanReason.SAFER,)
    assert hungry.process_limit_bytes > 8 * GIB
    modest = plan(related=history(50, 0.3 * GIB))
    assert modest.reasons == (PlanReason.KEPT,)


def test_an_oom_counts_as_at_least() -> None:
    peaks = history(40, 3 * GIB).peak_bytes.tolist()
    numbers = {name: x.tolist() for name, x in history(40, 3 * GIB).numbers.items()}
    plain = plan(run_history(peaks, numbers=numbers), machine_type="n1-standard-4")
    died = run_history(peaks, censored=range(30, 40), numbers=numbers)
    assert plan(died, machine_type="n1-standard-4").before_oom_prob > plain.before_oom_prob  # type: ignore[operator]


# -- layouts ---------------------------------------------------------------------------------


def test_more_vcpus_in_one_process_are_taken_to_need_more_in_proportion() -> None:
    past = history(40, 10 * GIB, vcpus=4, processes=1, threads=4)
    found = plan(past, sdk=Sdk.JAVA, machine_type="n2-standard-8")
    assert found.before_oom_prob == pytest.approx(plan_prob(past, 31 * GIB / 2))
    assert "need is taken to rise in proportion, x 2" in notes(found)


def plan_prob(past: RunHistory, limit_bytes: float) -> float:
    """Return the chance that the policy itself gives a limit, asked with no other choice."""
    asked = plan(past, sdk=Sdk.JAVA, machine_type="n2-standard-4").decision.question
    only = Bounds(floor_bytes=int(limit_bytes), ceiling_bytes=int(limit_bytes))
    decision = decide_run(past, replace(asked, bounds=only), UllageRunPolicy())
    return decision.ladder.oom_prob[0]


def test_the_curve_is_what_the_one_decision_path_says() -> None:
    past = history(40, 10 * GIB, spread=0.2, vcpus=4, processes=1, threads=4)
    for machine in ("n2-custom-4-11264", "n2-custom-4-13312", "n2-custom-4-15360"):
        found = plan(past, sdk=Sdk.JAVA, machine_type=machine, keeps_machine=True)
        assert found.oom_prob == pytest.approx(plan_prob(past, found.process_limit_bytes))


def test_runs_of_the_same_load_answer_for_it_by_themselves() -> None:
    seen = both(
        history(20, 80 * GIB, vcpus=16, processes=1, threads=16),
        history(20, 3 * GIB, vcpus=4, processes=1, threads=4),
    )
    found = plan(seen, sdk=Sdk.JAVA, machine_type="n2-highmem-16")
    small = plan(seen, sdk=Sdk.JAVA, machine_type="n2-standard-4")
    assert found.before_oom_prob < 0.02  # type: ignore[operator]
    assert found.shape.vcpus_count == 4, "seen to need less than its share: cheaper"
    between = plan(seen, sdk=Sdk.JAVA, machine_type="n2-highmem-8")
    assert between.before_oom_prob == 1.0, "nothing says that 8 vCPUs need less than 16"
    assert small.process_limit_bytes < 5 * GIB


def test_fewer_threads_are_the_last_resort_and_only_where_they_were_seen() -> None:
    layout = {"vcpus": 2, "processes": 2}
    many = history(30, 700 * GIB, threads=12, **layout)
    asked = {"is_streaming": True, "is_streaming_engine": True, "machine_type": "n2-standard-2"}
    assert PlanReason.FEWER_THREADS not in plan(many, **asked).reasons
    few = both(many, history(3, 9 * GIB, threads=4, **layout))
    assert PlanReason.FEWER_THREADS not in plan(few, **asked).reasons
    found = plan(both(many, history(10, 9 * GIB, threads=4, **layout)), **asked)
    assert found.layout.threads_count == 4
    assert PlanReason.FEWER_THREADS in found.reasons
    assert found.options()["number_of_worker_harness_threads"] == "4"
    assert "4 instead of 12 threads per process, as a last resort" in notes(found)


def test_one_process_is_the_last_resort_where_no_machine_holds_two() -> None:
    found = plan(history(40, 400 * GIB, vcpus=2, processes=2), machine_type="n2-standard-2")
    assert found.layout == WorkerLayout(vcpus_count=2, processes_count=1, threads_count=1)
    assert found.reasons == (PlanReason.SAFER, PlanReason.FEWER_PROCESSES)
    assert found.options()["experiments"] == (ONE_PROCESS,)
    assert found.options()["number_of_worker_harness_threads"] == "1"
    assert found.oom_prob is not None
    assert found.oom_prob <= 0.02
    hour = 2 * 0.056 + found.shape.memory_bytes / GIB * 0.003557 + 25 * 0.000054
    assert found.vcpu_hour_usd == pytest.approx(hour, rel=1e-12), "one of two vCPUs works"


def test_fewer_vcpus_come_before_the_last_resort() -> None:
    found = plan(history(40, 200 * GIB, vcpus=8, processes=8), machine_type="n1-standard-8")
    assert found.reasons == (PlanReason.SAFER,)
    assert found.layout.processes_count == found.layout.vcpus_count == 2


def test_where_no_machine_is_enough_the_largest_is_taken_and_said() -> None:
    past = history(40, 700 * GIB, vcpus=2, processes=1, threads=2)
    found = plan(past, sdk=Sdk.JAVA, machine_type="n1-standard-2")
    assert found.reasons == (PlanReason.LARGEST,)
    assert found.shape.memory_bytes == 624 * GIB
    assert "No possible worker keeps the risk within the budget" in notes(found)


def test_where_e2_ends_n2_goes_on() -> None:
    found = plan(history(40, 12 * GIB), machine_type="e2-standard-4")
    assert found.shape.family == "n2"
    assert "E2 has not so much memory per vCPU" in notes(found)
    assert plan(history(40, 6 * GIB), machine_type="e2-standard-4").shape.family == "e2"


def test_fewer_vcpus_name_the_workers_for_the_same_speed() -> None:
    found = plan(
        history(40, 200 * GIB, vcpus=8, processes=8),
        machine_type="n1-standard-8",
        max_workers_count=10,
    )
    assert "--max_num_workers=40" in notes(found)


# -- rules of the service --------------------------------------------------------------------


def test_prime_is_sized_by_a_hint_alone() -> None:
    found = plan(history(40, 5 * GIB, vcpus=1, processes=1), is_prime=True)
    assert found.reasons == (PlanReason.SAFER, PlanReason.HINT_ONLY)
    assert found.shape == found.before
    assert found.min_ram_bytes is not None
    assert found.min_ram_bytes >= 6 * GIB
    assert "worker_machine_type" not in found.options()
    assert found.options()["resource_hints"] == (f"min_ram={found.min_ram_bytes // MIB}MiB",) or (
        found.min_ram_bytes % GIB == 0
    )
    less = plan(history(40, 0.5 * GIB, vcpus=1, processes=1), is_prime=True)
    assert less.min_ram_bytes is None
    assert set(less.options()) == {"labels"}


def test_the_users_hint_is_never_lowered_and_its_price_is_told() -> None:
    """Free: 10.75 GiB on 4 vCPUs; with the hint 32 GiB on 8: see the note's arithmetic."""
    past = history(40, 2 * GIB)
    found = plan(past, machine_type="n1-standard-4", min_ram_bytes=32 * GIB)
    free = plan(past, machine_type="n1-standard-4")
    assert found.shape.memory_bytes >= 32 * GIB
    assert found.min_ram_bytes == 32 * GIB
    assert PlanReason.USER_HINT in found.reasons
    assert "resource_hints" not in found.options()
    more_usd = 100 * (found.vcpu_hour_usd - free.vcpu_hour_usd)
    assert f"hint min_ram=32GiB costs {more_usd:.2f} USD per 100 vCPU-hours more" in notes(found)
    assert "outranks the machine type n1-standard-4" in notes(found)


def test_a_hint_that_is_too_small_is_raised_beside_the_machine() -> None:
    found = plan(history(40, 5 * GIB), machine_type="n1-standard-4", min_ram_bytes=12 * GIB)
    assert found.min_ram_bytes == found.shape.memory_bytes
    assert "The hint min_ram=12GiB is raised to" in notes(found)
    hidden = plan(
        history(40, 5 * GIB), machine_type="n1-standard-4", transform_min_ram_bytes=12 * GIB
    )
    assert hidden.min_ram_bytes == hidden.shape.memory_bytes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sdk": Sdk.GO}, "right fitting does not support Go"),
        ({"is_flexrs": True}, "FlexRS does not support right fitting"),
        ({"is_streaming": True}, "streaming needs --experiments=enable_streaming_rightfitting"),
    ],
)
def test_a_hint_without_effect_is_said_and_does_not_bind(
    changes: dict[str, object], why: str
) -> None:
    past = history(40, GIB, vcpus=4, processes=4, threads=1)
    found = plan(past, machine_type="n1-standard-4", min_ram_bytes=64 * GIB, **changes)
    assert why in notes(found)
    assert found.shape.memory_bytes < 64 * GIB
    assert PlanReason.USER_HINT not in found.reasons


def test_flexrs_is_given_n1() -> None:
    found = plan(history(40, 5 * GIB, vcpus=2, processes=2), is_flexrs=True)
    assert found.shape.family == "n1"
    other = plan(history(40, 9 * GIB), is_flexrs=True, machine_type="n2-standard-4")
    assert other.shape.family == "n1"
    assert "FlexRS starts N1 workers" in notes(other)


def test_a_machine_that_is_to_be_kept_is_kept_with_advice() -> None:
    found = plan(history(40, 5 * GIB), machine_type="n1-standard-4", keeps_machine=True)
    assert found.shape == found.before
    assert found.reasons == (PlanReason.MACHINE_KEPT,)
    assert set(found.options()) == {"labels"}
    assert "advised is custom-4-" in notes(found)


# -- the decision behind it ------------------------------------------------------------------


def test_the_recorded_decision_is_the_plans_limit_and_chance() -> None:
    found = plan(history(40, 5 * GIB), machine_type="n1-standard-4")
    decision = found.decision
    assert decision.limit_bytes == found.process_limit_bytes
    assert decision.ladder.oom_prob == (found.oom_prob,)
    assert Reason.MACHINE_SHAPE in decision.reasons
    assert Reason.LEARNED in decision.reasons
    assert decision.recommendation.expert_ladders, "experts are scored when the peak is known"
    assert decision.recommendation.spent_prob == (), "a cap, not a share of a pooled budget"
    assert decision.recommendation.curve is None, "not stored: the history gives it again"
    assert decision.question.features.numbers["vcpus_count"] == 4.0
    assert decision.question.features.numbers["processes_count"] == 4.0
    assert decision.question.features.labels["runner"] == "dataflow"
    assert not decision.question.can_grow


def test_the_ladder_does_not_depend_on_telling_needs() -> None:
    past = history(40, 5 * GIB)
    asked = plan(past, machine_type="n1-standard-4").decision.question
    silent = decide_run(past, asked, UllageRunPolicy())
    told = decide_run(past, asked, POLICY)
    assert silent.ladder == told.ladder
    assert silent.decision_id == told.decision_id
    assert silent.recommendation.curve is None


def test_inputs_before_the_start_move_the_need() -> None:
    sizes = np.linspace(1e9, 20e9, 40)
    past = run_history(
        (0.5e9 + sizes / 4).tolist(),
        runtime_s=3600.0,
        numbers={"input_bytes": sizes.tolist()},
    )
    asked = {"machine_type": "n1-standard-4"}
    small = plan(past, features=Features(numbers={"input_bytes": 2e9}), **asked)
    large = plan(past, features=Features(numbers={"input_bytes": 18e9}), **asked)
    assert small.process_limit_bytes < 2e9
    assert large.process_limit_bytes > 4.9e9
