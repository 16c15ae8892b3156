"""Writes rows as Parquet, CSV or JSON, one by one, to a stream: `ullage export`.

Cells that a spreadsheet would run (= + - @ at the beginning) get a quote in front of them,
which `ullage import` takes away again. Parquet is written by DuckDB from a temporary file of
JSON lines: no row is kept in memory. Not here: which rows.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ullage.core.errors import PermanentError

Value = str | int | float | datetime | None
Columns = Mapping[str, str]
Rows = Iterable[Mapping[str, Value]]
Write = Callable[[IO[bytes], Columns, Rows], int]

_SQL_TYPES = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "time": "TIMESTAMP"}
_RUN_BY_SPREADSHEETS = re.compile(r"'*[=+\-@\t\r]")
_COPY_BYTES = 1 << 20
_LONGEST_ROW_BYTES = 64 << 20


def write_csv(stream: IO[bytes], columns: Columns, rows: Rows) -> int:
    """Write a header and the rows in UTF-8; return how many rows."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        # the writer would leave a carriage return bare, and readers take it for a line's end
        careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        count = 0
        for row in rows:
            cells = [_cell(_plain(row.get(name))) for name in columns]
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (careful if has_return else writer).writerow(cells)
            count += 1
        return count
    finally:
        text.detach()


def write_json(stream: IO[bytes], columns: Columns, rows: Rows) -> int:
    """Write one JSON array with an object on each line; return how many rows."""
    stream.write(b"[")
    count = 0
    for row in rows:
        stream.write(b"\n  " if count == 0 else b",\n  ")
        stream.write(_object(columns, row))
        count += 1
    stream.write(b"\n]\n" if count else b"]\n")
    return count


def write_parquet(stream: IO[bytes], columns: Columns, rows: Rows) -> int:
    """Write a Parquet file; return how many rows. Times are UTC, without a zone."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="ullage-export-") as folder:
        lines, parquet = Path(folder) / "rows.jsonl", Path(folder) / "rows.parquet"
        count = 0
        with lines.open("wb") as out:
            for row in rows:
                out.write(_object(columns, row) + b"\n")
                count += 1
        types = ", ".join(f"'{name}': '{_SQL_TYPES[kind]}'" for name, kind in columns.items())
        source = (
            f"read_json('{_quoted(lines)}', format = 'newline_delimited', columns = {{{types}}}, "
            f"maximum_object_size = {_LONGEST_ROW_BYTES})"
        )
        try:
            with duckdb.connect(":memory:", config={"memory_limit": "1GiB", "threads": 1}) as made:
                made.execute(
                    f"COPY (SELECT * FROM {source}) TO '{_quoted(parquet)}' "  # noqa: S608
                    "(FORMAT parquet, COMPRESSION zstd)"
                )
        except duckdb.Error as error:
            why = ascii(str(error).partition("\n")[0][:200])
            raise PermanentError(f"no Parquet can be made ({why}): try --format csv") from error
        with parquet.open("rb") as whole:
            shutil.copyfileobj(whole, stream, _COPY_BYTES)
    return count


WRITERS: Mapping[str, Write] = {"parquet": write_parquet, "csv": write_csv, "json": write_json}


def _object(columns: Columns, row: Mapping[str, Value]) -> bytes:
    plain = {name: _plain(row.get(name)) for name in columns}
    return json.dumps(plain, allow_nan=False).encode("ascii")


def _plain(value: Value) -> str | int | float | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _cell(value: str | int | float | None) -> str | int | float:
    if isinstance(value, str):
        return f"'{value}" if _RUN_BY_SPREADSHEETS.match(value) else value
    return "" if value is None else value


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
