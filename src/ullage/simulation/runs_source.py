"""One file as a table in DuckDB: Parquet or CSV, told apart by content, never by name.

The file and its name are hostile. It is opened once; DuckDB reads it through its
descriptor, so no name reaches it, and can reach nothing else: no other file, no network,
no extension, no change of settings. Not here: what the columns mean (runs_columns).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.core.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

Counts = Mapping[str, int]

LINE = "ullage_line"
"""The column of `raw` that numbers its rows from 1, in the order of the file."""

_PARQUET = b"PAR1"
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_DELIMITERS = (",", "\t", ";", "|")
_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_AS_RAW = f"CREATE TEMP TABLE raw AS SELECT *, row_number() OVER () AS {LINE} FROM"
_LOCKED: Mapping[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "4GiB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRuns:
    """The table `raw` of an open connection, as it came.

    types: column name -> DuckDB's name of its type. rejected: reason -> lines that are no rows.
    """

    connection: duckdb.DuckDBPyConnection
    types: Mapping[str, str]
    sha256: str
    rejected: Counts


@contextmanager
def open_runs(path: Path) -> Iterator[RawRuns]:
    """Yield the file as a table `raw` with one row for each line, in its order.

    Raises ConfigError for what cannot be read as Parquet or CSV with a header.
    """
    import duckdb

    shown = ascii(str(path))
    descriptor = _opened(path, shown)
    try:
        connection = duckdb.connect(":memory:", config=dict(_LOCKED))
        try:
            place = f"/dev/fd/{descriptor}"
            connection.execute(f"SET allowed_paths = ['{place}']")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield _loaded(connection, descriptor, place)
        except duckdb.OutOfMemoryException as error:
            raise ConfigError(f"{shown} needs too much memory: try --limit-rows 100000") from error
        except duckdb.Error as error:
            raise ConfigError(
                f"{shown} cannot be read as Parquet or CSV: {_one_line(error)}"
            ) from error
        finally:
            connection.close()
    finally:
        os.close(descriptor)


def _opened(path: Path, shown: str) -> int:
    """Return a descriptor of a regular file; a pipe or device would never end or be read twice."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot read {shown}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read {shown}: {error}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        os.close(descriptor)
        why = "it is empty" if stat.S_ISREG(status.st_mode) else "it is not a regular file"
        raise ConfigError(f"cannot read {shown}: {why}; give a Parquet or CSV file")
    return descriptor


def _loaded(connection: duckdb.DuckDBPyConnection, descriptor: int, place: str) -> RawRuns:
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    head = os.pread(descriptor, _HEADER_BYTES, 0)
    rejected: dict[str, int] = {}
    if head.startswith(_PARQUET):
        connection.execute(f"{_AS_RAW} read_parquet(?)", [place])
    else:
        rejected = _load_csv(connection, head, place)
    described = connection.execute("DESCRIBE raw").fetchall()
    return RawRuns(
        connection=connection,
        types={str(row[0]): str(row[1]) for row in described if row[0] != LINE},
        sha256=digest.hexdigest(),
        rejected=rejected,
    )


def _load_csv(connection: duckdb.DuckDBPyConnection, head: bytes, place: str) -> dict[str, int]:
    """Load a CSV as texts: what a column means is not guessed from its first lines."""
    compression = next(
        (name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), "none"
    )
    options = (
        "header = true, all_varchar = true, quote = '\"', escape = '\"', "
        "ignore_errors = true, store_rejects = true"
    )
    if compression == "none":
        line = head.partition(b"\n")[0].decode("utf-8", "replace")
        options += f", delim = '{max(_DELIMITERS, key=line.count)}'"
    connection.execute(
        f"{_AS_RAW} read_csv(?, compression = '{compression}', {options})",
        [place],
    )
    found = connection.execute("SELECT count(DISTINCT line) FROM reject_errors").fetchone()
    lines = int(found[0]) if found else 0
    return {"unreadable_line": lines} if lines else {}


def _one_line(error: Exception) -> str:
    """Return the first line of DuckDB's words, without what a terminal would obey."""
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    line = re.sub(r"(file )?['\"]?/dev/fd/\d+['\"]?", "the file", line)
    return "".join(c if c.isprintable() else "?" for c in line)[:200]
