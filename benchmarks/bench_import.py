"""What importing a million lines costs: time and memory of `ullage import` for each format.

    python benchmarks/bench_import.py [LINES]

Makes a trace of each kind (every hundredth line broken) and imports it twice into a record of
its own, in a process of its own. Prints one line per figure and asserts nothing.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LINES = 1_000_000
WORKLOADS = 400
_MEASURED = """
import resource, sys
from ullage.cli.app import app
try:
    app(["import", *sys.argv[1:]], standalone_mode=False)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    """Measure every format and print the table."""
    lines_count = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{lines_count:,} lines, every hundredth broken")
    for name, make in MAKERS.items():
        with tempfile.TemporaryDirectory() as folder:
            _measure(name, make, lines_count, Path(folder))


def _measure(
    name: str, make: Callable[[int], Iterator[str]], lines_count: int, folder: Path
) -> None:
    file = folder / f"trace.{name}"
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in make(lines_count))
    size_mib = file.stat().st_size / (1 << 20)
    first_s, peak_mib = _import(file, folder)
    again_s, _ = _import(file, folder)
    state_mib = (folder / "state" / "state.db").stat().st_size / (1 << 20)
    print(
        f"{name:10} {size_mib:6.0f} MiB  first {first_s:6.1f} s  again {again_s:6.1f} s  "
        f"memory {peak_mib:5.0f} MiB  record {state_mib:6.0f} MiB"
    )


def _import(file: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds and the peak in MiB of one import."""
    env = {**os.environ, "ULLAGE_STATE_DIR": str(folder / "state")}
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(file), "-o", "json"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.monotonic() - began_s, int(done.stderr.split()[-1]) / 1024


def _nextflow(lines_count: int) -> Iterator[str]:
    yield (
        "task_id\thash\tnative_id\tname\tstatus\texit\tsubmit\tduration\trealtime\t%cpu\t"
        "peak_rss\tpeak_vmem\trchar\twchar\tmemory\tcpus"
    )
    for n in range(lines_count):
        if n % 100 == 99:
            yield "half a li"
            continue
        failed = n % 50 == 7
        yield (
            f"{n}\t{n % 256:02x}/{n:06x}\t{n}\tPIPE:STEP_{n % WORKLOADS} (sample {n})\t"
            f"{'FAILED' if failed else 'COMPLETED'}\t{137 if failed else 0}\t"
            f"2026-{1 + n % 9:02}-{1 + n % 28:02} {n % 24:02}:{n % 60:02}:07.123\t"
            f"{n % 59}m 3s\t{n % 58}m 2s\t99.0%\t{1 + n % 7}.{n % 10} GB\t9 GB\t1 GB\t1 MB\t8 GB\t4"
        )


def _slurm(lines_count: int) -> Iterator[str]:
    yield "JobID|JobName|State|ExitCode|Elapsed|MaxRSS|ReqMem|AllocCPUS|NNodes|Submit|Start"
    for n in range(lines_count // 2):
        if n % 50 == 49:
            yield "half a li"
            yield "another"
            continue
        state = "OUT_OF_MEMORY" if n % 50 == 7 else "COMPLETED"
        tail = f"2026-{1 + n % 9:02}-{1 + n % 28:02}T10:{n % 60:02}:00"
        yield f"{n}|step_{n % WORKLOADS}|{state}|0:0|01:{n % 60:02}:00||8Gn|4|1|{tail}|{tail}"
        yield f"{n}.batch|batch|{state}|0:0|01:00:00|{n % 7_000_000 + 1000}K||4|1|{tail}|{tail}"


def _runs(lines_count: int) -> Iterator[str]:
    yield "workload,run_id,started_at,peak_bytes,limit_bytes,runtime_s,outcome,input_bytes"
    for n in range(lines_count):
        if n % 100 == 99:
            yield f"step_{n % WORKLOADS},{n},2026-01-01,-5,,,,"
            continue
        yield (
            f"step_{n % WORKLOADS},{n},{1_770_000_000 + n},{1_000_000_000 + n * 997 % 10**9},"
            f"4294967296,{60 + n % 900},{'oom' if n % 50 == 7 else 'ok'},{n * 31 % 10**9}"
        )


def _snakemake(lines_count: int) -> Iterator[str]:
    yield "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    for n in range(lines_count):
        if n % 100 == 99:
            yield "1.0\t0:00:01\tmuch"
            continue
        yield f"{n / 7:.4f}\t0:10:00\t{100 + n % 9000}.06\t19615.18\t9.1\t9.2\t5.42\t3.06\t99\t9"


def _spark(lines_count: int) -> Iterator[str]:
    yield '{"Event":"SparkListenerLogStart","Spark Version":"3.5.1"}'
    yield (
        '{"Event":"SparkListenerApplicationStart","App Name":"orders","App ID":"app-1",'
        '"Timestamp":1770000000000}'
    )
    for n in range(lines_count):
        if n % 100 == 99:
            yield '{"Event":"SparkListenerTaskEnd","Stage ID":'
            continue
        metrics = {"JVMHeapMemory": 1_000_000_000 + n, "JVMOffHeapMemory": 100_000_000}
        event = {
            "Event": "SparkListenerTaskEnd",
            "Stage ID": 1,
            "Task Info": {"Task ID": n, "Executor ID": str(n % 8)},
            "Task Executor Metrics": metrics,
        }
        yield json.dumps(event)
    yield '{"Event":"SparkListenerApplicationEnd","Timestamp":1770000600000}'


MAKERS: dict[str, Callable[[int], Iterator[str]]] = {
    "nextflow": _nextflow,
    "slurm": _slurm,
    "runs": _runs,
    "snakemake": _snakemake,
    "spark": _spark,
}

if __name__ == "__main__":
    main()
