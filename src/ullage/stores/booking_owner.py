"""Who a booking belongs to, and whether they live: a process is its number *and* its start.

Process numbers are used again, start times (in ticks since boot) with the same number are
not; boots have an id of their own.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ullage.core.booking import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingOwner:
    """Who a booking belongs to: a supervisor and the sentinel that may outlive it."""

    run_id: str
    parent_run_id: str | None
    boot_id: str
    pid: int
    pid_start_ticks: int
    sentinel_pid: int | None
    sentinel_start_ticks: int | None

    @classmethod
    def of(
        cls, *, run_id: str, parent_run_id: str | None, pid: int, sentinel_pid: int | None
    ) -> BookingOwner:
        """Return the owner that the live processes `pid` and `sentinel_pid` are."""
        return cls(
            run_id=run_id,
            parent_run_id=parent_run_id,
            boot_id=boot_id(),
            pid=pid,
            pid_start_ticks=start_ticks(pid) or 0,
            sentinel_pid=sentinel_pid,
            sentinel_start_ticks=None if sentinel_pid is None else start_ticks(sentinel_pid) or 0,
        )

    def claim(self, booked_bytes: int, need_bytes: int) -> Claim:
        """Return what this run claims."""
        return Claim(
            run_id=self.run_id,
            parent_run_id=self.parent_run_id,
            booked_bytes=booked_bytes,
            need_bytes=need_bytes,
        )

    def row(self, booked_bytes: int, need_bytes: int) -> dict[str, object]:
        """Return this run's row in the ledger."""
        row: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        return row | {"booked_bytes": booked_bytes, "need_bytes": need_bytes}


def claim_of(row: sqlite3.Row) -> Claim:
    """Return what a row of the ledger claims."""
    return Claim(
        run_id=row["run_id"],
        parent_run_id=row["parent_run_id"],
        booked_bytes=row["booked_bytes"],
        need_bytes=row["need_bytes"],
    )


def is_owned(row: sqlite3.Row) -> bool:
    """Say whether the supervisor or the sentinel that a row names is alive."""
    return row["boot_id"] == boot_id() and (
        is_process(row["pid"], row["pid_start_ticks"])
        or is_process(row["sentinel_pid"], row["sentinel_start_ticks"])
    )


def is_process(pid: int | None, started_ticks: int | None) -> bool:
    """Say whether the process that had this number and start still lives."""
    return pid is not None and started_ticks is not None and start_ticks(pid) == started_ticks


def start_ticks(pid: int) -> int | None:
    """Return when a live process started, in clock ticks since boot (field 22), else None."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@cache
def boot_id() -> str:
    """Return the id of this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
