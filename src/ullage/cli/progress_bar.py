"""A bar with the time left, on stderr, where a person is looking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(what: str, *, unit: str = "runs") -> Iterator[Callable[[int, int], None]]:
    """Yield what shows (done, total) as a bar with the time left, if a person is looking.

    unit: what is counted; where it is not "runs", only its share is shown. No thread
    refreshes it: processes are forked while it is shown.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),  # names of files are hostile
        BarColumn(),
        MofNCompleteColumn() if unit == "runs" else TaskProgressColumn(),
        TextColumn(f"{unit}, left:"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    with bar:
        task: Any = bar.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, refresh=True)

        yield tell
