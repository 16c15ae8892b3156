"""How `ullage run --service` enters its service, and how `ullage serve` sees that it has ended.

Imports are inside the functions: nothing of this is loaded by other commands.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from ullage.core.errors import PermanentError
from ullage.core.service import TargetKind

if TYPE_CHECKING:
    from ullage.access.folders import CgroupTree
    from ullage.config import Settings
    from ullage.core.service import ServiceSpec
    from ullage.core.service_registry import RunningService
    from ullage.stores.service import SqliteServiceStore


class StoredServices:
    """Implements core.service_registry.ServiceRegistry in the service loop's store.

    The file is opened for each entry: a service runs for months. Typing `--service` opts the
    workload in; without the global switch nothing is changed (S21).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def add(self, service: RunningService) -> None:
        """Enter a service; PermanentError where its cgroup is not below a mount of ours."""
        target_id, spec = _spec_of(service)
        with closing(self._open()) as store:
            store.register(target_id, spec, owner=service.owner, at=service.started_at)

    def drop(self, service: RunningService) -> None:
        """Take it out."""
        with closing(self._open()) as store:
            store.unregister(_spec_of(service)[0])

    def _open(self) -> SqliteServiceStore:
        from ullage.core.service import ServeSettings
        from ullage.stores.service import SqliteServiceStore

        return SqliteServiceStore.open(self._settings.state_dir / "state.db", ServeSettings())


def _spec_of(service: RunningService) -> tuple[str, ServiceSpec]:
    """Return (target_id, spec) of a service, as if the settings named its cgroup."""
    from ullage.core.selectors import is_pattern
    from ullage.core.service import ServiceSpec, UpdateMode

    kind = TargetKind(str(service.kind))
    tree = _tree_of(kind)
    path = service.folder.removeprefix(tree.point) if tree else ""
    if not path.startswith("/") or path == service.folder or is_pattern(path):
        raise PermanentError(f"cgroup {service.folder!a} cannot be named in a selector")
    spec = ServiceSpec(
        workload_key=service.workload_key,
        kind=kind,
        selector=path,
        mode=UpdateMode.IN_PLACE,
        max_bytes=service.max_bytes,
    )
    return f"{kind}:{path}", spec


def _tree_of(kind: TargetKind) -> CgroupTree | None:
    from ullage.access import cgroup1, cgroup2

    trees = {TargetKind.CGROUP1: cgroup1.memory_tree, TargetKind.CGROUP2: cgroup2.memory_tree}
    return trees[kind]()[0] if kind in trees else None


def has_ended(owner: str, spec: ServiceSpec) -> bool:
    """Say whether a registered service's supervisor and its cgroup are both gone."""
    from ullage.control.owners import is_owner_alive

    tree = _tree_of(spec.kind)
    if is_owner_alive(owner) or tree is None:
        return False
    return not os.path.isdir(f"{tree.point}{spec.selector}")
