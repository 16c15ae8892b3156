"""Reads cgroup v2 directories that somebody else made, and wakes the loop for them.

One inotify descriptor tells of every change of every target's `memory.events`: throttling at
memory.high, reclaim at memory.max, OOM kills. An event is a hint, and the loop reads on a
timer too.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from ullage.access import cgroup2 as files
from ullage.access.folders import CgroupTree, Folder
from ullage.core.errors import AdapterError
from ullage.core.service import EventKind, LiveReading, LiveTarget, TargetEvent
from ullage.sources.cgroup2 import (
    IN_DELETE_SELF,
    IN_MODIFY,
    open_inotify,
    unwatch_file,
    watch_file,
)
from ullage.sources.watched_cgroups import WatchedCgroups

_NEAR_RATIO = 0.97
"""Need within 3 % of memory.high counts as there: reclaim keeps usage a little below it."""
_EVENT = struct.Struct("iIII")
_CHUNK_BYTES = 1 << 16
_MOST_CHUNKS = 64


class LiveCgroup2Source:
    """Implements core.service_ports.TargetSource.

    now: the wall clock. node_bytes: the memory of this machine, None = not known.
    """

    delay_s = 0.0

    def __init__(
        self, tree: CgroupTree, *, now: Callable[[], datetime], node_bytes: int | None = None
    ) -> None:
        self._now = now
        self._node_bytes = node_bytes
        self._fd = open_inotify()
        self._cgroups = WatchedCgroups(tree, now)
        self._watches: dict[str, int] = {}
        self._owners: dict[int, str] = {}

    @property
    def unwatched_count(self) -> int:
        """Return for how many watched targets there is no event: only the timer reads them."""
        return len(self._cgroups.targets) - len(self._watches)

    def read(self, target: LiveTarget) -> LiveReading:
        """Return the target's memory now; once more after an OOM kill that has ended it (S23).

        VanishedError if it is gone, or another cgroup has its name; PermanentError.
        """
        return self._cgroups.read(target, self._reading)

    def _reading(self, target: LiveTarget, folder: Folder, at: datetime) -> LiveReading:
        usage_bytes, need_bytes = files.usage_and_need(folder)
        limits = files.limits_of(folder)
        oom_kills = files.oom_kills(folder)
        psi_ratio = files.psi_full_avg10_ratio(folder)
        limit_bytes = limits.limit_bytes
        return LiveReading(
            target_id=target.target_id,
            at=at,
            known_at=self._now(),
            usage_bytes=usage_bytes,
            need_bytes=need_bytes,
            limit_bytes=limit_bytes,
            oom_kills=oom_kills,
            is_waiting=limits.is_throttling and need_bytes >= _NEAR_RATIO * (limit_bytes or 0),
            psi_full_avg10_ratio=psi_ratio,
            node_bytes=self._node_bytes,
        )

    def watch(self, targets: Sequence[LiveTarget]) -> None:
        """Send events of exactly these targets from now on; of others no more."""
        for target_id in self._cgroups.outdated(targets):
            self._forget(target_id)
        for target in targets:
            target_id = target.target_id
            if target_id not in self._watches and not self._cgroups.is_gone(target_id):
                self._cgroups.targets[target_id] = target
                self._subscribe(target)
        self._cgroups.keep_only_watched()

    def wake_fds(self) -> tuple[int, ...]:
        """Return the one descriptor behind which all events are."""
        return (self._fd,) if self._fd >= 0 else ()

    def events(self) -> list[TargetEvent]:
        """Return what happened since the last call: each woken target is looked at once."""
        woken = dict.fromkeys(
            self._owners[watch] for watch in self._changed() if watch in self._owners
        )
        return [
            TargetEvent(target_id=target_id, kind=kind, at=self._now())
            for target_id in woken
            for kind in self._look(self._cgroups.targets[target_id])
        ]

    def close(self) -> None:
        """Close the descriptor; that ends every watch."""
        self._cgroups.targets.clear()
        self._watches.clear()
        self._owners.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _changed(self) -> Iterator[int]:
        """Yield the number of each watch that tells something, as inotify(7) writes them."""
        for _ in range(_MOST_CHUNKS):
            try:
                chunk = os.read(self._fd, _CHUNK_BYTES)
            except (BlockingIOError, OSError):
                return
            offset = 0
            while offset + _EVENT.size <= len(chunk):
                watch, _, _, name_bytes = _EVENT.unpack_from(chunk, offset)
                offset += _EVENT.size + name_bytes
                yield watch

    def _look(self, target: LiveTarget) -> list[EventKind]:
        """Say what woke us; PRESSURE where the limit was reached and nobody died."""
        kills = self._cgroups.look(target, files.oom_kills)
        if kills is None:
            self._unwatch(target.target_id)
            return [EventKind.GONE] if self._cgroups.note_gone(target.target_id) else []
        return [EventKind.OOM] if kills else [EventKind.PRESSURE]

    def _subscribe(self, target: LiveTarget) -> None:
        if self._cgroups.look(target, files.oom_kills) is None:
            return  # the timer reads it, and says what is wrong
        try:
            with self._cgroups.open(target) as folder:
                # By the open directory, so that no link or other cgroup can come between.
                file = f"/proc/self/fd/{folder.fd}/memory.events"
                watch = watch_file(self._fd, file, IN_MODIFY | IN_DELETE_SELF)
        except (AdapterError, OSError, ValueError):
            return  # the timer reads it, and says what is wrong
        if watch >= 0:
            self._watches[target.target_id] = watch
            self._owners[watch] = target.target_id

    def _forget(self, target_id: str) -> None:
        self._unwatch(target_id)
        self._cgroups.forget(target_id)

    def _unwatch(self, target_id: str) -> None:
        watch = self._watches.pop(target_id, None)
        if watch is not None:
            del self._owners[watch]
            unwatch_file(self._fd, watch)
