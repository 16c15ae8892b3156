"""Reads cgroup v1 directories that somebody else made, and wakes the loop for them.

Two eventfds per target, all in one epoll descriptor: one for tasks at the limit
(`memory.oom_control`), one for usage that crosses a level below it (sources.usage_levels).
Levels count page cache, and may not fire in a cgroup full of it: an event is a hint, and the
loop reads on a timer too.
"""

from __future__ import annotations

import os
import resource
import select
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from ullage.access import cgroup1 as files
from ullage.access.folders import CgroupTree, Folder
from ullage.core.errors import AdapterError
from ullage.core.service import EventKind, LiveReading, LiveTarget, TargetEvent
from ullage.sources.usage_levels import UsageLevels, subscribe
from ullage.sources.watched_cgroups import WatchedCgroups

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
        self._levels = UsageLevels(tree, self._epoll)

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
        """Tell an end once, and a kill before it once.

        The notice of the removal comes some 10 ms late, maybe when the end is told already.
        """
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


def _most_targets() -> int:
    """Return for how many targets there are descriptors, so that files can still be opened."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_TARGETS
    return max(0, min(_MOST_TARGETS, (soft - _KEPT_DESCRIPTORS) // 2))
