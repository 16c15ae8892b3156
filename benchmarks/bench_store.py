"""What the stores cost: opening with 10,000 runs, recording a run, reading, booking memory.

    python benchmarks/bench_store.py

Prints one line per figure: median over the rounds, with the budget it is held against where
there is one. It asserts nothing: the machine's disk is not the code's.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ullage.core.telemetry import SampleSeries
from ullage.core.units import GIB, MIB
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload
from ullage.stores.ledger import HostLedger
from ullage.stores.state import SqliteStateStore

RUNS = 10_000
WORKLOADS = 40
ROUNDS = 200
START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Measure everything and print the table."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        _state(Path(folder) / "state.db")
        _ledger(Path(folder) / "ledger.db", "on disk")
    if os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            _ledger(Path(folder) / "ledger.db", "in memory")


def _state(path: Path) -> None:
    store = SqliteStateStore.open(path)
    store._connection.execute("PRAGMA synchronous = OFF")  # only to fill it
    for number in range(RUNS):
        _record(store, number)
    store.close()
    _line(f"size of {RUNS:,} runs with 100 samples each", path.stat().st_size / MIB, "MiB")
    _line("open with 10,000 runs", _ms(lambda: SqliteStateStore.open(path).close()), "ms", 100)
    store = SqliteStateStore.open(path)
    numbers = iter(range(RUNS, RUNS + ROUNDS + 1))
    _line("begin + attempt + end of a run (3 synced)", _ms(lambda: _record(store, next(numbers))))
    _line("500 runs of one workload", _ms(lambda: store.runs("workload-7", limit=500), 20))
    _line("500 runs of all", _ms(lambda: store.runs(limit=500), 20))
    _line("the list of workloads", _ms(store.workloads, 20))
    _line("close_orphans with none open", _ms(lambda: store.close_orphans(set(), at=START)))
    _line("integrity of the whole file", _ms(store.integrity, 1))
    store.close()


def _record(store: SqliteStateStore, number: int) -> None:
    started_at = START + timedelta(minutes=number)
    attempt = Attempt(
        number=1,
        started_at=started_at,
        limit_bytes=GIB,
        final_limit_bytes=GIB,
        peak_bytes=900 * MIB + number,
        runtime=timedelta(seconds=20),
        outcome=Outcome.OK,
        exit_code=0,
    )
    begun = Run(
        run_id=f"r-{number:010d}-000000",
        workload=Workload(
            key=f"workload-{number % WORKLOADS}", key_reason="named", command=("python", "etl.py")
        ),
        started_at=started_at,
        known_at=None,
        features=Features(numbers={"input_bytes": 1e9 + number}, sources={"input_bytes": "--in x"}),
        control=ControlKind.CGROUP1,
        outcome=None,
        exit_code=None,
    )
    samples = SampleSeries()
    for index in range(100):
        samples.append(index * 50.0, need_bytes=index * MIB, usage_bytes=index * MIB, limit_bytes=0)
    store.begin_run(begun, None, owner="bench")
    store.add_attempt(begun.run_id, attempt, samples)
    end = replace(
        begun,
        known_at=started_at + timedelta(seconds=20),
        outcome=Outcome.OK,
        exit_code=0,
        attempts=(attempt,),
    )
    store.end_run(end, [])


def _ledger(path: Path, where: str) -> None:
    def memory() -> tuple[int, int]:
        return 12 * GIB, 16 * GIB

    own = HostLedger.open(path, read_memory=memory).join(run_id="own", pid=os.getpid())
    _line(f"book(), alone, {where}", 1000 * _book_ms(own), "us", 1000)
    for number in range(9):
        other = HostLedger.open(path, read_memory=memory)
        other.join(run_id=f"other-{number}", pid=os.getppid())
        other.close()
    _line(f"book(), ten runs, {where}", 1000 * _book_ms(own), "us", 1000)
    own.release()


def _book_ms(booking: object) -> float:
    needs = iter(range(10**9))
    return _ms(
        lambda: booking.book(booked_bytes=GIB, need_bytes=next(needs)),  # type: ignore[attr-defined]
        5 * ROUNDS,
    )


def _ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    spans_s: list[float] = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        work()
        spans_s.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(spans_s)


def _line(name: str, value: float, unit: str = "ms", budget: float | None = None) -> None:
    held = "" if budget is None else f"budget {budget:g}"
    print(f"{name:<44}{value:>10.2f} {unit:<12} {held}".rstrip())


if __name__ == "__main__":
    main()
