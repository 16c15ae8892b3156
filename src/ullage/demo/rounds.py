"""Two rounds over the same inputs: fixed limits as people set them, then Ullage.

Each command is really run by `ullage run` and really killed by the kernel where its limit is
too small; every figure comes out of the result files that it wrote.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

from ullage.core.errors import PermanentError
from ullage.core.units import MIB, format_quantity

LANES = 3
"""Jobs side by side; the runs of one job follow each other, so that each learns from the last."""

PIPELINE_MONTHS = (1, 4, 2)
COMMAND_MONTHS = (1, 3, 2, 6, 4, 12)
"""How many months of data each run of a job gets, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of the demonstration.

    naive_limit_bytes: the number in its template. A killed job is run again by hand with
    twice as much, and the template stays as it is.
    options: option -> file of the data set that it reads besides its input.
    """

    name: str
    naive_limit_bytes: int
    months: tuple[int, ...]
    options: tuple[tuple[str, str], ...] = ()
    is_pipeline: bool = False


PIPELINES = (
    Job(
        name="beam_join",
        naive_limit_bytes=384 * MIB,
        months=PIPELINE_MONTHS,
        options=(("--planes", "planes.csv"),),
        is_pipeline=True,
    ),
    Job(
        name="beam_side_input",
        naive_limit_bytes=384 * MIB,
        months=PIPELINE_MONTHS,
        options=(("--weather", "weather.csv"),),
        is_pipeline=True,
    ),
    Job(
        name="beam_skewed_group",
        naive_limit_bytes=320 * MIB,
        months=PIPELINE_MONTHS,
        is_pipeline=True,
    ),
)
COMMANDS = (
    Job(name="delay_by_route", naive_limit_bytes=192 * MIB, months=COMMAND_MONTHS),
    Job(name="sort_by_time", naive_limit_bytes=192 * MIB, months=COMMAND_MONTHS),
)


def jobs_here() -> tuple[Job, ...]:
    """Return the jobs that can run here: pipelines only where Apache Beam is installed."""
    has_beam = importlib.util.find_spec("apache_beam") is not None
    return (*PIPELINES, *COMMANDS) if has_beam else COMMANDS


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


Begins = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The jobs, and where their inputs and the private state of the demonstration are.

    begins: called with (job, months) as each run begins, from several threads.
    """

    jobs: tuple[Job, ...]
    inputs: dict[int, Path]
    source: Path
    folder: Path
    begins: Begins = lambda job, months: None


_RUNNING: set[subprocess.Popen[str]] = set()
"""What ends with the demonstration, also where it is interrupted or one run fails."""

Tell = Callable[[JobRun], None]


def run_naive_round(demo: Demo, tell: Tell) -> list[JobRun]:
    """Run every job on every input under its fixed limit, doubling it by hand after a kill."""

    def runs_of(job: Job) -> Iterator[JobRun]:
        for months in job.months:
            limit_bytes = job.naive_limit_bytes
            while True:
                run = _run(demo, "naive", job, months, ("--limit", format_quantity(limit_bytes)))
                yield run
                if run.result["outcome"] != "oom_killed":
                    break
                limit_bytes *= 2

    return _side_by_side(demo.jobs, runs_of, tell)


def run_ullage_round(demo: Demo, tell: Tell) -> list[JobRun]:
    """Run the same jobs on the same inputs under Ullage, which begins without any history."""

    def runs_of(job: Job) -> Iterator[JobRun]:
        request = ("--request", format_quantity(job.naive_limit_bytes))
        for months in job.months:
            yield _run(demo, "ullage", job, months, request)

    return _side_by_side(demo.jobs, runs_of, tell)


def _side_by_side(
    jobs: tuple[Job, ...], runs_of: Callable[[Job], Iterator[JobRun]], tell: Tell
) -> list[JobRun]:
    """Return the runs of all jobs, LANES jobs at a time; stop after the first that fails."""
    stop, one_voice = Event(), Lock()

    def work(job: Job) -> list[JobRun]:
        done: list[JobRun] = []
        runs = runs_of(job)
        while not stop.is_set() and (run := next(runs, None)) is not None:
            done.append(run)
            with one_voice:
                tell(run)
        return done

    with ThreadPoolExecutor(LANES) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            return [run for future in futures for run in future.result()]
        except BaseException:
            stop.set()
            # Not SIGINT: a pipeline whose worker is gone may wait for ever on its way out.
            for process in tuple(_RUNNING):
                process.send_signal(signal.SIGTERM)
            raise


def _run(demo: Demo, round_name: str, job: Job, months: int, options: tuple[str, ...]) -> JobRun:
    script = Path(__file__).parent / "jobs" / f"{job.name}.py"
    more = [word for name, file in job.options for word in (name, str(demo.source / file))]
    with tempfile.TemporaryDirectory(dir=demo.folder) as folder:
        file = Path(folder) / "result.json"
        ullage = [sys.executable, "-m", "ullage", "run", "--quiet", "--name", job.name]
        program = [sys.executable, str(script), "--input", str(demo.inputs[months]), *more]
        command = [*ullage, "--json", str(file), *options, "--", *program]
        environment = {**os.environ, "ULLAGE_STATE_DIR": str(demo.folder / round_name)}
        demo.begins(job.name, months)
        errors = _finish(command, environment)
        if not file.exists():
            raise PermanentError(f"the demonstration's {job.name} did not run: {errors}")
        result = json.loads(file.read_text(encoding="utf-8"))
    if result["outcome"] not in ("ok", "oom_killed"):
        raise PermanentError(f"the demonstration's {job.name} failed: {errors}")
    return JobRun(job=job.name, months=months, result=result)


def _finish(command: list[str], environment: dict[str, str]) -> str:
    """Run a command to its end, and return the last of what it said on stderr."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        _RUNNING.add(process)
        try:
            return process.communicate()[1].strip()[-300:]
        finally:
            _RUNNING.discard(process)
