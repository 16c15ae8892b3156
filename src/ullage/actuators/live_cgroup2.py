"""Moves the limit of cgroup v2 directories that somebody else made.

v2 kills where memory.max is set below what is in use, so a cut goes by steps
(access.cgroup2.cut_limit). There is no pause at the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from ullage.access import cgroup2 as files
from ullage.access.cgroup_changes import CgroupChanges, Held
from ullage.access.folders import CgroupTree, Folder
from ullage.core.live_change import is_lowering, whole_pages_bytes
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeOutcome, LimitChange, TargetKind


class LiveCgroup2Actuator:
    """Implements core.service_ports.TargetActuator.

    selectors: the cgroup selectors of the settings; what none of them matches is not touched.
    now: the wall clock, for records. probe: how long a cut is tried by memory.high. patience: how
    long one cut may wait for the kernel to drop page cache; others may need a rescue meanwhile.
    """

    def __init__(
        self,
        tree: CgroupTree,
        *,
        selectors: Callable[[], Collection[str]],
        settings: ServeSettings,
        now: Callable[[], datetime],
        probe: timedelta = timedelta(milliseconds=10),
        patience: timedelta = timedelta(milliseconds=50),
    ) -> None:
        self._changes = CgroupChanges(
            TargetKind.CGROUP2, tree, selectors=selectors, settings=settings, now=now
        )
        self._probe_s = probe.total_seconds()
        self._patience_s = patience.total_seconds()

    def apply(self, change: LimitChange) -> ChangeOutcome:
        """Compare, read need if it is a cut, set; see core.service_ports.TargetActuator."""
        return self._changes.apply(change, _read, self._write)

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """Do nothing: v2 has no pause at the limit."""

    def _write(self, folder: Folder, new_bytes: int) -> int | None:
        before = files.limits_of(folder)
        if is_lowering(before.limit_bytes, whole_pages_bytes(new_bytes)):
            files.cut_limit(
                folder, before, new_bytes, probe_s=self._probe_s, patience_s=self._patience_s
            )
        else:
            files.raise_limit(folder, before, new_bytes)
        return files.limits_of(folder).limit_bytes


def _read(folder: Folder) -> Held:
    _, need_bytes = files.usage_and_need(folder)
    return Held(
        need_bytes=need_bytes + files.swapped_bytes(folder),
        limit_bytes=files.limits_of(folder).limit_bytes,
    )
