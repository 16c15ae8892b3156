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
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ullage.core.booking import (
    RESERVE_MIN_BYTES,
    RESERVE_RATIO,
    Claim,
    HostMemory,
    ceiling_bytes,
    promised_bytes,
    reserve_bytes,
)
from ullage.core.errors import AdapterError, ConfigError, UllageError
from ullage.stores import sqlite
from ullage.stores.booking_owner import BookingOwner, claim_of, is_owned
from ullage.stores.ledger_file import LedgerFile

_ENTER = """INSERT INTO booking VALUES (:run_id, :parent_run_id, :boot_id, :pid, :pid_start_ticks,
    :sentinel_pid, :sentinel_start_ticks, :booked_bytes, :need_bytes)
    ON CONFLICT (run_id) DO UPDATE SET booked_bytes = excluded.booked_bytes,
    need_bytes = excluded.need_bytes"""
_log = logging.getLogger(__name__)

Memory = Callable[[], tuple[int, int]]
"""Returns the host's (available_bytes, total_bytes) now."""


class HostLedger:
    """The ledger of this host over one file; `open` makes it."""

    def __init__(
        self, path: Path, *, read_memory: Memory, reserve_ratio: float, reserve_min_bytes: int
    ) -> None:
        self._path = path
        self._read_memory = read_memory
        self._reserve_ratio = reserve_ratio
        self._reserve_min_bytes = reserve_min_bytes
        self._file = LedgerFile(path)

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
        return cls(
            path.absolute(),
            read_memory=read_memory,
            reserve_ratio=reserve_ratio,
            reserve_min_bytes=reserve_min_bytes,
        )

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
        owner = BookingOwner.of(
            run_id=run_id, parent_run_id=parent_run_id, pid=pid, sentinel_pid=sentinel_pid
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
        self._file.close()

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
        return self._file.use(lambda connection: self._live(connection, prune=False))

    def enter(
        self, owner: BookingOwner, *, booked_bytes: int, need_bytes: int
    ) -> tuple[int, int, list[Claim]]:
        """Book as much of `booked_bytes` as the host can promise, in one step.

        Returns (ceiling in bytes, what is booked now, the other live runs' claims).
        """

        def book(connection: sqlite3.Connection) -> tuple[int, int, list[Claim]]:
            with sqlite.transaction(connection):
                others = self._live(connection, prune=True, besides=owner.run_id)
                own = owner.claim(booked_bytes, need_bytes)
                ceiling = ceiling_bytes(own, others, self.memory())
                granted_bytes = min(booked_bytes, ceiling)
                connection.execute(_ENTER, owner.row(granted_bytes, need_bytes))
            return ceiling, granted_bytes, others

        return self._file.use(book)

    def leave(self, owner: BookingOwner) -> None:
        """Take a run's row out."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM booking WHERE run_id = ?", (owner.run_id,))

        self._file.use(delete)

    def _live(
        self, connection: sqlite3.Connection, *, prune: bool, besides: str | None = None
    ) -> list[Claim]:
        claims: list[Claim] = []
        for row in connection.execute("SELECT * FROM booking").fetchall():
            if row["run_id"] == besides:
                continue
            if is_owned(row):
                claims.append(claim_of(row))
            elif prune:
                connection.execute("DELETE FROM booking WHERE run_id = ?", (row["run_id"],))
        return claims


class HostBooking:
    """One run's booking: implements core.ports.Booking.

    Never raises for a ledger that breaks while a command runs: it goes on with what it last
    knew of the others, and warns once.
    """

    def __init__(self, ledger: HostLedger, owner: BookingOwner) -> None:
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
        except (AdapterError, ConfigError) as error:
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
        except (AdapterError, ConfigError) as error:
            self._warn(error)
            return self._ceiling(need_bytes)
        return ceiling

    def release(self) -> None:
        """Give the booking back. Twice is once; a broken ledger forgets it by itself."""
        try:
            self._ledger.leave(self._owner)
        except (AdapterError, ConfigError) as error:
            self._warn(error)
        self._booked_bytes, self._is_released = 0, True
        self._ledger.close()

    def _ceiling(self, need_bytes: int) -> int:
        own = self._owner.claim(self._booked_bytes, need_bytes)
        return ceiling_bytes(own, self._others, self._ledger.memory())

    def _warn(self, error: UllageError) -> None:
        if not self._has_warned:
            _log.warning("going on without the ledger: %s", error)
            self._has_warned = True
