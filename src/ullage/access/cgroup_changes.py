"""One change of the limit of a cgroup that somebody else made: open, read, ask, write, tell.

The same for cgroup v1 and v2; what differs is how limit and need are read and how a limit is
written. There is no compare-and-set in the kernel: both are read, then the limit is
written, microseconds later.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from ullage.access.folders import CgroupTree, Folder, cannot_read, is_gone
from ullage.core.errors import ConfigError, PermanentError, VanishedError
from ullage.core.live_change import refusal_of
from ullage.core.selectors import selects_cgroup
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeOutcome, ChangeResult, LimitChange, TargetKind

_REFUSED = {
    errno.EBUSY: "the kernel refuses it (EBUSY): more than that is in use",
    errno.EINVAL: "the kernel refuses it (EINVAL): memory and memory+swap would be in disorder",
    errno.EPERM: "no permission to write its limit: run as root, or delegate the cgroup",
    errno.EACCES: "no permission to write its limit: run as root, or delegate the cgroup",
    errno.EROFS: "its limit cannot be written: /sys/fs/cgroup is mounted read-only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a cgroup has now. need_bytes: swapped memory included, it may have to come back."""

    limit_bytes: int | None
    need_bytes: int


class CannotCutError(Exception):
    """A cut that was tried and taken back; the text says why."""


class CgroupChanges:
    """Applies changes to the cgroups of one version.

    selectors: of the settings; what none of them matches is not touched.
    read(folder): limit and need now. write(folder, new_bytes): sets the limit and returns
    what it is then; CannotCutError. Both may raise OSError and ValueError.
    now: the wall clock, for records.
    """

    def __init__(
        self,
        kind: TargetKind,
        tree: CgroupTree,
        *,
        selectors: Callable[[], Collection[str]],
        settings: ServeSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._kind = kind
        self._tree = tree
        self._selectors = selectors
        self._settings = settings
        self._now = now

    def open(self, target_id: str) -> Folder:
        """Return the target's open directory; PermanentError, VanishedError."""
        kind, _, path = target_id.partition(":")
        if kind != self._kind:
            raise PermanentError(f"{target_id[:200]!a} is no {self._kind} target")
        if not any(selects_cgroup(selector, path) for selector in self._selectors()):
            raise PermanentError(f"cgroup {path[:200]!a}: no selector of the settings names it")
        return self._tree.open(path)

    def apply(
        self,
        change: LimitChange,
        read: Callable[[Folder], Held],
        write: Callable[[Folder, int], int | None],
    ) -> ChangeOutcome:
        """Compare, ask for the live floor if memory is taken away, write, read back."""
        try:
            with self.open(change.target_id) as folder:
                return self._apply(folder, change, read, write)
        except VanishedError as error:
            return self._outcome(change, ChangeResult.VANISHED, words=str(error))
        except (ConfigError, PermanentError) as error:
            return self._outcome(change, ChangeResult.REFUSED, words=str(error))

    def _apply(
        self,
        folder: Folder,
        change: LimitChange,
        read: Callable[[Folder], Held],
        write: Callable[[Folder, int], int | None],
    ) -> ChangeOutcome:
        try:
            held = read(folder)
            refusal = refusal_of(change, held.limit_bytes, held.need_bytes, self._settings)
            if refusal is not None:
                return self._outcome(change, refusal.result, held, words=refusal.words)
            after_bytes = write(folder, change.new_bytes)
        except CannotCutError as error:
            return self._outcome(change, ChangeResult.REFUSED, held, words=str(error))
        except OSError as error:
            return self._failed(folder, change, read, error)
        except ValueError as error:
            raise cannot_read(folder.path, error) from error
        return self._outcome(change, ChangeResult.APPLIED, replace(held, limit_bytes=after_bytes))

    def _failed(
        self,
        folder: Folder,
        change: LimitChange,
        read: Callable[[Folder], Held],
        error: OSError,
    ) -> ChangeOutcome:
        """Tell what a failed write has left: gone, as it was, or not known."""
        words = _REFUSED.get(error.errno or 0, f"the kernel refuses it: {error.strerror}")
        try:
            held = read(folder)
        except OSError as second:
            if is_gone(error) or is_gone(second):
                words = f"cgroup {folder.path!a} has been removed"
                return self._outcome(change, ChangeResult.VANISHED, words=words)
            return self._outcome(change, ChangeResult.UNKNOWN, words=words)
        except ValueError:
            return self._outcome(change, ChangeResult.UNKNOWN, words=words)
        return self._outcome(change, ChangeResult.REFUSED, held, words=words)

    def _outcome(
        self,
        change: LimitChange,
        result: ChangeResult,
        held: Held | None = None,
        *,
        words: str = "",
    ) -> ChangeOutcome:
        return ChangeOutcome(
            decision_id=change.decision_id,
            at=self._now(),
            result=result,
            limit_bytes=held.limit_bytes if held else None,
            need_bytes=held.need_bytes if held else None,
            words=words,
        )
