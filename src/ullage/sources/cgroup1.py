"""Reads one cgroup v1 memory directory, and wakes whoever watches it.

need = usage_in_bytes - total_inactive_file - total_active_file (Linux,
Documentation/admin-guide/cgroup-v1/memory.rst): anonymous, shared (tmpfs) and kernel
memory. The `total_` figures include cgroups that the command makes below its own.

Two eventfds wake the watcher: one for tasks that wait at the limit (`oom_control`), one
for usage that crosses any of a geometric grid of thresholds. Thresholds count page cache
and may not fire in a cgroup full of it, so the watcher reads on a timer too.
"""

from __future__ import annotations

import errno
import os

from ullage.core.errors import PermanentError
from ullage.core.telemetry import MemoryReading, PressureState
from ullage.core.units import MIB

_FIRST_THRESHOLD_BYTES = 16 * MIB
_THRESHOLD_RATIO = 1.12
_CACHE_KEYS = (b"\ntotal_inactive_file ", b"\ntotal_active_file ")


class Cgroup1Source:
    """Implements core.ports.MemorySource over an existing cgroup v1 memory directory.

    threshold_ceiling_bytes: usage thresholds are set up to here; 0 sets none.
    """

    def __init__(self, path: str, *, threshold_ceiling_bytes: int = 0) -> None:
        self._fds: list[int] = []
        try:
            self._usage_fd = self._open(path, "memory.usage_in_bytes")
            self._stat_fd = self._open(path, "memory.stat")
            self._oom_fd = self._open(path, "memory.oom_control")
            self._max_fd = self._open(path, "memory.max_usage_in_bytes")
            self._wake_fds = self._subscribe(path, threshold_ceiling_bytes)
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
        except OSError as error:
            raise _vanished(error) from error
        cache_bytes = sum(_value_after(stat, key) for key in _CACHE_KEYS)
        return MemoryReading(usage_bytes=usage_bytes, need_bytes=max(0, usage_bytes - cache_bytes))

    def pressure(self) -> PressureState:
        """Return whether tasks wait at the limit now, and the OOM kills so far."""
        try:
            text = os.pread(self._oom_fd, 256, 0)
        except OSError as error:
            raise _vanished(error) from error
        return PressureState(
            is_waiting=_value_after(text, b"\nunder_oom ") > 0,
            oom_kills=_value_after(text, b"\noom_kill "),
        )

    def peak_usage_bytes(self) -> int:
        """Return the kernel's own maximum of usage since the cgroup was made, cache included."""
        try:
            return int(os.pread(self._max_fd, 32, 0))
        except OSError as error:
            raise _vanished(error) from error

    def wake_fds(self) -> tuple[int, ...]:
        """Return the eventfds (oom, thresholds); reading 8 bytes from one clears it."""
        return self._wake_fds

    def close(self) -> None:
        """Close every descriptor; closing an eventfd unregisters its events."""
        while self._fds:
            os.close(self._fds.pop())

    def _open(self, path: str, name: str) -> int:
        fd = os.open(f"{path}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def _subscribe(self, path: str, ceiling_bytes: int) -> tuple[int, ...]:
        control_fd = os.open(f"{path}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            oom_fd = self._eventfd()
            os.write(control_fd, b"%d %d" % (oom_fd, self._oom_fd))
            grid_fd = self._eventfd()
            threshold_bytes = float(_FIRST_THRESHOLD_BYTES)
            while threshold_bytes < ceiling_bytes:
                line = b"%d %d %d" % (grid_fd, self._usage_fd, int(threshold_bytes))
                os.write(control_fd, line)
                threshold_bytes *= _THRESHOLD_RATIO
        finally:
            os.close(control_fd)
        return (oom_fd, grid_fd)

    def _eventfd(self) -> int:
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._fds.append(fd)
        return fd


def _value_after(text: bytes, key: bytes) -> int:
    start = text.find(key)
    if start < 0:
        return 0
    start += len(key)
    end = text.find(b"\n", start)
    return int(text[start:end] if end >= 0 else text[start:])


def _vanished(error: OSError) -> PermanentError:
    if error.errno == errno.ENODEV:
        return PermanentError("the cgroup has been removed by somebody else")
    return PermanentError(f"the cgroup cannot be read: {error.strerror}")
