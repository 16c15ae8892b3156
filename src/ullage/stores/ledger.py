"""The ledger in which all `ullage run` of a host book memory: bookings die with their owners.

A small SQLite file without syncing: it holds no history and may be lost at any time (every
run books anew each second). A row counts while the supervisor or the sentinel that it names
lives; whoever comes next deletes the others. A file that is damaged, emptied or removed
under a live run is replaced, and each run enters itself again.

Implements core.ports.Booking. Not here: the arithmetic (`core.booking`). Runs in different
pid namespaces must not share one file: they cannot see whether the other lives.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ullage.core.booking import (
    RESERVE_MIN_BYTES,
    RESERVE_RATIO,
    Claim,
    HostMemory,
    ceiling_bytes,
    promised_bytes,
    reserve_bytes,
)
from ullage.core.errors import AdapterError, ConfigError
from ullage.stores import sqlite

_SETTING = "ULLAGE_LEDGER"
_APPLICATION_ID = 0x556C4C64
_BUSY_TIMEOUT_S = 1.0
_EMPTIED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR}
"""What SQLite answers where somebody has emptied the file: no table, a short read."""
_TABLE = """CREATE TABLE IF NOT EXISTS booking (
    run_id TEXT NOT NULL PRIMARY KEY,
    parent_run_id TEXT,
    boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    pid_start_ticks INTEGER NOT NULL,
    sentinel_pid INTEGER,
    sentinel_start_ticks INTEGER,
    booked_bytes INTEGER NOT NULL,
    need_bytes INTEGER NOT NULL
) STRICT"""
_ENTER = """INSERT INTO booking VALUES (:run_id, :parent_run_id, :boot_id, :pid, :pid_start_ticks,
    :sentinel_pid, :sentinel_start_ticks, :booked_bytes, :need_bytes)
    ON CONFLICT (run_id) DO UPDATE SET booked_bytes = excluded.booked_bytes,
    need_bytes = excluded.need_bytes"""
_log = logging.getLogger(__name__)
_T = TypeVar("_T")

Memory = Callable[[], tuple[int, int]]
"""Returns the host's (available_bytes, total_bytes) now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """Who a booking belongs to: a supervisor and the sentinel that may outlive it."""

    run_id: str
    parent_run_id: str | None
    boot_id: str
    pid: int
    pid_start_ticks: int
    sentinel_pid: int | None
    sentinel_start_ticks: int | None

    def row(self, booked_bytes: int, need_bytes: int) -> dict[str, object]:
        row: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        return row | {"booked_bytes": booked_bytes, "need_bytes": need_bytes}


class HostLedger:
    """The ledger of this host over one file; `open` makes it."""

    def __init__(
        self, path: Path, *, read_memory: Memory, reserve_ratio: float, reserve_min_bytes: int
    ) -> None:
        self._path = path
        self._read_memory = read_memory
        self._reserve_ratio = reserve_ratio
        self._reserve_min_bytes = reserve_min_bytes
        self._boot_id = _boot_id()
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        read_memory: Memory,
        reserve_ratio: float = RESERVE_RATIO,
        reserve_min_bytes: int = RESERVE_MIN_BYTES,
    ) -> HostLedger:
        """Open the ledger at `path`, making it (0600, its folder 0700) where there is none.

        Raises ConfigError for a folder that cannot be written or another program's database,
        PermanentError for a full disk. A damaged file is moved aside with a warning.
        """
        ledger = cls(
            path.absolute(),
            read_memory=read_memory,
            reserve_ratio=reserve_ratio,
            reserve_min_bytes=reserve_min_bytes,
        )
        ledger._connect()
        return ledger

    def join(
        self,
        *,
        run_id: str,
        pid: int,
        sentinel_pid: int | None = None,
        parent_run_id: str | None = None,
    ) -> HostBooking:
        """Enter a run with nothing booked yet and return its booking.

        pid: the supervisor; sentinel_pid: who outlives it while the command runs on.
        parent_run_id: the run that this one runs inside of, if it does.
        """
        owner = _Owner(
            run_id=run_id,
            parent_run_id=parent_run_id,
            boot_id=self._boot_id,
            pid=pid,
            pid_start_ticks=_start_ticks(pid) or 0,
            sentinel_pid=sentinel_pid,
            sentinel_start_ticks=None if sentinel_pid is None else _start_ticks(sentinel_pid) or 0,
        )
        booking = HostBooking(self, owner)
        self.enter(owner, booked_bytes=0, need_bytes=0)
        return booking

    def summary(self) -> tuple[int, int, int]:
        """Return (bytes that can still be given, bytes booked, number of live runs)."""
        claims, memory = self.claims(), self.memory()
        self.close()
        left_bytes = memory.available_bytes - memory.reserve_bytes - promised_bytes(claims)
        return max(0, left_bytes), sum(claim.booked_bytes for claim in claims), len(claims)

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- for bookings ----------------------------------------------------------------------

    def memory(self) -> HostMemory:
        """Return the host's memory now, its reserve worked out."""
        available_bytes, total_bytes = self._read_memory()
        return HostMemory(
            available_bytes=available_bytes,
            reserve_bytes=reserve_bytes(
                total_bytes, ratio=self._reserve_ratio, min_bytes=self._reserve_min_bytes
            ),
        )

    def claims(self) -> list[Claim]:
        """Return what live runs have booked."""
        return self._with_file(lambda connection: self._live(connection, prune=False))

    def enter(
        self, owner: _Owner, *, booked_bytes: int, need_bytes: int
    ) -> tuple[int, int, list[Claim]]:
        """Book as much of `booked_bytes` as the host can promise, in one step.

        Returns (ceiling in bytes, what is booked now, the other live runs' claims).
        """

        def book(connection: sqlite3.Connection) -> tuple[int, int, list[Claim]]:
            with sqlite.transaction(connection):
                others = self._live(connection, prune=True, besides=owner.run_id)
                own = owner_claim(owner, booked_bytes, need_bytes)
                ceiling = ceiling_bytes(own, others, self.memory())
                granted_bytes = min(booked_bytes, ceiling)
                connection.execute(_ENTER, owner.row(granted_bytes, need_bytes))
            return ceiling, granted_bytes, others

        return self._with_file(book)

    def leave(self, owner: _Owner) -> None:
        """Take a run's row out."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM booking WHERE run_id = ?", (owner.run_id,))

        self._with_file(delete)

    def _live(
        self, connection: sqlite3.Connection, *, prune: bool, besides: str | None = None
    ) -> list[Claim]:
        claims: list[Claim] = []
        for row in connection.execute("SELECT * FROM booking").fetchall():
            if row["run_id"] == besides:
                continue
            if self._is_alive(row):
                claims.append(
                    Claim(
                        run_id=row["run_id"],
                        parent_run_id=row["parent_run_id"],
                        booked_bytes=row["booked_bytes"],
                        need_bytes=row["need_bytes"],
                    )
                )
            elif prune:
                connection.execute("DELETE FROM booking WHERE run_id = ?", (row["run_id"],))
        return claims

    def _is_alive(self, row: sqlite3.Row) -> bool:
        if row["boot_id"] != self._boot_id:
            return False
        return _is_same(row["pid"], row["pid_start_ticks"]) or _is_same(
            row["sentinel_pid"], row["sentinel_start_ticks"]
        )

    # -- the file --------------------------------------------------------------------------

    def _with_file(self, use: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return what `use` returns; once more over a new file where this one has broken."""
        with sqlite.translated(self._path, setting=_SETTING):
            try:
                return use(self._current())
            except sqlite3.DatabaseError as error:
                if sqlite.is_damage(error):
                    self._replace(error)
                elif sqlite.primary_code(error) in _EMPTIED:
                    self.close()
                else:
                    raise
                return use(self._current())

    def _current(self) -> sqlite3.Connection:
        """Return a connection to the file that has the name now, not to one removed since."""
        if self._connection is None or not self._is_in_place():
            self._connect()
        assert self._connection is not None
        return self._connection

    def _is_in_place(self) -> bool:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def _connect(self) -> None:
        with sqlite.translated(self._path, setting=_SETTING):
            try:
                self._open_file()
            except sqlite3.DatabaseError as error:
                if not sqlite.is_damage(error):
                    raise
                self._replace(error)
                self._open_file()

    def _open_file(self) -> None:
        self.close()
        sqlite.private_file(self._path, setting=_SETTING)
        found = os.stat(self._path)
        self._inode = (found.st_dev, found.st_ino)
        connection = sqlite.connect(self._path, mode="rw", busy_timeout_s=_BUSY_TIMEOUT_S)
        try:
            self._check_ours(connection)
            sqlite.write_ahead(connection, busy_timeout_s=_BUSY_TIMEOUT_S)
            connection.execute("PRAGMA synchronous = OFF")
            with sqlite.transaction(connection):
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        tables_count = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application_id != _APPLICATION_ID and (application_id or tables_count):
            raise ConfigError(
                f"{self._path} is another program's database: set {_SETTING} to another file"
            )

    def _replace(self, error: sqlite3.DatabaseError) -> None:
        """Move the damaged file aside: bookings are made again, history it has none."""
        self.close()
        if not self._is_in_place():
            return  # another process has replaced it already
        aside = Path(f"{self._path}.damaged")
        _log.warning("ledger %s is damaged (%s): moved to %s", self._path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        os.replace(self._path, aside)


class HostBooking:
    """One run's booking: implements core.ports.Booking.

    Never raises for a ledger that breaks while a command runs: it goes on with what it last
    knew of the others, and warns once.
    """

    def __init__(self, ledger: HostLedger, owner: _Owner) -> None:
        self._ledger = ledger
        self._owner = owner
        self._booked_bytes = 0
        self._others: list[Claim] = []
        self._has_warned = False
        self._is_released = False

    def ceiling_bytes(self, need_bytes: int) -> int:
        """Return how far this run may grow now, in bytes, given its own need."""
        try:
            claims = self._ledger.claims()
            self._others = [claim for claim in claims if claim.run_id != self._owner.run_id]
        except AdapterError as error:
            self._warn(error)
        if self._is_released:
            self._ledger.close()  # asked after the end: nothing stays open
        return self._ceiling(need_bytes)

    def book(self, *, booked_bytes: int, need_bytes: int) -> int:
        """Book memory (replacing the last booking); return the new ceiling in bytes.

        What is booked is at most the ceiling: a booking never promises the whole host.
        """
        try:
            ceiling, self._booked_bytes, self._others = self._ledger.enter(
                self._owner, booked_bytes=booked_bytes, need_bytes=need_bytes
            )
        except AdapterError as error:
            self._warn(error)
            return self._ceiling(need_bytes)
        return ceiling

    def release(self) -> None:
        """Give the booking back. Twice is once; a broken ledger forgets it by itself."""
        try:
            self._ledger.leave(self._owner)
        except AdapterError as error:
            self._warn(error)
        self._booked_bytes, self._is_released = 0, True
        self._ledger.close()

    def _ceiling(self, need_bytes: int) -> int:
        own = owner_claim(self._owner, self._booked_bytes, need_bytes)
        return ceiling_bytes(own, self._others, self._ledger.memory())

    def _warn(self, error: AdapterError) -> None:
        if not self._has_warned:
            _log.warning("going on without the ledger: %s", error)
            self._has_warned = True


def owner_claim(owner: _Owner, booked_bytes: int, need_bytes: int) -> Claim:
    """Return the claim of one run."""
    return Claim(
        run_id=owner.run_id,
        parent_run_id=owner.parent_run_id,
        booked_bytes=booked_bytes,
        need_bytes=need_bytes,
    )


def _is_same(pid: int | None, start_ticks: int | None) -> bool:
    """Say whether the process that had this number and start still lives."""
    return pid is not None and start_ticks is not None and _start_ticks(pid) == start_ticks


def _start_ticks(pid: int) -> int | None:
    """Return when a live process started, in clock ticks since boot (field 22), else None."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
