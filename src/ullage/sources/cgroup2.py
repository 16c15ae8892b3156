"""Reads one cgroup v2 memory directory, and wakes whoever watches it.

need = memory.current - inactive_file - active_file (Linux,
Documentation/admin-guide/cgroup-v2.rst): anonymous, shared (tmpfs) and kernel memory, of the
cgroups below too. Tasks "wait" where need has reached `memory.high`: the kernel puts
them to sleep there. inotify wakes the watcher at every event that `memory.events` counts.
"""

from __future__ import annotations

import ctypes
import errno
import os

from ullage.access.cgroup2 import need_of
from ullage.access.folders import number_after
from ullage.core.errors import PermanentError
from ullage.core.telemetry import MemoryReading, PressureState

_NEAR_RATIO = 0.97
"""Need within 3 % of memory.high counts as there: reclaim keeps usage a little below it."""
IN_MODIFY, IN_DELETE_SELF = 0x2, 0x400
_IN_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Cgroup2Source:
    """Implements core.ports.MemorySource over an existing cgroup v2 directory."""

    def __init__(self, path: str) -> None:
        self._fds: list[int] = []
        self._peak_bytes = 0
        try:
            self._usage_fd = self._open(path, "memory.current")
            self._stat_fd = self._open(path, "memory.stat")
            self._events_fd = self._open(path, "memory.events")
            self._high_fd = self._open(path, "memory.high")
            self._peak_fd, self._can_reset = self._open_peak(path)
            self._wake_fds = self._subscribe(f"{path}/memory.events")
        except OSError as error:
            self.close()
            raise PermanentError(
                f"cgroup {path} cannot be read ({error.strerror}); "
                "it may have been removed by somebody else"
            ) from error

    def read(self) -> MemoryReading:
        """Return usage and need now; PermanentError if the cgroup has vanished."""
        try:
            usage_bytes, need_bytes = self._usage_and_need()
            peak_bytes = self._recent_peak(usage_bytes)
        except OSError as error:
            raise _vanished(error) from error
        return MemoryReading(
            usage_bytes=usage_bytes, need_bytes=need_bytes, recent_peak_usage_bytes=peak_bytes
        )

    def pressure(self) -> PressureState:
        """Return whether tasks are put to sleep at memory.high now, and the OOM kills so far."""
        try:
            events = b"\n" + os.pread(self._events_fd, 512, 0)
            high = os.pread(self._high_fd, 64, 0).strip()
            is_waiting = False
            if high.isdigit():
                _, need_bytes = self._usage_and_need()
                is_waiting = need_bytes >= _NEAR_RATIO * int(high)
        except OSError as error:
            raise _vanished(error) from error
        return PressureState(is_waiting=is_waiting, oom_kills=number_after(events, b"\noom_kill "))

    def expect_limit(self, limit_bytes: int) -> None:
        """Nothing to arm: memory.high itself is the warning."""

    def wake_fds(self) -> tuple[int, ...]:
        """Return the inotify descriptor; reading some hundred bytes from it clears it."""
        return self._wake_fds

    def close(self) -> None:
        """Close every descriptor."""
        while self._fds:
            os.close(self._fds.pop())

    def _usage_and_need(self) -> tuple[int, int]:
        usage_bytes = int(os.pread(self._usage_fd, 32, 0))
        return usage_bytes, need_of(usage_bytes, os.pread(self._stat_fd, 8192, 0))

    def _recent_peak(self, usage_bytes: int) -> int | None:
        """Return the largest usage since the last reading, or None where it is not known.

        Before Linux 6.12 the peak is that of the whole life: it tells only where it has risen.
        """
        if self._peak_fd is None:
            return None
        peak_bytes = int(os.pread(self._peak_fd, 32, 0))
        if self._can_reset:
            os.pwrite(self._peak_fd, b"r", 0)
            return peak_bytes
        has_risen, self._peak_bytes = peak_bytes > self._peak_bytes, peak_bytes
        return peak_bytes if has_risen else usage_bytes

    def _open(self, path: str, name: str, mode: int = os.O_RDONLY) -> int:
        fd = os.open(f"{path}/{name}", mode | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def _open_peak(self, path: str) -> tuple[int | None, bool]:
        """Return memory.peak (Linux 5.19), and whether it begins anew by a write (Linux 6.12)."""
        if not os.path.exists(f"{path}/memory.peak"):
            return None, False
        try:
            fd = self._open(path, "memory.peak", os.O_RDWR)
            os.pwrite(fd, b"r", 0)
        except OSError:
            return self._open(path, "memory.peak"), False
        return fd, True

    def _subscribe(self, file: str) -> tuple[int, ...]:
        fd = open_inotify()
        if fd < 0:
            return ()  # no descriptor to be had: the timer still reads
        self._fds.append(fd)
        return (fd,) if watch_file(fd, file) >= 0 else ()


def open_inotify() -> int:
    """Return a new inotify descriptor, -1 where there is none to be had."""
    return int(ctypes.CDLL(None, use_errno=True).inotify_init1(_IN_FLAGS))


def watch_file(fd: int, file: str, mask: int = IN_MODIFY) -> int:
    """Return the number of a new watch of `file`, -1 where that is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.inotify_add_watch(fd, os.fsencode(file), mask))


def unwatch_file(fd: int, watch: int) -> None:
    """End a watch; it may have ended by itself."""
    ctypes.CDLL(None, use_errno=True).inotify_rm_watch(fd, watch)


def _vanished(error: OSError) -> PermanentError:
    if error.errno == errno.ENODEV:
        return PermanentError("the cgroup has been removed by somebody else")
    return PermanentError(f"the cgroup cannot be read: {error.strerror}")
