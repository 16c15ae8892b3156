"""How long one decision takes, by the number of past runs. Prints a table.

    .venv/bin/python benchmarks/bench_decision.py
    .venv/bin/python benchmarks/bench_decision.py --repeat 50

Budget: at most 15 ms from 300 past runs in plain numpy, on one core. The histories are
made up: a peak that follows the input within 5 %, one run in twenty censored, scores of
every expert, and spent curves, as a store would give them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from datetime import UTC, datetime

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ullage.core.allocation import Bounds
from ullage.core.decide import decide_run
from ullage.core.decision import RunQuestion
from ullage.core.units import GIB, MIB
from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.policies.budget import FAILURE_GRID_GBH
from ullage.policies.experts import EXPERTS
from ullage.policies.runs import UllageRunPolicy


def history(runs_count: int, *, seed: int = 0) -> RunHistory:
    """Return a made-up history of `runs_count` runs."""
    draw = np.random.default_rng(seed)
    input_bytes = draw.uniform(1e6, 1e9, runs_count)
    peak = (200 * MIB + 3 * input_bytes) * draw.uniform(0.95, 1.05, runs_count)
    return RunHistory(
        run_ids=tuple(f"r-{i}" for i in range(runs_count)),
        known_at_s=np.arange(runs_count, dtype=float),
        peak_bytes=peak,
        is_censored=draw.random(runs_count) < 0.05,
        runtime_s=draw.uniform(10, 100, runs_count),
        first_failed=draw.random(runs_count) < 0.02,
        numbers={"input_bytes": input_bytes, "threads_count": np.full(runs_count, 4.0)},
        expert_costs={e.name: draw.uniform(0.01, 0.02, runs_count) for e in EXPERTS},
        spent_prob=np.tile(np.linspace(0.2, 0, len(FAILURE_GRID_GBH)), (runs_count, 1)),
    )


def main() -> None:
    """Time decisions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=30)
    repeat = parser.parse_args().repeat
    policy = UllageRunPolicy()
    print(f"{'past runs':>9}  {'mode':<8}  {'median ms':>9}  {'worst ms':>8}")
    for runs_count in (1, 6, 30, 100, 300, 500):
        past = history(runs_count)
        for can_grow in (False, True):
            question = RunQuestion(
                workload_key="bench",
                asked_at=datetime(2026, 1, 1, tzinfo=UTC),
                features=Features(numbers={"input_bytes": 5e8, "threads_count": 4.0}),
                bounds=Bounds(ceiling_bytes=64 * GIB),
                attempts_left=2,
                can_grow=can_grow,
            )
            spans_ms = []
            for _ in range(repeat):
                began = time.perf_counter()
                decide_run(past, question, policy)
                spans_ms.append(1000 * (time.perf_counter() - began))
            mode = "growth" if can_grow else "retries"
            median, worst = statistics.median(spans_ms), max(spans_ms)
            print(f"{runs_count:>9}  {mode:<8}  {median:>9.2f}  {worst:>8.2f}")


if __name__ == "__main__":
    main()
