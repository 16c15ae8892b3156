"""What sizing adds to a Dataflow launch: read the words, plan, record, rewrite. Prints figures.

    .venv/bin/python benchmarks/bench_launch.py [--runs 500]

Budget: 300 ms, imports excluded. The history is made up: past jobs whose need follows the
number of vCPUs, with a spread of 10 %. One launch is measured cold (the first in its process,
without its imports), then many warm ones. Opening the store and its two syncs are in it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import ullage.stores.state
from ullage.cli.run_launch import launch_of, size_launch
from ullage.cli.run_options import RunOptions
from ullage.config import load_settings
from ullage.control import job_launch  # noqa: F401 - its imports are not part of the figure
from ullage.core.units import GIB
from ullage.core.workload import ControlKind, Features, Run
from ullage.policies import runs as _runs  # noqa: F401
from ullage.testing.records import begun_run, ended, one_attempt

COMMAND = ("python3", "etl.py", "--runner=DataflowRunner", "--region=us-central1")
COMMAND += ("--job_name=orders-20261126", "--worker_machine_type=n1-standard-4")


def past_runs(count: int, *, seed: int = 0) -> list[Run]:
    """Return made-up past jobs of the workload."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        vcpus = float(draw.choice([2, 4]))
        features = Features(
            numbers={"vcpus_count": vcpus, "processes_count": vcpus, "threads_count": 1.0},
            labels={"sdk": "python", "runner": "dataflow"},
        )
        run = begun_run(number, key="beam/orders", control=ControlKind.DATAFLOW, features=features)
        peak_bytes = int(3 * GIB * np.exp(draw.normal(0, 0.1)))
        attempt = one_attempt(peak_bytes=peak_bytes, runtime=timedelta(hours=1))
        found.append(ended(run, attempt))
    return found


def launch_once() -> tuple[float, float, str]:
    """Size one launch as `ullage run` does; return (seconds, of CPU, machine type)."""
    settings = load_settings()
    began, cpu_began = time.perf_counter(), time.process_time()
    launch = launch_of(COMMAND)
    assert launch is not None
    sized = size_launch(COMMAND, launch, RunOptions(), settings, is_plan_only=False)
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    assert sized.plan is not None
    return elapsed_s, cpu_s, sized.plan.shape.machine_type


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--launches", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ULLAGE_STATE_DIR"] = folder
        store = ullage.stores.state.SqliteStateStore.open(Path(folder, "state.db"))
        store.add_ended(past_runs(arguments.runs), ())
        store.close()
        cold_s, cold_cpu_s, machine_type = launch_once()
        warm = [launch_once() for _ in range(arguments.launches)]
    warm_s, cpu_s = (sorted(each[column] for each in warm) for column in (0, 1))
    middle = len(warm) // 2
    print(
        f"sizing a launch: {arguments.runs} past jobs, {machine_type}: "
        f"first {cold_s * 1e3:.0f} ms ({cold_cpu_s * 1e3:.0f} ms of CPU), then median "
        f"{warm_s[middle] * 1e3:.0f} ms ({cpu_s[middle] * 1e3:.0f}), worst {warm_s[-1] * 1e3:.0f} "
        f"ms ({cpu_s[-1] * 1e3:.0f}); load of the machine {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
