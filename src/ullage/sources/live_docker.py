"""Reads running Docker containers, and wakes the loop for them.

One thread follows the daemon's stream of events and writes to one eventfd. When the stream breaks
it is opened again, from the moment at which it broke, so that no OOM kill is missed. The API
has no counter of OOM kills: they are counted from its events, for each life of a container.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from ullage.access.docker import DockerApi, is_container_id
from ullage.access.docker_reading import (
    ContainerCgroups,
    Held,
    Place,
    held_by_api,
    nanoseconds_of,
    started_at_of,
)
from ullage.core.errors import (
    AdapterError,
    DataError,
    PermanentError,
    VanishedError,
)
from ullage.core.last_words import LastWords
from ullage.core.service import (
    EventKind,
    LiveReading,
    LiveTarget,
    TargetEvent,
    TargetKind,
)

_MOST_WAITING_EVENTS = 10_000
_KEPT_MOMENTS = 100
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_KINDS = {"oom": EventKind.OOM, "die": EventKind.GONE, "destroy": EventKind.GONE}


class LiveDockerSource:
    """Implements core.service_ports.TargetSource.

    cgroups: where containers are read, if they are on this machine. now: the wall clock.
    lives: shared with the finder. rejected_count: readings and events that could not be
    believed. lost_events_count: events beyond what is kept until the loop asks.
    """

    delay_s = 1.0

    def __init__(
        self,
        api: DockerApi,
        cgroups: ContainerCgroups,
        *,
        now: Callable[[], datetime],
        lives: MutableMapping[str, str] | None = None,
    ) -> None:
        self._api = api
        self._lives = {} if lives is None else lives
        self._cgroups = cgroups
        self._places: dict[str, tuple[str, Place]] = {}
        self._now = now
        self.rejected_count = 0
        self.lost_events_count = 0
        self.broken_streams_count = 0
        self._node_bytes: int | None = None
        self._lock = threading.Lock()
        self._watched: dict[str, _Kills] = {}
        self._last_words = LastWords()
        self._waiting: deque[TargetEvent] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Event()
        self._end_stream: Callable[[], None] = _nothing
        self._since_ns = int(now().timestamp() * 1e9)
        self._latest: deque[tuple[str, EventKind, int]] = deque(maxlen=1000)
        self._thread: threading.Thread | None = None

    def read(self, target: LiveTarget) -> LiveReading:
        """Return the container's memory now; once more after an OOM kill that has ended it (S23).

        VanishedError: it has ended or begun anew. TransientError: no answer. DataError: the
        answer cannot be believed (and is counted).
        """
        container_id = target.target_id.partition(":")[2]
        if not is_container_id(container_id):
            raise PermanentError(f"{target.target_id[:80]!a} is no container")
        at = self._now()
        try:
            held = self._read_known(target) or self._ask(target, container_id)
        except VanishedError:
            kills, latest_at = self._kills_of(target)
            last = self._last_words.last(target, kills, at=latest_at or at, known_at=self._now())
            if last is None:
                raise
            return last
        reading = LiveReading(
            target_id=target.target_id,
            at=at,
            known_at=self._now(),
            usage_bytes=held.usage_bytes,
            need_bytes=held.need_bytes,
            limit_bytes=held.limit_bytes,
            oom_kills=self._kills_of(target)[0],
            node_bytes=self._node_bytes,
        )
        return self._last_words.keep(target, reading)

    def _kills_of(self, target: LiveTarget) -> tuple[int, datetime | None]:
        """Return the OOM kills of this life, and the moment of the latest."""
        with self._lock:
            kills = self._watched.get(target.target_id)
            if kills is None or kills.instance != target.instance or not kills.count:
                return 0, None
            return kills.count, datetime.fromtimestamp(kills.moments_ns[-1] / 1e9, UTC)

    def _read_known(self, target: LiveTarget) -> Held | None:
        """Read the cgroup of a life that is known already, without asking the daemon."""
        started, place = self._places.get(target.target_id, ("", None))
        if place is None or started != target.instance:
            return None
        return self._cgroups.read(place)

    def _ask(self, target: LiveTarget, container_id: str) -> Held:
        """Ask the daemon: is it the same life, where is its cgroup, what does it use?"""
        self._places.pop(target.target_id, None)
        try:
            container = self._api.container(container_id)
            started = started_at_of(container)
            if started != target.instance:
                raise VanishedError("docker: the container has begun another life")
            if self._node_bytes is None:
                self._node_bytes = self._api.memory_bytes()
            place = self._cgroups.place(container)
            held = self._cgroups.read(place) if place else None
            if place and held:
                self._places[target.target_id] = (started, place)
            return held or held_by_api(self._api, container_id, container)
        except VanishedError:
            self._lives.pop(container_id, None)
            raise
        except DataError:
            self.rejected_count += 1
            raise

    def watch(self, targets: Sequence[LiveTarget]) -> None:
        """Send events of exactly these containers from now on; of others no more."""
        with self._lock:
            watched = {target.target_id: self._kills_since(target) for target in targets}
            self._watched = watched
        self._last_words.keep_only(watched)
        for target_id in [one for one in self._places if one not in self._watched]:
            del self._places[target_id]
        if self._thread is None and self._watched:
            self._thread = threading.Thread(target=self._follow, name="docker", daemon=True)
            self._thread.start()

    def _kills_since(self, target: LiveTarget) -> _Kills:
        """Return the kills of the present life: what came before its start is not its own."""
        known = self._watched.get(target.target_id)
        if known is not None and known.instance == target.instance:
            return known
        kills, began_ns = _Kills(target.instance), nanoseconds_of(target.instance)
        if known is not None and began_ns is not None:
            for moment_ns in known.moments_ns:
                if moment_ns >= began_ns:
                    kills.add(moment_ns)
        return kills

    def wake_fds(self) -> tuple[int, ...]:
        """Return the eventfd that the thread writes to."""
        return (self._wake_fd,)

    def events(self) -> list[TargetEvent]:
        """Return what the daemon has told since the last call."""
        with self._lock:
            with suppress(BlockingIOError):
                os.read(self._wake_fd, 8)
            events = [event for event in self._waiting if event.target_id in self._watched]
            self._waiting.clear()
        return events

    def close(self) -> None:
        """End the stream, its thread, and close the descriptor."""
        self._closing.set()
        self._end_stream()
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_fd)

    def _follow(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._closing.is_set():
            try:
                for event in self._api.events(self._since_ns, closing=self._note_stream):
                    wait_s = _FIRST_WAIT_S
                    self._take(event)
            except DataError:
                self.rejected_count += 1
            except AdapterError:
                self.broken_streams_count += 1
            self._closing.wait(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    def _note_stream(self, end: Callable[[], None]) -> None:
        self._end_stream = end
        if self._closing.is_set():
            end()

    def _take(self, event: object) -> None:
        """Keep one event of the stream, if it is one and of a watched container."""
        parsed = _event_of(event)
        if parsed is None:
            self.rejected_count += 1
            return
        target_id, kind, nano = parsed
        with self._lock:
            if parsed in self._latest or target_id not in self._watched:
                return  # told already, before the stream was opened again
            self._latest.append(parsed)
            self._since_ns = max(self._since_ns, nano)
            if kind is EventKind.OOM:
                self._watched[target_id].add(nano)
            if len(self._waiting) >= _MOST_WAITING_EVENTS:
                self._waiting.popleft()
                self.lost_events_count += 1
            at = datetime.fromtimestamp(nano / 1e9, UTC)
            self._waiting.append(TargetEvent(target_id=target_id, kind=kind, at=at))
        os.eventfd_write(self._wake_fd, 1)


class _Kills:
    """The OOM kills of one life of a container, with the moments of the latest."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.count = 0
        self.moments_ns: deque[int] = deque(maxlen=_KEPT_MOMENTS)

    def add(self, moment_ns: int) -> None:
        self.count += 1
        self.moments_ns.append(moment_ns)


def _event_of(event: object) -> tuple[str, EventKind, int] | None:
    if not isinstance(event, dict):
        return None
    actor, nano = event.get("Actor"), event.get("timeNano")
    container_id = actor.get("ID") if isinstance(actor, dict) else None
    kind = _KINDS.get(str(event.get("Action")))
    if kind is None or not is_container_id(container_id):
        return None
    if not isinstance(nano, int) or isinstance(nano, bool) or not 0 < nano < 1 << 62:
        return None
    return f"{TargetKind.DOCKER}:{container_id}", kind, nano


def _nothing() -> None:
    return None
