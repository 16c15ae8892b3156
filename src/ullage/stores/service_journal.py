"""The hash-chained journal in SQLite: sealed months, each beginning with the last one's digest.

Retention drops whole months; their row stays, so that the chain can be followed across the
gap. Functions over an open connection; `stores.service` makes them transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ullage.core.audit import Finding, seal
from ullage.core.errors import FencedError
from ullage.core.service import EntryKind, JournalEntry, JournalRecord
from ullage.stores.rows import instant_us
from ullage.stores.service_rows import in_utc, oom_row, record_of, record_row

_PAGE_RECORDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSize:
    """How much of the journal there is (S19)."""

    records_count: int
    months_count: int
    dropped_months_count: int


def append(
    connection: sqlite3.Connection, entries: Sequence[JournalEntry], *, token: int
) -> list[JournalRecord]:
    """Seal entries onto the latest record, inside the caller's transaction.

    FencedError where a higher token has written, or holds the lease (S9).
    """
    last_row = _last(connection)
    held = connection.execute("SELECT token FROM service_lease").fetchone()
    newest = max(last_row["token"] if last_row else 0, held["token"] if held else 0)
    if token < newest:
        raise FencedError(
            f"token {token} is not the latest ({newest}): another daemon writes the journal now"
        )
    last = record_of(last_row) if last_row else _dropped_end(connection)
    month = str(last_row["month"]) if last_row else ""
    records: list[JournalRecord] = []
    for entry in map(in_utc, entries):
        record = seal(last, entry, token=token)
        # Months only go forward, also where the clock did not.
        month = _next_month(connection, last, month, entry)
        row = record_row(record, month)
        connection.execute(_INSERT, row)
        if entry.kind is EntryKind.OOM:
            connection.execute(_INSERT_OOM, oom_row(entry))
        records.append(record)
        last = record
    return records


def each(connection: sqlite3.Connection, since_number: int = 0) -> Iterator[JournalRecord]:
    """Yield records with a higher number in order, page by page: no long transaction."""
    while True:
        rows = connection.execute(
            "SELECT * FROM service_journal WHERE number > ? ORDER BY number LIMIT ?",
            (since_number, _PAGE_RECORDS),
        ).fetchall()
        yield from map(record_of, rows)
        if len(rows) < _PAGE_RECORDS:
            return
        since_number = rows[-1]["number"]


def latest(
    connection: sqlite3.Connection,
    *,
    kinds: Iterable[EntryKind],
    workload_key: str | None,
    limit: int,
) -> list[JournalRecord]:
    """Return the newest records of some kinds, newest first."""
    chosen = [str(kind) for kind in kinds]
    marks = ", ".join("?" * len(chosen))
    where = "" if workload_key is None else " AND workload_key = ?"
    values: list[object] = [*chosen, *([] if workload_key is None else [workload_key]), limit]
    query = (
        f"SELECT * FROM service_journal WHERE kind IN ({marks}){where}"  # noqa: S608
        " ORDER BY number DESC LIMIT ?"
    )
    return [record_of(row) for row in connection.execute(query, values).fetchall()]


def drop_months(connection: sqlite3.Connection, before: datetime, at: datetime) -> list[str]:
    """Drop sealed months that ended before `before`, oldest first; return their names."""
    rows = connection.execute(
        "SELECT month, last_at_us FROM service_month WHERE dropped_at_us IS NULL ORDER BY month"
    ).fetchall()
    dropped = []
    for row in rows:
        if row["last_at_us"] >= instant_us(before):
            break  # a later month may not go before an earlier one
        connection.execute("DELETE FROM service_journal WHERE month = ?", (row["month"],))
        connection.execute(
            "UPDATE service_month SET dropped_at_us = ? WHERE month = ?",
            (instant_us(at), row["month"]),
        )
        dropped.append(str(row["month"]))
    return dropped


def check_months(connection: sqlite3.Connection) -> list[Finding]:
    """Return where the records do not fit the sealed months: what the chain alone cannot show."""
    found: list[Finding] = []
    for row in connection.execute("SELECT * FROM service_month ORDER BY month").fetchall():
        if row["dropped_at_us"] is None:
            found += _check_kept(connection, row)
        else:
            found += _check_after_dropped(connection, row)
    return found


def size(connection: sqlite3.Connection) -> JournalSize:
    """Return how much there is."""
    records = connection.execute("SELECT count(*) FROM service_journal").fetchone()[0]
    months = connection.execute("SELECT count(*), count(dropped_at_us) FROM service_month")
    sealed, dropped = months.fetchone()
    return JournalSize(
        records_count=records,
        months_count=sealed - dropped + (1 if records else 0),
        dropped_months_count=dropped,
    )


def _last(connection: sqlite3.Connection) -> sqlite3.Row | None:
    found: sqlite3.Row | None = connection.execute(
        "SELECT * FROM service_journal ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return found


def _dropped_end(connection: sqlite3.Connection) -> JournalRecord | None:
    """Return a stand-in for the last record where retention has dropped all of them."""
    row = connection.execute("SELECT * FROM service_month ORDER BY month DESC LIMIT 1").fetchone()
    if row is None:
        return None
    entry = JournalEntry(kind=EntryKind.STOP, at=datetime.min)
    return JournalRecord(
        number=row["last_number"],
        token=0,
        entry=entry,
        previous_digest="",
        digest=row["last_digest"],
    )


def _next_month(
    connection: sqlite3.Connection, last: JournalRecord | None, month: str, entry: JournalEntry
) -> str:
    """Return the month of the next record; seal the one before where it begins a new one."""
    own = entry.at.strftime("%Y-%m")
    if not month or own <= month:
        return month or own
    assert last is not None
    first = connection.execute(
        "SELECT number, previous_digest FROM service_journal WHERE month = ? ORDER BY number"
        " LIMIT 1",
        (month,),
    ).fetchone()
    connection.execute(
        "INSERT INTO service_month (month, first_number, last_number, previous_digest,"
        " last_digest, last_at_us) VALUES (?, ?, ?, ?, ?, ?)",
        (
            month,
            first["number"],
            last.number,
            first["previous_digest"],
            last.digest,
            instant_us(last.entry.at),
        ),
    )
    return own


def _check_kept(connection: sqlite3.Connection, month: sqlite3.Row) -> Iterator[Finding]:
    for number, name in ((month["first_number"], "first"), (month["last_number"], "last")):
        row = connection.execute(
            "SELECT previous_digest, digest FROM service_journal WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            yield _broken(number, f"the {name} record of the sealed month {month['month']} lacks")
        elif name == "first" and row["previous_digest"] != month["previous_digest"]:
            yield _broken(number, f"{month['month']} does not begin as it was sealed")
        elif name == "last" and row["digest"] != month["last_digest"]:
            yield _broken(number, f"{month['month']} does not end as it was sealed")


def _check_after_dropped(connection: sqlite3.Connection, month: sqlite3.Row) -> Iterator[Finding]:
    number = month["last_number"] + 1
    row = connection.execute(
        "SELECT previous_digest FROM service_journal WHERE number = ?", (number,)
    ).fetchone()
    if row is not None and row["previous_digest"] != month["last_digest"]:
        yield _broken(number, f"is not sealed onto the dropped month {month['month']}")


def _broken(number: int, words: str) -> Finding:
    return Finding(rule="chain", number=number, target_id=None, words=words)


_INSERT = (
    "INSERT INTO service_journal (number, month, at_us, token, kind, target_key, workload_key,"
    " entry_json, previous_digest, digest) VALUES (:number, :month, :at_us, :token, :kind,"
    " :target_key, :workload_key, :entry_json, :previous_digest, :digest)"
)
_INSERT_OOM = (
    "INSERT INTO service_oom (target_key, instance, at_us, workload_key, at_least_bytes,"
    " limit_bytes, kills, attribution) VALUES (:target_key, :instance, :at_us, :workload_key,"
    " :at_least_bytes, :limit_bytes, :kills, :attribution)"
    " ON CONFLICT (target_key, instance, at_us) DO NOTHING"
)
