"""Gives the space of deleted rows back to the disk, without keeping anybody from writing long.

A file made by this version is cut in small steps (incremental vacuum); an older one is
rewritten once, if what is left in it is small. Where others read or write just then, or there
is no room to rewrite, the space stays in the file for new rows, and that is said.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

_STEP_PAGES = 2_000
_WORTH_BYTES = 1 << 20
_REWRITE_AT_MOST_BYTES = 256 << 20
"""A second or two of writing, during which runs wait: they do for 5 s."""
_INCREMENTAL = 2
_WAIT_MS = 250
"""A checkpoint holds writers up while it waits for readers."""


def size_bytes(path: Path) -> int:
    """Return what the state takes on the disk, its log included."""
    total = 0
    for file in (path, Path(f"{path}-wal")):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def give_space_back(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Shrink the file of an idle connection; return one line where that was not possible."""
    before_ms = _pragma(connection, "busy_timeout")
    try:
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS:d}")
        return _shrink(connection)
    except sqlite3.OperationalError as error:
        return [f"{path.name} keeps its freed space for new rows for now: {_words(error)}"]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before_ms:d}")


def _shrink(connection: sqlite3.Connection) -> list[str]:
    page_bytes, free_count = (_pragma(connection, name) for name in ("page_size", "freelist_count"))
    if free_count * page_bytes >= _WORTH_BYTES:
        used_bytes = (_pragma(connection, "page_count") - free_count) * page_bytes
        if _pragma(connection, "auto_vacuum") == _INCREMENTAL:
            while free_count > 0:
                connection.execute(f"PRAGMA incremental_vacuum({_STEP_PAGES:d})").fetchall()
                left_count = _pragma(connection, "freelist_count")
                if left_count >= free_count:
                    break
                free_count = left_count
        elif used_bytes <= _REWRITE_AT_MOST_BYTES:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
        else:
            return [
                f"{free_count * page_bytes:,} bytes are free inside the state's file and are used "
                "for new rows; while nothing runs, `sqlite3 state.db VACUUM` gives them back"
            ]
    is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return ["the state is being read: its file shrinks when that has ended"] if is_busy else []


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    found: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return found


def _words(error: sqlite3.Error) -> str:
    return str(error).encode("unicode_escape").decode("ascii")[:80]
