"""The sandbox that limits nothing: for machines where no cgroup can be had."""

from __future__ import annotations

from collections.abc import Callable

from ullage.core.errors import InvariantError
from ullage.core.workload import ControlKind


class ObserveSandbox:
    """Implements core.ports.Sandbox by leaving everything as it is.

    members: returns the processes of the command (from the process-tree source).
    """

    kind = ControlKind.OBSERVE
    path = ""
    release_writes: tuple[tuple[str, str], ...] = ()

    def __init__(self) -> None:
        self.members: Callable[[], list[int]] = list

    def create(self) -> None:
        """Make nothing."""

    def enter(self) -> None:
        """Stay where the process is."""

    def is_parked(self) -> bool | None:
        """Return that it cannot be told: nobody else makes tasks wait here."""
        return None

    def current_limit_bytes(self) -> int | None:
        """Return that there is none."""
        return None

    def set_limit(self, limit_bytes: int) -> int:
        """Refuse: a decision to limit must never reach a sandbox that cannot."""
        raise InvariantError(f"observe-only: no limit of {limit_bytes} bytes can be set")

    def set_parking(self, is_parking: bool) -> None:
        """Refuse to park; the kernel's OOM killer is always in charge here."""
        if is_parking:
            raise InvariantError("observe-only: tasks cannot be made to wait")

    def member_pids(self) -> list[int]:
        """Return the processes of the command that were seen."""
        return self.members()

    def remove(self) -> bool:
        """Say that nothing is left behind."""
        return True
