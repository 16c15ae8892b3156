"""Levels of usage below the limit of cgroup v1 directories: the kernel says when one is crossed.

To register a level the kernel waits for all its readers (milliseconds), so one thread does it
for all targets, one after the other.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Mapping
from queue import SimpleQueue

from ullage.access.folders import CgroupTree, Folder
from ullage.core.errors import AdapterError

LEVEL_RATIOS = (0.95, 0.85)
"""Shares of the limit at which usage wakes the loop, the most urgent first."""
_MOST_EVENTS = 4096


class UsageLevels:
    """The levels of usage of all targets, armed by one thread."""

    def __init__(self, tree: CgroupTree, epoll: select.epoll) -> None:
        self._tree = tree
        self._epoll = epoll
        self._orders: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._wanted: dict[str, int] = {}
        self._fds: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        self._armed: dict[str, int] = {}
        self._thread: threading.Thread | None = None

    @property
    def armed_count(self) -> int:
        """Return for how many targets levels are armed by now."""
        with self._lock:
            return len(self._fds)

    def armed_limit_bytes(self, target_id: str) -> int | None:
        """Return the limit whose levels are armed, None where none are (yet)."""
        with self._lock:
            return self._armed.get(target_id)

    def expect(self, target_id: str, limit_bytes: int | None) -> None:
        """Have levels below `limit_bytes` armed soon, if they are not."""
        with self._lock:
            if self._wanted.get(target_id, -1) == (limit_bytes or 0):
                return
            self._wanted[target_id] = limit_bytes or 0
        self._orders.put(target_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="levels", daemon=True)
            self._thread.start()

    def forget(self, target_id: str) -> None:
        """Disarm the levels of a target."""
        with self._lock:
            self._wanted.pop(target_id, None)
            self._replace(target_id, None)

    def woken(self, others: Mapping[int, str]) -> list[tuple[str, int]]:
        """Return whose descriptors in the epoll set have become readable, and clear them.

        others: descriptor -> target of those that are not levels; only for them the number of
        notices is told. Under the lock no number of
        a descriptor can become another's between the two calls.
        """
        with self._lock:
            ready = [fd for fd, _ in self._epoll.poll(0, _MOST_EVENTS)]
            woken = []
            for fd in ready:
                target_id = others.get(fd) or self._owners.get(fd)
                count = _clear(fd) if target_id else 0
                if target_id and count:
                    woken.append((target_id, count if fd in others else 0))
            return woken

    def close(self) -> None:
        """End the thread and close every descriptor."""
        with self._lock:
            self._wanted.clear()
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
        with self._lock:
            for target_id in list(self._fds):
                self._replace(target_id, None)

    def _work(self) -> None:
        while (target_id := self._orders.get()) is not None:
            with self._lock:
                limit_bytes = self._wanted.get(target_id)
            if limit_bytes is None:
                continue
            fd = self._arm(target_id, limit_bytes) if limit_bytes else None
            with self._lock:
                if self._wanted.get(target_id) == limit_bytes:
                    self._replace(target_id, fd)
                elif fd is not None:
                    os.close(fd)  # overtaken by a newer order

    def _arm(self, target_id: str, limit_bytes: int) -> int | None:
        """Return an eventfd with all levels registered (this is what takes long)."""
        fd = -1
        try:
            with self._tree.open_to_read(target_id.partition(":")[2]) as folder:
                fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                for ratio in LEVEL_RATIOS:
                    subscribe(folder, fd, "memory.usage_in_bytes", str(int(limit_bytes * ratio)))
        except (AdapterError, OSError):
            if fd >= 0:
                os.close(fd)
            return None  # gone, or no descriptors left: the timer reads it
        return fd

    def _replace(self, target_id: str, fd: int | None) -> None:
        """Put `fd` in the place of what was armed before; the lock is held."""
        old = self._fds.pop(target_id, None)
        self._armed.pop(target_id, None)
        if fd is not None:
            self._armed[target_id] = self._wanted[target_id]
            self._fds[target_id] = fd
            self._owners[fd] = target_id
            self._epoll.register(fd, select.EPOLLIN)
        if old is not None:
            del self._owners[old]
            os.close(old)


def subscribe(folder: Folder, fd: int, name: str, argument: str = "") -> None:
    """Have the kernel write to the eventfd `fd` when something happens to the file `name`."""
    watched = folder.open(name, os.O_RDONLY)
    try:
        folder.write("cgroup.event_control", f"{fd} {watched} {argument}".rstrip())
    finally:
        os.close(watched)


def _clear(fd: int) -> int:
    """Take what the kernel has written; return how often it has written."""
    try:
        return int.from_bytes(os.read(fd, 8), sys.byteorder)
    except BlockingIOError:
        return 0
