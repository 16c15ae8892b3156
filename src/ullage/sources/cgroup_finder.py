"""Finds existing cgroups by the path pattern of a settings file, v1 and v2 alike."""

from __future__ import annotations

from ullage.access.folders import CgroupTree
from ullage.core.errors import ConfigError, PermanentError
from ullage.core.service import LiveTarget, ServiceSpec, TargetKind


class CgroupFinder:
    """Implements core.service_ports.TargetFinder for the cgroups of one version."""

    def __init__(self, kind: TargetKind, tree: CgroupTree) -> None:
        self._kind = kind
        self._tree = tree

    def find(self, spec: ServiceSpec) -> list[LiveTarget]:
        """Return the cgroups that `spec` selects, by path; nobody for an empty selector (S13).

        PermanentError where the selector cannot be meant or the hierarchy cannot be read.
        """
        if spec.kind is not self._kind:
            return []
        try:
            paths = self._tree.find(spec.selector)
        except ConfigError as error:
            raise PermanentError(str(error)) from error
        found = []
        for path in paths:
            try:
                with self._tree.open_to_read(path) as folder:
                    instance = folder.instance
            except PermanentError:
                continue  # gone since it was listed
            found.append(
                LiveTarget(
                    target_id=f"{self._kind}:{path}",
                    workload_key=spec.workload_key,
                    instance=instance,
                    kind=self._kind,
                    mode=spec.mode,
                )
            )
        return found
