"""What `get`, `describe` and `explain` share: opening the record, telling, escaping.

Data goes to stdout, words to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Protocol

import typer

if TYPE_CHECKING:
    from ullage.config import Settings
    from ullage.core.ports import JobArchive, RunArchive, RunReader, SampleArchive
    from ullage.core.workload import Workload

    class Record(RunReader, RunArchive, JobArchive, SampleArchive, Protocol):
        """The record, to be read."""


EXIT_ERROR = 1
EXIT_USAGE = 2


@contextmanager
def reading() -> Iterator[tuple[Settings, Record | None]]:
    """Yield (settings, the record), None where nothing was ever recorded.

    Errors of ours end the command: one line on stderr, exit 2 where a person has to change
    settings or arguments, else 1.
    """
    from ullage.core.errors import ConfigError, UllageError

    try:
        from ullage import bootstrap
        from ullage.config import load_settings

        settings = load_settings()
        if not (settings.state_dir / "state.db").exists():
            yield settings, None
            return
        store = bootstrap.open_store(settings, read_only=True)
        try:
            yield settings, store
        finally:
            store.close()
    except ConfigError as error:
        fail(str(error), code=EXIT_USAGE)
    except UllageError as error:
        fail(str(error))


def say(line: str) -> None:
    """Write one line of words to stderr."""
    from ullage.outcomes.render import visible

    typer.echo(f"ullage: {visible(line)}", err=True)


def fail(line: str, *, code: int = EXIT_ERROR) -> NoReturn:
    """Say what is wrong and end the command."""
    say(line)
    raise typer.Exit(code)


def put(text: str) -> None:
    """Write data to stdout."""
    typer.echo(text, nl=False)


def is_on_terminal() -> bool:
    """Say whether a table may be drawn: a person is looking, at a terminal that can."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def find_workload(reader: RunReader | None, key: str) -> Workload:
    """Return the recorded workload `key`, or end the command naming the nearest ones."""
    known = [] if reader is None else [workload for workload, _, _ in reader.workloads()]
    for workload in known:
        if workload.key == key:
            return workload
    if not known:
        fail(f"unknown workload {key[:60]!a}: no runs yet, try `ullage run --name my-job -- CMD`")
    import difflib

    names = [workload.key for workload in known]
    close = difflib.get_close_matches(key[:200], names, n=3, cutoff=0.4)
    close = close or [name for name in names if key[:60] in name][:3]
    hint = f"did you mean {', '.join(close)}?" if close else "see `ullage get workloads`"
    fail(f"unknown workload {key[:60]!a}: {hint}")
