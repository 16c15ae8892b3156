"""What is remembered of every target: two rings of numbers per target, nothing per reading.

Recent readings for the evidence of cuts (S2), interval peaks of five weeks for the policy.
Bounded (S19): a target takes core.serve_settings.history_bytes, 2,000 of them 84 MiB by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ullage.core.serve_settings import ServeSettings, peaks_count
from ullage.core.service import TargetHistory

_NO_PEAK = -1
Scalar = TypeVar("Scalar", np.float64, np.int64)


class Histories:
    """Arrays over all targets; a row belongs to a target until `release`d."""

    def __init__(self, settings: ServeSettings) -> None:
        self._recent_count = settings.recent_samples_count
        self._interval_s = settings.peak_interval.total_seconds()
        self._slots = peaks_count(settings)
        self._free: list[int] = []
        self._rows = 0
        self._at_s = np.zeros((0, self._recent_count), np.float64)
        self._need = np.zeros((0, self._recent_count), np.int64)
        self._limit = np.zeros((0, self._recent_count), np.int64)
        self._counts = np.zeros(0, np.int64)
        self._peaks = np.zeros((0, self._slots), np.int64)
        self._peak_index = np.zeros((0, self._slots), np.int64)
        self._ooms: dict[int, list[tuple[float, int]]] = {}
        self._first_s: dict[int, float] = {}

    def take_row(self, first_seen_at: datetime) -> int:
        """Return an empty row."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._counts[row] = 0
        self._peak_index[row] = _NO_PEAK
        self._ooms[row] = []
        self._first_s[row] = first_seen_at.timestamp()
        return row

    def release(self, row: int) -> None:
        """Give a row back."""
        self._free.append(row)

    def add(self, row: int, at_s: float, need_bytes: int, limit_bytes: int | None) -> None:
        """Add one reading, not older than the one before."""
        slot = int(self._counts[row]) % self._recent_count
        self._at_s[row, slot] = at_s
        self._need[row, slot] = need_bytes
        self._limit[row, slot] = -1 if limit_bytes is None else limit_bytes
        self._counts[row] += 1
        self.add_peak(row, at_s, need_bytes)

    def add_peak(self, row: int, at_s: float, need_bytes: int) -> None:
        """Let `need_bytes` count in its interval; intervals may come in any order."""
        index = int(at_s // self._interval_s)
        slot = index % self._slots
        if self._peak_index[row, slot] == index:
            if need_bytes > self._peaks[row, slot]:
                self._peaks[row, slot] = need_bytes
        elif self._peak_index[row, slot] < index:
            self._peak_index[row, slot] = index
            self._peaks[row, slot] = need_bytes

    def _add_peaks(
        self, row: int, at_s: NDArray[np.float64], need_bytes: NDArray[np.int64]
    ) -> None:
        """Do what `add_peak` does for many readings at once, for a row without peaks."""
        index = (at_s // self._interval_s).astype(np.int64)
        if len(index) == 0:
            return
        is_kept = index > index.max() - self._slots
        index, need_bytes = index[is_kept], need_bytes[is_kept]
        slots = index % self._slots
        self._peaks[row] = 0
        np.maximum.at(self._peaks[row], slots, need_bytes)
        self._peak_index[row, slots] = index

    def add_oom(self, row: int, at_s: float, at_least_bytes: int) -> None:
        """Remember an OOM kill; the newest 64 are kept in memory."""
        self._ooms[row] = [*self._ooms[row][-63:], (at_s, at_least_bytes)]

    def restore(self, row: int, kept: TargetHistory) -> None:
        """Fill an empty row with what a store kept."""
        recent = slice(-self._recent_count, None)
        count = len(kept.at_s[recent])
        self._at_s[row, :count] = kept.at_s[recent]
        self._need[row, :count] = kept.need_bytes[recent]
        self._limit[row, :count] = kept.limit_bytes[recent]
        self._counts[row] = count
        self._add_peaks(
            row,
            np.concatenate((kept.peak_at_s, kept.at_s[recent])),
            np.concatenate((kept.peak_bytes, kept.need_bytes[recent])),
        )
        ooms = zip(kept.oom_at_s.tolist(), kept.oom_at_least_bytes.tolist(), strict=True)
        self._ooms[row] = list(ooms)[-64:]
        self._first_s[row] = min(self._first_s[row], kept.first_seen_at.timestamp())

    def forget_recent(self, row: int) -> None:
        """Drop the recent readings (the wall clock went backwards); the peaks stay."""
        self._counts[row] = 0

    def readings_since(self, row: int, since_s: float) -> int:
        """Return how many of the recent readings are younger than `since_s`."""
        held = min(int(self._counts[row]), self._recent_count)
        return int(np.count_nonzero(self._at_s[row, :held] > since_s))

    def largest(self, rows: Sequence[int]) -> list[int]:
        """Return the largest peak that is remembered of each row, 0 where there is none."""
        chosen = np.array(rows, np.int64)
        is_peak = self._peak_index[chosen] != _NO_PEAK
        largest = np.where(is_peak, self._peaks[chosen], 0).max(axis=1, initial=0)
        return [int(each) for each in largest]

    def history(self, row: int, now_s: float) -> TargetHistory:
        """Return what is known of one target by `now_s`, as copies in time order."""
        index = self._peak_index[row]
        oldest = int(now_s // self._interval_s) - self._slots
        known = np.flatnonzero((index > max(oldest, -1)) & (index * self._interval_s <= now_s))
        known = known[np.argsort(index[known])]
        ooms = [oom for oom in self._ooms[row] if oom[0] <= now_s]
        return TargetHistory(
            at_s=self._in_order(self._at_s, row),
            need_bytes=self._in_order(self._need, row),
            limit_bytes=self._in_order(self._limit, row),
            peak_at_s=index[known] * self._interval_s,
            peak_bytes=self._peaks[row, known],
            peak_interval_s=self._interval_s,
            oom_at_s=np.array([at for at, _ in ooms], np.float64),
            oom_at_least_bytes=np.array([least for _, least in ooms], np.int64),
            first_seen_at=datetime.fromtimestamp(self._first_s[row], UTC),
        )

    def _in_order(self, array: NDArray[Scalar], row: int) -> NDArray[Scalar]:
        count = int(self._counts[row])
        if count <= self._recent_count:
            return array[row, :count].copy()
        cut = count % self._recent_count
        return np.concatenate((array[row, cut:], array[row, :cut]))

    def _grow(self) -> None:
        more = max(64, self._rows // 2)
        for name in ("_at_s", "_need", "_limit", "_peaks", "_peak_index"):
            old = getattr(self, name)
            # Zeros of the system: a page takes memory when it is first written.
            new = np.zeros((self._rows + more, old.shape[1]), old.dtype)
            new[: self._rows] = old
            setattr(self, name, new)
        self._counts = np.concatenate((self._counts, np.zeros(more, np.int64)))
        self._free = list(range(self._rows + more - 1, self._rows - 1, -1))
        self._rows += more
