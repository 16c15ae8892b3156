"""Records for tests of what is said about them; every field can be replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ullage.core.allocation import Bounds, Ladder
from ullage.core.decision import Reason, Recommendation, RunDecision, RunQuestion
from ullage.core.units import GIB, MIB
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload

START = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
WORKLOAD = Workload(key="daily-orders", key_reason="named by --name", command=("python", "etl.py"))


def attempt(**changes: Any) -> Attempt:
    base = Attempt(
        number=1,
        started_at=START,
        limit_bytes=1200 * MIB,
        final_limit_bytes=1200 * MIB,
        peak_bytes=1000 * MIB,
        runtime=timedelta(seconds=20),
        outcome=Outcome.OK,
        exit_code=0,
        reserved_byte_seconds=1200.0 * MIB * 20,
        used_byte_seconds=900.0 * MIB * 20,
    )
    return replace(base, **changes)


def run(*attempts: Attempt, **changes: Any) -> Run:
    tried = attempts or (attempt(),)
    base = Run(
        run_id="r-0mfeyw0zi8-616263",
        workload=WORKLOAD,
        started_at=START,
        known_at=START + timedelta(seconds=20),
        features=Features(
            numbers={"input_bytes": 1.0 * GIB}, sources={"input_bytes": "--input orders.csv"}
        ),
        control=ControlKind.CGROUP1,
        outcome=tried[-1].outcome,
        exit_code=tried[-1].exit_code,
        attempts=tried,
    )
    return replace(base, **changes)


def decision(
    *reasons: Reason,
    limits: tuple[int, ...] = (1100 * MIB, 1600 * MIB),
    probs: tuple[float, ...] = (0.018, 0.0),
    runs_used: int = 12,
    expert: str = "constant",
    feature: str | None = None,
    deciding: tuple[str, ...] = (),
    **question: Any,
) -> RunDecision:
    given = reasons or (Reason.LEARNED,)
    ladder = Ladder(limit_bytes=limits, oom_prob=probs)
    asked: dict[str, Any] = {
        "workload_key": WORKLOAD.key,
        "asked_at": START,
        "features": Features(numbers={"input_bytes": 2.0 * GIB}),
        "bounds": Bounds(ceiling_bytes=16 * GIB),
    }
    return RunDecision(
        decision_id="d-1",
        policy="ullage",
        question=RunQuestion(**(asked | question)),
        recommendation=Recommendation(
            ladder=ladder,
            reasons=given,
            expert=expert,
            runs_used=runs_used,
            deciding_run_ids=deciding,
            feature=feature,
        ),
        ladder=ladder,
        reasons=given,
    )
