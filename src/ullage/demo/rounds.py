"""Two rounds over the same inputs: a fixed limit as people set it, then Ullage.

Each command is really run by `ullage run` and really killed by the kernel where its limit is
too small; every figure comes out of the result files that it wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage.core.errors import PermanentError
from ullage.core.units import MIB, format_quantity

NAIVE_LIMIT_BYTES = 192 * MIB
"""One number for every job, as in a shared job template. A killed job is run again by hand
with twice as much, and the template stays as it is."""

MONTHS = (1, 3, 2, 5, 4, 8, 6, 12)
"""How many months of data each run of a job gets, in this order."""

JOBS = ("delay_by_route", "sort_by_time", "join_weather")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One `ullage run` of the demonstration. `result` is what it wrote with --json."""

    job: str
    months: int
    result: dict[str, Any]

    @property
    def is_ok(self) -> bool:
        """Whether the job finished."""
        return bool(self.result["outcome"] == "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Where the inputs and the private state of the demonstration are."""

    inputs: dict[int, Path]
    weather: Path
    folder: Path


def run_naive_round(demo: Demo, tell: Callable[[JobRun], None]) -> list[JobRun]:
    """Run every job on every input under the fixed limit, doubling it by hand after a kill."""
    done: list[JobRun] = []
    for job, months in _work():
        limit_bytes = NAIVE_LIMIT_BYTES
        while True:
            options = ("--limit", format_quantity(limit_bytes))
            run = _run(demo, "naive", job, months, options)
            done.append(run)
            tell(run)
            if run.result["outcome"] != "oom_killed":
                break
            limit_bytes *= 2
    return done


def run_ullage_round(demo: Demo, tell: Callable[[JobRun], None]) -> list[JobRun]:
    """Run the same jobs on the same inputs under Ullage, which begins without any history."""
    done: list[JobRun] = []
    for job, months in _work():
        run = _run(demo, "ullage", job, months, ("--request", format_quantity(NAIVE_LIMIT_BYTES)))
        done.append(run)
        tell(run)
    return done


def _work() -> Iterator[tuple[str, int]]:
    for months in MONTHS:
        for job in JOBS:
            yield job, months


def _run(demo: Demo, round_name: str, job: str, months: int, options: tuple[str, ...]) -> JobRun:
    script = Path(__file__).parent / "jobs" / f"{job}.py"
    extra = ["--weather", str(demo.weather)] if job == "join_weather" else []
    with tempfile.TemporaryDirectory(dir=demo.folder) as folder:
        file = Path(folder) / "result.json"
        ullage = [sys.executable, "-m", "ullage", "run", "--quiet", "--name", job]
        program = [sys.executable, str(script), "--input", str(demo.inputs[months]), *extra]
        command = [*ullage, "--json", str(file), *options, "--", *program]
        environment = {**os.environ, "ULLAGE_STATE_DIR": str(demo.folder / round_name)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not file.exists():
            raise PermanentError(f"the demonstration's {job} did not run: {done.stderr.strip()}")
        result = json.loads(file.read_text(encoding="utf-8"))
    if result["outcome"] not in ("ok", "oom_killed"):
        raise PermanentError(f"the demonstration's {job} failed: {done.stderr.strip()[-300:]}")
    return JobRun(job=job, months=months, result=result)
