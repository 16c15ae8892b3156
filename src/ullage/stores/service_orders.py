"""People's orders in SQLite: freezes, breaker, intents, registered services.

Functions inside a caller's transaction. Each order is a journal entry too, sealed under the
token of whoever holds the lease: an order needs no lease, it changes no limit.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from ullage.core.errors import DataError, PermanentError
from ullage.core.intents import AskedIntent, Intent
from ullage.core.service import (
    EntryKind,
    FleetState,
    Freeze,
    JournalEntry,
    JsonValue,
    ServiceSpec,
)
from ullage.stores import service_journal
from ullage.stores.record_json import from_json, to_json
from ullage.stores.rows import instant, instant_us
from ullage.stores.service_rows import key_of, name_of

BREAKER = "breaker_since_at_us"
INCIDENT = "incident"
CONSERVATIVE = "conservative:"
INTENTS_KEPT = 1_000
"""Obeyed intents that are remembered; older ones stay in the journal."""


def fleet(connection: sqlite3.Connection) -> FleetState:
    """Return what holds for all targets."""
    switches = {
        row["name"]: row["value"] for row in connection.execute("SELECT * FROM service_switch")
    }
    freezes = connection.execute("SELECT freeze_json FROM service_freeze ORDER BY workload_key")
    since = switches.get(BREAKER)
    names = [name for name in switches if name.startswith(CONSERVATIVE)]
    try:
        return FleetState(
            freezes=tuple(from_json(Freeze, row["freeze_json"]) for row in freezes),
            breaker_since_at=None if since is None else instant(int(since)),
            incident=switches.get(INCIDENT, ""),
            conservative=frozenset(name_of(name[len(CONSERVATIVE) :]) for name in names),
        )
    except (DataError, ValueError) as error:
        raise PermanentError(f"orders in the store are damaged: {error!s:.80}") from error


def set_switch(connection: sqlite3.Connection, name: str, value: str | None) -> bool:
    """Set a switch, None takes it away; say whether it had been set."""
    had = connection.execute("SELECT 1 FROM service_switch WHERE name = ?", (name,)).fetchone()
    if value is None:
        connection.execute("DELETE FROM service_switch WHERE name = ?", (name,))
    else:
        connection.execute(
            "INSERT INTO service_switch (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
    return had is not None


def freeze(connection: sqlite3.Connection, order: Freeze) -> None:
    """Hold a workload (or all) still."""
    connection.execute(
        "INSERT INTO service_freeze (workload_key, freeze_json) VALUES (?, ?)"
        " ON CONFLICT (workload_key) DO UPDATE SET freeze_json = excluded.freeze_json",
        (_workload(order.workload_key), to_json(order)),
    )
    _tell(
        connection,
        order.since_at,
        order.workload_key,
        verb="freeze",
        scope=str(order.scope),
        until_at=None if order.until_at is None else order.until_at.isoformat(),
        by=order.by[:200],
        why=order.why[:500],
    )


def unfreeze(
    connection: sqlite3.Connection, workload_key: str | None, *, by: str, at: datetime
) -> bool:
    """Lift a freeze; say whether there was one."""
    done = connection.execute(
        "DELETE FROM service_freeze WHERE workload_key = ?", (_workload(workload_key),)
    ).rowcount
    if done:
        _tell(connection, at, workload_key, verb="unfreeze", by=by[:200])
    return done > 0


def rearm(connection: sqlite3.Connection, *, by: str, at: datetime) -> bool:
    """Close the breaker; say whether it was open."""
    was_open = set_switch(connection, BREAKER, None)
    if was_open:
        _tell(connection, at, None, verb="rearm", by=by[:200])
    return was_open


def ask(connection: sqlite3.Connection, intent: Intent, at: datetime) -> int:
    """Append an intent."""
    number = connection.execute(
        "INSERT INTO service_intent (asked_at_us, intent_json) VALUES (?, ?) RETURNING number",
        (instant_us(at), to_json(intent)),
    ).fetchone()["number"]
    _tell(
        connection,
        at,
        intent.workload_key,
        verb=str(intent.verb),
        to_at=None if intent.to_at is None else intent.to_at.isoformat(),
        intent=number,
        by=intent.by[:200],
        why=intent.why[:500],
    )
    connection.execute(
        "DELETE FROM service_intent WHERE done_at_us IS NOT NULL AND number <= ?",
        (number - INTENTS_KEPT,),
    )
    return int(number)


def intents(connection: sqlite3.Connection, *, only_open: bool) -> list[AskedIntent]:
    """Return intents, oldest first."""
    where = "WHERE done_at_us IS NULL" if only_open else ""
    rows = connection.execute(f"SELECT * FROM service_intent {where} ORDER BY number")  # noqa: S608
    return [
        AskedIntent(
            number=row["number"],
            asked_at=instant(row["asked_at_us"]),
            intent=from_json(Intent, row["intent_json"]),
            done_at=None if row["done_at_us"] is None else instant(row["done_at_us"]),
            result=None if row["result_json"] is None else tuple(json.loads(row["result_json"])),
        )
        for row in rows
    ]


def answer(
    connection: sqlite3.Connection, number: int, result: tuple[str, ...], at: datetime
) -> None:
    """Say what came of an intent."""
    connection.execute(
        "UPDATE service_intent SET done_at_us = ?, result_json = ? WHERE number = ?",
        (instant_us(at), to_json(result), number),
    )


def register(
    connection: sqlite3.Connection, target_id: str, spec: ServiceSpec, *, owner: str, at: datetime
) -> None:
    """Enter a service that was started by us."""
    connection.execute(
        "INSERT INTO service_registration (target_key, registered_at_us, owner, spec_json)"
        " VALUES (?, ?, ?, ?) ON CONFLICT (target_key) DO UPDATE SET"
        " registered_at_us = excluded.registered_at_us, owner = excluded.owner,"
        " spec_json = excluded.spec_json",
        (key_of(target_id), instant_us(at), owner, to_json(spec)),
    )


def unregister(connection: sqlite3.Connection, target_id: str) -> None:
    """Take a service out."""
    connection.execute(
        "DELETE FROM service_registration WHERE target_key = ?", (key_of(target_id),)
    )


def registered(connection: sqlite3.Connection) -> list[tuple[str, str, ServiceSpec]]:
    """Return (target_id, owner, spec)."""
    rows = connection.execute("SELECT * FROM service_registration ORDER BY target_key")
    return [
        (name_of(row["target_key"]), row["owner"], from_json(ServiceSpec, row["spec_json"]))
        for row in rows
    ]


def _workload(workload_key: str | None) -> str:
    return "" if workload_key is None else key_of(workload_key)


def _tell(
    connection: sqlite3.Connection, at: datetime, workload_key: str | None, **body: JsonValue
) -> None:
    """Seal an order into the journal under the token of the present tenure."""
    held = connection.execute("SELECT token FROM service_lease").fetchone()
    entry = JournalEntry(kind=EntryKind.ORDER, at=at, workload_key=workload_key, body=body)
    service_journal.append(connection, [entry], token=held["token"] if held else 0)
