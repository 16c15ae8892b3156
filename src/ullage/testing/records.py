"""Records to store in tests: plain ones, and Hypothesis strategies for any that are allowed.

Texts are free of secrets already, so that what is stored equals what was given.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from ullage.core.allocation import Bounds, Ladder, NeedCurve, Prices
from ullage.core.decision import Reason, Recommendation, RunDecision, RunQuestion
from ullage.core.ids import is_name
from ullage.core.masking import mask_command, mask_labels, mask_text
from ullage.core.spending import Spending
from ullage.core.stages import StageUse
from ullage.core.telemetry import Attribution, OomEvent, SampleSeries
from ullage.core.units import GIB, MAX_BYTES, MIB
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload

START = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
INT64 = st.integers(-(2**63), 2**63 - 1)


def begun_run(number: int = 0, *, key: str = "daily-orders", **changes: Any) -> Run:
    """Return the `number`th run of a workload, a minute after the one before; still running."""
    base = Run(
        run_id=f"r-{number:010d}-000000",
        workload=Workload(key=key, key_reason="named by --name", command=("python", "etl.py")),
        started_at=START + timedelta(minutes=number),
        known_at=None,
        features=Features(
            numbers={"input_bytes": 1e9}, sources={"input_bytes": "--input orders.csv"}
        ),
        control=ControlKind.CGROUP1,
        outcome=None,
        exit_code=None,
    )
    return replace(base, **changes)


def one_attempt(number: int = 1, **changes: Any) -> Attempt:
    """Return an attempt that went well."""
    base = Attempt(
        number=number,
        started_at=START,
        limit_bytes=GIB,
        final_limit_bytes=GIB,
        peak_bytes=900 * MIB,
        runtime=timedelta(seconds=20),
        outcome=Outcome.OK,
        exit_code=0,
    )
    return replace(base, **changes)


def ended(run: Run, *attempts: Attempt, **changes: Any) -> Run:
    """Return `run` with its attempts and end."""
    end: dict[str, Any] = {
        "known_at": run.started_at + timedelta(seconds=20),
        "outcome": Outcome.OK,
        "exit_code": 0,
        "attempts": attempts or (one_attempt(),),
    }
    return replace(run, **(end | changes))


def one_decision(decision_id: str = "d-1", *, key: str = "daily-orders") -> RunDecision:
    """Return a decision that no policy made."""
    ladder = Ladder(limit_bytes=(GIB, 2 * GIB), oom_prob=(0.02, 0.0))
    return RunDecision(
        decision_id=decision_id,
        policy="test",
        question=RunQuestion(
            workload_key=key,
            asked_at=START,
            features=Features(),
            bounds=Bounds(ceiling_bytes=16 * GIB),
        ),
        recommendation=Recommendation(
            ladder=ladder, reasons=(Reason.LEARNED,), expert="constant", runs_used=3
        ),
        ladder=ladder,
        reasons=(Reason.LEARNED,),
    )


def one_oom(run: Run, *, attempt: int = 1, at: datetime | None = None) -> OomEvent:
    """Return an OOM event of `run`."""
    return OomEvent(
        run_id=run.run_id,
        workload_key=run.workload.key,
        attempt=attempt,
        at=at or run.started_at + timedelta(seconds=9),
        at_least_bytes=GIB,
        limit_bytes=GIB,
        kills=1,
        attribution=Attribution.ORGANIC,
    )


def one_stage(run: Run, **changes: Any) -> StageUse:
    """Return what a worker, whose run is `run`, needed in a stage that began with it."""
    base = StageUse(
        run_id=run.run_id,
        execution_id="e-1",
        name="flights + by tail",
        started_at=run.started_at,
        ended_at=run.started_at + timedelta(seconds=9),
        start_bytes=90 * MIB,
        peak_bytes=900 * MIB,
        used_byte_seconds=4.5e9,
    )
    return replace(base, **changes)


# -- strategies ------------------------------------------------------------------------------

names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
texts = st.text(max_size=20).map(mask_text)
finite = st.floats(allow_nan=False, allow_infinity=False)
sizes = st.integers(0, MAX_BYTES)
counts = st.integers(0, 10**6)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
spans = st.timedeltas(timedelta(), timedelta(days=400))
optional_sizes = st.none() | sizes
probs = st.floats(0, 1)

features = st.builds(
    Features,
    numbers=st.dictionaries(names, finite, max_size=4),
    labels=st.dictionaries(names, texts, max_size=3).map(mask_labels),
    sources=st.dictionaries(names, texts, max_size=3),
)
workloads = st.builds(
    Workload,
    key=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(is_name),
    key_reason=texts,
    command=st.lists(st.text(st.characters(), max_size=12), max_size=5).map(mask_command),
)
attempts = st.builds(
    Attempt,
    number=st.integers(1, 9),
    started_at=instants,
    limit_bytes=optional_sizes,
    final_limit_bytes=optional_sizes,
    peak_bytes=optional_sizes,
    runtime=spans,
    outcome=st.sampled_from(Outcome),
    exit_code=st.none() | st.integers(0, 255),
    oom_kills=counts,
    raises=counts,
    waits=counts,
    wait_total=spans,
    reserved_byte_seconds=st.none() | finite,
    used_byte_seconds=st.none() | finite,
)
ended_runs = st.builds(
    Run,
    run_id=names,
    workload=workloads,
    started_at=instants,
    known_at=instants,
    features=features,
    control=st.sampled_from(ControlKind),
    outcome=st.sampled_from(Outcome),
    exit_code=st.none() | st.integers(0, 255),
    attempts=st.lists(attempts, max_size=3, unique_by=lambda a: a.number).map(
        lambda tried: tuple(sorted(tried, key=lambda a: a.number))
    ),
    decision_id=st.none(),
    expert_costs=st.dictionaries(names, finite, max_size=3),
    spent_prob=st.lists(probs, max_size=4).map(tuple),
    first_oom_prob=st.none() | probs,
)
ladders = st.lists(st.tuples(sizes, probs), min_size=1, max_size=4).map(
    lambda rungs: Ladder(
        limit_bytes=tuple(sorted(limit for limit, _ in rungs)),
        oom_prob=tuple(sorted((prob for _, prob in rungs), reverse=True)),
    )
)
reasons = st.lists(st.sampled_from(Reason), min_size=1, max_size=3).map(tuple)
decisions = st.builds(
    RunDecision,
    decision_id=names,
    policy=names,
    question=st.builds(
        RunQuestion,
        workload_key=names,
        asked_at=instants,
        features=features,
        bounds=st.builds(Bounds, floor_bytes=sizes, ceiling_bytes=sizes),
        request_bytes=optional_sizes,
        failed_limits_bytes=st.lists(sizes, max_size=3).map(tuple),
        attempts_left=st.integers(0, 9),
        can_grow=st.booleans(),
        failure_budget_ratio=probs,
        spending=st.none()
        | st.builds(
            Spending,
            runs_count=counts,
            failures_count=counts,
            expected_count=finite,
            mean_prob=st.lists(probs, max_size=4).map(tuple),
        ),
        prices=st.builds(Prices, rho=finite, failure_gbh=st.none() | finite, ttf_ratio=finite),
    ),
    recommendation=st.builds(
        Recommendation,
        ladder=ladders,
        reasons=reasons,
        expert=texts,
        runs_used=counts,
        expert_ladders=st.dictionaries(names, ladders, max_size=3),
        deciding_run_ids=st.lists(names, max_size=5).map(tuple),
        spent_prob=st.lists(probs, max_size=4).map(tuple),
        failure_gbh=finite,
        feature=st.none() | texts,
        curve=st.none()
        | ladders.map(
            lambda ladder: NeedCurve(
                need_bytes=tuple(map(float, ladder.limit_bytes)), above_prob=ladder.oom_prob
            )
        ),
    ),
    ladder=ladders,
    reasons=reasons,
)


@st.composite
def sample_series(draw: st.DrawFn) -> SampleSeries:
    """Draw any samples, also ones that no machine would measure."""
    series = SampleSeries()
    for _ in range(draw(st.integers(0, 8))):
        series.elapsed_ms.append(draw(finite))
        series.need_bytes.append(draw(INT64))
        series.usage_bytes.append(draw(INT64))
        series.limit_bytes.append(draw(INT64))
    return series
