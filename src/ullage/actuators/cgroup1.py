"""Makes, limits and removes one cgroup v1 memory directory per attempt.

Only directories that this module made are ever written to or removed. A new cgroup lies
below the cgroup that Ullage itself runs in, so every enclosing limit (a container's, a
slice's, an outer `ullage run`'s) goes on holding.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ullage.core.errors import PermanentError
from ullage.core.workload import ControlKind

_UNLIMITED_BYTES = 1 << 60
NAME_PREFIX = "ullage-r-"
"""How the names of a run's cgroups begin: `ullage-` and the run id."""


def find_parent() -> tuple[str | None, str]:
    """Return (directory in which cgroups can be made, "") or (None, the reason why not)."""
    mount = _memory_mount()
    if mount is None:
        return None, "no cgroup v1 memory controller is mounted"
    root, mount_point = mount
    own = _own_path()
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
        limit_bytes = int(_read(path, "memory.limit_in_bytes"))
        if limit_bytes < _UNLIMITED_BYTES and not os.path.basename(path).startswith(NAME_PREFIX):
            yield path, limit_bytes
        path = os.path.dirname(path)


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
            # Anonymous memory must not hide in swap: need would look smaller than it is.
            self._write("memory.swappiness", "0")
        except OSError as error:
            raise PermanentError(f"cgroup {self.path} cannot be made: {error.strerror}") from error

    def enter(self) -> None:
        """Move the calling process in (used between fork and exec: charges do not move)."""
        self._write("cgroup.procs", "0")

    def set_limit(self, limit_bytes: int) -> int:
        """Set the limit and return what the kernel made of it (whole pages).

        PermanentError: the limit is below what is in use (EBUSY), or the cgroup is gone.
        """
        try:
            swap_limit_bytes = int(
                _read(self.path, "memory.memsw.limit_in_bytes") or _UNLIMITED_BYTES
            )
            if swap_limit_bytes < limit_bytes:
                # memory + swap may never be limited below memory alone (EINVAL).
                self._write("memory.memsw.limit_in_bytes", str(limit_bytes))
            self._write("memory.limit_in_bytes", str(limit_bytes))
            return int(_read(self.path, "memory.limit_in_bytes"))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise PermanentError(
                    f"the kernel refuses a limit of {limit_bytes} bytes: more than that is in use"
                ) from error
            raise PermanentError(f"cgroup {self.path}: limit not set: {error.strerror}") from error

    def set_parking(self, is_parking: bool) -> None:
        """True: tasks wait at the limit. False: the kernel's OOM killer decides."""
        try:
            self._write("memory.oom_control", "1" if is_parking else "0")
        except OSError as error:
            raise PermanentError(f"cgroup {self.path}: {error.strerror}") from error

    def member_pids(self) -> list[int]:
        """Return the processes inside now, those of cgroups below included; none if it is gone."""
        pids: list[int] = []
        for folder, _, _ in os.walk(self.path):
            try:
                pids.extend(int(word) for word in _read(folder, "cgroup.procs").split())
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

    def _write(self, name: str, text: str) -> None:
        # One unbuffered write: the kernel parses each write call as a whole command.
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _read(path: str, name: str) -> str:
    try:
        fd = os.open(f"{path}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if name.startswith("memory.memsw."):
            return ""  # kernels without swap accounting
        raise
    try:
        return os.read(fd, 1 << 20).decode()
    finally:
        os.close(fd)


def _kept_bytes(path: str) -> int:
    stat = dict(line.split(" ", 1) for line in _read(path, "memory.stat").splitlines())
    cache_bytes = int(stat.get("total_inactive_file", 0)) + int(stat.get("total_active_file", 0))
    return max(0, int(_read(path, "memory.usage_in_bytes")) - cache_bytes)


def _memory_mount() -> tuple[str, str] | None:
    """Return (root of the mount inside the hierarchy, mount point) from mountinfo(5)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                kind, _, options = after.split(" ", 2)
                if kind == "cgroup" and "memory" in options.strip().split(","):
                    fields = before.split()
                    return fields[3], fields[4]
    except OSError:
        return None  # no /proc: no cgroups either
    return None


def _own_path() -> str | None:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if "memory" in controllers.split(","):
                    return path
    except OSError:
        return None
    return None
