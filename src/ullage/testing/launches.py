"""Made-up launches, histories and plans, for tests of the choice of a worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from ullage.core.launch import LaunchedJob, Sdk, WorkerPlan
from ullage.core.units import GIB
from ullage.core.view import RunHistory
from ullage.policies.runs import UllageRunPolicy
from ullage.policies.workers import DEFAULT_RULES, plan_worker
from ullage.testing.histories import ASKED_AT, run_history

POLICY = UllageRunPolicy(tells_needs=True)


def launched_job(**changes: Any) -> LaunchedJob:
    """Return a Python batch job that asks for nothing."""
    fields: dict[str, Any] = {
        "job_name": "orders",
        "sdk": Sdk.PYTHON,
        "sdk_version": "2.77.0",
        "region": "us-central1",
        "project": "acme",
    }
    return LaunchedJob(**(fields | changes))


def process_history(
    count: int,
    middle_bytes: float,
    *,
    spread: float = 0.05,
    vcpus: int = 4,
    processes: int = 4,
    threads: int = 1,
) -> RunHistory:
    """Return runs whose processes peaked round `middle_bytes`, under one layout."""
    peaks = np.random.default_rng(1).lognormal(np.log(middle_bytes), spread, count)
    return run_history(
        peaks.tolist(),
        runtime_s=3600.0,
        numbers={
            "vcpus_count": [vcpus] * count,
            "processes_count": [processes] * count,
            "threads_count": [threads] * count,
        },
    )


NOTHING = run_history([])
JAVA_8 = process_history(40, 52 * GIB, vcpus=16, processes=1, threads=8)
"""A Java job on 16 vCPUs with 8 threads that needs about 52 GiB."""


def worker_plan(past: RunHistory = NOTHING, **changes: Any) -> WorkerPlan:
    """Return the plan for a job; `rules`, `prices`, `related` go to the planner, the rest to it."""
    rules = changes.pop("rules", DEFAULT_RULES)
    known = {name: changes.pop(name) for name in ("prices", "related") if name in changes}
    return plan_worker(
        launched_job(**changes),
        history=past,
        policy=POLICY,
        asked_at=ASKED_AT,
        rules=rules,
        **known,
    )
