"""What every sandbox and its memory source must do, shown with real processes.

Subclass `SandboxContract`, give `make_target` and declare the gaps an engine has. The suite
starts small real processes; it asserts on memory and order, never on speed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ullage.core.errors import PermanentError
from ullage.core.ports import MemorySource, Sandbox
from ullage.core.units import MIB

HOG = """
import mmap, sys, time
size, hold_s = int(sys.argv[1]), float(sys.argv[2])
block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, size, 4096):
    block[page] = 1
print("full", flush=True)
time.sleep(hold_s)
"""
COPY = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in range(int(sys.argv[2])):
        file.write(bytes(1 << 20))
"""
PATIENCE_S = 20.0


def wait_until(is_true: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> bool:
    """Return whether `is_true()` became true; generous, so that no test depends on speed."""
    deadline_s = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.005)
    return True


class SandboxContract:
    """The suite. `can_park`: tasks can be made to wait at the limit (not in cgroup v2)."""

    can_park = True

    @pytest.fixture
    def make_target(self) -> Callable[[], tuple[Sandbox, Callable[[], MemorySource]]]:
        """Return a maker of (created sandbox, opener of a source over it)."""
        raise NotImplementedError

    @pytest.fixture
    def target(
        self, make_target: Callable[[], tuple[Sandbox, Callable[[], MemorySource]]]
    ) -> tuple[Sandbox, MemorySource]:
        """Return one sandbox and an open source."""
        sandbox, open_source = make_target()
        return sandbox, open_source()

    def start(self, sandbox: Sandbox, code: str, *args: object) -> subprocess.Popen[str]:
        """Start a Python program inside the sandbox."""
        return subprocess.Popen(
            [sys.executable, "-S", "-c", code, *map(str, args)],
            preexec_fn=sandbox.enter,
            stdout=subprocess.PIPE,
            text=True,
        )

    def test_need_follows_anonymous_memory(self, target: tuple[Sandbox, MemorySource]) -> None:
        """What a process has touched is need."""
        sandbox, source = target
        process = self.start(sandbox, HOG, 64 * MIB, 30)
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        need_bytes = source.read().need_bytes
        process.kill()
        process.communicate()
        assert 64 * MIB <= need_bytes <= 90 * MIB
        assert wait_until(lambda: source.read().need_bytes < 8 * MIB)

    def test_page_cache_is_usage_but_not_need(
        self, target: tuple[Sandbox, MemorySource], tmp_path: Path
    ) -> None:
        """A written file fills usage, and can be dropped: it is no need."""
        sandbox, source = target
        self.start(sandbox, COPY, tmp_path / "copy", 100).communicate()
        reading = source.read()
        if reading.usage_bytes < 50 * MIB:
            pytest.skip("the temporary folder's file system keeps no page cache of this cgroup")
        assert reading.need_bytes < 20 * MIB
        assert reading.cache_bytes >= 50 * MIB

    def test_tmpfs_is_need(self, target: tuple[Sandbox, MemorySource]) -> None:
        """A file on a tmpfs cannot be dropped."""
        sandbox, source = target
        file = Path(f"/dev/shm/ullage-contract-{os.getpid()}")  # noqa: S108 - a tmpfs is meant
        try:
            self.start(sandbox, COPY, file, 48).communicate()
            assert source.read().need_bytes >= 48 * MIB
        finally:
            file.unlink(missing_ok=True)

    def test_kernel_kills_at_the_limit_and_counts_it(
        self, target: tuple[Sandbox, MemorySource]
    ) -> None:
        """Without parking, a process above the limit dies by SIGKILL, counted once."""
        sandbox, source = target
        assert sandbox.set_limit(40 * MIB) == 40 * MIB
        process = self.start(sandbox, HOG, 100 * MIB, 0)
        process.communicate()
        assert process.returncode == -9
        assert source.pressure().oom_kills == 1
        peak_bytes = source.read().recent_peak_usage_bytes
        assert peak_bytes is None or 38 * MIB <= peak_bytes <= 40 * MIB

    def test_parked_task_waits_wakes_the_watcher_and_goes_on(
        self, target: tuple[Sandbox, MemorySource]
    ) -> None:
        """With parking nobody dies: the task waits until the limit is raised."""
        if not self.can_park:
            pytest.skip("gap declared: this engine has no pause at the limit")
        sandbox, source = target
        sandbox.set_limit(40 * MIB)
        sandbox.set_parking(True)
        process = self.start(sandbox, HOG, 100 * MIB, 0)
        assert wait_until(lambda: source.pressure().is_waiting)
        ready, _, _ = select.select(source.wake_fds(), [], [], PATIENCE_S)
        assert ready, "no event woke the watcher"
        assert process.poll() is None
        sandbox.set_limit(200 * MIB)
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (0, "full\n")
        assert source.pressure().oom_kills == 0

    def test_giving_the_killer_back_ends_the_wait(
        self, target: tuple[Sandbox, MemorySource]
    ) -> None:
        """A parked task is killed as soon as parking ends: nobody waits for ever."""
        if not self.can_park:
            pytest.skip("gap declared: this engine has no pause at the limit")
        sandbox, source = target
        sandbox.set_limit(40 * MIB)
        sandbox.set_parking(True)
        process = self.start(sandbox, HOG, 100 * MIB, 0)
        assert wait_until(lambda: source.pressure().is_waiting)
        for file, text in sandbox.release_writes:
            Path(file).write_text(text)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == -9
        assert source.pressure().oom_kills == 1

    def test_members_and_removal(self, target: tuple[Sandbox, MemorySource]) -> None:
        """An occupied sandbox stays, an empty one goes, and going twice is no error."""
        sandbox, source = target
        process = self.start(sandbox, HOG, MIB, 60)
        assert process.stdout is not None
        process.stdout.readline()
        assert sandbox.member_pids() == [process.pid]
        assert sandbox.remove() is False
        process.kill()
        process.communicate()
        source.close()
        assert wait_until(sandbox.remove)
        assert sandbox.remove() is True
        assert sandbox.member_pids() == []

    def test_a_vanished_target_is_a_permanent_error(
        self, target: tuple[Sandbox, MemorySource]
    ) -> None:
        """Reading or limiting what somebody else removed says so, in one line."""
        sandbox, source = target
        assert sandbox.remove()
        with pytest.raises(PermanentError, match=r"removed|cannot be read"):
            source.read()
        with pytest.raises(PermanentError, match=r"not set|removed"):
            sandbox.set_limit(64 * MIB)
