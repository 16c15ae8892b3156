"""Measures a command where no cgroup can be had: samples its process tree in /proc.

need = RssAnon + RssShmem over the tree. Pages shared between processes of the tree count
once for each, and what happens between two samples is not seen: an estimate, and said so
(`control: observe`). A process that was once seen in the tree stays in it when its parent
dies first.
"""

from __future__ import annotations

import os

from ullage.core.telemetry import MemoryReading, PressureState
from ullage.core.units import KIB


class ProcessTreeSource:
    """Implements core.ports.MemorySource over the tree below `root_pid` (root included)."""

    def __init__(self, root_pid: int) -> None:
        self._members: dict[int, int] = {root_pid: _start_ticks(root_pid)}

    def read(self) -> MemoryReading:
        """Return resident memory (usage) and its undroppable part (need), summed over the tree."""
        usage_bytes = need_bytes = 0
        for pid in self.member_pids():
            resident_bytes, kept_bytes = _resident(pid)
            usage_bytes += resident_bytes
            need_bytes += kept_bytes
        return MemoryReading(usage_bytes=usage_bytes, need_bytes=min(need_bytes, usage_bytes))

    def pressure(self) -> PressureState:
        """Return no waiting tasks and no kills: neither can be seen from here."""
        return PressureState(is_waiting=False, oom_kills=0)

    def expect_limit(self, limit_bytes: int) -> None:
        """Arm nothing: a process tree has no events, and no limit either."""

    def wake_fds(self) -> tuple[int, ...]:
        """Return nothing: only the timer wakes the watcher."""
        return ()

    def close(self) -> None:
        """Hold nothing, give back nothing."""

    def member_pids(self) -> list[int]:
        """Return the live processes of the tree, after adding new children."""
        self._members = {
            pid: started for pid, started in self._members.items() if _start_ticks(pid) == started
        }
        pending = list(self._members)
        while pending:
            for child in _children(pending.pop()):
                if child not in self._members:
                    self._members[child] = _start_ticks(child)
                    pending.append(child)
        return list(self._members)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found.extend(int(word) for word in file.read().split())
    except OSError:
        return found  # it ended while we looked: what it had is still in `_members`
    return found


def _resident(pid: int) -> tuple[int, int]:
    fields: dict[bytes, int] = {}
    try:
        with open(f"/proc/{pid}/status", "rb") as lines:
            for line in lines:
                name, _, rest = line.partition(b":")
                if name in (b"VmRSS", b"RssAnon", b"RssShmem"):
                    fields[name] = int(rest.split()[0]) * KIB
    except OSError:
        return 0, 0  # ended: uses nothing
    kept = fields.get(b"RssAnon", 0) + fields.get(b"RssShmem", 0)
    return fields.get(b"VmRSS", 0), kept


def _start_ticks(pid: int) -> int:
    """Return field 22 of /proc/PID/stat (start time in clock ticks), 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0
