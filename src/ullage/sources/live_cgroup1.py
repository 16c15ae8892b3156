"""Reads cgroup v1 directories that somebody else made, and wakes the loop for them.

Two eventfds per target, all in one epoll descriptor: one for tasks at the limit
(`memory.oom_control`), one for usage that crosses a level below it. To register a level the
kernel waits for all its readers (milliseconds), so one thread does it for all targets, one
after the other. Levels count page cache, and may not fire in a cgroup full of it: an event
is a hint, and the loop reads on a timer too.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from queue import SimpleQueue

from ullage.access import cgroup1 as files
from ullage.access.folders import CgroupTree, Folder
from ullage.core.errors import AdapterError
from ullage.core.service import EventKind, LiveReading, LiveTarget, TargetEvent
from ullage.sources.watched_cgroups import WatchedCgroups

LEVEL_RATIOS = (0.95, 0.85)
"""Shares of the limit at which usage wakes the loop, the most urgent first."""
_MOST_EVENTS = 4096
_MOST_TARGETS = 100_000
_KEPT_DESCRIPTORS = 256
"""What watching leaves of the process's descriptors to everybody else."""


class LiveCgroup1Source:
    """Implements core.service_ports.TargetSource. One caller's thread, and one of its own.

    now: the wall clock. node_bytes: the memory of this machine, None = not known.
    unwatched_count: targets for which no event could be had: only the timer reads them.
    """

    delay_s = 0.0

    def __init__(
        self, tree: CgroupTree, *, now: Callable[[], datetime], node_bytes: int | None = None
    ) -> None:
        self._now = now
        self._node_bytes = node_bytes
        self._epoll = select.epoll()
        self._cgroups = WatchedCgroups(tree, now)
        self._oom_fds: dict[str, int] = {}
        self._oom_owners: dict[int, str] = {}
        self._notices: Counter[str] = Counter()
        self._levels = _Levels(tree, self._epoll)

    @property
    def unwatched_count(self) -> int:
        """Return for how many watched targets there is no event: only the timer reads them."""
        return len(self._cgroups.targets) - len(self._oom_fds)

    @property
    def armed_count(self) -> int:
        """Return for how many targets levels are armed by now."""
        return self._levels.armed_count

    def armed_limit_bytes(self, target_id: str) -> int | None:
        """Return the limit whose levels are armed, None where none are (yet)."""
        return self._levels.armed_limit_bytes(target_id)

    def read(self, target: LiveTarget) -> LiveReading:
        """Return the target's memory now; once more after an OOM kill that has ended it (S23).

        VanishedError if it is gone, or another cgroup has its name; PermanentError.
        """
        reading = self._cgroups.read(target, self._reading)
        self._notices.pop(target.target_id, None)  # the counter is read: nothing is unexplained
        if target.target_id in self._oom_fds:
            self._levels.expect(target.target_id, reading.limit_bytes)
        return reading

    def _reading(self, target: LiveTarget, folder: Folder, at: datetime) -> LiveReading:
        usage_bytes, need_bytes = files.usage_and_need(folder)
        limit_bytes = files.limit_of(folder)
        is_waiting, oom_kills = files.waiting_and_kills(folder)
        return LiveReading(
            target_id=target.target_id,
            at=at,
            known_at=self._now(),
            usage_bytes=usage_bytes,
            need_bytes=need_bytes,
            limit_bytes=limit_bytes,
            oom_kills=oom_kills,
            is_waiting=is_waiting,
            node_bytes=self._node_bytes,
        )

    def watch(self, targets: Sequence[LiveTarget]) -> None:
        """Send events of exactly these targets from now on; of others no more."""
        for target_id in self._cgroups.outdated(targets):
            self._forget(target_id)
        for target in targets:
            if target.target_id not in self._oom_fds:
                self._cgroups.targets[target.target_id] = target
                self._subscribe(target)
        self._cgroups.keep_only_watched()

    def wake_fds(self) -> tuple[int, ...]:
        """Return the one descriptor behind which all events are."""
        return (self._epoll.fileno(),)

    def events(self) -> list[TargetEvent]:
        """Return what happened since the last call: each woken target is looked at once."""
        woken: Counter[str] = Counter()
        for target_id, notices in self._levels.woken(self._oom_owners):
            woken[target_id] += notices
        return [
            TargetEvent(target_id=target_id, kind=kind, at=self._now())
            for target_id, notices in woken.items()
            if target_id in self._cgroups.targets
            for kind in self._look(self._cgroups.targets[target_id], notices)
        ]

    def close(self) -> None:
        """Close every descriptor; closing an eventfd unregisters its events."""
        self._levels.close()
        for target_id in list(self._cgroups.targets):
            self._forget(target_id)
        self._epoll.close()

    def _look(self, target: LiveTarget, notices: int) -> list[EventKind]:
        """Say what woke us; PRESSURE where only usage has moved.

        notices: what the kernel has said since the last look of tasks at the limit. It says so
        before it kills, and once more when the cgroup is removed: who is removed after a notice
        that no look has explained was killed, though its counter is gone (S23).
        """
        target_id = target.target_id
        waiting = False

        def kills_of(folder: Folder) -> int:
            nonlocal waiting
            waiting, oom_kills = files.waiting_and_kills(folder)
            return oom_kills

        kills = self._cgroups.look(target, kills_of)
        self._notices[target_id] += notices
        if kills is None:
            return self._say_gone(target_id)
        if kills or waiting:
            del self._notices[target_id]
        kinds = [EventKind.WAITING] if waiting else []
        return [*kinds, EventKind.OOM] if kills else kinds or [EventKind.PRESSURE]

    def _say_gone(self, target_id: str) -> list[EventKind]:
        """Tell an end once, and a kill before it once; the notice of either may come first."""
        self._levels.forget(target_id)
        kinds = []
        if self._notices[target_id] > 1:
            self._notices[target_id] = 0
            self._cgroups.add_kill(target_id)
            kinds.append(EventKind.OOM)
        if self._cgroups.note_gone(target_id):
            kinds.append(EventKind.GONE)
        return kinds

    def _subscribe(self, target: LiveTarget) -> None:
        if self._cgroups.is_gone(target.target_id) or len(self._oom_fds) >= _most_targets():
            return  # the timer reads it
        if self._cgroups.look(target, lambda folder: files.waiting_and_kills(folder)[1]) is None:
            return  # and says what is wrong
        fd = -1
        try:
            with self._cgroups.open(target) as folder:
                fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                subscribe(folder, fd, "memory.oom_control")
                limit_bytes = files.limit_of(folder)
            self._epoll.register(fd, select.EPOLLIN)
        except (AdapterError, OSError, ValueError):
            if fd >= 0:
                os.close(fd)
            return
        self._oom_fds[target.target_id] = fd
        self._oom_owners[fd] = target.target_id
        self._levels.expect(target.target_id, limit_bytes)

    def _forget(self, target_id: str) -> None:
        self._drop_fd(target_id)
        self._cgroups.forget(target_id)
        self._notices.pop(target_id, None)

    def _drop_fd(self, target_id: str) -> None:
        fd = self._oom_fds.pop(target_id, None)
        if fd is not None:
            del self._oom_owners[fd]
            os.close(fd)  # which takes it out of the epoll set too
        self._levels.forget(target_id)


class _Levels:
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


def _most_targets() -> int:
    """Return for how many targets there are descriptors, so that files can still be opened."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_TARGETS
    return max(0, min(_MOST_TARGETS, (soft - _KEPT_DESCRIPTORS) // 2))


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
