"""How long `ullage backtest runs` takes on made-up runs. Prints a line of figures.

    .venv/bin/python benchmarks/bench_backtest.py                  # 500,000 runs
    .venv/bin/python benchmarks/bench_backtest.py --workloads 8    # a slice, as deep

Budget: 500,000 runs of 400 workloads in 150 s on 2 cores, within 2 GiB. The runs are made
up: in each workload a log-normal peak follows the size of the input, by a power of its own;
threads and a mode are parameters; runs of all workloads mix in time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

RUNS_PER_WORKLOAD = 1250
ALL_WORKLOADS = 400


def write_runs(file: Path, workloads_count: int, *, seed: int = 0) -> int:
    """Write a Parquet file of runs, in order of their start; return how many."""
    draw = np.random.default_rng(seed)
    n = workloads_count * RUNS_PER_WORKLOAD
    workload = draw.permutation(np.repeat(np.arange(workloads_count), RUNS_PER_WORKLOAD))
    typical_input, spread = draw.uniform(15, 23, workloads_count), draw.uniform(0.2, 1.2)
    power, noise = draw.uniform(0, 1.1, workloads_count), draw.uniform(0.02, 0.4, workloads_count)
    base = draw.uniform(18, 23, workloads_count)
    ease = draw.normal(0, 1, n)
    input_bytes = np.exp(typical_input[workload] + spread * ease)
    peak = np.exp(base[workload] + power[workload] * spread * ease)
    peak = np.clip(peak * np.exp(noise[workload] * draw.normal(0, 1, n)), 1e6, 1e12)
    table = duckdb.connect()
    made_up = {  # noqa: F841  (the query reads it)
        "workload": workload,
        "position": np.arange(n),
        "started_at": 1.7e9 + np.cumsum(draw.exponential(2.0, n)),
        "input_bytes": input_bytes.astype(np.int64),
        "cpus": draw.choice([2.0, 4.0, 8.0], n),
        "mode": draw.integers(0, 3, n),
        "peak_bytes": peak.astype(np.int64),
        "runtime_s": np.exp(draw.normal(5, 1, n)),
        "is_error": draw.random(n) < 0.01,
    }
    table.execute(
        f"""COPY (SELECT 'made-up' AS dataset, 'w' || workload AS workload,
        'r' || position AS run_id, 'e' || position AS execution_id, position AS "order",
        started_at, input_bytes, 'apriori_files' AS input_kind, cpus,
        '{{"mode": "m' || mode || '", "threads": ' || cpus || '}}' AS params,
        peak_bytes, 4 * peak_bytes AS requested_bytes, runtime_s,
        CASE WHEN is_error THEN 'exit:1' ELSE 'ok' END AS outcome
        FROM made_up ORDER BY position) TO '{file}' (FORMAT parquet)"""
    )
    return n


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What the command took. elapsed_s: in all; replaying_s: without start and reading."""

    runs_count: int
    elapsed_s: float
    replaying_s: float
    peak_rss_mib: float
    decision_ms_p50: float
    decision_ms_p99: float


def measure(workloads_count: int, *, policy: str = "ullage", jobs: int = 2) -> Took:
    """Make the file, run the command on it, return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        file, figures = Path(folder, "runs.parquet"), Path(folder, "figures.json")
        n = write_runs(file, workloads_count)
        command = [sys.executable, "-m", "ullage", "backtest", "runs", str(file)]
        command += ["--policy", policy, "--jobs", str(jobs), "--json", str(figures)]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        elapsed_s = time.perf_counter() - began
        result = json.loads(figures.read_text())["results"][0]
    return Took(
        runs_count=n,
        elapsed_s=elapsed_s,
        replaying_s=result["seconds"],
        peak_rss_mib=result["peak_rss_mib"],
        decision_ms_p50=result["decision_ms_p50"],
        decision_ms_p99=result["decision_ms_p99"],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", type=int, default=ALL_WORKLOADS)
    parser.add_argument("--policy", default="ullage")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    took = measure(options.workloads, policy=options.policy, jobs=options.jobs)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy_ms = 1000 * (used.ru_utime + used.ru_stime) / took.runs_count
    print(
        f"{took.runs_count:,} runs: {took.elapsed_s:.1f} s in all, {took.replaying_s:.1f} s"
        f" replaying ({busy_ms:.3f} ms of processor time per run, {took.peak_rss_mib:.0f} MiB);"
        f" a decision {took.decision_ms_p50:.3f} ms (p50),"
        f" {took.decision_ms_p99:.3f} ms (p99)"
    )


if __name__ == "__main__":
    main()
