"""Finds running Docker containers by label. What the daemon lists is checked, not trusted."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from ullage.access.docker import DockerApi, is_container_id
from ullage.access.docker_reading import labels_of, started_at_of
from ullage.core.errors import ConfigError, DataError, PermanentError, VanishedError
from ullage.core.selectors import docker_label
from ullage.core.service import LiveTarget, ServiceSpec, TargetKind


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
