"""What the sources of both versions share: which cgroups are watched, and what is known of them.

Not here: the files of a version, and how the kernel wakes us (live_cgroup1, live_cgroup2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ullage.access.folders import CgroupTree, Folder, cannot_read
from ullage.core.errors import AdapterError, VanishedError
from ullage.core.last_words import LastWords
from ullage.core.service import LiveReading, LiveTarget


class WatchedCgroups:
    """Opens, reads and looks at cgroups by their targets.

    now: the wall clock. targets: who is watched, by id.
    """

    def __init__(self, tree: CgroupTree, now: Callable[[], datetime]) -> None:
        self.targets: dict[str, LiveTarget] = {}
        self._tree = tree
        self._now = now
        self._gone: set[str] = set()
        self._oom_kills: dict[str, int] = {}
        self._last_words = LastWords()

    def open(self, target: LiveTarget) -> Folder:
        """Return the open directory. VanishedError: gone, or another cgroup has its name."""
        folder = self._tree.open_to_read(target.target_id.partition(":")[2])
        if folder.instance != target.instance:
            with folder:
                raise VanishedError(f"cgroup {folder.path!a} is another one now")
        return folder

    def read(
        self, target: LiveTarget, of: Callable[[LiveTarget, Folder, datetime], LiveReading]
    ) -> LiveReading:
        """Return what `of` reads; of a cgroup that an OOM kill has ended one last reading (S23).

        VanishedError, PermanentError.
        """
        at = self._now()
        try:
            with self.open(target) as folder:
                try:
                    reading = of(target, folder, at)
                except (OSError, ValueError) as error:
                    raise cannot_read(folder.path, error) from error
        except VanishedError:
            kills = self._oom_kills.get(target.target_id, 0)
            last = self._last_words.last(target, kills, at=at, known_at=self._now())
            if last is None:
                raise
            return last
        return self._last_words.keep(target, reading)

    def look(self, target: LiveTarget, kills_of: Callable[[Folder], int]) -> int | None:
        """Return the OOM kills since the last look; None = the cgroup cannot be looked at."""
        try:
            with self.open(target) as folder:
                oom_kills = kills_of(folder)
        except (AdapterError, OSError, ValueError):
            return None
        before = self._oom_kills.get(target.target_id, oom_kills)
        self._oom_kills[target.target_id] = oom_kills
        return max(0, oom_kills - before)

    def add_kill(self, target_id: str) -> None:
        """Count a kill of which the kernel told, and whose counter has gone with the cgroup."""
        self._oom_kills[target_id] = self._oom_kills.get(target_id, 0) + 1

    def is_gone(self, target_id: str) -> bool:
        """Say whether its end was told already."""
        return target_id in self._gone

    def note_gone(self, target_id: str) -> bool:
        """Remember that it has ended; say whether that is news."""
        is_news = target_id not in self._gone
        self._gone.add(target_id)
        return is_news

    def outdated(self, targets: Sequence[LiveTarget]) -> list[str]:
        """Return whom `targets` does not name any more, or names with another life."""
        wanted = {target.target_id: target for target in targets}
        return [name for name, one in self.targets.items() if wanted.get(name) != one]

    def forget(self, target_id: str) -> None:
        """Watch it no more."""
        self.targets.pop(target_id, None)
        self._oom_kills.pop(target_id, None)
        self._gone.discard(target_id)

    def keep_only_watched(self) -> None:
        """Forget the readings of all others (S19)."""
        self._last_words.keep_only(self.targets)
