"""`ullage serve` with one fault in it: `python serve_faults.py FAULT MARK serve ...`.

The fault is there while the file MARK is; what it needs to know stands in it. Everything else is
the real daemon with its real store, sources and actuators.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

POISONS: tuple[Any, ...] = (float("nan"), float("inf"), -1, 1e18, 2**63, "12GiB", True, None)
CRASH_POINTS = ("before_append", "after_append", "before_apply", "after_apply", "before_park")


def crash() -> None:
    """Die as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def end_of(folder: Path) -> None:
    """Let a cgroup and all that runs in it end."""
    while folder.exists():
        with suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
        time.sleep(0.01)


def wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a method by make(method)."""
    setattr(owner, name, make(getattr(owner, name)))


def append_dies(point: str, mark: Path) -> None:
    """Die before or after a row of a cut is stored."""
    from ullage.stores.service import SqliteServiceStore

    def make(real: Any) -> Any:
        def append(self: Any, entries: Any, **given: Any) -> Any:
            is_meant = mark.exists() and any(one.body.get("direction") == "cut" for one in entries)
            if is_meant and point == "before_append":
                crash()
            made = real(self, entries, **given)
            if is_meant:
                crash()
            return made

        return append

    wrap(SqliteServiceStore, "append", make)


def apply_meets(fault: str, mark: Path) -> None:
    """Have something happen around the first cuts: death, somebody's edit, the target's end."""
    from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator

    def make(real: Any) -> Any:
        def apply(self: Any, change: Any) -> Any:
            if not mark.exists() or not change.is_cut:
                return real(self, change)
            if fault == "before_apply":
                crash()
            elif fault == "edit":
                (Path(mark.read_text()) / "memory.limit_in_bytes").write_text(str(700 << 20))
            elif fault == "vanish":
                end_of(Path(mark.read_text()))
            outcome = real(self, change)
            if fault == "after_apply":
                crash()
            return outcome

        return apply

    wrap(LiveCgroup1Actuator, "apply", make)


def park_dies(mark: Path) -> None:
    """Die before tasks are parked."""
    from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator

    def make(real: Any) -> Any:
        def set_parking(self: Any, target_id: str, is_parking: bool) -> None:
            if mark.exists() and is_parking:
                crash()
            real(self, target_id, is_parking)

        return set_parking

    wrap(LiveCgroup1Actuator, "set_parking", make)


def poisoned(mark: Path) -> None:
    """Have readings say what cannot be: the mark holds which (an index of POISONS)."""
    from ullage.sources.live_cgroup1 import LiveCgroup1Source

    def make(real: Any) -> Any:
        def read(self: Any, target: Any) -> Any:
            reading = real(self, target)
            if not mark.exists():
                return reading
            poison = POISONS[int(mark.read_text() or "0")]
            return replace(reading, need_bytes=poison, usage_bytes=poison)

        return read

    wrap(LiveCgroup1Source, "read", make)


def clock_set(mark: Path) -> None:
    """Set the wall clock by the hours in the mark."""
    from ullage import bootstrap

    def make(real: Any) -> Any:
        def now(self: Any) -> Any:
            hours = float(mark.read_text() or "0") if mark.exists() else 0.0
            return real(self) + timedelta(hours=hours)

        return now

    wrap(bootstrap.SystemClock, "now", make)


def main() -> None:
    """Patch, then be the command."""
    fault, mark = sys.argv.pop(1), Path(sys.argv.pop(1))
    if fault.endswith("_append"):
        append_dies(fault, mark)
    elif fault == "before_park":
        park_dies(mark)
    elif fault == "poison":
        poisoned(mark)
    elif fault == "clock":
        clock_set(mark)
    else:
        apply_meets(fault, mark)
    from ullage.__main__ import main as ullage

    ullage()


if __name__ == "__main__":
    main()
