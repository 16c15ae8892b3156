"""Moves the memory limit of running Docker containers, through the daemon's API.

The daemon keeps the limit in its own record too: what is written to the container's cgroup
behind its back is undone by its next update. An update sets memory and memory+swap together;
the second stays as far above the first as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ullage.access.docker import (
    AnswerLostError,
    DockerApi,
    believed_bytes,
    is_container_id,
)
from ullage.access.docker_reading import (
    ContainerCgroups,
    held_by_api,
    labels_of,
    limit_of,
    started_at_of,
)
from ullage.core.errors import DataError, PermanentError, TransientError, VanishedError
from ullage.core.live_change import refusal_of, whole_pages_bytes
from ullage.core.selectors import docker_label
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeOutcome, ChangeResult, LimitChange, TargetKind

NO_SWAP_LIMIT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    limit_bytes: int | None = None
    need_bytes: int | None = None


class LiveDockerActuator:
    """Implements core.service_ports.TargetActuator.

    cgroups: where containers are read, if they are on this machine.
    selectors: the docker labels of the settings; what has none of them is not touched.
    now: the wall clock, for records.
    """

    def __init__(
        self,
        api: DockerApi,
        cgroups: ContainerCgroups,
        *,
        selectors: Callable[[], Collection[str]],
        settings: ServeSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._cgroups = cgroups
        self._selectors = selectors
        self._settings = settings
        self._now = now

    def apply(self, change: LimitChange) -> ChangeOutcome:
        """Compare, read need, update; see core.service_ports.TargetActuator.

        A daemon that does not answer is REFUSED before the update, UNKNOWN during it.
        """
        try:
            return self._apply(change)
        except VanishedError as error:
            return self._outcome(change, ChangeResult.VANISHED, words=str(error))
        except AnswerLostError as error:
            return self._outcome(change, ChangeResult.UNKNOWN, words=str(error))
        except (PermanentError, TransientError, DataError) as error:
            return self._outcome(change, ChangeResult.REFUSED, words=str(error))

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """Do nothing: the API of a running container cannot make its tasks wait."""

    def _apply(self, change: LimitChange) -> ChangeOutcome:
        kind, _, container_id = change.target_id.partition(":")
        if kind != TargetKind.DOCKER or not is_container_id(container_id):
            raise PermanentError(f"{change.target_id[:80]!a} is no container")
        container = self._api.container(container_id)
        started_at_of(container)
        self._check_meant(container)
        place = self._cgroups.place(container)
        held = self._cgroups.read(place) if place else None
        held = held or held_by_api(self._api, container_id, container)
        need_bytes = held.need_bytes + held.swapped_bytes
        limit_bytes = limit_of(container)  # the daemon's own record: who edits it, edits there
        known = _Known(limit_bytes=limit_bytes, need_bytes=need_bytes)
        refusal = refusal_of(change, limit_bytes, need_bytes, self._settings)
        if refusal is not None:
            return self._outcome(change, refusal.result, known, words=refusal.words)
        new_bytes = whole_pages_bytes(change.new_bytes)
        swap_bytes = _new_swap_bytes(container, limit_bytes, new_bytes)
        self._api.update(container_id, {"Memory": new_bytes, "MemorySwap": swap_bytes})
        after = _Known(limit_bytes=new_bytes, need_bytes=need_bytes)
        return self._outcome(change, ChangeResult.APPLIED, after)

    def _check_meant(self, container: dict[str, Any]) -> None:
        labels = labels_of(container)
        for selector in self._selectors():
            label = docker_label(selector)
            if label is not None and labels.get(label[0]) == label[1]:
                return
        raise PermanentError("the container has none of the labels of the settings")

    def _outcome(
        self,
        change: LimitChange,
        result: ChangeResult,
        known: _Known | None = None,
        *,
        words: str = "",
    ) -> ChangeOutcome:
        known = known or _Known()
        return ChangeOutcome(
            decision_id=change.decision_id,
            at=self._now(),
            result=result,
            limit_bytes=known.limit_bytes,
            need_bytes=known.need_bytes,
            words=words,
        )


def _new_swap_bytes(container: dict[str, Any], limit_bytes: int | None, new_bytes: int) -> int:
    """Return memory+swap for a new limit: as far above it as before, or still without limit.

    0 and -1 are the API's words for "not set" and "no limit".
    """
    host = container.get("HostConfig")
    swap = host.get("MemorySwap") if isinstance(host, dict) else None
    if limit_bytes is None or swap in (None, 0, NO_SWAP_LIMIT):
        return NO_SWAP_LIMIT
    return new_bytes + max(0, believed_bytes(swap, "MemorySwap") - limit_bytes)
