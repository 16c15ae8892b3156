"""A streaming-like worker under `ullage serve`: its limit follows its need, and nothing dies.

Starts a worker in a cgroup of its own with the limit that somebody once chose, and
`ullage serve` in act mode with periods short enough to be watched; prints need and limit over
time, and at the end OOM kills and what was saved. Needs root and cgroup v1 (or a cgroup that
may be written); leaves nothing behind.

    make example-streaming                      about four minutes
    make example-streaming ARGS=--quick         about three quarters of a minute
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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

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
peaks_kept = "1h"
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

    def gib_s(self, mib: list[float]) -> float:
        """Return memory x time of a column: each value holds until the next one."""
        spans = [b - a for a, b in zip(self.at_s, self.at_s[1:], strict=False)]
        return sum(value * span for value, span in zip(mib, spans, strict=False)) / 1024

    def saved_ratio(self) -> float:
        """Return the share of limit x time that the first limit would have held in vain."""
        return 1 - self.gib_s(self.limit_mib) / self.gib_s([FIRST_LIMIT_MIB] * len(self.at_s))


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
    name = f"streaming-{os.getpid()}-{uuid.uuid4().hex[:8]}"
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


def watch(
    folder: Path, worker: subprocess.Popen[str], daemon: subprocess.Popen[bytes], pace: Pace
) -> Seen:
    """Print need and limit until the worker ends, or the daemon does."""
    seen, began_s, shown_s = Seen(), time.monotonic(), -pace.show_s
    while worker.poll() is None and daemon.poll() is None:
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


def ullage(home: Path, *words: str) -> list[str]:
    """Return the command that runs `ullage` on the state of this example."""
    settings = [f"ULLAGE_{key}={home / name}" for key, name in PLACES.items()]
    return ["env", *settings, sys.executable, "-m", "ullage", *words]


PLACES = {"CONFIG": "config.toml", "STATE_DIR": "state", "LEDGER": "ledger.db"}


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description="A streaming-like worker under `ullage serve`.")
    parser.add_argument("--quick", action="store_true", help="about three quarters of a minute")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    pace = PACES[args.quick]
    signal.signal(signal.SIGTERM, stop)
    home = Path(tempfile.mkdtemp(prefix="ullage-streaming-"))
    try:
        with own_cgroup() as (folder, selector):
            (home / "config.toml").write_text(SETTINGS.format(selector=selector, **pace.spans))
            print(
                f"For {pace.seconds:.0f} s: a worker whose need comes and goes in waves, under a "
                f"limit of {FIRST_LIMIT_MIB} MiB\nthat somebody once chose. The limit moves once "
                "enough of the worker's past is known.\n",
                flush=True,
            )
            seen, figures = serve_one(home, folder, pace)
        report(home, seen, figures)
    except KeyboardInterrupt:
        sys.exit("\nstopped: the worker, the daemon and the cgroup are gone")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(figures))
    if figures["oom_kills_count"] or figures["worker_exit_code"] or not figures["is_proven"]:
        sys.exit(1)


def stop(number: int, frame: object) -> NoReturn:
    """End as Ctrl-C does, so that nothing is left behind."""
    raise KeyboardInterrupt


def serve_one(home: Path, folder: Path, pace: Pace) -> tuple[Seen, dict[str, Any]]:
    """Run worker and daemon side by side; return what was seen and what came of it."""
    log = (home / "serve.log").open("w")
    worker = start_worker(folder, pace)
    daemon = subprocess.Popen(ullage(home, "serve"), stdout=log, stderr=log)
    try:
        seen = watch(folder, worker, daemon, pace)
        _, _, kills = numbers(folder)
    finally:
        worker.kill()
        worker.communicate()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=30)
        log.close()
    if daemon.returncode:
        sys.exit((home / "serve.log").read_text() + "the daemon failed")
    return seen, {"oom_kills_count": kills, "worker_exit_code": worker.returncode}


def report(home: Path, seen: Seen, figures: dict[str, Any]) -> None:
    """Ask Ullage what it decided, and print the account."""
    listing = ullage(home, "get", "decisions", "streaming", "--limit", "100000", "-o", "json")
    rows = json.loads(subprocess.run(listing, check=True, capture_output=True, text=True).stdout)
    rows = [row for row in rows if row["outcome"] == "applied"]
    done = Counter(row["direction"] for row in rows)
    audit = subprocess.run(ullage(home, "audit", "verify"), capture_output=True, text=True)
    fixed, held, used = (
        seen.gib_s(column)
        for column in ([float(FIRST_LIMIT_MIB)] * len(seen.at_s), seen.limit_mib, seen.need_mib)
    )
    figures |= {
        "cuts_count": done["cut"],
        "raises_count": done["grow"] + done["restore"],
        "saved_ratio": seen.saved_ratio(),
        "lowest_limit_mib": min(seen.limit_mib),
        "is_proven": audit.returncode == 0,
    }
    print(f"\nOOM kills     {figures['oom_kills_count']}")
    print(f"limit         {done['cut']} cuts, {figures['raises_count']} raises")
    print(f"memory held   {held:.1f} GiB-s, of which {used:.1f} were needed; the fixed limit would")
    print(f"              have held {fixed:.1f}: {figures['saved_ratio']:.0%} less")
    print(f"audit verify  {audit.stdout.strip() or audit.stderr.strip()}")
    print("\nThe latest decisions (`ullage get decisions` has all of them):")
    for row in rows[:5]:
        old, new = (f"{row[name] / MIB:.0f} MiB" for name in ("old_bytes", "new_bytes"))
        print(f"  {row['at']}  {row['direction']:<5} {old:>8} -> {new:>8}  {row['reason']}")


if __name__ == "__main__":
    main()
