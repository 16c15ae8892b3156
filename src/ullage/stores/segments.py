"""Reads samples wherever they lie: in the state, in segments, or in both.

Each segment is verified, digest and all, before it is first read in a process, and again
whenever the file looks otherwise (another inode, size or time). Not here: how samples get
there (`stores.compaction`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ullage.core.errors import DataError
from ullage.core.stored_samples import SampleTable, SegmentsReport
from ullage.core.telemetry import SampleSeries
from ullage.stores import segment_index
from ullage.stores.segment_columns import Longs, SampleColumns, at_of, joined, unpack_columns
from ullage.stores.segment_files import SegmentFile, SegmentFolder
from ullage.stores.segment_index import Place, Segment
from ullage.stores.segment_parquet import SegmentEngine, SegmentRows

Reading = Callable[[], AbstractContextManager[segment_index.Execute]]
_MOST_OPEN = 32


class SegmentReader:
    """The segments of one state. Close it; not for several threads."""

    def __init__(self, state_path: Path, reading: Reading) -> None:
        self._folder = SegmentFolder(state_path)
        self._reading = reading
        self._engine: SegmentEngine | None = None
        self._open: dict[str, tuple[tuple[int, ...], int]] = {}

    def close(self) -> None:
        """Give descriptors and memory back."""
        while self._open:
            os.close(self._open.popitem()[1][1])
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def samples(self, place: Place) -> SampleSeries:
        """Return the samples of one attempt; empty where they were given up by retention.

        DataError, naming the file and the way out, where they cannot be read.
        """
        if place.segment.is_dropped:
            return SampleSeries()
        try:
            found = self.rows(place.segment, place.row, place.row + place.samples_count - 1)
        except DataError:
            with self._reading() as execute:
                again = segment_index.place_of(execute, place.run_id, place.attempt)
            if again is None or again.segment == place.segment:
                raise
            return self.samples(again)  # moved or given up between the look and the reading
        return found.samples.as_series()

    def rows(self, segment: Segment, first: int, last: int) -> SegmentRows:
        """Return the rows numbered first to last of a verified segment. DataError as above."""
        try:
            descriptor = self._verified(segment.file)
            if self._engine is None:
                self._engine = SegmentEngine(self._folder.path)
            found = self._engine.rows(descriptor, first, last)
            if len(found.row) != last - first + 1:
                raise DataError(f"{self._folder.path / segment.file.file_name} lacks rows")
        except DataError as error:
            raise DataError(f"{error}; {_way_out(segment)}") from error
        return found

    def check(self, segment: Segment) -> str | None:
        """Read a segment whole; return what is wrong with it in one line, None if nothing is."""
        try:
            descriptor = self._folder.open(segment.file.file_name)
            try:
                self._folder.verify(descriptor, segment.file)
            finally:
                os.close(descriptor)
        except DataError as error:
            return f"{error}; {_way_out(segment)}"
        return None

    def _verified(self, file: SegmentFile) -> int:
        """Return a descriptor of the file as it was when its digest was right."""
        name = file.file_name
        descriptor = self._folder.open(name)
        mark = _mark(descriptor)
        known = self._open.pop(name, None)
        if known is not None and known[0] == mark:
            os.close(descriptor)
            self._open[name] = known  # the one used last goes last
            return known[1]
        if known is not None:
            os.close(known[1])
        try:
            self._folder.verify(descriptor, file)
        except BaseException:
            os.close(descriptor)
            raise
        while len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open)))[1])
        self._open[name] = (mark, descriptor)
        return descriptor


def report(reader: SegmentReader, reading: Reading, state_path: Path) -> SegmentsReport:
    """Verify every segment, and count what there is."""
    with reading() as execute:
        live = segment_index.segments(execute)
        dropped = segment_index.segments(execute, where="dropped_at_us IS NOT NULL")
        waiting = execute("SELECT coalesce(sum(samples_count), 0) FROM samples").fetchone()[0]
    found = (reader.check(segment) for segment in live)
    return SegmentsReport(
        segments_count=len(live),
        samples_count=sum(segment.samples_count for segment in live),
        segments_bytes=sum(segment.file.file_bytes for segment in live),
        waiting_samples_count=waiting,
        dropped_segments_count=len(dropped),
        dropped_samples_count=sum(segment.samples_count for segment in dropped),
        faults=tuple(fault for fault in found if fault is not None),
        foreign=SegmentFolder(state_path).names().foreign,
    )


# -- a workload's samples ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some samples: of which attempt (int64[n], by its order), when, what."""

    attempt: Longs
    at_us: Longs
    samples: SampleColumns

    def where(self, is_wanted: NDArray[np.bool_]) -> _Part:
        return self if is_wanted.all() else self.at(np.flatnonzero(is_wanted))

    def at(self, is_wanted: Longs) -> _Part:
        return _Part(
            attempt=self.attempt[is_wanted],
            at_us=self.at_us[is_wanted],
            samples=SampleColumns(
                elapsed_ms=self.samples.elapsed_ms[is_wanted],
                need_bytes=self.samples.need_bytes[is_wanted],
                usage_bytes=self.samples.usage_bytes[is_wanted],
                limit_bytes=self.samples.limit_bytes[is_wanted],
            ),
        )


def workload_table(
    reader: SegmentReader, reading: Reading, workload_key: str, since_us: int, until_us: int
) -> SampleTable:
    """Return a workload's samples taken from since_us on and before until_us."""
    with reading() as execute:  # one look at all tables: nothing is met twice, or between two
        blobs = segment_index.workload_blobs(execute, workload_key)
        places = segment_index.workload_places(execute, workload_key, since_us, until_us)
    kept = [(start_us, place) for start_us, place in places if not place.segment.is_dropped]
    keys = [(row["run_started_us"], row["run_id"], row["attempt"]) for row in blobs]
    keys += [(start_us, place.run_id, place.attempt) for start_us, place in kept]
    order = {key[1:]: number for number, key in enumerate(sorted(keys))}
    faults: list[str] = []
    unread_count = 0
    parts: list[_Part] = []
    for blob in blobs:
        try:
            samples = unpack_columns(blob["packed"])
        except DataError as error:
            faults.append(f"run {blob['run_id']!a:.40}: {error}")
            unread_count += 1
            continue
        number = order[blob["run_id"], blob["attempt"]]
        parts.append(
            _Part(
                attempt=np.full(len(samples), number, np.int64),
                at_us=at_of(blob["started_at_us"], samples),
                samples=samples,
            )
        )
    for segment, found in groupby((place for _, place in kept), key=lambda place: place.segment):
        wanted = list(found)
        try:
            parts.append(_of_segment(reader, segment, wanted, order))
        except DataError as error:
            faults.append(str(error))
            unread_count += len(wanted)
    inside = [part.where((part.at_us >= since_us) & (part.at_us < until_us)) for part in parts]
    return _table(inside, list(order), faults, unread_count, len(places) - len(kept))


def _of_segment(
    reader: SegmentReader,
    segment: Segment,
    places: Sequence[Place],
    order: dict[tuple[str, int], int],
) -> _Part:
    """Return the samples at `places` of one segment; they lie close together in it."""
    firsts = np.array([place.row for place in places], np.int64)
    ends = firsts + np.array([place.samples_count for place in places], np.int64)
    numbers = np.array([order[place.run_id, place.attempt] for place in places], np.int64)
    found = reader.rows(segment, int(firsts[0]), int(ends[-1]) - 1)
    if np.array_equal(firsts[1:], ends[:-1]):  # as good as always: nothing lies in between
        by_row = np.repeat(numbers, ends - firsts)
        return _Part(attempt=by_row, at_us=found.at_us, samples=found.samples)
    at = np.searchsorted(firsts, found.row, side="right") - 1
    part = _Part(attempt=numbers[at], at_us=found.at_us, samples=found.samples)
    return part.where(found.row < ends[at])  # rows in between were said anew, or asked for not


def _table(
    parts: Sequence[_Part],
    order: list[tuple[str, int]],
    faults: Iterable[str],
    unread_count: int,
    dropped_count: int,
) -> SampleTable:
    attempts = np.concatenate([part.attempt for part in parts] or [np.zeros(0, np.int64)])
    at_us = np.concatenate([part.at_us for part in parts] or [np.zeros(0, np.int64)])
    samples = joined([part.samples for part in parts])
    if np.any(attempts[1:] < attempts[:-1]):
        by_attempt = np.argsort(attempts, kind="stable")
        ordered = _Part(attempt=attempts, at_us=at_us, samples=samples).at(by_attempt)
        attempts, at_us, samples = ordered.attempt, ordered.at_us, ordered.samples
    is_present = np.bincount(attempts, minlength=len(order)) > 0
    keys = [order[number] for number in np.flatnonzero(is_present).tolist()]
    return SampleTable(
        run_ids=tuple(run_id for run_id, _ in keys),
        attempt=np.array([attempt for _, attempt in keys], np.int64),
        row=(np.cumsum(is_present) - 1)[attempts],
        at_us=at_us,
        elapsed_ms=samples.elapsed_ms,
        need_bytes=samples.need_bytes,
        usage_bytes=samples.usage_bytes,
        limit_bytes=samples.limit_bytes,
        faults=tuple(faults),
        unread_count=unread_count,
        dropped_count=dropped_count,
    )


def _mark(descriptor: int) -> tuple[int, ...]:
    found = os.fstat(descriptor)
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def _way_out(segment: Segment) -> str:
    return (
        f"bring it back from a backup, or give up its {segment.samples_count:,} samples of "
        f"{segment.attempts_count:,} attempts: `ullage compact --forget-damaged`"
    )
