"""Makes, limits and removes one cgroup v1 memory directory per attempt.

Only directories that this module made are ever written to or removed. A new cgroup lies
below the cgroup that Ullage itself runs in, so every enclosing limit (a container's, a
slice's, an outer `ullage run`'s) goes on holding.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ullage.access import cgroup1 as files
from ullage.access.folders import Folder, open_made
from ullage.core.errors import PermanentError
from ullage.core.workload import ControlKind

NAME_PREFIX = "ullage-r-"
"""How the names of a run's cgroups begin: `ullage-` and the run id."""


def find_parent() -> tuple[str | None, str]:
    """Return (directory in which cgroups can be made, "") or (None, the reason why not)."""
    mount = files.memory_mount()
    if mount is None:
        return None, "no cgroup v1 memory controller is mounted"
    root, mount_point = mount
    own = files.own_path()
    if own is None:
        return None, "this process is in no cgroup v1 memory cgroup"
    inside = own[len(root) :] if root != "/" and own.startswith(root) else own
    path = mount_point + inside.rstrip("/")
    if "\n" in path or not os.path.isdir(path):
        return None, f"own memory cgroup {path!r} is not visible in this mount"
    if not os.access(path, os.W_OK | os.X_OK):
        return None, f"no permission to make a cgroup in {path} (run as root, or delegate it)"
    return path, ""


def enclosing_room_bytes(path: str) -> int | None:
    """Return how much more `path` and the cgroups above it may use, or None if unlimited.

    The room of one cgroup is its limit minus what it cannot drop. A cgroup that an outer
    `ullage run` made does not count: it grows with what is inside.
    """
    rooms = [max(0, limit - _kept_bytes(folder)) for folder, limit in _enclosing_limits(path)]
    return min(rooms, default=None)


def enclosing_limit_bytes(path: str) -> int | None:
    """Return the least limit of `path` and the cgroups above it, or None if unlimited."""
    return min((limit for _, limit in _enclosing_limits(path)), default=None)


def _enclosing_limits(path: str) -> Iterator[tuple[str, int]]:
    """Yield (cgroup, its limit) from `path` upwards, where it has one that is not ours."""
    while os.path.exists(f"{path}/memory.limit_in_bytes"):
        with open_made(path) as folder:
            limit_bytes = files.limit_of(folder)
        if limit_bytes is not None and not os.path.basename(path).startswith(NAME_PREFIX):
            yield path, limit_bytes
        path = os.path.dirname(path)


def _kept_bytes(path: str) -> int:
    """Return what the cgroup uses and cannot drop."""
    with open_made(path) as folder:
        return files.usage_and_need(folder)[1]


class Cgroup1Sandbox:
    """Implements core.ports.Sandbox. `create` makes the directory; nothing happens before."""

    kind = ControlKind.CGROUP1

    def __init__(self, parent: str, name: str) -> None:
        self.path = f"{parent}/{name}"

    @property
    def release_writes(self) -> tuple[tuple[str, str], ...]:
        """What a sentinel writes when the supervisor is dead: the OOM killer is given back."""
        return ((f"{self.path}/memory.oom_control", "0"),)

    def create(self) -> None:
        """Make the cgroup. PermanentError if the kernel refuses."""
        try:
            os.mkdir(self.path, 0o755)
            with open_made(self.path) as folder:
                # Anonymous memory must not hide in swap: need would look smaller than it is.
                folder.write("memory.swappiness", "0")
        except OSError as error:
            raise PermanentError(f"cgroup {self.path} cannot be made: {error.strerror}") from error

    def enter(self) -> None:
        """Move the calling process in (used between fork and exec: charges do not move)."""
        with open_made(self.path) as folder:
            folder.write("cgroup.procs", "0")

    def set_limit(self, limit_bytes: int) -> int:
        """Set the limit and return what the kernel made of it (whole pages).

        PermanentError: the limit is below what is in use (EBUSY), or the cgroup is gone.
        """
        try:
            with open_made(self.path) as folder:
                return files.set_limit(folder, limit_bytes)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise PermanentError(
                    f"the kernel refuses a limit of {limit_bytes} bytes: more than that is in use"
                ) from error
            raise PermanentError(f"cgroup {self.path}: limit not set: {error.strerror}") from error

    def set_parking(self, is_parking: bool) -> None:
        """True: tasks wait at the limit. False: the kernel's OOM killer decides."""
        try:
            with open_made(self.path) as folder:
                files.set_parking(folder, is_parking)
        except OSError as error:
            raise PermanentError(f"cgroup {self.path}: {error.strerror}") from error

    def is_parked(self) -> bool | None:
        """Say whether the OOM killer is off now, whoever ordered it; None = gone."""
        try:
            with open_made(self.path) as folder:
                return files.is_parking(folder)
        except OSError:
            return None  # whoever reads it next says so

    def current_limit_bytes(self) -> int | None:
        """Return the limit as it is now, also if somebody else has set it; None = none or gone."""
        try:
            with open_made(self.path) as folder:
                return files.limit_of(folder)
        except OSError:
            return None  # whoever reads it next says so

    def member_pids(self) -> list[int]:
        """Return the processes inside now, those of cgroups below included; none if it is gone."""
        pids: list[int] = []
        for folder, _, _ in os.walk(self.path):
            try:
                with open_made(folder) as opened:
                    pids.extend(_pids(opened))
            except FileNotFoundError:
                continue  # removed between listing and reading
        return pids

    def remove(self) -> bool:
        """Remove the cgroup if nobody is inside; say whether it is gone."""
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                return False
            raise PermanentError(f"cgroup {self.path} stays: {error.strerror}") from error
        return True


def _pids(folder: Folder) -> list[int]:
    return [int(word) for word in folder.read("cgroup.procs").split()]
