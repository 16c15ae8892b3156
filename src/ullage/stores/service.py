"""The service loop's store in SQLite: implements core.service_ports.Journal and ServiceStore,
core.intents.OrderBook and ServiceReader.

The same file as the record of runs (stores.state), with a sync at every commit; a connection
of its own with a short patience: a loop must not wait for a store. Not here: the lease
(stores.service_lease), the chain (stores.service_journal), packing (stores.service_readings).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from ullage.core.audit import Finding
from ullage.core.errors import DataError, PermanentError
from ullage.core.intents import AskedIntent, Intent, LeaseHolder
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import (
    EntryKind,
    FleetState,
    Freeze,
    JournalEntry,
    JournalRecord,
    LiveReading,
    ServiceOom,
    ServiceSpec,
    TargetHistory,
    TargetState,
)
from ullage.stores import service_journal, service_lease, service_orders, service_readings, sqlite
from ullage.stores.opening import SETTING, open_reader, open_writer
from ullage.stores.record_json import from_json, to_json
from ullage.stores.rows import instant, instant_us
from ullage.stores.service_rows import key_of, oom_of

FLUSH_S = 60.0
"""Readings of a target are written about so often ..."""
FLUSH_TARGETS = 64
"""... those of at least so many targets at once, so that a pass never has to write all."""
PRUNE_EVERY = timedelta(hours=1)
PATIENCE_S = 1.0
"""How long a statement waits for another process that is writing."""


class SqliteServiceStore:
    """The store of one daemon, over one file. One per process and thread; `open` makes it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, settings: ServeSettings) -> None:
        self.readings = service_readings.ReadingBuffer(settings)
        self._connection = connection
        self._path = path
        self._settings = settings
        self._flushed_at: datetime | None = None
        self._pruned_at: datetime | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        settings: ServeSettings,
        *,
        read_only: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> SqliteServiceStore:
        """Open the store at `path`; the errors are those of stores.state."""
        path = path.absolute()
        with sqlite.translated(path, setting=SETTING):
            opener = open_reader if read_only else open_writer
            return cls(opener(path, patience_s), path, settings)

    def close(self) -> None:
        """Give the file back. Closing twice is closing once."""
        self._connection.close()

    def lease(self, *, holder: str, monotonic_s: Callable[[], float]) -> service_lease.SqliteLease:
        """Return the lease over the same file."""
        return service_lease.SqliteLease(
            self._connection, self._path, self._settings, holder=holder, monotonic_s=monotonic_s
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection),
        ):
            yield self._connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection, kind="DEFERRED"),
        ):
            yield self._connection

    # -- journal -------------------------------------------------------------------------------

    def append(
        self,
        entries: Sequence[JournalEntry],
        *,
        token: int,
        states: Sequence[TargetState] = (),
        breaker_since_at: datetime | None = None,
    ) -> list[JournalRecord]:
        """Record entries, replace states and open the breaker in one durable transaction."""
        with self._writing() as connection:
            try:
                records = service_journal.append(connection, entries, token=token)
            except DataError as error:  # the record to seal onto cannot be read
                raise PermanentError(str(error)) from error
            connection.executemany(_PUT_STATE, [_state_row(state) for state in states])
            if breaker_since_at is not None:
                service_orders.set_switch(
                    connection, service_orders.BREAKER, str(instant_us(breaker_since_at))
                )
        return records

    def each(self, since_number: int = 0) -> Iterator[JournalRecord]:
        """Yield the records with a higher number, in order, in bounded memory."""
        with sqlite.translated(self._path, setting=SETTING):
            yield from service_journal.each(self._connection, since_number)

    def drop_months(self, before: datetime, *, at: datetime) -> list[str]:
        """Drop sealed months of the journal that ended before then; return their names."""
        with self._writing() as connection:
            return service_journal.drop_months(connection, before, at)

    def month_findings(self) -> list[Finding]:
        """Return where the records do not fit the sealed months."""
        with self._reading() as connection:
            return service_journal.check_months(connection)

    def journal_size(self) -> service_journal.JournalSize:
        """Return how much of the journal there is."""
        with self._reading() as connection:
            return service_journal.size(connection)

    def file_bytes(self) -> dict[str, int]:
        """Return the sizes of the file and of its write-ahead log (S19)."""
        sizes = {}
        for name, file in (("database", self._path), ("log", Path(f"{self._path}-wal"))):
            try:
                sizes[name] = file.stat().st_size
            except OSError:
                sizes[name] = 0
        return sizes

    # -- states and readings ---------------------------------------------------------------------

    def states(self) -> list[TargetState]:
        """Return the state of every target that was ever acted upon."""
        with self._reading() as connection:
            rows = connection.execute("SELECT state_json FROM service_state ORDER BY target_key")
            texts = [row["state_json"] for row in rows]
        try:
            return [from_json(TargetState, text) for text in texts]
        except DataError as error:
            raise PermanentError(str(error)) from error

    def forget_states(self, target_ids: Sequence[str]) -> None:
        """Drop the states of targets that are long gone."""
        with self._writing() as connection:
            connection.executemany(
                "DELETE FROM service_state WHERE target_key = ?",
                [(key_of(target_id),) for target_id in target_ids],
            )

    def fleet(self) -> FleetState:
        """Return freezes, breaker and switches as people last left them."""
        with self._reading() as connection:
            return service_orders.fleet(connection)

    def add_readings(self, readings: Sequence[LiveReading]) -> None:
        """Keep readings; about once a minute they are written, of many targets some at a time."""
        self.readings.add(readings)
        if not readings:
            return
        at, count = max(reading.at for reading in readings), self.readings.waiting_targets_count
        self._flushed_at = self._flushed_at or at
        share = abs((at - self._flushed_at).total_seconds()) / FLUSH_S
        if share >= 1 or share * count >= FLUSH_TARGETS:
            self._write(at, math.ceil(min(1.0, share) * count))

    def flush(self, at: datetime) -> None:
        """Write all readings that wait."""
        self._write(at, self.readings.waiting_targets_count)

    def _write(self, at: datetime, count: int) -> None:
        """Write what waits of `count` targets; about once an hour drop what is not kept."""
        chosen, pruned = self.readings.longest_waiting(count), self._pruned_at
        is_due = pruned is None or abs(at - pruned) >= PRUNE_EVERY
        if chosen or is_due:
            with self._writing() as connection:
                self.readings.flush(connection, chosen)
                if is_due:
                    self.readings.prune(connection, at)
            self.readings.forget(chosen)
            self._pruned_at = at if is_due else pruned
        self._flushed_at = at

    def histories(self, since: datetime) -> Iterator[tuple[str, TargetHistory]]:
        """Yield (target_id, history since then)."""
        with self._reading() as connection:
            yield from service_readings.histories(connection, since, self._settings)

    # -- what people order and look at -----------------------------------------------------------

    def freeze(self, order: Freeze) -> None:
        """Hold a workload (or all) still; journalled."""
        with self._writing() as connection:
            service_orders.freeze(connection, order)

    def unfreeze(self, workload_key: str | None, *, by: str, at: datetime) -> bool:
        """Lift a freeze; say whether there was one."""
        with self._writing() as connection:
            return service_orders.unfreeze(connection, workload_key, by=by, at=at)

    def rearm(self, *, by: str, at: datetime) -> bool:
        """Close the breaker (S12); say whether it was open."""
        with self._writing() as connection:
            return service_orders.rearm(connection, by=by, at=at)

    def ask(self, intent: Intent, at: datetime) -> int:
        """Append an intent; return its number."""
        with self._writing() as connection:
            return service_orders.ask(connection, intent, at)

    def intents(self, *, only_open: bool = True) -> list[AskedIntent]:
        """Return intents, oldest first."""
        with self._reading() as connection:
            return service_orders.intents(connection, only_open=only_open)

    def answer(self, number: int, result: tuple[str, ...], at: datetime) -> None:
        """Say what came of an intent."""
        with self._writing() as connection:
            service_orders.answer(connection, number, result, at)

    def register(self, target_id: str, spec: ServiceSpec, *, owner: str, at: datetime) -> None:
        """Have the loop watch a service that `ullage run --service` started."""
        with self._writing() as connection:
            service_orders.register(connection, target_id, spec, owner=owner, at=at)

    def unregister(self, target_id: str) -> None:
        """It has ended."""
        with self._writing() as connection:
            service_orders.unregister(connection, target_id)

    def registered(self) -> list[tuple[str, str, ServiceSpec]]:
        """Return (target_id, owner, spec) of what is registered."""
        with self._reading() as connection:
            return service_orders.registered(connection)

    def latest(
        self, kinds: tuple[EntryKind, ...], workload_key: str | None = None, *, limit: int
    ) -> list[JournalRecord]:
        """Return the newest records of some kinds, newest first."""
        key = None if workload_key is None else key_of(workload_key)
        with self._reading() as connection:
            return service_journal.latest(connection, kinds=kinds, workload_key=key, limit=limit)

    def service_ooms(self, workload_key: str | None = None, *, limit: int) -> list[ServiceOom]:
        """Return OOM kills of live targets, newest first."""
        where = "" if workload_key is None else "WHERE workload_key = :key"
        values = {"key": key_of(workload_key or ""), "limit": limit}
        with self._reading() as connection:
            query = f"SELECT * FROM service_oom {where} ORDER BY at_us DESC LIMIT :limit"  # noqa: S608
            return [oom_of(row) for row in connection.execute(query, values).fetchall()]

    def lease_holder(self) -> LeaseHolder | None:
        """Return who holds the lease."""
        with self._reading() as connection:
            found = service_lease.holder_of(connection)
        return None if found is None else LeaseHolder(holder=found[0], pid=found[1])

    def last_at(self) -> datetime | None:
        """Return the moment of the latest record."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT at_us FROM service_journal ORDER BY number DESC LIMIT 1"
            ).fetchone()
        return None if row is None else instant(row["at_us"])


def _state_row(state: TargetState) -> tuple[str, str, str]:
    return key_of(state.target_id), key_of(state.workload_key), to_json(state)


_PUT_STATE = (
    "INSERT INTO service_state (target_key, workload_key, state_json) VALUES (?, ?, ?)"
    " ON CONFLICT (target_key) DO UPDATE SET workload_key = excluded.workload_key,"
    " state_json = excluded.state_json"
)
