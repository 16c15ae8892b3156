"""Traces that are tables in text: a header, a delimiter, a row for each task, no quotes.

Not here: what the columns of a format mean (`sources.trace_nextflow` and its like).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ullage.core.recorded import FoundRun, RejectedRow
from ullage.sources.trace_text import Line, Tell, each_line
from ullage.sources.trace_values import BadValueError

CLIPPED = 200
"""How much of a rejected line is told again."""


class Row(NamedTuple):
    """A row by the names of its header; its whole text for an identity."""

    line: int
    text: str
    cells: Mapping[str, str]


def header_of(head: bytes, delimiter: str) -> list[str]:
    """Return the names in the first line of a file that begins with `head`."""
    first = head.lstrip(b"\xef\xbb\xbf").partition(b"\n")[0][:65_536]
    return [name.strip() for name in first.decode("utf-8", "replace").split(delimiter)]


def rejected(line: Line | Row, reason: str) -> RejectedRow:
    """Return the rejection of a line."""
    return RejectedRow(line=line[0], reason=reason, text=line[1][:CLIPPED])


def each_row(path: str, delimiter: str, tell: Tell) -> Iterator[Row | RejectedRow]:
    """Yield the rows under the first line's names; a header that comes again is skipped.

    Rejected: lines that cannot be read, and rows with another number of cells.
    """
    names: list[str] | None = None
    header = ""
    for line in each_line(path, tell):
        if line.fault is not None:
            yield rejected(line, line.fault)
        elif names is None:
            header = line.text.lstrip("\ufeff")
            names = [name.strip() for name in header.split(delimiter)]
        elif line.text != header:
            cells = line.text.split(delimiter)
            if len(cells) != len(names):
                yield rejected(line, "wrong_number_of_cells")
            else:
                yield Row(line.number, line.text, dict(zip(names, cells, strict=True)))


def each_found(
    rows: Iterator[Row | RejectedRow], found_of: Callable[[Row], FoundRun | str]
) -> Iterator[FoundRun | RejectedRow]:
    """Yield what `found_of` makes of each row; a text that it returns is why a row is no run."""
    for row in rows:
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            found = found_of(row)
        except BadValueError as error:
            found = str(error)
        yield rejected(row, found) if isinstance(found, str) else found
