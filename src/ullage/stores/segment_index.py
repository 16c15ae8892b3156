"""Which segments there are and where an attempt's samples lie: SQL over the state.

Samples that are in the state (table `samples`) always outrank those of a segment: they were
said later. Every function takes `execute` of an open transaction. Not here: files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ullage.stores.segment_files import SegmentFile

Execute = Callable[..., sqlite3.Cursor]

_NOT_IN_STATE = (
    "NOT EXISTS (SELECT 1 FROM samples WHERE samples.run_id = segment_attempt.run_id"
    " AND samples.attempt = segment_attempt.attempt)"
)
_MONTH = "strftime('%Y-%m', run.started_at_us / 1000000, 'unixepoch')"
_RIPE = (
    "FROM samples JOIN run ON run.run_id = samples.run_id"
    " JOIN attempt ON attempt.run_id = samples.run_id AND attempt.number = samples.attempt"
    " WHERE run.known_at_us <= :ended_before_us AND samples.samples_count > 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment as it is recorded."""

    number: int
    file: SegmentFile
    attempts_count: int
    samples_count: int
    first_us: int
    last_us: int
    is_dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the samples of one attempt lie: `samples_count` rows from `row` on."""

    workload_key: str
    run_id: str
    attempt: int
    segment: Segment
    row: int
    samples_count: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An attempt whose samples may leave the state."""

    run_id: str
    attempt: int
    workload_key: str
    started_us: int
    samples_count: int
    packed_bytes: int


# -- reading -----------------------------------------------------------------------------------


def segments(execute: Execute, *, where: str = "dropped_at_us IS NULL") -> list[Segment]:
    """Return the segments for which `where` (a constant of ours) holds, oldest first."""
    query = f"SELECT * FROM segment WHERE {where} ORDER BY segment_id"  # noqa: S608
    return [_segment(row) for row in execute(query)]


def place_of(execute: Execute, run_id: str, attempt: int) -> Place | None:
    """Return where the samples of an attempt lie, None if in no segment."""
    query = "SELECT * FROM segment_attempt WHERE run_id = :run_id AND attempt = :attempt"
    row = execute(query, {"run_id": run_id, "attempt": attempt}).fetchone()
    if row is None:
        return None
    found = segments(execute, where=f"segment_id = {int(row['segment_id']):d}")
    return _place(row, found[0])


def workload_places(
    execute: Execute, workload_key: str, since_us: int, until_us: int
) -> list[tuple[int, Place]]:
    """Return (start of the run, where its samples lie) of a workload's attempts with samples
    between two moments, by segment and row."""
    query = (
        "SELECT segment_attempt.*, run.started_at_us AS run_started_us"  # noqa: S608
        " FROM segment_attempt JOIN run USING (run_id)"
        " WHERE segment_attempt.workload_key = :key AND last_at_us >= :since_us"
        " AND first_at_us < :until_us AND " + _NOT_IN_STATE + " ORDER BY segment_id, first_row"
    )
    values = {"key": workload_key, "since_us": since_us, "until_us": until_us}
    rows = execute(query, values).fetchall()
    known = {each.number: each for each in segments(execute, where="1")} if rows else {}
    return [(row["run_started_us"], _place(row, known[row["segment_id"]])) for row in rows]


def workload_blobs(execute: Execute, workload_key: str) -> list[sqlite3.Row]:
    """Return run_started_us, run_id, attempt, started_at_us and packed of a workload's samples
    in the state. All attempts that wait there are looked at: a compaction keeps them few."""
    query = (
        "SELECT run.started_at_us AS run_started_us, samples.run_id, samples.attempt,"
        " attempt.started_at_us, packed FROM samples CROSS JOIN run ON"
        " run.run_id = samples.run_id JOIN attempt ON attempt.run_id = samples.run_id AND"
        " attempt.number = samples.attempt WHERE run.workload_key = :key"
    )
    return execute(query, {"key": workload_key}).fetchall()


def months(execute: Execute, ended_before_us: int) -> list[str]:
    """Return the months in which runs started whose samples may leave the state."""
    query = f"SELECT DISTINCT {_MONTH} {_RIPE} ORDER BY 1"
    return [row[0] for row in execute(query, {"ended_before_us": ended_before_us})]


def waiting(execute: Execute, ended_before_us: int, month: str) -> list[Waiting]:
    """Return the attempts of a month whose samples may leave, in the order of a segment."""
    query = (
        "SELECT samples.run_id, samples.attempt, run.workload_key, attempt.started_at_us,"
        f" samples.samples_count, length(packed) AS packed_bytes {_RIPE} AND {_MONTH} = :month"
        " ORDER BY run.workload_key, run.started_at_us, run.run_id, samples.attempt"
    )
    values = {"ended_before_us": ended_before_us, "month": month}
    return [
        Waiting(
            run_id=row["run_id"],
            attempt=row["attempt"],
            workload_key=row["workload_key"],
            started_us=row["started_at_us"],
            samples_count=row["samples_count"],
            packed_bytes=row["packed_bytes"],
        )
        for row in execute(query, values)
    ]


def blob_of(execute: Execute, run_id: str, attempt: int) -> bytes | None:
    """Return the packed samples of an attempt in the state."""
    query = "SELECT packed FROM samples WHERE run_id = :run_id AND attempt = :attempt"
    row = execute(query, {"run_id": run_id, "attempt": attempt}).fetchone()
    return None if row is None else row["packed"]


def has_samples(execute: Execute, run_id: str, attempt: int, samples_count: int) -> bool:
    """Say whether the state has as many samples of an attempt, packed or in a segment."""
    query = (
        "SELECT 1 FROM samples WHERE run_id = :run_id AND attempt = :attempt"
        " AND samples_count = :count UNION ALL SELECT 1 FROM segment_attempt WHERE"
        " run_id = :run_id AND attempt = :attempt AND samples_count = :count"
    )
    values = {"run_id": run_id, "attempt": attempt, "count": samples_count}
    return execute(query, values).fetchone() is not None


def dropped_count(execute: Execute, workload_key: str | None, since_us: int | None) -> int:
    """Return of how many attempts the samples were given up, and nothing was said since."""
    query = (
        "SELECT count(*) FROM segment JOIN segment_attempt USING (segment_id) JOIN run USING"  # noqa: S608
        " (run_id) WHERE dropped_at_us IS NOT NULL"
        " AND (:key IS NULL OR segment_attempt.workload_key = :key)"
        " AND (:since_us IS NULL OR started_at_us >= :since_us) AND " + _NOT_IN_STATE
    )
    found: int = execute(query, {"key": workload_key, "since_us": since_us}).fetchone()[0]
    return found


# -- writing -----------------------------------------------------------------------------------


def record_segment(
    execute: Execute, segment: Segment, places: Iterable[Place], *, made_us: int
) -> None:
    """Record a segment and where its attempts lie. One of the same content is referred to."""
    execute(
        "INSERT INTO segment (file_name, sha256, file_bytes, attempts_count, samples_count,"
        " first_at_us, last_at_us, made_at_us) VALUES (:file_name, :sha256, :file_bytes,"
        " :attempts_count, :samples_count, :first_us, :last_us, :made_us)"
        " ON CONFLICT (file_name) DO UPDATE SET dropped_at_us = NULL",
        {
            "file_name": segment.file.file_name,
            "sha256": segment.file.sha256,
            "file_bytes": segment.file.file_bytes,
            "attempts_count": segment.attempts_count,
            "samples_count": segment.samples_count,
            "first_us": segment.first_us,
            "last_us": segment.last_us,
            "made_us": made_us,
        },
    )
    for place in places:
        execute(
            "INSERT INTO segment_attempt (run_id, attempt, workload_key, segment_id, first_row,"
            " samples_count, first_at_us, last_at_us) SELECT :run_id, :attempt, :workload_key,"
            " segment_id, :row, :count, :first_us, :last_us FROM segment"
            " WHERE file_name = :file_name"
            " ON CONFLICT (run_id, attempt) DO UPDATE SET segment_id = excluded.segment_id,"
            " first_row = excluded.first_row, samples_count = excluded.samples_count,"
            " first_at_us = excluded.first_at_us, last_at_us = excluded.last_at_us",
            {
                "run_id": place.run_id,
                "attempt": place.attempt,
                "workload_key": place.workload_key,
                "row": place.row,
                "count": place.samples_count,
                "first_us": place.first_us,
                "last_us": place.last_us,
                "file_name": segment.file.file_name,
            },
        )


def delete_empty(execute: Execute, ended_before_us: int) -> None:
    """Delete rows without a sample, where nothing older in a segment would come up instead."""
    execute(
        "DELETE FROM samples WHERE samples_count = 0 AND run_id IN"
        " (SELECT run_id FROM run WHERE known_at_us <= :ended_before_us) AND NOT EXISTS"
        " (SELECT 1 FROM segment_attempt WHERE segment_attempt.run_id = samples.run_id"
        " AND segment_attempt.attempt = samples.attempt)",
        {"ended_before_us": ended_before_us},
    )


def delete_blob(execute: Execute, run_id: str, attempt: int, packed: bytes) -> bool:
    """Delete packed samples that are still the ones given; say whether they were."""
    deleted = execute(
        "DELETE FROM samples WHERE run_id = :run_id AND attempt = :attempt AND packed = :packed",
        {"run_id": run_id, "attempt": attempt, "packed": packed},
    )
    return deleted.rowcount == 1


def mark_dropped(execute: Execute, segment: Segment, *, at_us: int) -> None:
    """Record that a segment is given up; its row and its attempts stay."""
    execute(
        "UPDATE segment SET dropped_at_us = :at_us WHERE segment_id = :number",
        {"at_us": at_us, "number": segment.number},
    )


def newest_end_us(execute: Execute) -> int | None:
    """Return when the latest end of a run was recorded."""
    found: int | None = execute("SELECT max(known_at_us) FROM run").fetchone()[0]
    return found


def _segment(row: sqlite3.Row) -> Segment:
    return Segment(
        number=row["segment_id"],
        file=SegmentFile(
            file_name=row["file_name"], sha256=row["sha256"], file_bytes=row["file_bytes"]
        ),
        attempts_count=row["attempts_count"],
        samples_count=row["samples_count"],
        first_us=row["first_at_us"],
        last_us=row["last_at_us"],
        is_dropped=row["dropped_at_us"] is not None,
    )


def _place(row: sqlite3.Row, segment: Segment) -> Place:
    return Place(
        workload_key=row["workload_key"],
        run_id=row["run_id"],
        attempt=row["attempt"],
        segment=segment,
        row=row["first_row"],
        samples_count=row["samples_count"],
        first_us=row["first_at_us"],
        last_us=row["last_at_us"],
    )


def each_batch(
    found: Iterable[Waiting], most_samples_count: int, most_attempts_count: int
) -> Iterator[list[Waiting]]:
    """Yield attempts in their order, as many as one segment takes."""
    batch: list[Waiting] = []
    count = 0
    for each in found:
        is_full = len(batch) >= most_attempts_count
        if batch and (is_full or count + each.samples_count > most_samples_count):
            yield batch
            batch, count = [], 0
        batch.append(each)
        count += each.samples_count
    if batch:
        yield batch
