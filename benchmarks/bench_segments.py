"""What samples cost once they have left the state: compacting, bytes a sample, a month's query.

    python benchmarks/bench_segments.py [SAMPLES]

Fills a state with SAMPLES (10 million) samples of 100 workloads over 90 days, one of which has
a fifth of them (the busy one): attempts of 50 to
2,000 samples, 50 ms to 30 s apart with the jitter of a timer, need and usage walking in pages,
limits that are raised now and then. Prints one line per figure, with the budget it is held
against where there is one. It asserts nothing.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ullage.core.stored_samples import CompactionOrder
from ullage.core.telemetry import SampleSeries
from ullage.core.units import GIB, MIB
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload
from ullage.stores.sample_blob import pack_samples
from ullage.stores.state import SqliteStateStore

SAMPLES = 10_000_000
WORKLOADS = 100
DAYS = 90
PAGE = 4096
START = datetime(2026, 1, 1, tzinfo=UTC)
BUSY, USUAL = "workload-0", "workload-42"
MONTH = (START + timedelta(days=31), START + timedelta(days=59))
QUERY = """
import sys, time
from datetime import datetime
from pathlib import Path
from ullage.stores.state import SqliteStateStore
store = SqliteStateStore.open(Path(sys.argv[1]), read_only=True)
since, until = (datetime.fromisoformat(text) for text in sys.argv[3:5])
for _ in range(int(sys.argv[5])):
    start_s = time.perf_counter()
    found = store.workload_samples(sys.argv[2], since=since, until=until)
    print(1000 * (time.perf_counter() - start_s), len(found))
store.close()
"""


def main() -> None:
    """Measure everything and print the table."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        count = _fill(path, wanted)
        _months(path, "in the state", None)
        before_mib = _peak_mib()
        store = SqliteStateStore.open(path)
        order = CompactionOrder(at=START + timedelta(days=DAYS + 1), older_than=timedelta())
        start_s = time.perf_counter()
        report = store.compact(order, tell=lambda done, total: None)
        _line(f"compact {count:,} samples", time.perf_counter() - start_s, "s", 30)
        _line("memory at most, above that before", _peak_mib() - before_mib, "MiB")
        _line("segments", report.segments_count, "")
        _line("bytes a sample in segments", report.segments_bytes / count, "B", 8)
        _line("bytes a sample in the state before", report.packed_bytes / count, "B")
        _line("state file before", report.state_before_bytes / MIB, "MiB")
        _line("state file after", report.state_after_bytes / MIB, "MiB")
        store.close()
        _months(path, "in segments", 200)
        store = SqliteStateStore.open(path)
        runs = [run for run in store.runs(USUAL) if run.attempts][:100]
        _line("samples of one attempt", _ms_each(store, runs), "ms")
        start_s = time.perf_counter()
        store.segments_report()
        _line("verify all segments", time.perf_counter() - start_s, "s")
        store.close()


def _months(path: Path, where: str, budget_ms: float | None) -> None:
    for workload_key, name in ((USUAL, "a"), (BUSY, "the busy")):
        _month(path, workload_key, f"{name} workload's month", where, budget_ms)


def _month(path: Path, key: str, name: str, where: str, budget_ms: float | None) -> None:
    words = [key, *(at.isoformat() for at in MONTH)]
    command = [sys.executable, "-c", QUERY, str(path), *words]
    lines = _output([*command, "6"]).split("\n")
    spans_ms = [float(line.split()[0]) for line in lines if line]
    count = int(lines[0].split()[1])
    _line(f"{name} ({count:,}), {where}, first", spans_ms[0], "ms", budget_ms)
    _line("  the same, again", statistics.median(spans_ms[1:]), "ms", budget_ms)
    start_s = time.perf_counter()
    _output([*command, "1"])
    _line("  a process from start to end", 1000 * (time.perf_counter() - start_s), "ms")


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _ms_each(store: SqliteStateStore, runs: list[Run]) -> float:
    start_s = time.perf_counter()
    for run in runs:
        store.samples(run.run_id, 1)
    return 1000 * (time.perf_counter() - start_s) / len(runs)


def _fill(path: Path, wanted: int) -> int:
    """Record runs with `wanted` samples or a few more; return how many."""
    store = SqliteStateStore.open(path)
    chance = np.random.default_rng(20261126)
    packed: list[tuple[str, int, bytes]] = []
    runs: list[Run] = []
    total = 0
    for number, samples in enumerate(_walks(chance)):
        run = _run(number, float(samples.elapsed_ms[-1]), float(chance.uniform(0, DAYS)))
        runs.append(run)
        packed.append((run.run_id, len(samples), pack_samples(samples)))
        total += len(samples)
        if total >= wanted:
            break
    store.add_ended(runs, [])
    connection = store._connection
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO samples VALUES (?, 1, ?, ?)", packed)
    connection.execute("COMMIT")
    store.close()
    return total


def _walks(chance: np.random.Generator) -> Iterator[SampleSeries]:
    while True:
        count = int(chance.integers(50, 2_001))
        step_us = int(chance.choice([50_000, 200_000, 1_000_000, 5_000_000, 30_000_000]))
        late_us = chance.exponential(120, count)
        elapsed_us = np.cumsum(np.rint(step_us + late_us))
        need = _walk(chance, count, first=int(chance.integers(20_000, 500_000)), step=60)
        cache = _walk(chance, count, first=int(chance.integers(5_000, 100_000)), step=120)
        raises = np.cumsum(chance.random(count) < 0.002)
        limit = (need.max() + 20_000 * (1 + raises)) * PAGE
        yield SampleSeries(
            elapsed_ms=array("d", (elapsed_us / 1000).tobytes()),
            need_bytes=array("q", (need * PAGE).tobytes()),
            usage_bytes=array("q", ((need + cache) * PAGE).tobytes()),
            limit_bytes=array("q", limit.astype(np.int64).tobytes()),
        )


def _walk(chance: np.random.Generator, count: int, *, first: int, step: int) -> NDArray[np.int64]:
    """Return pages in use: most readings differ by some dozens, some by thousands, some not."""
    steps = chance.normal(0, step, count)
    steps[chance.random(count) < 0.3] = 0
    steps[chance.random(count) < 0.01] *= 100
    return np.maximum(1, first + np.cumsum(np.rint(steps))).astype(np.int64)


def _run(number: int, runtime_ms: float, day: float) -> Run:
    started_at = START + timedelta(days=day)
    runtime = timedelta(milliseconds=runtime_ms)
    attempt = Attempt(
        number=1,
        started_at=started_at,
        limit_bytes=GIB,
        final_limit_bytes=GIB,
        peak_bytes=900 * MIB,
        runtime=runtime,
        outcome=Outcome.OK,
        exit_code=0,
    )
    workload_key = f"workload-{number % WORKLOADS}" if number % 5 else BUSY
    return Run(
        run_id=f"r-{number:010d}-{number * 7919 % 0xFFFFFF:06x}",
        workload=Workload(key=workload_key, key_reason="named"),
        started_at=started_at,
        known_at=started_at + runtime,
        features=Features(numbers={"input_bytes": 1e9 + number}),
        control=ControlKind.CGROUP1,
        outcome=Outcome.OK,
        exit_code=0,
        attempts=(attempt,),
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _line(name: str, value: float, unit: str, budget: float | None = None) -> None:
    held = "" if budget is None else f"budget {budget:g}"
    print(f"{name:<52}{value:>10.2f} {unit:<6} {held}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
