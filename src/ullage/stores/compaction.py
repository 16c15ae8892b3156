"""Moves samples of ended runs out of the state into segments, and gives old segments up.

For each segment: write, sync, rename, sync the folder, read it back, and only then one
transaction that records it and deletes what it holds. Whatever is killed in between, every
sample is in the state, in a recorded segment, or in both; the next compaction clears what was
left over, once it has seen that the state has all of it. Runs may begin and end meanwhile.
Not here: reading (`stores.segments`).
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ullage.core.errors import DataError, PermanentError, UllageError
from ullage.core.stored_samples import CompactionOrder, CompactionReport
from ullage.stores import segment_index, sqlite
from ullage.stores.file_space import give_space_back, size_bytes
from ullage.stores.opening import SETTING
from ullage.stores.rows import instant_us
from ullage.stores.segment_columns import Longs, at_of, joined, unpack_columns
from ullage.stores.segment_files import SegmentFile, SegmentFolder
from ullage.stores.segment_index import Place, Segment, Waiting
from ullage.stores.segment_parquet import AttemptSamples, SegmentEngine
from ullage.stores.segments import SegmentReader

SEGMENT_SAMPLES = 1 << 20
"""About so many samples make a segment (some 8 MB): a question about one workload's month
opens few of them, and what is damaged by one flipped bit is limited. An attempt is never split."""
SEGMENT_ATTEMPTS = 10_000
"""No more, so that the transaction that records them keeps no run waiting."""
_MICROSECONDS_A_SECOND = 1_000_000
_MOST_NOTES = 3

Tell = Callable[[int, int], None]


class Compaction:
    """One compaction of one state. `run` it once."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, order: CompactionOrder, tell: Tell
    ) -> None:
        self._connection = connection
        self._path = path
        self._order = order
        self._tell = tell
        self._folder = SegmentFolder(path)
        self._counts: Counter[str] = Counter()
        self._notes: list[str] = []
        span_us = int(order.older_than.total_seconds() * _MICROSECONDS_A_SECOND)
        self._at_us = instant_us(order.at)
        self._ended_before_us = self._at_us - span_us

    def run(self) -> CompactionReport:
        """Do what was ordered. PermanentError, ConfigError, TransientError name the way out."""
        self._counts["state_before_bytes"] = size_bytes(self._path)
        if self._order.is_dry:
            self._look()
        else:
            self._folder.make()
            with self._folder.locked():
                self._clear_leftovers()
                self._move_all()
                self._drop_old()
                if self._order.forgets_damaged:
                    self._forget_damaged()
            self._notes += give_space_back(self._connection, self._path)
        self._counts["state_after_bytes"] = size_bytes(self._path)
        foreign = self._folder.names().foreign
        return CompactionReport(**self._counts, foreign=foreign, notes=tuple(self._notes))

    @contextmanager
    def _transaction(self, kind: str = "DEFERRED") -> Iterator[segment_index.Execute]:
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection, kind=kind),
        ):
            yield self._connection.execute

    # -- moving ----------------------------------------------------------------------------

    def _ripe(self) -> Iterator[tuple[str, list[Waiting]]]:
        """Yield month by month what may leave, in the order of its segments."""
        with self._transaction() as execute:
            months = segment_index.months(execute, self._ended_before_us)
        for month in months:
            with self._transaction() as execute:
                found = segment_index.waiting(execute, self._ended_before_us, month)
            yield month, found

    def _look(self) -> None:
        for _, found in self._ripe():
            self._count_moved(found)
        with self._transaction() as execute:
            old = self._old(execute)
        self._count_dropped(old)

    def _move_all(self) -> None:
        with self._transaction("IMMEDIATE") as execute:
            segment_index.delete_empty(execute, self._ended_before_us)
            total = execute(
                "SELECT coalesce(sum(samples_count), 0) FROM samples JOIN run USING (run_id)"
                " WHERE known_at_us <= ?",
                (self._ended_before_us,),
            ).fetchone()[0]
        if not total:
            return
        engine = SegmentEngine(self._folder.path)
        done = 0
        try:
            for month, found in self._ripe():
                for batch in segment_index.each_batch(found, SEGMENT_SAMPLES, SEGMENT_ATTEMPTS):
                    self._move(engine, month, batch)
                    done += sum(each.samples_count for each in batch)
                    self._tell(min(done, total), total)
        finally:
            engine.close()

    def _move(self, engine: SegmentEngine, month: str, batch: Sequence[Waiting]) -> None:
        """Make one segment of `batch`, then let the state go of what it holds."""
        taken, blobs, attempts = self._take(batch)
        if not taken:
            return
        file = self._folder.add(
            month, lambda descriptor: _write_and_compare(engine, descriptor, attempts)
        )
        segment, places = _placed(file, attempts)
        if self._record(segment, places, blobs):
            self._count_moved(taken)
            self._counts["segments_count"] += 1
            self._counts["segments_bytes"] += file.file_bytes

    def _take(
        self, batch: Sequence[Waiting]
    ) -> tuple[list[Waiting], list[bytes], list[AttemptSamples]]:
        """Return those whose samples can be read, with them; the others stay where they are."""
        taken: list[Waiting] = []
        blobs: list[bytes] = []
        attempts: list[AttemptSamples] = []
        with self._transaction() as execute:
            found = [segment_index.blob_of(execute, each.run_id, each.attempt) for each in batch]
        for each, blob in zip(batch, found, strict=True):
            try:
                samples = None if blob is None else unpack_columns(blob)
            except DataError as error:
                self._counts["kept_attempts_count"] += 1
                if len(self._notes) < _MOST_NOTES:
                    self._notes.append(f"left as it is: run {each.run_id!a:.40}: {error}")
                continue
            if blob is None or not samples:
                continue  # changed since the list was made: the next one sees to it
            taken.append(each)
            blobs.append(blob)
            attempts.append(
                AttemptSamples(
                    workload_key=each.workload_key,
                    run_id=each.run_id,
                    attempt=each.attempt,
                    started_us=each.started_us,
                    samples=samples,
                )
            )
        return taken, blobs, attempts

    def _record(self, segment: Segment, places: Sequence[Place], blobs: Sequence[bytes]) -> bool:
        """Record the segment and delete what it holds, in one transaction."""
        try:
            with self._transaction("IMMEDIATE") as execute:
                segment_index.record_segment(execute, segment, places, made_us=self._at_us)
                for place, blob in zip(places, blobs, strict=True):
                    if not segment_index.delete_blob(execute, place.run_id, place.attempt, blob):
                        raise _ChangedError
        except _ChangedError:
            # a supervisor that was given up for dead has had the last word on an attempt
            self._remove_unrecorded(segment.file.file_name)
            self._counts["kept_attempts_count"] += segment.attempts_count
            self._notes.append("samples were recorded anew meanwhile: they go with the next one")
            return False
        except BaseException:  # a full disk needs the room; the state says whether it is recorded
            with suppress(UllageError):
                self._remove_unrecorded(segment.file.file_name)
            raise
        return True

    def _remove_unrecorded(self, name: str) -> None:
        with self._transaction() as execute:
            known = segment_index.segments(execute, where="1")
        if name not in {each.file.file_name for each in known}:
            self._folder.remove(name)

    def _count_moved(self, moved: Sequence[Waiting]) -> None:
        self._counts["moved_attempts_count"] += len(moved)
        self._counts["moved_samples_count"] += sum(each.samples_count for each in moved)
        self._counts["packed_bytes"] += sum(each.packed_bytes for each in moved)

    # -- giving up -------------------------------------------------------------------------

    def _old(self, execute: segment_index.Execute) -> list[Segment]:
        if self._order.keep is None:
            return []
        newest_us = segment_index.newest_end_us(execute)
        if newest_us is None:
            return []
        span_us = int(self._order.keep.total_seconds() * _MICROSECONDS_A_SECOND)
        before_us = min(self._at_us, newest_us) - span_us
        return [each for each in segment_index.segments(execute) if each.last_us < before_us]

    def _drop_old(self) -> None:
        with self._transaction("IMMEDIATE") as execute:
            old = self._old(execute)
            for segment in old:
                segment_index.mark_dropped(execute, segment, at_us=self._at_us)
        for segment in old:
            self._folder.remove(segment.file.file_name)
        self._count_dropped(old)

    def _forget_damaged(self) -> None:
        """Give up what cannot be read; the files are set aside, not deleted."""
        with self._transaction() as execute:
            live = segment_index.segments(execute)
        reader = SegmentReader(self._path, self._transaction)
        damaged = [segment for segment in live if reader.check(segment) is not None]
        for segment in damaged:
            self._folder.set_aside(segment.file.file_name)
            with self._transaction("IMMEDIATE") as execute:
                segment_index.mark_dropped(execute, segment, at_us=self._at_us)
        self._count_dropped(damaged)

    def _count_dropped(self, dropped: Sequence[Segment]) -> None:
        self._counts["dropped_segments_count"] += len(dropped)
        self._counts["dropped_samples_count"] += sum(each.samples_count for each in dropped)

    # -- what a crash has left ---------------------------------------------------------------

    def _clear_leftovers(self) -> None:
        """Remove what was never recorded, where the state has all of it, and what was dropped."""
        names = self._folder.names()
        with self._transaction() as execute:
            known = segment_index.segments(execute, where="1")
        recorded = {each.file.file_name for each in known if not each.is_dropped}
        dropped = {each.file.file_name for each in known if each.is_dropped}
        for name in names.temporary | (names.segments & dropped):
            self._folder.remove(name)
            self._counts["leftovers_count"] += 1
        for name in sorted(names.segments - recorded - dropped):
            if self._is_superfluous(name):
                self._folder.remove(name)
                self._counts["leftovers_count"] += 1
            else:
                self._notes.append(
                    f"{name} is not of this record and is left alone: it may hold the only copy "
                    "of its samples"
                )

    def _is_superfluous(self, name: str) -> bool:
        """Say whether the state has all samples that an unrecorded segment holds."""
        engine = SegmentEngine(self._folder.path)
        try:
            descriptor = self._folder.open(name)
            try:
                held = engine.attempts(descriptor)
            finally:
                os.close(descriptor)
        except DataError:
            return False
        finally:
            engine.close()
        with self._transaction() as execute:
            return all(segment_index.has_samples(execute, *each) for each in held)


class _ChangedError(Exception):
    """Samples are no longer those that were read."""


def _write_and_compare(
    engine: SegmentEngine, descriptor: int, attempts: Sequence[AttemptSamples]
) -> None:
    """Write a segment and read it back: what is deleted afterwards has no other copy."""
    engine.write(descriptor, attempts)
    wanted = joined([each.samples for each in attempts])
    found = engine.rows(descriptor, 0, len(wanted)).samples
    pairs = (
        (found.elapsed_ms.view(np.int64), wanted.elapsed_ms.view(np.int64)),
        (found.need_bytes, wanted.need_bytes),
        (found.usage_bytes, wanted.usage_bytes),
        (found.limit_bytes, wanted.limit_bytes),
    )
    if not all(np.array_equal(one, other) for one, other in pairs):
        raise PermanentError("what was written does not come back as it was")


def _placed(file: SegmentFile, attempts: Sequence[AttemptSamples]) -> tuple[Segment, list[Place]]:
    """Return the segment of a written file, and where its attempts lie in it."""
    times: list[Longs] = [at_of(each.started_us, each.samples) for each in attempts]
    spans = [(int(at_us.min()), int(at_us.max())) for at_us in times]
    rows = np.concatenate([[0], np.cumsum([len(each.samples) for each in attempts])]).tolist()
    segment = Segment(
        number=0,
        file=file,
        attempts_count=len(attempts),
        samples_count=rows[-1],
        first_us=min(first for first, _ in spans),
        last_us=max(last for _, last in spans),
    )
    places = [
        Place(
            workload_key=each.workload_key,
            run_id=each.run_id,
            attempt=each.attempt,
            segment=segment,
            row=row,
            samples_count=len(each.samples),
            first_us=first_us,
            last_us=last_us,
        )
        for each, row, (first_us, last_us) in zip(attempts, rows[:-1], spans, strict=True)
    ]
    return segment, places
