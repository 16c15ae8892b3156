"""The durable record in one SQLite file: implements core.ports.StateStore, RunReader,
RunArchive, JobArchive and SampleArchive.

Write-ahead log with a sync at every commit, so that what a method has returned from survives
kill -9 and a power cut; readers and writers in several processes at once. Nothing here ever
deletes or overwrites what was recorded: a file that cannot be used is refused, and the error
names the way out. Samples of ended runs may lie in segments beside it (`stores.segments`).
Not here: the tables (`stores.schema`), rows (`stores.rows`), retention (`stores.compaction`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.core.decision import RunDecision
from ullage.core.errors import DataError, InvariantError, PermanentError
from ullage.core.jobs import RecordedJob
from ullage.core.spending import RECENT_RUNS, Spending
from ullage.core.stages import StageUse
from ullage.core.telemetry import OomEvent, SampleSeries
from ullage.core.workload import Attempt, Outcome, Run, Workload
from ullage.stores import archive, jobs, rows, segment_index, sqlite
from ullage.stores.opening import SETTING, open_reader, open_writer
from ullage.stores.record_json import from_json
from ullage.stores.sample_blob import pack_samples, unpack_samples

if TYPE_CHECKING:
    from ullage.core.stored_samples import (
        CompactionOrder,
        CompactionReport,
        SampleTable,
        SegmentsReport,
    )
    from ullage.stores.segments import SegmentReader


class SqliteStateStore:
    """The state store over one file. One per process and thread; `open` makes it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._segment_reader: SegmentReader | None = None

    @classmethod
    def open(
        cls, path: Path, *, read_only: bool = False, busy_timeout_s: float = 5.0
    ) -> SqliteStateStore:
        """Open the store at `path`, making it (0600, its folder 0700) where there is none.

        busy_timeout_s: how long to wait for another process that is writing.
        Raises ConfigError (not ours, newer, a folder that cannot be written, nothing there
        to read), PermanentError (damaged, read-only, disk full), TransientError (locked).
        """
        path = path.absolute()
        with sqlite.translated(path, setting=SETTING):
            connection = (
                open_reader(path, busy_timeout_s)
                if read_only
                else open_writer(path, busy_timeout_s)
            )
        return cls(connection, path)

    def close(self) -> None:
        """Give the file back. Closing twice is closing once."""
        if self._segment_reader is not None:
            self._segment_reader.close()
            self._segment_reader = None
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str, rows.Row], sqlite3.Cursor]]:
        """Yield `execute(sql, values)` inside one transaction that is durable at the end."""
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection),
        ):
            yield self._connection.execute

    @contextmanager
    def _reading(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Yield `execute` over one consistent state of the file."""
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection, kind="DEFERRED"),
        ):
            yield self._connection.execute

    # -- writing ---------------------------------------------------------------------------

    def begin_run(self, run: Run, decision: RunDecision | None, *, owner: str) -> None:
        """Record a run that is about to start, its decision, and the envelope of its growth.

        The envelope says up to where the limit may be raised without a further record (the
        decision's ceiling), and holds until the run ends. A decision that is known already
        (same inputs, same id) is referred to. InvariantError for a run id that is in use.
        """
        if decision is not None and decision.decision_id != run.decision_id:
            raise InvariantError(f"run {run.run_id} names another decision than it comes with")
        with self._writing() as execute:
            if decision is not None:
                execute(
                    _insert("decision", rows.decision_row(decision))
                    + " ON CONFLICT (decision_id) DO NOTHING",
                    rows.decision_row(decision),
                )
            row = rows.run_row(run, owner=owner)
            execute(_insert("run", row), row)
            if decision is not None:
                envelope: rows.Row = {
                    "run_id": run.run_id,
                    "decision_id": decision.decision_id,
                    "ceiling_bytes": decision.question.bounds.ceiling_bytes,
                    "valid_from_us": rows.instant_us(run.started_at),
                    "valid_until_us": None if run.known_at is None else row["known_at_us"],
                }
                execute(_insert("envelope", envelope), envelope)

    def add_decision(self, decision: RunDecision) -> None:
        """Record a later decision of a run (for a retry); a known one is referred to."""
        row = rows.decision_row(decision)
        with self._writing() as execute:
            execute(_insert("decision", row) + " ON CONFLICT (decision_id) DO NOTHING", row)

    def add_attempt(self, run_id: str, attempt: Attempt, samples: SampleSeries) -> None:
        """Record one ended attempt and its samples; said again, the last word counts."""
        packed: rows.Row = {
            "run_id": run_id,
            "attempt": attempt.number,
            "samples_count": len(samples),
            "packed": pack_samples(samples),
        }
        with self._writing() as execute:
            _put(execute, "attempt", rows.attempt_row(run_id, attempt), ("run_id", "number"))
            _put(execute, "samples", packed, ("run_id", "attempt"))

    def end_run(self, run: Run, ooms: Iterable[OomEvent]) -> None:
        """Record the end of a run, and attempts that were not recorded before.

        A run that was closed as unknown meanwhile gets its real end. InvariantError if the
        run was never begun, has ended otherwise already, or `known_at` is None.
        """
        if run.known_at is None or run.outcome is None:
            raise InvariantError(f"run {run.run_id} ends without an outcome and known_at")
        row = rows.end_row(run)
        with self._writing() as execute:
            ended = execute(
                "UPDATE run SET known_at_us = :known_at_us, outcome = :outcome,"
                " exit_code = :exit_code, expert_costs_gbh_json = :expert_costs_gbh_json,"
                " spent_prob_json = :spent_prob_json, first_oom_prob = :first_oom_prob"
                " WHERE run_id = :run_id"
                " AND (known_at_us IS NULL OR known_at_us = :known_at_us OR outcome = :unknown)",
                row | {"unknown": str(Outcome.UNKNOWN)},
            )
            if ended.rowcount != 1:
                raise InvariantError(f"run {run.run_id} was never begun, or has ended already")
            for attempt in run.attempts:
                _put(
                    execute, "attempt", rows.attempt_row(run.run_id, attempt), ("run_id", "number")
                )
            for event in ooms:
                _put(execute, "oom", rows.oom_row(event), ("run_id", "attempt", "at_us"))
            _close_envelope(execute, row)

    def add_stages(self, workload_key: str, uses: Iterable[StageUse]) -> None:
        """Record what workers needed in each stage; said again, the last word counts.

        InvariantError for a worker whose run was never begun.
        """
        with self._writing() as execute:
            for use in uses:
                row = rows.stage_row(use, workload_key=workload_key)
                _put(execute, "stage", row, ("run_id", "name"))

    def close_orphans(self, is_alive: Callable[[str], bool], *, at: datetime) -> list[str]:
        """Close runs whose owner is not alive as `unknown`, known at `at`; return their ids.

        is_alive: says whether the process that an owner token names still runs.
        """
        query = "SELECT run_id, owner FROM run WHERE known_at_us IS NULL ORDER BY run_id"
        with sqlite.translated(self._path, setting=SETTING):
            still_open = self._connection.execute(query).fetchall()
        orphans = [row["run_id"] for row in still_open if not is_alive(row["owner"])]
        if not orphans:
            return []  # the usual case takes no write lock
        closed: list[str] = []
        with self._writing() as execute:
            for run_id in orphans:
                row: rows.Row = {
                    "run_id": run_id,
                    "known_at_us": rows.instant_us(at),
                    "outcome": str(Outcome.UNKNOWN),
                }
                changed = execute(
                    "UPDATE run SET known_at_us = :known_at_us, outcome = :outcome"
                    " WHERE run_id = :run_id AND known_at_us IS NULL",
                    row,
                )
                if changed.rowcount:
                    closed.append(run_id)
                    _close_envelope(execute, row)
        return closed

    def known_run_ids(self, run_ids: Sequence[str]) -> set[str]:
        """Return those of `run_ids` that are recorded."""
        with self._reading() as execute:
            return archive.known_run_ids(execute, run_ids)

    def add_ended(self, runs: Sequence[Run], ooms: Iterable[OomEvent]) -> set[str]:
        """Record ended runs in one transaction, without those that are recorded already.

        Returns the ids of the new ones; `ooms` of the others are left out with them.
        InvariantError for a run that has not ended.
        """
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection),
        ):
            return archive.add_ended(self._connection, runs, ooms)

    # -- reading ---------------------------------------------------------------------------

    def runs(self, workload_key: str | None = None, *, limit: int | None = None) -> list[Run]:
        """Return runs with their attempts, newest first."""
        where = "" if workload_key is None else "WHERE workload_key = :key"
        chosen = f"FROM run {where} ORDER BY started_at_us DESC, run_id DESC LIMIT :limit"
        values = {"key": workload_key, "limit": _bounded(limit)}
        with self._reading() as execute:
            found = execute(f"SELECT * {chosen}", values).fetchall()
            attempts = execute(
                f"SELECT * FROM attempt WHERE run_id IN (SELECT run_id {chosen})"  # noqa: S608
                " ORDER BY run_id, number",
                values,
            ).fetchall()
        return rows.runs_of(found, attempts)

    def workloads(self) -> list[tuple[Workload, int, datetime]]:
        """Return (workload as last seen, number of runs, last start), latest first."""
        query = (
            "SELECT run.*, seen.runs_count FROM run JOIN (SELECT workload_key, count(*) AS"
            " runs_count, max(started_at_us) AS last_us FROM run GROUP BY workload_key) AS seen"
            " ON run.workload_key = seen.workload_key AND run.started_at_us = seen.last_us"
            " ORDER BY run.started_at_us, run.run_id"
        )
        with self._reading() as execute:
            found = execute(query).fetchall()
        latest = {row["workload_key"]: row for row in found}  # of two at one moment the last id
        return [
            (rows.workload_of(row), row["runs_count"], rows.instant(row["started_at_us"]))
            for row in sorted(
                latest.values(), key=lambda row: (-row["started_at_us"], row["workload_key"])
            )
        ]

    def spending(self) -> Spending:
        """Return what the latest runs of all workloads have spent of the failure budget."""
        query = (
            "SELECT run.run_id, spent_prob_json, first_oom_prob, attempt.oom_kills"
            " FROM run JOIN attempt ON attempt.run_id = run.run_id AND attempt.number = 1"
            " WHERE known_at_us IS NOT NULL AND first_oom_prob IS NOT NULL"
            " ORDER BY run.started_at_us DESC, run.run_id DESC LIMIT :limit"
        )
        with self._reading() as execute:
            return rows.spending(execute(query, {"limit": RECENT_RUNS}).fetchall())

    def ooms(self, workload_key: str | None = None, *, limit: int | None = None) -> list[OomEvent]:
        """Return OOM events, newest first."""
        where = "" if workload_key is None else "WHERE workload_key = :key"
        query = f"SELECT * FROM oom {where} ORDER BY at_us DESC, run_id DESC LIMIT :limit"  # noqa: S608
        with self._reading() as execute:
            found = execute(query, {"key": workload_key, "limit": _bounded(limit)}).fetchall()
        return [rows.oom_of(row) for row in found]

    def decision(self, decision_id: str) -> RunDecision | None:
        """Return a recorded decision, or None."""
        with self._reading() as execute:
            query = "SELECT record_json FROM decision WHERE decision_id = :id"
            row = execute(query, {"id": decision_id}).fetchone()
        return None if row is None else from_json(RunDecision, row["record_json"])

    def samples(self, run_id: str, attempt: int) -> SampleSeries:
        """Return the samples of one attempt (empty if there are none, or none are left).

        DataError, naming the file and the way out, where they cannot be read.
        """
        with self._reading() as execute:  # one look at both: they move from one to the other
            packed = segment_index.blob_of(execute, run_id, attempt)
            place = segment_index.place_of(execute, run_id, attempt) if packed is None else None
        if packed is not None:
            return unpack_samples(packed)
        return SampleSeries() if place is None else self._segments.samples(place)

    def workload_samples(
        self, workload_key: str, *, since: datetime, until: datetime
    ) -> SampleTable:
        """Return a workload's samples taken at `since` or later and before `until`.

        What cannot be read is counted and told in the table; the rest is there.
        """
        from ullage.stores.segments import workload_table

        span = (rows.instant_us(since), rows.instant_us(until))
        return workload_table(self._segments, self._reading, workload_key, *span)

    def dropped_attempts_count(
        self, workload_key: str | None = None, *, since: datetime | None = None
    ) -> int:
        """Return of how many attempts, of runs that started at `since` or later, the samples
        were given up."""
        since_us = None if since is None else rows.instant_us(since)
        with self._reading() as execute:
            return segment_index.dropped_count(execute, workload_key, since_us)

    def segments_report(self) -> SegmentsReport:
        """Verify all segments, digests and all, and count what there is."""
        from ullage.stores.segments import report

        return report(self._segments, self._reading, self._path)

    def compact(
        self, order: CompactionOrder, *, tell: Callable[[int, int], None]
    ) -> CompactionReport:
        """Move samples of ended runs into segments; give old segments up, if ordered.

        `tell(done, total)` is called now and then. TransientError where another process is
        at it; PermanentError, ConfigError where nothing can be written: nothing is lost then.
        """
        from ullage.stores.compaction import Compaction

        return Compaction(self._connection, self._path, order, tell).run()

    @property
    def _segments(self) -> SegmentReader:
        """Return the reader of segments; a run loads neither it nor DuckDB."""
        if self._segment_reader is None:
            from ullage.stores.segments import SegmentReader

            self._segment_reader = SegmentReader(self._path, self._reading)
        return self._segment_reader

    def stages(self, workload_key: str) -> list[StageUse]:
        """Return the stages of a workload's latest execution that has any, in order of start."""
        query = (
            "SELECT * FROM stage WHERE workload_key = :key AND execution_id = (SELECT execution_id"
            " FROM stage WHERE workload_key = :key ORDER BY started_at_us DESC, execution_id DESC"
            " LIMIT 1) ORDER BY started_at_us, run_id, name"
        )
        with self._reading() as execute:
            found = execute(query, {"key": workload_key}).fetchall()
        return [rows.stage_of(row) for row in found]

    def each_run(
        self, workload_key: str | None = None, *, since: datetime | None = None
    ) -> Iterator[Run]:
        """Yield runs that started at `since` or later, oldest first, in bounded memory."""
        return archive.each_run(self._reading, workload_key, since)

    def each_decision(
        self, workload_key: str | None = None, *, since: datetime | None = None
    ) -> Iterator[RunDecision]:
        """Yield decisions asked for at `since` or later, oldest first, in bounded memory."""
        return archive.each_decision(self._reading, workload_key, since)

    def put_job(self, job: RecordedJob) -> None:
        """Record a job's facts, secrets masked; said again, the last word counts."""
        with self._writing() as execute:
            _put(execute, "job", jobs.job_row(job), ("project", "region", "job_id"))

    def job(self, job_id: str) -> RecordedJob | None:
        """Return a recorded job, or None; of two with one id the one recorded last."""
        with self._reading() as execute:
            return jobs.job(execute, job_id)

    def jobs(
        self, workload_key: str | None = None, *, limit: int | None = None
    ) -> list[RecordedJob]:
        """Return recorded jobs, created last first."""
        with self._reading() as execute:
            return jobs.jobs(execute, workload_key, _bounded(limit))

    def job_of_run(self, run_id: str) -> RecordedJob | None:
        """Return the job that a run is, or None."""
        with self._reading() as execute:
            return jobs.job_of_run(execute, run_id)

    def run_under(self, decision_label: str) -> list[Run]:
        """Return the runs begun under the decision whose id has this form as a label."""
        with self._reading() as execute:
            return jobs.runs_under(execute, decision_label)

    def counts(self) -> dict[str, int]:
        """Return how much is recorded: workloads, runs, attempts, decisions, OOM events."""
        query = (
            "SELECT (SELECT count(DISTINCT workload_key) FROM run) AS workloads,"
            " (SELECT count(*) FROM run) AS runs, (SELECT count(*) FROM attempt) AS attempts,"
            " (SELECT count(*) FROM decision) AS decisions, (SELECT count(*) FROM oom) AS ooms"
        )
        with self._reading() as execute:
            return dict(execute(query).fetchone())

    def integrity(self) -> list[str]:
        """Return what is wrong with the file, one line each; empty when it is sound.

        Reads the whole file: pages, indexes, references, and each run and OOM event.
        """
        faults: list[str] = []
        try:
            with self._reading() as execute:
                for row in execute("PRAGMA integrity_check(20)"):
                    if row[0] != "ok":
                        faults.extend(str(row[0]).splitlines())
                faults.extend(
                    f"a row of {row[0]} refers to nothing in {row[2]}"
                    for row in execute("PRAGMA foreign_key_check")
                )
            if not faults:
                self.runs()
                self.ooms()
        except (PermanentError, DataError) as error:
            faults.append(str(error))
        return faults


# -- statements --------------------------------------------------------------------------------


def _insert(table: str, row: rows.Row) -> str:
    """Return an INSERT with bound values; names come from `stores.rows`, never from outside."""
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f':{n}' for n in row)})"  # noqa: S608


def _put(
    execute: Callable[[str, rows.Row], sqlite3.Cursor],
    table: str,
    row: rows.Row,
    key: tuple[str, ...],
) -> None:
    """Insert a row, or update the one with the same key."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in row if name not in key)
    execute(f"{_insert(table, row)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}", row)


def _close_envelope(execute: Callable[[str, rows.Row], sqlite3.Cursor], row: rows.Row) -> None:
    execute("UPDATE envelope SET valid_until_us = :known_at_us WHERE run_id = :run_id", row)


def _bounded(limit: int | None) -> int:
    return 1 << 62 if limit is None else limit
