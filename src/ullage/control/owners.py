"""Who supervises a run: a process named so that no later process can be taken for it."""

from __future__ import annotations

import os


def own_owner() -> str:
    """Return the owner token of this process: boot id, process id and start time."""
    return _token(os.getpid()) or f"unknown:{os.getpid()}:0"


def is_owner_alive(owner: str) -> bool:
    """Say whether the process that `owner` names still runs (not merely its number)."""
    parts = owner.split(":")
    return len(parts) == 3 and parts[1].isdecimal() and _token(int(parts[1])) == owner


def _token(pid: int) -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None  # no such process, or no /proc
    state, start_ticks = fields[0], fields[19]
    return None if state in (b"Z", b"X") else f"{boot_id}:{pid}:{start_ticks.decode()}"
