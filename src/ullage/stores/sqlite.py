"""What every SQLite file of Ullage shares: private files, transactions, errors in our words.

Not here: what is in the files.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ullage.core.errors import (
    AdapterError,
    ConfigError,
    DataError,
    InvariantError,
    PermanentError,
    TransientError,
)

OLDEST_SQLITE = (3, 37, 0)
"""The first version with STRICT tables."""

SMALLEST_BYTES = 512
"""No database is shorter; SQLite takes a shorter file for a new one and overwrites it."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA}
_MOVE_AWAY = "move it away to start anew (Ullage deletes nothing)"
_SIDE_FILES = ("-wal", "-shm", "-journal")


def private_file(path: Path, *, setting: str) -> bool:
    """Make an empty file 0600 (its folder 0700) where there is none; say whether it did.

    An existing file is only looked at, never opened: closing a second descriptor would
    drop the locks that this process holds on it. `setting` is the variable that moves the
    file elsewhere. Raises ConfigError or PermanentError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ConfigError(
                    f"{path} is not a regular file: move it away, or set {setting}"
                ) from None
            return False
        os.close(fd)
        sync_folder(path.parent)
    except OSError as error:
        raise _from_os(error, path, setting) from error
    return True


def tighten(path: Path) -> None:
    """Take everybody else's rights to our own file and its side files away."""
    for file in (path, *(Path(f"{path}{suffix}") for suffix in _SIDE_FILES)):
        try:
            found = os.stat(file)
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                os.chmod(file, 0o600)
        except OSError:
            continue  # gone meanwhile, or a read-only file system: nothing to be done


def connect(path: Path, *, mode: str, busy_timeout_s: float) -> sqlite3.Connection:
    """Open an existing file in autocommit mode. mode: "rw", "ro" or "ro&immutable=1"."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigError(
            f"SQLite {sqlite3.sqlite_version} is too old: use a Python built with 3.37 or newer"
        )
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, timeout=busy_timeout_s, isolation_level=None
    )
    connection.row_factory = sqlite3.Row
    return connection


def write_ahead(connection: sqlite3.Connection, *, busy_timeout_s: float) -> None:
    """Switch the file to write-ahead logging, once; others may be doing the same right now."""
    deadline_s = time.monotonic() + busy_timeout_s
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                return  # a file system without shared memory: the rollback journal is as durable
        except sqlite3.OperationalError as error:
            # the switch does not wait for other processes by itself
            is_busy = primary_code(error) == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline_s:
                raise
            time.sleep(0.005)


@contextmanager
def transaction(connection: sqlite3.Connection, *, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what is done inside, or nothing of it."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back on some errors
            connection.execute("ROLLBACK")
        raise


def is_foreign(connection: sqlite3.Connection, application_id: int) -> bool:
    """Say whether the file is another program's: neither marked as ours nor still empty."""
    with transaction(connection, kind="DEFERRED"):  # another process may be making it right now
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables_count = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return found != application_id and bool(found or version or tables_count)


@contextmanager
def translated(path: Path, *, setting: str) -> Iterator[None]:
    """Raise SQLite's and the system's errors as ours, in one line with the way out."""
    try:
        yield
    except sqlite3.Error as error:
        raise _from_sqlite(error, path, setting) from error
    except OSError as error:
        raise _from_os(error, path, setting) from error
    except UnicodeDecodeError as error:
        raise PermanentError(
            f"{path} is damaged ({error.reason}); {_MOVE_AWAY}, or set {setting} to another place"
        ) from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise DataError(f"{path}: a value cannot be stored: {_one_line(error)}") from error


def primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code, None where the error is Python's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether `error` means that the file is no sound database."""
    return primary_code(error) in _DAMAGED


def _from_sqlite(error: sqlite3.Error, path: Path, setting: str) -> Exception:
    elsewhere = f"set {setting} to another place"
    match primary_code(error):
        case None if isinstance(error, sqlite3.OperationalError):
            return PermanentError(
                f"{path} is damaged ({_one_line(error)}); {_MOVE_AWAY}, or {elsewhere}"
            )
        case None:
            return InvariantError(f"{path}: {_one_line(error)}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return TransientError(
                f"{path}: another process holds the store; try again, or end the process "
                f"(`fuser {path}` names it)"
            )
        case sqlite3.SQLITE_FULL:
            return PermanentError(f"{path}: the disk is full; free some space, or {elsewhere}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return PermanentError(
                f"{path} is read-only; give yourself the right to write to it and its folder, "
                f"or {elsewhere}"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return PermanentError(
                f"{path} cannot be opened; check the rights on it and its folder, or {elsewhere}"
            )
        case sqlite3.SQLITE_IOERR:
            return PermanentError(
                f"{path}: the disk answered with an error ({_one_line(error)}); "
                f"check the disk, or {elsewhere}"
            )
        case primary if primary in _DAMAGED or primary == sqlite3.SQLITE_ERROR:
            return PermanentError(
                f"{path} is damaged or not an Ullage file ({_one_line(error)}); "
                f"{_MOVE_AWAY}, or {elsewhere}"
            )
        case sqlite3.SQLITE_CONSTRAINT:
            return InvariantError(f"{path}: {_one_line(error)}")
    return PermanentError(f"{path}: {_one_line(error)}; see `ullage doctor`, or {elsewhere}")


def _one_line(error: Exception) -> str:
    """Return an error's text without what a damaged file may have put into it."""
    return str(error).encode("unicode_escape").decode("ascii")[:160]


def _from_os(error: OSError, path: Path, setting: str) -> AdapterError | ConfigError:
    elsewhere = f"set {setting} to another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PermanentError(f"{path}: the disk is full; free some space, or {elsewhere}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigError(f"{path.parent} cannot be written to ({error.strerror}); {elsewhere}")
    return ConfigError(f"{path}: {error.strerror or error}; {elsewhere}")


def sync_folder(folder: Path) -> None:
    """Make a new file's name in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
