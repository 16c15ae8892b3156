"""Tables as text: aligned columns, JSON, YAML, CSV. Names are hostile until they pass here.

Escapes control and invisible characters for terminals, formulas for spreadsheets; never
interprets markup. Rich draws tables where one is shown on a terminal, and only then.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ullage.core.prices import format_gib_hours
from ullage.core.units import format_bytes, format_duration
from ullage.outcomes.formats import OutputFormat
from ullage.outcomes.tables import Table, Value

_UNIT_ENDINGS = ("_byte_seconds", "_bytes", "_count", "_ratio", "_s")
_NUMBER_ENDINGS = (*_UNIT_ENDINGS, "_gbh", "_hours", "_usd", "_ms")
"""Names of columns that are lined up on the right."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def render(table: Table, form: OutputFormat, *, on_terminal: bool = False) -> str:
    """Return `table` as text with a final newline; an empty table gives an empty list.

    on_terminal: draw with rich (tables only). Files get raw values (integers of bytes,
    seconds, ISO times), tables get values for people.
    """
    match form:
        case OutputFormat.JSON:
            return to_json([_plain_row(table, row) for row in table.rows])
        case OutputFormat.YAML:
            return to_yaml([_plain_row(table, row) for row in table.rows])
        case OutputFormat.CSV:
            return _csv(table)
        case _:
            names = [n for n in table.columns if form is OutputFormat.WIDE or n not in table.wide]
            cells = [[_for_people(name, row.get(name)) for name in names] for row in table.rows]
            draw = _rich_table if on_terminal else _aligned
            return draw([_heading(name) for name in names], cells, _right_aligned(names))


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "run"), plural(2000, "run")
    ('1 run', '2,000 runs')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def visible(text: str) -> str:
    """Return `text` with everything that a terminal would obey or hide written out.

    >>> visible("a\\x1b[31mb\\n"), visible("\\u202ex")
    ('a\\\\x1b[31mb\\\\n', '\\\\u202ex')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def to_json(value: Any) -> str:
    """Return plain values as indented JSON in ASCII, with a final newline."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def to_yaml(value: Any, *, indent: int = 0) -> str:
    """Return plain values (dict, list, text, number, bool, None) as YAML in block style.

    Texts are quoted as in JSON, which YAML reads the same; so no text can become
    anything else (no, 1e3, null, a tag).

    >>> to_yaml({"a": [1, "no"], "b": {}})
    'a:\\n  - 1\\n  - "no"\\nb: {}\\n'
    """
    pad = " " * indent
    if isinstance(value, Mapping) and value:
        lines = []
        for key, each in value.items():
            nested = isinstance(each, Mapping | list | tuple) and len(each) > 0
            shown = f"\n{to_yaml(each, indent=indent + 2)}" if nested else f" {_scalar(each)}\n"
            lines.append(f"{pad}{_key(str(key))}:{shown}")
        return "".join(lines)
    if isinstance(value, list | tuple) and value:
        lines = []
        for each in value:
            nested = isinstance(each, Mapping | list | tuple) and len(each) > 0
            shown = to_yaml(each, indent=indent + 2).lstrip(" ") if nested else f"{_scalar(each)}\n"
            lines.append(f"{pad}- {shown}")
        return "".join(lines)
    return f"{pad}{_scalar(value)}\n"


def utc_text(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(value: Value) -> str | int | float | None:
    """Return a value as JSON has it: times as text, what is not finite as None."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _plain_row(table: Table, row: Mapping[str, Value]) -> dict[str, str | int | float | None]:
    return {name: plain(row.get(name)) for name in table.columns}


def _csv(table: Table) -> str:
    import csv
    import io

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([csv_cell(plain(row.get(name))) for name in table.columns])
    return stream.getvalue()


def csv_cell(value: str | int | float | None) -> str | int | float:
    """Return a value as a cell of a CSV; a text that a spreadsheet would run gets a quote first."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    return json.dumps(value)


def _key(text: str) -> str:
    is_word = text.isascii() and text.replace("_", "").isalpha()
    return text if is_word and text.lower() not in _YAML_WORDS else json.dumps(text)


def _heading(name: str) -> str:
    for ending in _UNIT_ENDINGS:
        name = name.removesuffix(ending)
    return name.removesuffix("_at").replace("_", " ").upper() if name != "at" else "AT"


def _right_aligned(names: Sequence[str]) -> list[bool]:
    return [name.endswith(_NUMBER_ENDINGS) or name in {"attempt", "exit_code"} for name in names]


def _for_people(name: str, value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, str):
        text = visible(value)
        return text if len(text) <= 100 else f"{text[:97]}..."
    if not math.isfinite(value):
        return "-"
    if name.endswith("_byte_seconds"):
        return format_gib_hours(value)
    if name.endswith("_bytes"):
        return format_bytes(value)
    if name.endswith("_ratio"):
        return f"{value * 100:.0f} %"
    if name.endswith("_s"):
        return format_duration(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _aligned(headings: list[str], cells: list[list[str]], right: list[bool]) -> str:
    rows = [headings, *cells]
    widths = [max(len(row[at]) for row in rows) for at in range(len(headings))]
    lines = []
    for row in rows:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def _rich_table(headings: list[str], cells: list[list[str]], right: list[bool]) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading, is_right in zip(headings, right, strict=True):
        drawn.add_column(Text(heading), justify="right" if is_right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(text) for text in row))
    console = Console()
    with console.capture() as capture:
        console.print(drawn)
    return capture.get()
