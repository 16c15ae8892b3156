"""The ledger's file: opened, and replaced where it is damaged, emptied or removed under us.

It holds no history, so nothing is lost with it; yet a damaged file is moved aside, not
deleted, in case its name was given by mistake. Not here: what is booked (`stores.ledger`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ullage.core.errors import ConfigError
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
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class LedgerFile:
    """One connection to whatever file has the name now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._connect()

    def close(self) -> None:
        """Give the file back; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def use(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return what `work` returns; once more over a new file where this one has broken."""
        with sqlite.translated(self._path, setting=_SETTING):
            try:
                return work(self._current())
            except sqlite3.DatabaseError as error:
                if sqlite.is_damage(error):
                    self._replace(error)
                elif sqlite.primary_code(error) in _EMPTIED:
                    self.close()
                else:
                    raise
                return work(self._current())

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
        if 0 < found.st_size < sqlite.SMALLEST_BYTES:
            self._replace("it is too short")
            self._open_file()
            return
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
        if sqlite.is_foreign(connection, _APPLICATION_ID):
            raise ConfigError(
                f"{self._path} is another program's database: set {_SETTING} to another file"
            )

    def _replace(self, why: object) -> None:
        """Move the damaged file aside: bookings are made again, history it has none."""
        self.close()
        if not self._is_in_place():
            return  # another process has replaced it already
        aside = Path(f"{self._path}.damaged")
        _log.warning("ledger %s is damaged (%s): moved to %s", self._path, why, aside.name)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        os.replace(self._path, aside)
