"""Makes, limits and removes one cgroup v2 memory directory per attempt.

Only directories that this module made are ever written to or removed. v2 has no pause at
the limit. What comes nearest is `memory.high`: above it the kernel reclaims, and puts the
task to sleep for up to 2 s each time it comes back with more. So while tasks shall wait,
`memory.high` is the limit and `memory.max` a backstop above it (one system call can take
much at once); while the kernel shall kill, `memory.max` is the limit and `memory.high` off.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory interface files).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ullage.access import cgroup2 as files
from ullage.access.folders import open_made
from ullage.core.errors import PermanentError
from ullage.core.units import MIB
from ullage.core.workload import ControlKind

BACKSTOP_RATIO = 0.25
BACKSTOP_LEAST_BYTES = 16 * MIB
"""memory.max stands so far above memory.high while tasks are made to wait."""
NAME_PREFIX = "ullage-r-"
"""How the names of a run's cgroups begin: `ullage-` and the run id."""
OWN_LEAF = "ullage-self"
"""Where Ullage's own processes go, where only a cgroup without processes may have limits below."""
_PAGE_BYTES = 4096


def find_parent(proc: str = "/proc") -> tuple[str | None, str]:
    """Return (directory in which cgroups can be made, "") or (None, the reason why not).

    In this order: the root of the hierarchy; the own cgroup, if nobody but Ullage is in it (a
    scope with Delegate=yes, a container); the one above, if the own one has no limit that a
    sibling would escape (a login under a delegated user service, root in a session).
    """
    mount = files.mount(proc)
    if mount is None:
        return None, "no cgroup v2 is mounted"
    own = files.own_path(proc)
    if own is None or own.startswith("/.."):
        return None, "the cgroup v2 of this process is outside of what it may see"
    root, point = mount
    inside = own[len(root) :] if root != "/" and own.startswith(root) else own
    path = (point + inside).rstrip("/")
    if "\n" in path or not os.path.isdir(path):
        return None, f"own cgroup {path!r} is not visible in this mount"
    if "memory" not in _words(path, "cgroup.controllers"):
        return None, "the memory controller of cgroup v2 is not delegated to this process"
    is_root = not os.path.exists(f"{path}/cgroup.type")
    if (is_root or _is_all_ours(path, proc)) and _is_writable(path):
        return path, ""
    return _sibling_place(path)


def _sibling_place(path: str) -> tuple[str | None, str]:
    """Return the cgroup above `path`, where nothing is escaped by leaving `path`."""
    above = os.path.dirname(path)
    if os.path.basename(path).startswith(NAME_PREFIX):
        return None, "this is inside of another `ullage run`, whose limit holds here"
    if any(_words(path, name) not in (["max"], []) for name in ("memory.max", "memory.high")):
        return None, f"other processes share the limited cgroup {path}, and it cannot be divided"
    if "memory" not in _words(above, "cgroup.subtree_control") or not _is_writable(above):
        return None, f"no permission to make a cgroup beside {path}"
    return above, ""


def enclosing_room_bytes(path: str) -> int | None:
    """Return how much more `path` and the cgroups above it may use, or None if unlimited.

    As in v1: limit minus what cannot be dropped; cgroups of an outer `ullage run` do not count.
    """
    rooms = [max(0, limit - kept_bytes(folder)) for folder, limit in _enclosing_limits(path)]
    return min(rooms, default=None)


def enclosing_limit_bytes(path: str) -> int | None:
    """Return the least limit of `path` and the cgroups above it, or None if unlimited."""
    return min((limit for _, limit in _enclosing_limits(path)), default=None)


def _enclosing_limits(path: str) -> Iterator[tuple[str, int]]:
    """Yield (cgroup, its limit) from `path` upwards, where it has one that is not ours."""
    while os.path.exists(f"{path}/memory.max"):
        limits = [*_numbers(path, "memory.max"), *_numbers(path, "memory.high")]
        if limits and not os.path.basename(path).startswith(NAME_PREFIX):
            yield path, min(limits)
        path = os.path.dirname(path)


class Cgroup2Sandbox:
    """Implements core.ports.Sandbox. `create` makes the directory; nothing happens before."""

    kind = ControlKind.CGROUP2

    def __init__(self, parent: str, name: str) -> None:
        self._parent = parent
        self.path = f"{parent}/{name}"
        self._limit_bytes: int | None = None
        self._is_parking = False

    @property
    def release_writes(self) -> tuple[tuple[str, str], ...]:
        """What a sentinel writes when the supervisor is dead: nobody is put to sleep any more."""
        return ((f"{self.path}/memory.high", "max"),)

    def create(self) -> None:
        """Make the cgroup. PermanentError if the kernel refuses."""
        try:
            if "memory" not in _words(self._parent, "cgroup.subtree_control"):
                _divide(self._parent)
            os.mkdir(self.path, 0o755)
            # Anonymous memory must not hide in swap: need would look smaller than it is.
            if os.path.exists(f"{self.path}/memory.swap.max"):
                self._write("memory.swap.max", "0")
        except OSError as error:
            raise PermanentError(f"cgroup {self.path} cannot be made: {error.strerror}") from error

    def enter(self) -> None:
        """Move the calling process in (used between fork and exec: charges do not move)."""
        self._write("cgroup.procs", "0")

    def set_limit(self, limit_bytes: int) -> int:
        """Set the limit and return what the kernel made of it (whole pages).

        PermanentError: more than that is in use and cannot be reclaimed, or the cgroup is gone.
        A cut goes by memory.high, reclaim and a look at what is left: memory.max below usage
        would kill at once.
        """
        asked_bytes = limit_bytes // _PAGE_BYTES * _PAGE_BYTES
        before = self._limit_bytes
        try:
            if before is None or asked_bytes < before:
                self._make_room(asked_bytes)
            self._limit_bytes = asked_bytes
            self._apply()
        except OSError as error:
            raise PermanentError(f"cgroup {self.path}: limit not set: {error.strerror}") from error
        return asked_bytes

    def set_parking(self, is_parking: bool) -> None:
        """True: tasks sleep above the limit. False: the kernel's OOM killer decides."""
        self._is_parking = is_parking
        if self._limit_bytes is None:
            return
        try:
            self._apply()
        except OSError as error:
            raise PermanentError(f"cgroup {self.path}: {error.strerror}") from error

    def is_parked(self) -> bool | None:
        """Return that it cannot be told: nobody else makes tasks wait here."""
        return None

    def current_limit_bytes(self) -> int | None:
        """Return the limit as it is now, also if somebody else has set it; None = none or gone."""
        try:
            with open_made(self.path) as folder:
                limit_bytes = files.limits_of(folder).limit_bytes
        except OSError:
            return None  # whoever reads it next says so
        if limit_bytes is not None:
            self._limit_bytes = limit_bytes
        return limit_bytes

    def member_pids(self) -> list[int]:
        """Return the processes inside now, those of cgroups below included; none if it is gone."""
        pids: list[int] = []
        for folder, _, _ in os.walk(self.path):
            try:
                pids.extend(int(word) for word in _words(folder, "cgroup.procs"))
            except OSError:
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

    def _apply(self) -> None:
        limit_bytes = self._limit_bytes or 0
        if self._is_parking:
            spare_bytes = max(BACKSTOP_LEAST_BYTES, int(limit_bytes * BACKSTOP_RATIO))
            backstop_bytes = (limit_bytes + spare_bytes) // _PAGE_BYTES * _PAGE_BYTES
            # The backstop first: it is never below memory.high, and never a cut below usage.
            self._write("memory.max", str(max(backstop_bytes, self._usage_bytes())))
            self._write("memory.high", str(limit_bytes))
        else:
            self._write("memory.max", str(limit_bytes))
            self._write("memory.high", "max")

    def _make_room(self, limit_bytes: int) -> None:
        """Have the kernel drop what it can; PermanentError where usage stays above the limit."""
        was = _words(self.path, "memory.high")
        self._write("memory.high", str(limit_bytes))
        with open_made(self.path) as folder:
            files.reclaim(folder, limit_bytes)
        if self._usage_bytes() > limit_bytes:
            self._write("memory.high", " ".join(was))
            raise PermanentError(
                f"the kernel refuses a limit of {limit_bytes} bytes: more than that is in use"
            )

    def _usage_bytes(self) -> int:
        return sum(_numbers(self.path, "memory.current"))

    def _write(self, name: str, text: str) -> None:
        _write(self.path, name, text)


def kept_bytes(path: str) -> int:
    """Return what the cgroup uses and cannot drop; 0 where it cannot be read (any more)."""
    try:
        with open_made(path) as folder:
            return files.usage_and_need(folder)[1]
    except (OSError, ValueError):
        return 0


def _divide(parent: str) -> None:
    """Let cgroups below `parent` have memory limits; its processes (all ours) go to a leaf."""
    if os.path.exists(f"{parent}/cgroup.type"):
        leaf = f"{parent}/{OWN_LEAF}"
        os.makedirs(leaf, 0o755, exist_ok=True)
        for pid in _words(parent, "cgroup.procs"):
            try:
                _write(leaf, "cgroup.procs", pid)
            except ProcessLookupError:
                continue  # it has ended meanwhile
    _write(parent, "cgroup.subtree_control", "+memory")


def _is_all_ours(path: str, proc: str) -> bool:
    """Say whether every process in the cgroup is this one or was started by it."""
    return all(_is_ours(pid, proc) for pid in _words(path, "cgroup.procs"))


def _is_ours(pid: str, proc: str) -> bool:
    own = str(os.getpid())
    for _ in range(64):
        if pid == own:
            return True
        stat = _text(f"{proc}/{pid}", "stat")
        # The name may hold blanks and brackets: fields count from the last bracket.
        fields = stat.rpartition(")")[2].split()
        if len(fields) < 2:
            return False
        pid = fields[1]
        if pid in ("0", "1") and pid != own:  # the first process of a container is pid 1 itself
            return False
    return False


def _is_writable(path: str) -> bool:
    return os.access(path, os.W_OK | os.X_OK) and os.access(f"{path}/cgroup.procs", os.W_OK)


def _numbers(path: str, name: str) -> list[int]:
    """Return the number in a file, nothing for "max" or no file."""
    return [int(word) for word in _words(path, name) if word.isdigit()]


def _words(path: str, name: str) -> list[str]:
    return _text(path, name).split()


def _text(path: str, name: str) -> str:
    return files.text_of(path, name)


def _write(path: str, name: str, text: str) -> None:
    with open_made(path) as folder:
        folder.write(name, text)
