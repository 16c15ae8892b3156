"""Three Beam pipelines over real flights, with real SDK workers that the kernel really kills.

Before: every worker has the fixed limit of the template; after an OOM kill somebody runs the
pipeline again with twice as much, and the template stays as it is. After: the same inputs in
the same order under Ullage, which begins without history. `make bench-beam` runs it.
Every figure comes out of the record that `ullage run` wrote.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from ullage.bootstrap import open_store
from ullage.config import load_settings
from ullage.core.units import GIB, MIB, format_bytes, format_quantity
from ullage.core.workload import Run
from ullage.demo.flights import find_flights, write_months

EXAMPLES = Path(__file__).parents[1] / "examples" / "beam"
WORKERS_COUNT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One pipeline; limit_bytes is the number in its template. files: option -> file."""

    name: str
    what: str
    limit_bytes: int
    files: tuple[tuple[str, str], ...] = ()


PIPELINES = (
    Example(
        name="skewed_key",
        what="skewed key",
        limit_bytes=256 * MIB,
        files=(("--planes", "planes.csv"),),
    ),
    Example(
        name="large_side_input",
        what="large side input",
        limit_bytes=256 * MIB,
        files=(("--weather", "weather.csv"),),
    ),
    Example(name="growing_cache", what="growing cache", limit_bytes=256 * MIB),
)


@dataclass(slots=True)
class Round:
    """What one round of a pipeline cost."""

    executions_count: int = 0
    seconds: float = 0.0
    runs: list[Run] = field(default_factory=list)

    def line(self, what: str, when: str) -> str:
        """Return a line of the table."""
        attempts = [attempt for run in self.runs for attempt in run.attempts]
        reserved = sum(attempt.reserved_byte_seconds or 0 for attempt in attempts) / GIB
        used = sum(attempt.used_byte_seconds or 0 for attempt in attempts) / GIB
        kills_count = sum(run.oom_kills for run in self.runs)
        return (
            f"| {what} | {when} | {self.executions_count} | {kills_count} | "
            f"{sum(run.raises for run in self.runs)} | {reserved:.1f} | {used:.1f} | "
            f"{self.seconds:.0f} |"
        )


def main() -> None:
    """Run all pipelines both ways and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", default="3,12,6", help="of flights, one execution each")
    months = tuple(int(word) for word in parser.parse_args().months.split(","))
    with tempfile.TemporaryDirectory(prefix="ullage-bench-") as name:
        folder = Path(name)
        inputs = write_months(find_flights(), folder, months)
        for file in ("planes.csv", "weather.csv"):
            shutil.copy(find_flights() / file, folder / file)
        table = [
            each
            for pipeline in PIPELINES
            for each in (
                _before(pipeline, months, inputs, folder).line(pipeline.what, "fixed limit"),
                _after(pipeline, months, inputs, folder).line(pipeline.what, "Ullage"),
            )
        ]
    print()
    print("| pipeline | memory | executions | OOM kills | raises | GiB-s reserved | used | s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(*table, sep="\n")


def _before(
    pipeline: Example, months: tuple[int, ...], inputs: dict[int, Path], folder: Path
) -> Round:
    total = Round()
    for count in months:
        limit_bytes = pipeline.limit_bytes
        option = f"--ullage_worker_limit={format_quantity(limit_bytes)}"
        while not _execute(pipeline, count, inputs, folder / "before", total, option):
            limit_bytes *= 2
            option = f"--ullage_worker_limit={format_quantity(limit_bytes)}"
    return total


def _after(
    pipeline: Example, months: tuple[int, ...], inputs: dict[int, Path], folder: Path
) -> Round:
    total = Round()
    option = f"--ullage_request={format_quantity(pipeline.limit_bytes)}"
    for count in months:
        if not _execute(pipeline, count, inputs, folder / "after", total, option):
            sys.exit(f"{pipeline.name} over {count} months did not finish under Ullage")
    return total


def _execute(
    pipeline: Example,
    count: int,
    inputs: dict[int, Path],
    state: Path,
    total: Round,
    option: str,
) -> bool:
    """Run a pipeline once, add it to `total`, and say whether it finished."""
    key = f"beam/{pipeline.name}"
    words = [sys.executable, str(EXAMPLES / f"{pipeline.name}.py"), "--input", str(inputs[count])]
    for name, file in pipeline.files:
        words += [name, str(state.parent / file)]
    words += ["--runner=ullage.beam.LocalRunner", f"--ullage_name={key}", option]
    words += [f"--ullage_workers={WORKERS_COUNT}"]
    started_s = time.monotonic()
    environment = {**os.environ, "ULLAGE_STATE_DIR": str(state)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    total.seconds += time.monotonic() - started_s
    total.executions_count += 1
    store = open_store(load_settings(environment), read_only=True)
    runs = store.runs(key, limit=WORKERS_COUNT)
    store.close()
    total.runs += runs
    kills_count = sum(run.oom_kills for run in runs)
    print(f"{pipeline.name}, {count} months, {option}: {_workers(runs)}", flush=True)
    if done.returncode and not kills_count:
        sys.exit(f"{pipeline.name} failed without an OOM kill:\n{done.stderr[-2000:]}")
    return done.returncode == 0


def _workers(runs: list[Run]) -> str:
    return "; ".join(
        f"{attempt.outcome} peak {format_bytes(attempt.peak_bytes)} of "
        f"{format_bytes(attempt.limit_bytes)} -> {format_bytes(attempt.final_limit_bytes)}"
        for run in runs
        for attempt in run.attempts
    )


if __name__ == "__main__":
    main()
