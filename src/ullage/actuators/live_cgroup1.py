"""Moves the limit of cgroup v1 directories that somebody else made.

What v1 gives: a limit below what is in use is refused by the kernel (EBUSY), so a cut can
never kill by itself; and tasks can be made to wait at the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from ullage.access import cgroup1 as files
from ullage.access.cgroup_changes import CgroupChanges, Held
from ullage.access.folders import CgroupTree, Folder, cannot_read
from ullage.core.live_change import is_lowering, whole_pages_bytes
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeOutcome, LimitChange, TargetKind


class LiveCgroup1Actuator:
    """Implements core.service_ports.TargetActuator.

    selectors: the cgroup selectors of the settings; what none of them matches is not touched.
    now: the wall clock, for records. patience: how long one cut may wait for the kernel to drop
    page cache; others may need a rescue meanwhile.
    """

    def __init__(
        self,
        tree: CgroupTree,
        *,
        selectors: Callable[[], Collection[str]],
        settings: ServeSettings,
        now: Callable[[], datetime],
        patience: timedelta = timedelta(milliseconds=50),
    ) -> None:
        self._patience = patience
        self._changes = CgroupChanges(
            TargetKind.CGROUP1, tree, selectors=selectors, settings=settings, now=now
        )

    def apply(self, change: LimitChange) -> ChangeOutcome:
        """Compare, read need if it is a cut, set; see core.service_ports.TargetActuator."""
        return self._changes.apply(change, _read, self._write)

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """True: tasks wait at the limit. False: the kernel's OOM killer decides.

        VanishedError if the target is gone, PermanentError if it may not be touched.
        """
        with self._changes.open(target_id) as folder:
            try:
                files.set_parking(folder, is_parking)
            except OSError as error:
                raise cannot_read(folder.path, error) from error

    def _write(self, folder: Folder, new_bytes: int) -> int | None:
        if is_lowering(files.limit_of(folder), whole_pages_bytes(new_bytes)):
            return files.cut_limit(folder, new_bytes, patience_s=self._patience.total_seconds())
        return files.set_limit(folder, new_bytes)


def _read(folder: Folder) -> Held:
    _, need_bytes = files.usage_and_need(folder)
    return Held(
        need_bytes=need_bytes + files.swapped_bytes(folder), limit_bytes=files.limit_of(folder)
    )
