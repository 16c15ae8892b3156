"""A streaming-like worker under `ullage serve`: its limit follows its need, and nothing dies.

Starts a worker in a cgroup of its own with the limit that somebody once chose, and
`ullage serve` in act mode with periods short enough to be watched; prints need and limit over
time, and at the end OOM kills and what was saved. Needs root and cgroup v1 (or a cgroup that
may be written); leaves nothing behind.

    python examples/streaming/run.py            about four minutes
    python examples/streaming/run.py --quick    about half a minute
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
HERE = Path(__file__).parent

SETTINGS = """
[serve]
act = true
sample_interval = "{sample}"
decide_interval = "{decide}"
watch = "{watch}"
least_history = "{history}"
least_samples_count = 20
gap_window = "{history}"
peak_interval = "{peak}"
small_step_ratio = 0.03

[serve.policy]
hour = "{hour}"

[serve.metrics]
listen = ""

[[serve.workload]]
name = "streaming"
kind = "cgroup1"
selector = "{selector}"
mode = "in_place"
floor = "32MiB"
"""


@dataclass(frozen=True)
class Pace:
    """How fast everything goes. Spans as the settings write them."""

    seconds: float
    period_s: float
    show_s: float
    spans: dict[str, str]


PACES = {
    False: Pace(
        240,
        60,
        5,
        {
            "sample": "200ms",
            "decide": "1s",
            "watch": "2s",
            "history": "20s",
            "peak": "2s",
            "hour": "4s",
        },
    ),
    True: Pace(
        40,
        10,
        2,
        {
            "sample": "100ms",
            "decide": "200ms",
            "watch": "500ms",
            "history": "8s",
            "peak": "1s",
            "hour": "2s",
        },
    ),
}
"""The policy's hour is so short that a wave of the load is some of its hours."""

LOW_MIB, HIGH_MIB, FIRST_LIMIT_MIB = 60, 260, 1024


@dataclass
class Seen:
    """What was measured, second by second."""

    at_s: list[float] = field(default_factory=list)
    need_mib: list[float] = field(default_factory=list)
    limit_mib: list[float] = field(default_factory=list)

    def saved_ratio(self) -> float:
        """Return the share of limit x time that the first limit would have held in vain."""
        held = sum(self.limit_mib) / len(self.limit_mib)
        return 1 - held / FIRST_LIMIT_MIB


def memory_root() -> tuple[str, str]:
    """Return (folder, its path in the hierarchy) of our own memory cgroup."""
    from ullage.access.cgroup1 import memory_tree
    from ullage.actuators.cgroup1 import find_parent

    parent, why_not = find_parent()
    tree, _ = memory_tree()
    if parent is None or tree is None:
        sys.exit(f"this example needs a writable cgroup v1: {why_not}")
    return parent, parent.removeprefix(tree.point)


@contextmanager
def own_cgroup() -> Iterator[tuple[Path, str]]:
    """Yield (folder, path) of a new cgroup with the first limit; remove it at the end."""
    parent, path = memory_root()
    name = f"streaming-{uuid.uuid4().hex[:12]}"
    folder = Path(parent, name)
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(FIRST_LIMIT_MIB * MIB))
        yield folder, f"{path}/{name}"
    finally:
        (folder / "memory.oom_control").write_text("0")
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def start_worker(folder: Path, pace: Pace) -> subprocess.Popen[str]:
    """Start the worker inside the cgroup."""

    def enter() -> None:
        (folder / "cgroup.procs").write_text("0")

    words = [str(HERE / "worker.py"), pace.seconds, LOW_MIB, HIGH_MIB, pace.period_s]
    return subprocess.Popen(
        [sys.executable, *map(str, words)], preexec_fn=enter, stdout=subprocess.PIPE, text=True
    )


def numbers(folder: Path) -> tuple[float, float, int]:
    """Return (need MiB, limit MiB, OOM kills) as the kernel has them now."""
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    usage = int((folder / "memory.usage_in_bytes").read_text())
    need = usage - int(stat["total_inactive_file"]) - int(stat["total_active_file"])
    limit = int((folder / "memory.limit_in_bytes").read_text())
    control = (folder / "memory.oom_control").read_text().split()
    return need / MIB, limit / MIB, int(control[control.index("oom_kill") + 1])


def watch(folder: Path, worker: subprocess.Popen[str], pace: Pace) -> Seen:
    """Print need and limit until the worker ends."""
    seen, began_s, shown_s = Seen(), time.monotonic(), -pace.show_s
    while worker.poll() is None:
        elapsed_s = time.monotonic() - began_s
        need, limit, _ = numbers(folder)
        seen.at_s.append(elapsed_s)
        seen.need_mib.append(need)
        seen.limit_mib.append(limit)
        if elapsed_s - shown_s >= pace.show_s:
            shown_s = elapsed_s
            print(
                f"{elapsed_s:6.0f} s  need {need:5.0f} MiB  limit {limit:5.0f} MiB  "
                f"{bar(need, limit)}",
                flush=True,
            )
        time.sleep(0.1)
    return seen


def bar(need: float, limit: float) -> str:
    """Return need (#) and what the limit leaves (.) on a scale of the first limit."""
    full, end = (round(40 * number / FIRST_LIMIT_MIB) for number in (need, limit))
    return "#" * full + "." * (end - full) + " " * (40 - end) + "|"


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about half a minute")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    pace = PACES[args.quick]
    home = Path(tempfile.mkdtemp(prefix="ullage-streaming-"))
    try:
        with own_cgroup() as (folder, selector):
            (home / "config.toml").write_text(SETTINGS.format(selector=selector, **pace.spans))
            figures = serve_one(home, folder, pace)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(figures))
    if figures["oom_kills_count"] or figures["worker_exit_code"] or not figures["is_proven"]:
        sys.exit(1)


def serve_one(home: Path, folder: Path, pace: Pace) -> dict[str, float]:
    """Run worker and daemon side by side; return and print what came of it."""
    environment = {
        **os.environ,
        "ULLAGE_CONFIG": str(home / "config.toml"),
        "ULLAGE_STATE_DIR": str(home / "state"),
        "ULLAGE_LEDGER": str(home / "ledger.db"),
    }
    command = [sys.executable, "-m", "ullage"]
    worker = start_worker(folder, pace)
    daemon = subprocess.Popen([*command, "serve"], env=environment)
    try:
        seen = watch(folder, worker, pace)
        _, _, kills = numbers(folder)
    finally:
        worker.kill()
        worker.communicate()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=30)
    audit = subprocess.run([*command, "audit", "verify"], env=environment)
    moves = sum(abs(a - b) > 0.5 for a, b in zip(seen.limit_mib, seen.limit_mib[1:], strict=False))
    print(
        f"\n{kills} OOM kills, {moves} moves of the limit, "
        f"{seen.saved_ratio():.0%} of the first limit x time saved "
        f"(it was {FIRST_LIMIT_MIB} MiB; need was at most {max(seen.need_mib):.0f} MiB)"
    )
    return {
        "oom_kills_count": kills,
        "moves_count": moves,
        "saved_ratio": seen.saved_ratio(),
        "worker_exit_code": worker.returncode,
        "last_limit_mib": seen.limit_mib[-1],
        "is_proven": audit.returncode == 0,
    }


if __name__ == "__main__":
    main()
