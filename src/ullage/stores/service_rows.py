"""Records of `ullage serve` as rows of the state store, and back.

Not here: SQL (the other stores.service_* modules), the tables (stores.schema.service_tables).
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

from ullage.core.audit import canonical_json
from ullage.core.errors import DataError
from ullage.core.service import EntryKind, JournalEntry, JournalRecord, ServiceOom
from ullage.core.telemetry import Attribution
from ullage.stores.rows import Row, instant, instant_us


def key_of(name: str) -> str:
    """Return a name as a key column holds it: printable ASCII, reversible, whatever it was.

    >>> key_of("cgroup1:/a"), key_of("x\\udcff")
    ('cgroup1:/a', 'x\\\\udcff')
    """
    return json.dumps(name, ensure_ascii=True)[1:-1]


def name_of(key: str) -> str:
    """Return the name that `key_of` made a key of."""
    return str(json.loads(f'"{key}"'))


def record_row(record: JournalRecord, month: str) -> Row:
    """Return the row of a sealed record. DataError for numbers that JSON does not have."""
    entry = record.entry
    try:
        text = canonical_json(record.number, record.token, entry, record.previous_digest)
    except (ValueError, TypeError) as error:
        raise DataError(f"a journal entry of kind {entry.kind} cannot be stored") from error
    return {
        "number": record.number,
        "month": month,
        "at_us": instant_us(entry.at),
        "token": record.token,
        "kind": str(entry.kind),
        "target_key": None if entry.target_id is None else key_of(entry.target_id),
        "workload_key": None if entry.workload_key is None else key_of(entry.workload_key),
        "entry_json": text,
        "previous_digest": record.previous_digest,
        "digest": record.digest,
    }


def record_of(row: sqlite3.Row) -> JournalRecord:
    """Return the record of a row as it stands there; core.audit judges it. DataError."""
    try:
        content: dict[str, Any] = json.loads(row["entry_json"])
        entry = JournalEntry(
            kind=EntryKind(content["kind"]),
            at=datetime.fromisoformat(content["at"]),
            target_id=content["target_id"],
            workload_key=content["workload_key"],
            body=content["body"],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"record {row['number']} of the journal is damaged; see `ullage audit verify`"
        ) from error
    return JournalRecord(
        number=row["number"],
        token=row["token"],
        entry=entry,
        previous_digest=row["previous_digest"],
        digest=row["digest"],
    )


def in_utc(entry: JournalEntry) -> JournalEntry:
    """Return the entry with its moment in UTC: the text that is hashed has one form."""
    if entry.at.tzinfo is UTC:
        return entry
    instant_us(entry.at)  # refuses an instant without a time zone
    return JournalEntry(
        kind=entry.kind,
        at=entry.at.astimezone(UTC),
        target_id=entry.target_id,
        workload_key=entry.workload_key,
        body=entry.body,
    )


def oom_row(entry: JournalEntry) -> Row:
    """Return the row of the OOM kill that a journal entry tells of."""
    body: Any = entry.body
    return {
        "target_key": key_of(entry.target_id or ""),
        "instance": key_of(str(body["instance"])),
        "at_us": instant_us(datetime.fromisoformat(str(body["died_at"]))),
        "workload_key": key_of(entry.workload_key or ""),
        "at_least_bytes": int(body["at_least_bytes"]),
        "limit_bytes": body["limit_bytes"],
        "kills": int(body["kills"]),
        "attribution": str(body["attribution"]),
    }


def oom_of(row: sqlite3.Row) -> ServiceOom:
    """Return the OOM kill of a row."""
    return ServiceOom(
        target_id=name_of(row["target_key"]),
        workload_key=name_of(row["workload_key"]),
        instance=name_of(row["instance"]),
        at=instant(row["at_us"]),
        at_least_bytes=row["at_least_bytes"],
        limit_bytes=row["limit_bytes"],
        kills=row["kills"],
        attribution=Attribution(row["attribution"]),
    )
