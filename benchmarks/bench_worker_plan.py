"""How long it takes to choose the worker of a Dataflow job. Prints a table.

    .venv/bin/python benchmarks/bench_worker_plan.py
    .venv/bin/python benchmarks/bench_worker_plan.py --jobs 200

Budget: 300 ms for one launch (imports excluded), 5 s for 1,000 jobs, on one core in plain
numpy. The histories are made up: needs that follow the input within 5 %, one run in twenty
censored, scores of every expert, as a store would give them; half of the jobs have been run
with two machine sizes. Each job has its own history, and text, flags and JSON are made.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from datetime import UTC, datetime

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ullage.core.launch import LaunchedJob, Sdk
from ullage.core.units import MIB
from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.outcomes.worker_plan import plan_flags, plan_json, plan_text
from ullage.policies.experts import EXPERTS
from ullage.policies.runs import UllageRunPolicy
from ullage.policies.workers import plan_worker

POLICY = UllageRunPolicy(tells_needs=True)
LOOKING = UllageRunPolicy(tells_needs=True, scores_experts=False)
"""For plans that are only looked at: nothing is launched, so no expert is scored."""
ASKED_AT = datetime(2026, 1, 1, tzinfo=UTC)
SHAPES = (("n1-standard-4", Sdk.PYTHON), ("n2-standard-16", Sdk.JAVA))


def history(runs_count: int, *, seed: int, vcpus: tuple[int, ...]) -> RunHistory:
    """Return a made-up history of `runs_count` runs, dealt over machine sizes."""
    draw = np.random.default_rng(seed)
    input_bytes = draw.uniform(1e6, 1e9, runs_count)
    peak = (800 * MIB + 3 * input_bytes) * draw.uniform(0.95, 1.05, runs_count)
    sizes = np.array(vcpus, float)[np.arange(runs_count) % len(vcpus)]
    return RunHistory(
        run_ids=tuple(f"r-{i}" for i in range(runs_count)),
        known_at_s=np.arange(runs_count, dtype=float),
        peak_bytes=peak,
        is_censored=draw.random(runs_count) < 0.05,
        runtime_s=draw.uniform(1000, 10_000, runs_count),
        first_failed=np.zeros(runs_count, bool),
        numbers={
            "input_bytes": input_bytes,
            "vcpus_count": sizes,
            "processes_count": np.ones(runs_count),
            "threads_count": sizes,
        },
        expert_costs={e.name: draw.uniform(0.01, 0.02, runs_count) for e in EXPERTS},
    )


def plan_once(at: int, past: RunHistory, policy: UllageRunPolicy) -> None:
    """Plan the job number `at` and tell it in every form."""
    machine, sdk = SHAPES[at % 2]
    job = LaunchedJob(
        job_name=f"job-{at}",
        sdk=sdk,
        sdk_version="2.77.0",
        region="us-central1",
        project="acme",
        machine_type=machine,
        features=Features(numbers={"input_bytes": 5e8}),
    )
    plan = plan_worker(job, history=past, policy=policy, asked_at=ASKED_AT)
    plan_text(plan)
    plan_flags(plan)
    plan_json(plan)


def main() -> None:
    """Time single plans and a fleet of them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=1000)
    options = parser.parse_args()
    print(f"{'past runs':>9}  {'median ms':>9}  {'worst ms':>8}")
    for runs_count in (0, 10, 30, 100, 300):
        spans_ms = []
        for at in range(options.repeat):
            past = history(runs_count, seed=at, vcpus=(4, 16) if at % 4 > 1 else (4,))
            began = time.perf_counter()
            plan_once(at, past, POLICY)
            spans_ms.append(1000 * (time.perf_counter() - began))
        print(f"{runs_count:>9}  {statistics.median(spans_ms):>9.2f}  {max(spans_ms):>8.2f}")
    for runs_count in (30, 100):
        pasts = [
            history(runs_count, seed=at, vcpus=(4, 16) if at % 4 > 1 else (4,))
            for at in range(options.jobs)
        ]
        began, began_cpu = time.perf_counter(), time.process_time()
        for at, past in enumerate(pasts):
            plan_once(at, past, LOOKING)
        span_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        print(
            f"{options.jobs} jobs with {runs_count} past runs each:"
            f" {span_s:.2f} s ({cpu_s:.2f} s of a core)"
        )


if __name__ == "__main__":
    main()
