"""Finds and reads running Docker containers by label, and wakes the loop for them.

One thread follows the daemon's stream of events and writes to one eventfd. When the stream breaks
it is opened again, from the moment at which it broke, so that no OOM kill is missed. The API
has no counter of OOM kills: they are counted from its events.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ullage.access.docker import DockerApi, is_container_id
from ullage.access.docker_reading import (
    ContainerCgroups,
    Held,
    Place,
    began_ns,
    held_by_api,
    labels_of,
    started_at_of,
)
from ullage.core.errors import (
    AdapterError,
    ConfigError,
    DataError,
    PermanentError,
    VanishedError,
)
from ullage.core.selectors import docker_label
from ullage.core.service import (
    EventKind,
    LiveReading,
    LiveTarget,
    ServiceSpec,
    TargetEvent,
    TargetKind,
)

_MOST_WAITING_EVENTS = 10_000
_MOST_OOMS = 10_000
"""OOM kills of one container that are remembered."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_KINDS = {"oom": EventKind.OOM, "die": EventKind.GONE, "destroy": EventKind.GONE}


def own_container_text(proc: str = "/proc") -> str:
    """Return where the id of the container that Ullage itself runs in would stand."""
    texts = []
    for name in ("cgroup", "mountinfo"):
        try:
            texts.append(Path(proc, "self", name).read_text(errors="replace"))
        except OSError:
            continue  # no /proc: no container either
    return "\n".join(texts)


class DockerFinder:
    """Implements core.service_ports.TargetFinder.

    own_text: see own_container_text; a container whose id stands in it is never managed.
    lives: container id -> its start, shared with the source: who is known is not asked again.
    rejected_count: answers that could not be believed.
    """

    def __init__(
        self, api: DockerApi, *, own_text: str, lives: MutableMapping[str, str] | None = None
    ) -> None:
        self._api = api
        self._own_text = own_text
        self._lives = {} if lives is None else lives
        self.rejected_count = 0

    def find(self, spec: ServiceSpec) -> list[LiveTarget]:
        """Return the running containers that have the label, by id; nobody without one (S13).

        The answer is checked, not trusted: only who really has the label is meant.
        TransientError: the daemon does not answer. PermanentError: it cannot be meant.
        """
        if spec.kind is not TargetKind.DOCKER:
            return []
        try:
            label = docker_label(spec.selector)
            if label is None:
                return []
            rows = self._api.containers(f"{label[0]}={label[1]}")
        except ConfigError as error:
            raise PermanentError(str(error)) from error
        except DataError as error:
            self.rejected_count += 1
            raise PermanentError(str(error)) from error
        found = [self._target(row, label, spec) for row in rows]
        return sorted((one for one in found if one), key=lambda target: target.target_id)

    def _target(
        self, row: dict[str, Any], label: tuple[str, str], spec: ServiceSpec
    ) -> LiveTarget | None:
        container_id, labels = row.get("Id"), row.get("Labels")
        has_label = isinstance(labels, dict) and labels.get(label[0]) == label[1]
        if not is_container_id(container_id) or not has_label:
            self.rejected_count += 1
            return None
        if str(container_id) in self._own_text:
            return None
        try:
            instance = self._lives.get(str(container_id)) or self._ask(str(container_id), label)
        except VanishedError:
            return None  # ended since it was listed
        except DataError:
            self.rejected_count += 1
            return None
        return LiveTarget(
            target_id=f"{TargetKind.DOCKER}:{container_id}",
            workload_key=spec.workload_key,
            instance=instance,
            kind=TargetKind.DOCKER,
            mode=spec.mode,
        )

    def _ask(self, container_id: str, label: tuple[str, str]) -> str:
        container = self._api.container(container_id)
        if labels_of(container).get(label[0]) != label[1]:
            raise DataError("docker: the list and the container tell different labels")
        self._lives[container_id] = started_at_of(container)
        return self._lives[container_id]


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
        self._watched: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._ooms: dict[str, deque[int]] = {}
        self._waiting: deque[TargetEvent] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Event()
        self._end_stream: Callable[[], None] = _nothing
        self._since_ns = int(now().timestamp() * 1e9)
        self._latest: deque[tuple[str, EventKind, int]] = deque(maxlen=1000)
        self._thread: threading.Thread | None = None

    def read(self, target: LiveTarget) -> LiveReading:
        """Return the container's memory now.

        VanishedError: it has ended or begun anew. TransientError: no answer. DataError: the
        answer cannot be believed (and is counted).
        """
        container_id = target.target_id.partition(":")[2]
        if not is_container_id(container_id):
            raise PermanentError(f"{target.target_id[:80]!a} is no container")
        at = self._now()
        held = self._read_known(target)
        if held is None:
            held = self._ask(target, container_id)
        return LiveReading(
            target_id=target.target_id,
            at=at,
            known_at=self._now(),
            usage_bytes=held.usage_bytes,
            need_bytes=held.need_bytes,
            limit_bytes=held.limit_bytes,
            oom_kills=self._ooms_of(target),
            node_bytes=self._node_bytes,
        )

    def _ooms_of(self, target: LiveTarget) -> int:
        """Return the OOM kills of this life: of one before it, with the same id, none."""
        since_ns = began_ns(target.instance)
        with self._lock:
            return sum(at_ns >= since_ns for at_ns in self._ooms.get(target.target_id, ()))

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
            self._watched = frozenset(target.target_id for target in targets)
            for target_id in [one for one in self._ooms if one not in self._watched]:
                del self._ooms[target_id]
        for target_id in [one for one in self._places if one not in self._watched]:
            del self._places[target_id]
        if self._thread is None and self._watched:
            self._thread = threading.Thread(target=self._follow, name="docker", daemon=True)
            self._thread.start()

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
                kept = self._ooms.setdefault(target_id, deque(maxlen=_MOST_OOMS))
                kept.append(nano)
            if len(self._waiting) >= _MOST_WAITING_EVENTS:
                self._waiting.popleft()
                self.lost_events_count += 1
            at = datetime.fromtimestamp(nano / 1e9, UTC)
            is_kill = kind is EventKind.OOM
            self._waiting.append(
                TargetEvent(target_id=target_id, kind=kind, at=at, is_kill=is_kill)
            )
        os.eventfd_write(self._wake_fd, 1)


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
