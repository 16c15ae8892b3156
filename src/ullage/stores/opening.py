"""Opens the state store's file: makes it, brings it up to date, or refuses it unharmed.

Not here: what is done with it (`stores.state`), the tables (`stores.schema`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ullage.core.errors import ConfigError, PermanentError
from ullage.stores import sqlite
from ullage.stores.schema.migrations import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    migrate,
    schema_version,
)

SETTING = "ULLAGE_STATE_DIR"
"""The variable that names another folder: the way out of most refusals."""
_WAL_LIMIT_BYTES = 8 << 20
"""What the log is cut back to after a checkpoint (S19)."""


def open_writer(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Return a connection that may write, to a file that has all our tables."""
    is_new = sqlite.private_file(path, setting=SETTING)
    if not is_new:
        _refuse_lost_head(path)
    connection = sqlite.connect(path, mode="rw", busy_timeout_s=busy_timeout_s)
    try:
        version = _check_ours(connection, path)
        sqlite.tighten(path)
        if is_new:  # what `ullage compact` frees can be cut off in small steps
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        sqlite.write_ahead(connection, busy_timeout_s=busy_timeout_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        if version < SCHEMA_VERSION:
            migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Return a connection that cannot write, also to a file on read-only ground."""
    if not path.exists():
        raise ConfigError(
            f"nothing is recorded in {path.parent} yet: run something, or set "
            f"{SETTING} to the folder that has the record"
        )
    _refuse_lost_head(path)
    connection = sqlite.connect(path, mode="ro", busy_timeout_s=busy_timeout_s)
    try:
        try:
            version = _check_ours(connection, path)
        except sqlite3.OperationalError as error:
            if sqlite.primary_code(error) != sqlite3.SQLITE_CANTOPEN or _size(path, "-wal"):
                raise
            # a folder that cannot be written, and a file that nobody writes: as it lies there
            connection.close()
            connection = sqlite.connect(path, mode="ro&immutable=1", busy_timeout_s=busy_timeout_s)
            version = _check_ours(connection, path)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    with closing(open_writer(path, busy_timeout_s)):  # brings an older file up to date
        return open_reader(path, busy_timeout_s)


def _check_ours(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema number of the file. ConfigError if it is not ours, or newer."""
    if sqlite.is_foreign(connection, APPLICATION_ID):
        raise ConfigError(
            f"{path} belongs to another program: move it away, or set {SETTING} to another folder"
        )
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} was written by a newer Ullage (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): upgrade ullage, or set {SETTING} to another folder"
        )
    return version


def _refuse_lost_head(path: Path) -> None:
    """Refuse what SQLite would take for a new file: it would overwrite it and delete its log."""
    # the log first: whoever makes the file right now writes its head before the log
    log_bytes = _size(path, "-wal")
    length_bytes = path.stat().st_size
    if 0 < length_bytes < sqlite.SMALLEST_BYTES or (length_bytes == 0 and log_bytes):
        raise PermanentError(
            f"{path} is damaged: only {length_bytes} bytes are left of it; move it and its log "
            f"{path.name}-wal away to start anew (Ullage deletes nothing), or set {SETTING} to "
            "another folder"
        )


def _size(path: Path, suffix: str) -> int:
    try:
        return Path(f"{path}{suffix}").stat().st_size
    except FileNotFoundError:
        return 0
