"""Many runs at once, in and out of the state store: for `ullage import` and `ullage export`.

In: one transaction for a batch, what is recorded already is left alone. Out: page by page,
so that a record of any size needs the memory of one page, and nobody is locked out between
two pages. Not here: the transaction itself (`stores.state`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from ullage.core.decision import RunDecision
from ullage.core.errors import InvariantError
from ullage.core.telemetry import OomEvent
from ullage.core.workload import Run
from ullage.stores import rows
from ullage.stores.record_json import from_json

Execute = Callable[..., sqlite3.Cursor]
Reading = Callable[[], AbstractContextManager[Execute]]

PAGE_ROWS = 1_000
_MAX_VALUES = 900
"""SQLite took at most 999 bound values in a statement for most of its life."""
OWNER = "import"
_MANY_RUNS = 1_000
_CACHE_KIB = 64 << 10
"""For the index of a million ids: with SQLite's own 2 MiB every insert reads a page."""
_LONG_AGO_US = -(1 << 62)


def known_run_ids(execute: Execute, run_ids: Sequence[str]) -> set[str]:
    """Return those of `run_ids` that are recorded."""
    known: set[str] = set()
    for at in range(0, len(run_ids), _MAX_VALUES):
        part = run_ids[at : at + _MAX_VALUES]
        marks = ",".join("?" * len(part))
        found = execute(f"SELECT run_id FROM run WHERE run_id IN ({marks})", part)  # noqa: S608
        known.update(row[0] for row in found)
    return known


def add_ended(
    connection: sqlite3.Connection, runs: Sequence[Run], ooms: Iterable[OomEvent]
) -> set[str]:
    """Record ended runs that are not recorded yet; return their ids. Inside a transaction."""
    by_id = {run.run_id: run for run in reversed(runs)}  # of two with one id the first
    for run_id in known_run_ids(connection.execute, list(by_id)):
        del by_id[run_id]
    for run in by_id.values():
        if run.known_at is None or run.outcome is None:
            raise InvariantError(f"run {run.run_id} has not ended: it cannot be imported")
    if len(by_id) > _MANY_RUNS:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    # ids are digests: in their order the pages of the index are met once for each batch
    new = sorted(by_id.values(), key=lambda run: run.run_id)
    _insert(connection, "run", [rows.run_row(run, owner=OWNER) for run in new])
    attempts = [rows.attempt_row(run.run_id, attempt) for run in new for attempt in run.attempts]
    _insert(connection, "attempt", attempts)
    _insert(connection, "oom", [rows.oom_row(oom) for oom in ooms if oom.run_id in by_id])
    return set(by_id)


def each_run(reading: Reading, workload_key: str | None, since: datetime | None) -> Iterator[Run]:
    """Yield runs that started at `since` or later, oldest first, page by page."""
    where = "" if workload_key is None else "workload_key = :key AND"
    chosen = (
        f"FROM run WHERE {where} (started_at_us, run_id) > (:after_us, :after_id)"
        " ORDER BY started_at_us, run_id LIMIT :limit"
    )
    values: rows.Row = {
        "key": workload_key,
        "after_us": _LONG_AGO_US if since is None else rows.instant_us(since),
        "after_id": "",
        "limit": PAGE_ROWS,
    }
    while True:
        with reading() as execute:
            found = execute(f"SELECT * {chosen}", values).fetchall()
            attempts = execute(
                f"SELECT * FROM attempt WHERE run_id IN (SELECT run_id {chosen})"  # noqa: S608
                " ORDER BY run_id, number",
                values,
            ).fetchall()
        yield from rows.runs_of(found, attempts)
        if len(found) < PAGE_ROWS:
            return
        values |= {"after_us": found[-1]["started_at_us"], "after_id": found[-1]["run_id"]}


def each_decision(
    reading: Reading, workload_key: str | None, since: datetime | None
) -> Iterator[RunDecision]:
    """Yield decisions asked for at `since` or later, oldest first, page by page."""
    where = "" if workload_key is None else "workload_key = :key AND"
    query = (
        f"SELECT * FROM decision WHERE {where}"  # noqa: S608
        " (asked_at_us, decision_id) > (:after_us, :after_id)"
        " ORDER BY asked_at_us, decision_id LIMIT :limit"
    )
    values: rows.Row = {
        "key": workload_key,
        "after_us": _LONG_AGO_US if since is None else rows.instant_us(since),
        "after_id": "",
        "limit": PAGE_ROWS,
    }
    while True:
        with reading() as execute:
            found = execute(query, values).fetchall()
        for row in found:
            yield from_json(RunDecision, row["record_json"])
        if len(found) < PAGE_ROWS:
            return
        values |= {"after_us": found[-1]["asked_at_us"], "after_id": found[-1]["decision_id"]}


def _insert(connection: sqlite3.Connection, table: str, found: Sequence[rows.Row]) -> None:
    """Insert rows that all have the columns of the first; names come from `stores.rows`."""
    if found:
        names = list(found[0])
        columns, marks = ", ".join(names), ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", found)  # noqa: S608
