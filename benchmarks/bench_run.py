"""What `ullage run` costs: start, memory, watching, and the way from a wait to a raised limit.

    python benchmarks/bench_run.py

Prints one line per figure: median over the rounds, with the budget it is held against. It
asserts nothing: the machine's speed is not the code's. Needs a writable cgroup v1 memory
controller for the last two figures.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
ULLAGE = [sys.executable, "-m", "ullage"]
HOG = """
import ctypes, mmap, sys
size = int(sys.argv[1]) << 20
block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(block)), 1, size)
"""


def main() -> None:
    """Measure everything and print the table."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ULLAGE_STATE_DIR"] = f"{folder}/state"
        os.environ["ULLAGE_LEDGER"] = f"{folder}/ledger.db"
        _line("ullage --help", 1000 * _wall_s([*ULLAGE, "--help"]), "ms", 150)
        bare_s = _wall_s(["true"])
        wrapped_s = _wall_s([*ULLAGE, "run", "--quiet", "--", "true"])
        _line("wrapping `true`, added", 1000 * (wrapped_s - bare_s), "ms", 250)
        _line("memory of supervisor + sentinel", _memory_mib(), "MiB", 60)
        _line("following one cgroup", 100 * _watch_ratio(folder), "% of a core", 0.5)
        for line in _growth(folder):
            _line(*line)


def _line(name: str, value: float, unit: str, budget: float) -> None:
    print(f"{name:<44}{value:>10.2f} {unit:<12} budget {budget:g}")


def _wall_s(command: list[str]) -> float:
    spans: list[float] = []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        spans.append(time.perf_counter() - start_s)
    return statistics.median(spans)


def _memory_mib() -> float:
    """Return the proportional set size of both processes while they supervise a sleep."""
    process = subprocess.Popen([*ULLAGE, "run", "--quiet", "--", "sleep", "2"])
    time.sleep(1.2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    own = [pid for pid in children if b"ullage" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    total_kib = sum(_pss_kib(pid) for pid in (str(process.pid), *own))
    process.wait()
    return total_kib / 1024


def _pss_kib(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _watch_ratio(folder: str) -> float:
    """Return processor time per second of following a sleeping command, start-up taken off."""

    def used_s(seconds: float) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*ULLAGE, "run", "--quiet", "--", "sleep", str(seconds)], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

    short_s = statistics.median(used_s(0.1) for _ in range(5))
    return max(0.0, (used_s(20.1) - short_s) / 20.0)


def _growth(folder: str) -> list[tuple[str, float, str, float]]:
    waits_ms: list[float] = []
    kills = 0
    for _ in range(ROUNDS):
        file = Path(folder) / "result.json"
        command = [*ULLAGE, "run", "--quiet", "--request", "200MiB", "--json", str(file), "--"]
        subprocess.run([*command, sys.executable, "-c", HOG, "1500"], check=False)
        result = json.loads(file.read_text())
        kills += result["oom_kills"]
        (attempt,) = result["attempts"]
        if attempt["waits"]:
            waits_ms.append(1000 * attempt["wait_s_total"] / attempt["waits"])
    median_ms = statistics.median(waits_ms) if waits_ms else 0.0
    return [
        ("from a seen OOM wait to the raised limit", median_ms, "ms", 1.0),
        (f"OOM kills of {ROUNDS} full-speed allocators", float(kills), "kills", 0),
    ]


if __name__ == "__main__":
    main()
