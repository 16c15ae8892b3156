"""The lease in SQLite: one row, one holder, a token that only rises (S9).

Its age is measured by the monotonic clock, which all processes of one boot share: wall clocks
may jump. A tenure ends by release, by age, by a reboot, and at once when its process has died
(where both see the same process numbers).
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ullage.core.errors import AdapterError
from ullage.core.serve_settings import ServeSettings
from ullage.stores import sqlite
from ullage.stores.booking_owner import boot_id, is_process, start_ticks
from ullage.stores.opening import SETTING
from ullage.stores.rows import instant_us


class SqliteLease:
    """Implements core.service_ports.Lease. holder: unique per process, for people too."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        settings: ServeSettings,
        *,
        holder: str,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._path = path
        self._span_s = settings.lease_span.total_seconds()
        self._write_s = self._span_s * settings.lease_write_ratio
        self._holder = holder
        self._monotonic_s = monotonic_s
        self._token = 0
        self._is_held = False
        self._renewed_s = -math.inf

    @property
    def token(self) -> int:
        """Return the token of our tenure; 0 = never held."""
        return self._token

    def acquire(self, now: datetime) -> bool:
        """Take the lease if it is free, expired or our own (with a new token).

        TransientError, PermanentError: the store does not answer.
        """
        began_s = self._monotonic_s()
        with (
            sqlite.translated(self._path, setting=SETTING),
            sqlite.transaction(self._connection),
        ):
            row = self._connection.execute("SELECT * FROM service_lease").fetchone()
            if row is not None and not self._is_free(row):
                self._is_held = False
                return False
            token = (row["token"] if row else 0) + 1
            values = self._values(token, began_s, now)
            self._connection.execute(_UPSERT, values)
        self._token, self._is_held, self._renewed_s = token, True, began_s
        return True

    def renew(self, now: datetime) -> bool:
        """Prolong it; False = somebody else has it, or the store does not answer."""
        if not self._is_held:
            return False
        if self.age_s() < self._span_s / 10:
            return True  # nobody can have taken it: quick passes need no write each
        began_s = self._monotonic_s()
        try:
            with (
                sqlite.translated(self._path, setting=SETTING),
                sqlite.transaction(self._connection),
            ):
                done = self._connection.execute(
                    _RENEW, self._values(self._token, began_s, now)
                ).rowcount
        except AdapterError:
            return False
        if done != 1:
            self._is_held = False
            return False
        self._renewed_s = began_s
        return True

    def still_mine(self) -> bool:
        """Say, without I/O, whether a write is allowed: held, and young enough."""
        return self._is_held and self.age_s() < self._write_s

    def age_s(self) -> float:
        """Return monotonic seconds since the last successful renewal began (inf = never)."""
        return self._monotonic_s() - self._renewed_s

    def release(self) -> None:
        """Give it back; where the store does not answer it ends by its age."""
        if not self._is_held:
            return
        self._is_held = False
        try:
            with (
                sqlite.translated(self._path, setting=SETTING),
                sqlite.transaction(self._connection),
            ):
                self._connection.execute(
                    "UPDATE service_lease SET holder = NULL WHERE token = ? AND holder = ?",
                    (self._token, self._holder),
                )
        except AdapterError:
            return

    def _is_free(self, row: sqlite3.Row) -> bool:
        if row["holder"] is None or row["holder"] == self._holder:
            return True
        if row["boot_id"] != boot_id():
            return True
        if row["pid_space"] == _pid_space() and not is_process(row["pid"], row["pid_start_ticks"]):
            return True
        return bool(self._monotonic_s() - row["renewed_mono_us"] / 1e6 >= self._span_s)

    def _values(self, token: int, began_s: float, now: datetime) -> dict[str, object]:
        return {
            "token": token,
            "holder": self._holder,
            "boot_id": boot_id(),
            "pid_space": _pid_space(),
            "pid": os.getpid(),
            "pid_start_ticks": start_ticks(os.getpid()) or 0,
            "renewed_mono_us": int(began_s * 1e6),
            "renewed_at_us": instant_us(now),
        }


def holder_of(connection: sqlite3.Connection) -> tuple[str, int] | None:
    """Return (holder, pid) of the lease as it stands, None if nobody has it."""
    row = connection.execute("SELECT holder, pid FROM service_lease").fetchone()
    return None if row is None or row["holder"] is None else (row["holder"], row["pid"])


def _pid_space() -> str:
    """Return the name of the process numbers that this process sees."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "unknown"


_UPSERT = (
    "INSERT INTO service_lease (id, token, holder, boot_id, pid_space, pid, pid_start_ticks,"
    " renewed_mono_us, renewed_at_us) VALUES (1, :token, :holder, :boot_id, :pid_space, :pid,"
    " :pid_start_ticks, :renewed_mono_us, :renewed_at_us) ON CONFLICT (id) DO UPDATE SET"
    " token = excluded.token, holder = excluded.holder, boot_id = excluded.boot_id,"
    " pid_space = excluded.pid_space, pid = excluded.pid,"
    " pid_start_ticks = excluded.pid_start_ticks,"
    " renewed_mono_us = excluded.renewed_mono_us, renewed_at_us = excluded.renewed_at_us"
)
_RENEW = (
    "UPDATE service_lease SET renewed_mono_us = :renewed_mono_us, renewed_at_us = :renewed_at_us"
    " WHERE token = :token AND holder = :holder AND boot_id = :boot_id"
)
