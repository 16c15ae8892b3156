"""What a target that has died was last seen with: its OOM kill must not vanish with it (S23).

The loop counts OOM kills by readings, and what has vanished cannot be read. So a source keeps the
latest reading of each target. Where it knows of kills that no reading has told of, it gives one
more: the latest reading with the kills counted, so that limit and usage at death are in it.
Pure: moments and counts come from the source.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from ullage.core.service import LiveReading, LiveTarget


class LastWords:
    """The latest reading of each target, of its present life only."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[str, LiveReading]] = {}

    def keep(self, target: LiveTarget, reading: LiveReading) -> LiveReading:
        """Remember a reading; return it."""
        self._latest[target.target_id] = (target.instance, reading)
        return reading

    def last(
        self, target: LiveTarget, oom_kills: int, *, at: datetime, known_at: datetime
    ) -> LiveReading | None:
        """Return the reading that a vanished target still owes; None = nothing is left to tell.

        oom_kills: of this life, as far as the source knows. at: when the latest was heard of. Each
        kill is told once: asked again, the answer is None.

        Worked: read with 1 kill and then gone, 1 is known -> None; 2 are known -> the reading
        with 2.
        """
        instance, reading = self._latest.get(target.target_id, ("", None))
        if reading is None or instance != target.instance or oom_kills <= reading.oom_kills:
            return None
        told = replace(
            reading,
            at=min(known_at, max(at, reading.at)),
            known_at=known_at,
            oom_kills=oom_kills,
            is_waiting=False,
            psi_full_avg10_ratio=None,
        )
        return self.keep(target, told)

    def keep_only(self, target_ids: Collection[str]) -> None:
        """Forget all others."""
        for target_id in [one for one in self._latest if one not in target_ids]:
            del self._latest[target_id]
