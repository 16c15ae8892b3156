"""Rows as Parquet, CSV and JSON: every value comes back, no cell is run by a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.simulation.recorded_runs import unquoted
from ullage.stores.export_files import WRITERS, write_csv, write_json, write_parquet

COLUMNS = {"name": "text", "count": "integer", "share": "number", "at": "time"}
AT = datetime(2026, 11, 23, 6, 0, 0, 123456, tzinfo=UTC)
ROW: Mapping[str, Any] = {"name": "etl", "count": 2**50, "share": 0.1, "at": AT}
EMPTY: Mapping[str, Any] = dict.fromkeys(COLUMNS)
HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''-1",
    'a\nb,"c"',
    "\x1b[31m",
    "\udc80",
    "\u202e",
    "'plain'",
]


def _csv_rows(*rows: Mapping[str, Any]) -> list[dict[str, str]]:
    stream = io.BytesIO()
    assert write_csv(stream, COLUMNS, rows) == len(rows)
    return list(csv.DictReader(io.StringIO(stream.getvalue().decode(), newline="")))


def _json_rows(*rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    assert write_json(stream, COLUMNS, rows) == len(rows)
    loaded: list[dict[str, Any]] = json.loads(stream.getvalue())
    return loaded


def _parquet_rows(folder: Any, *rows: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    file = folder / "rows.parquet"
    with file.open("wb") as stream:
        assert write_parquet(stream, COLUMNS, rows) == len(rows)
    return duckdb.connect().execute("SELECT * FROM read_parquet(?)", [str(file)]).fetchall()


def test_csv_has_raw_values() -> None:
    assert _csv_rows(ROW, EMPTY) == [
        {"name": "etl", "count": str(2**50), "share": "0.1", "at": "2026-11-23 06:00:00.123456"},
        dict.fromkeys(COLUMNS, ""),
    ]


def test_json_has_raw_values() -> None:
    shown = {**ROW, "at": "2026-11-23 06:00:00.123456"}
    assert _json_rows(ROW, EMPTY, ROW) == [shown, EMPTY, shown]
    assert _json_rows() == []


def test_parquet_has_types(tmp_path: Any) -> None:
    found = _parquet_rows(tmp_path, ROW, EMPTY)
    assert found == [("etl", 2**50, 0.1, AT.replace(tzinfo=None)), (None,) * 4]
    assert _parquet_rows(tmp_path) == []


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_not_finite_is_unknown(tmp_path: Any, number: float) -> None:
    row = {**ROW, "share": number}
    assert _json_rows(row)[0]["share"] is None
    assert _csv_rows(row)[0]["share"] == ""
    assert _parquet_rows(tmp_path, row)[0][2] is None


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_safe_and_come_back(tmp_path: Any, text: str) -> None:
    kept = text.encode("utf-8", "backslashreplace").decode()
    cell = _csv_rows({**ROW, "name": text})[0]["name"]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unquoted(cell) == kept
    assert _json_rows({**ROW, "name": text})[0]["name"] == kept
    assert _parquet_rows(tmp_path, {**ROW, "name": text})[0][0] == kept


@given(st.text(max_size=30) | st.from_regex(r"'{0,3}[=+@\t\r-]{0,2}.{0,5}", fullmatch=True))
def test_any_text_comes_back_from_a_csv(text: str) -> None:
    cell = _csv_rows({**ROW, "name": text})[0]["name"]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unquoted(cell) == text.encode("utf-8", "backslashreplace").decode()


def test_a_negative_number_stays_a_number() -> None:
    assert _csv_rows({**ROW, "count": -5})[0]["count"] == "-5"


@pytest.mark.parametrize("form", WRITERS)
def test_rows_are_written_as_they_come(form: str) -> None:
    """Nothing is kept: a row can be thrown away as soon as the next one is asked for."""
    alive = 0

    def rows() -> Any:
        nonlocal alive
        for number in range(50):
            alive += 1
            yield {**ROW, "count": number}

    assert WRITERS[form](io.BytesIO(), COLUMNS, rows()) == 50
    assert alive == 50
