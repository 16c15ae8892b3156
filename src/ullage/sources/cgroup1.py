"""Reads one cgroup v1 memory directory, and wakes whoever watches it.

need = usage_in_bytes - total_inactive_file - total_active_file (Linux,
Documentation/admin-guide/cgroup-v1/memory.rst): anonymous, shared (tmpfs) and kernel
memory. The `total_` figures include cgroups that the command makes below its own.

An eventfd wakes the watcher when tasks wait at the limit (`oom_control`); else it reads on
a timer. Usage thresholds are not used: registering one costs about 10 ms (the kernel waits
for all readers each time), they count page cache, and in a cgroup full of cache they do not
fire; a wait at the limit costs a task less than that and is never missed.
"""

from __future__ import annotations

import errno
import os

from ullage.core.errors import PermanentError
from ullage.core.telemetry import MemoryReading, PressureState

_CACHE_KEYS = (b"\ntotal_inactive_file ", b"\ntotal_active_file ")


class Cgroup1Source:
    """Implements core.ports.MemorySource over an existing cgroup v1 memory directory."""

    def __init__(self, path: str) -> None:
        self._fds: list[int] = []
        try:
            self._usage_fd = self._open(path, "memory.usage_in_bytes")
            self._stat_fd = self._open(path, "memory.stat")
            self._oom_fd = self._open(path, "memory.oom_control")
            self._max_fd = self._open(path, "memory.max_usage_in_bytes")
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
        """Return the eventfd of waiting tasks; reading 8 bytes from it clears it."""
        return self._wake_fds

    def close(self) -> None:
        """Close every descriptor; closing an eventfd unregisters its events."""
        while self._fds:
            os.close(self._fds.pop())

    def _open(self, path: str, name: str) -> int:
        fd = os.open(f"{path}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def _subscribe(self, path: str) -> tuple[int, ...]:
        oom_fd = self._eventfd()
        control_fd = os.open(f"{path}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(control_fd, b"%d %d" % (oom_fd, self._oom_fd))
        finally:
            os.close(control_fd)
        return (oom_fd,)

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
