"""Laws of the chosen worker, for any history and any launch that can be."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.core.launch import LaunchedJob, PlanReason, Sdk, WorkerLayout, WorkerPlan
from ullage.core.machines import parse_machine_type
from ullage.core.units import GIB
from ullage.core.view import RunHistory
from ullage.outcomes.worker_plan import plan_flags, plan_json, plan_text
from ullage.policies.launch_rules import hinted_bytes, obeys_hints
from ullage.policies.workers import DEFAULT_RULES, STREAMING_STRICTNESS, plan_worker
from ullage.testing.histories import ASKED_AT, run_history
from ullage.testing.launches import POLICY

MACHINES = (
    None,
    "n1-standard-1",
    "n1-standard-4",
    "n1-highcpu-2",
    "n2-standard-16",
    "n2-highmem-128",
    "n2d-standard-224",
    "e2-standard-2",
    "e2-highcpu-32",
    "e2-custom-2-1024",
    "custom-6-20480",
    "n2-custom-4-102400-ext",
)


@st.composite
def launches(draw: st.DrawFn) -> LaunchedJob:
    """Draw a launch that passes every check."""
    kind = draw(st.sampled_from(("batch", "prime", "flexrs", "streaming", "engine")))
    hint = draw(st.none() | st.integers(1, 100 * GIB))
    return LaunchedJob(
        job_name="orders",
        sdk=draw(st.sampled_from(Sdk)),
        sdk_version="2.77.0",
        region="us-central1",
        project=None,
        is_streaming=kind in ("streaming", "engine"),
        is_streaming_engine=kind == "engine",
        is_prime=kind == "prime",
        is_flexrs=kind == "flexrs",
        is_right_fitting=draw(st.booleans()),
        machine_type=None if kind == "prime" else draw(st.sampled_from(MACHINES)),
        threads_count=draw(st.none() | st.integers(1, 40)),
        min_ram_bytes=hint if kind != "prime" or hint is None else min(hint, 80 * GIB),
        max_workers_count=draw(st.none() | st.integers(1, 100)),
    )


@st.composite
def histories(draw: st.DrawFn) -> RunHistory:
    """Draw up to 30 runs of up to two layouts, some of them censored."""
    count = draw(st.integers(0, 30))
    middle = draw(st.floats(0.05, 300)) * GIB
    spread = draw(st.floats(0, 0.8))
    dice = np.random.default_rng(draw(st.integers(0, 999)))
    layouts = draw(
        st.lists(
            st.sampled_from(((1, 1, 1), (4, 4, 1), (4, 1, 4), (16, 1, 16), (2, 2, 12))),
            min_size=1,
            max_size=2,
        )
    )
    rows = [layouts[at % len(layouts)] for at in range(count)]
    return run_history(
        (middle * np.exp(spread * dice.standard_normal(count))).tolist(),
        runtime_s=3600.0,
        censored=draw(st.sets(st.integers(0, max(count - 1, 0)), max_size=5)),
        numbers={
            name: [float(row[at]) for row in rows]
            for at, name in enumerate(("vcpus_count", "processes_count", "threads_count"))
        },
    )


def plan_of(job: LaunchedJob, past: RunHistory) -> WorkerPlan:
    return plan_worker(job, history=past, policy=POLICY, asked_at=ASKED_AT)


@settings(max_examples=150, deadline=None)
@given(launches(), histories())
def test_the_chosen_worker_obeys(job: LaunchedJob, past: RunHistory) -> None:
    plan = plan_of(job, past)
    budget = DEFAULT_RULES.failure_budget_ratio / (STREAMING_STRICTNESS if job.is_streaming else 1)

    assert parse_machine_type(plan.shape.machine_type) == plan.shape
    hint = hinted_bytes(job) if obeys_hints(job) else 0
    given_bytes = max(plan.shape.memory_bytes, plan.min_ram_bytes or 0)
    assert given_bytes >= hint, "never below the user's hint"
    assert (plan.min_ram_bytes or 0) >= (job.min_ram_bytes or 0)

    within = plan.oom_prob is None or plan.oom_prob <= budget + 1e-9
    assert within or plan.reasons[0] is PlanReason.LARGEST
    if plan.reasons[0] is PlanReason.CHEAPER:
        assert plan.expected_usd is not None
        assert plan.before_expected_usd is not None
        assert plan.expected_usd < plan.before_expected_usd, "never dearer but for the risk"
    if plan.reasons[0] in (PlanReason.KEPT, PlanReason.REQUEST, PlanReason.NOTHING_KNOWN):
        assert (plan.shape, plan.layout) == (plan.before, plan.before_layout)
    if job.is_prime:
        assert plan.shape == plan.before
    assert plan.decision.limit_bytes == plan.process_limit_bytes > 0


@settings(max_examples=60, deadline=None)
@given(launches(), histories())
def test_the_same_inputs_give_the_same_plan_and_every_plan_can_be_told(
    job: LaunchedJob, past: RunHistory
) -> None:
    first, again = plan_of(job, past), plan_of(job, past)
    assert first.decision.decision_id == again.decision.decision_id
    assert plan_json(first) == plan_json(again)
    assert plan_text(first).count("\n") >= 5
    assert plan_flags(first)


@settings(max_examples=60, deadline=None)
@given(
    histories(),
    st.sampled_from(tuple(Sdk)),
    st.integers(8, 400),
    st.integers(1, 200),
)
def test_adding_memory_never_raises_the_risk(
    past: RunHistory, sdk: Sdk, first_steps: int, more_steps: int
) -> None:
    probs = []
    for steps in (first_steps, first_steps + more_steps):
        job = LaunchedJob(
            job_name="orders",
            sdk=sdk,
            sdk_version=None,
            region="r",
            project=None,
            machine_type=f"n2-custom-4-{steps * 256}{'-ext' if steps > 128 else ''}",
        )
        probs.append(plan_of(job, past).before_oom_prob)
    if None not in probs:
        assert probs[0] >= probs[1]  # type: ignore[operator]


@given(st.integers(1, 96), st.integers(1, 96), st.integers(1, 500))
def test_a_layout_can_be_told(vcpus: int, processes: int, threads: int) -> None:
    layout = WorkerLayout(vcpus_count=vcpus, processes_count=processes, threads_count=threads)
    assert str(processes) in layout.in_words()
