"""Reads one cgroup v1 memory directory, and wakes whoever watches it.

need = usage_in_bytes - total_inactive_file - total_active_file (Linux,
Documentation/admin-guide/cgroup-v1/memory.rst): anonymous, shared (tmpfs) and kernel
memory. The `total_` figures include cgroups that the command makes below its own.

Two eventfds wake the watcher: one for tasks that wait at the limit (`oom_control`), one for
usage that crosses a level shortly below it. The second matters, because only a page fault
waits: a system call that needs memory at the limit (a write to a tmpfs) fails with ENOMEM.
To register one level costs about 10 ms (the kernel waits for all its readers), so a thread
does it, and levels are few. They count page cache, and in a cgroup full of cache they do not
fire: the watcher reads on a timer too.
"""

from __future__ import annotations

import errno
import os
import threading
from queue import SimpleQueue

from ullage.access.cgroup1 import need_of
from ullage.access.folders import number_after
from ullage.core.errors import PermanentError
from ullage.core.telemetry import MemoryReading, PressureState

_WARNING_RATIOS = (0.9, 0.75, 0.5)
"""Shares of the limit at which usage wakes the watcher, the most urgent first."""


class Cgroup1Source:
    """Implements core.ports.MemorySource over an existing cgroup v1 memory directory."""

    def __init__(self, path: str) -> None:
        self._fds: list[int] = []
        self._path = path
        self._limits: SimpleQueue[int | None] = SimpleQueue()
        self._arming: threading.Thread | None = None
        self._is_closed = False
        try:
            self._usage_fd = self._open(path, "memory.usage_in_bytes")
            self._stat_fd = self._open(path, "memory.stat")
            self._oom_fd = self._open(path, "memory.oom_control")
            self._max_fd = self._open(path, "memory.max_usage_in_bytes", os.O_RDWR)
            self._wake_fds = self._subscribe(path)
        except OSError as error:
            self.close()
            raise PermanentError(
                f"cgroup {path} cannot be read ({error.strerror}); "
                "it may have been removed by somebody else"
            ) from error

    def read(self) -> MemoryReading:
        """Return usage and need now; PermanentError if the cgroup has vanished."""
        try:
            usage_bytes = int(os.pread(self._usage_fd, 32, 0))
            stat = os.pread(self._stat_fd, 8192, 0)
            peak_bytes = int(os.pread(self._max_fd, 32, 0))
            os.pwrite(self._max_fd, b"0", 0)  # begins again at the present usage
        except OSError as error:
            raise _vanished(error) from error
        return MemoryReading(
            usage_bytes=usage_bytes,
            need_bytes=need_of(usage_bytes, stat),
            recent_peak_usage_bytes=peak_bytes,
        )

    def pressure(self) -> PressureState:
        """Return whether tasks wait at the limit now, and the OOM kills so far."""
        try:
            text = os.pread(self._oom_fd, 256, 0)
        except OSError as error:
            raise _vanished(error) from error
        return PressureState(
            is_waiting=number_after(text, b"\nunder_oom ") > 0,
            oom_kills=number_after(text, b"\noom_kill "),
        )

    def expect_limit(self, limit_bytes: int) -> None:
        """Have levels below `limit_bytes` registered by a thread of their own."""
        self._limits.put(limit_bytes)
        if self._arming is None:
            self._arming = threading.Thread(target=self._arm, name="levels", daemon=True)
            self._arming.start()

    def wake_fds(self) -> tuple[int, ...]:
        """Return the eventfds (waiting tasks, levels); reading 8 bytes from one clears it."""
        return self._wake_fds

    def close(self) -> None:
        """Close every descriptor; closing an eventfd unregisters its events."""
        self._is_closed = True
        if self._arming is not None:
            self._limits.put(None)
            self._arming.join()
        while self._fds:
            os.close(self._fds.pop())

    def _arm(self) -> None:
        control_fd = os.open(f"{self._path}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            while (limit_bytes := self._limits.get()) is not None:
                for ratio in _WARNING_RATIOS:
                    if self._is_closed or not self._limits.empty():
                        break  # a newer limit is more urgent
                    level = (self._level_fd, self._usage_fd, int(limit_bytes * ratio))
                    os.write(control_fd, b"%d %d %d" % level)
        except OSError:
            return  # the cgroup has gone: whoever reads it next says so
        finally:
            os.close(control_fd)

    def _open(self, path: str, name: str, mode: int = os.O_RDONLY) -> int:
        fd = os.open(f"{path}/{name}", mode | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def _subscribe(self, path: str) -> tuple[int, ...]:
        oom_fd = self._eventfd()
        control_fd = os.open(f"{path}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(control_fd, b"%d %d" % (oom_fd, self._oom_fd))
        finally:
            os.close(control_fd)
        self._level_fd = self._eventfd()
        return (oom_fd, self._level_fd)

    def _eventfd(self) -> int:
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._fds.append(fd)
        return fd


def _vanished(error: OSError) -> PermanentError:
    if error.errno == errno.ENODEV:
        return PermanentError("the cgroup has been removed by somebody else")
    return PermanentError(f"the cgroup cannot be read: {error.strerror}")
