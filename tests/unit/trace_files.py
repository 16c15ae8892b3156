"""Reads a small trace that a test has made up."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from ullage.core.ports import HistoryReader
from ullage.core.recorded import (
    FoundRun,
    ImportedRun,
    Naming,
    ReadOptions,
    RejectedRow,
    import_run,
)
from ullage.core.workload import Run

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def read_text(
    reader: HistoryReader,
    folder: Path,
    text: str | bytes,
    *,
    name: str = "trace",
    options: ReadOptions | None = None,
) -> tuple[list[FoundRun], list[RejectedRow]]:
    """Return (runs, rejected rows) of a file with this content."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    # Where rows have no time of their own the file's counts; it must lie before NOW for ever.
    os.utime(file, (NOW.timestamp() - 3600,) * 2)
    items = list(
        reader.read(str(file), options=options or ReadOptions(), tell=lambda done, total: None)
    )
    found = [item for item in items if isinstance(item, FoundRun)]
    return found, [item for item in items if isinstance(item, RejectedRow)]


def as_run(found: FoundRun, *, format_id: str = "test") -> Run:
    """Return the run that it becomes."""
    imported = import_run(found, format_id=format_id, naming=Naming(), now=NOW)
    assert isinstance(imported, ImportedRun), imported
    return imported.run
