"""Who supervises a run: a process named so that no later process can be taken for it.

A job on Dataflow is supervised by the service, not by a process of this host: its owner token
is `dataflow:PROJECT/REGION/JOB NAME`, and such a run stays open until its end is read back.
"""

from __future__ import annotations

import os

from ullage.core.ids import fit_name

LAUNCHED = "dataflow:"
"""How the owner token of a launched job begins."""


def own_owner() -> str:
    """Return the owner token of this process: boot id, process id and start time."""
    return _token(os.getpid()) or f"unknown:{os.getpid()}:0"


def launch_owner(project: str | None, region: str, job_name: str) -> str:
    """Return the owner token of a job that is launched on Dataflow.

    >>> launch_owner("acme", "us-central1", "orders")
    'dataflow:acme/us-central1/orders'
    """
    return LAUNCHED + "/".join(fit_name(part) or "-" for part in (project or "", region, job_name))


def is_owner_alive(owner: str) -> bool:
    """Say whether the process that `owner` names still runs (not merely its number).

    A launched job counts as alive: only the service knows, and whoever reads it back.
    """
    if owner.startswith(LAUNCHED):
        return True
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
