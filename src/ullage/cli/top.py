"""`ullage top`: the live view of `ullage serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ullage.outcomes.formats import OutputFormat

if TYPE_CHECKING:
    from ullage.core.serve_status import ServeStatus


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How to show it.")
    ] = OutputFormat.TABLE,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many rows.")] = 40,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two.")] = 2.0,
) -> None:
    """Show live targets, the ones nearest to their limit first."""
    from ullage.cli.reading import fail, is_on_terminal, put, say
    from ullage.cli.serving import loaded, told
    from ullage.outcomes.render import render
    from ullage.outcomes.service_tables import targets_table

    with told():
        settings, _ = loaded()
        while True:
            from ullage.bootstrap_serve import read_serve_status

            status = read_serve_status(settings)
            if status is None:
                fail(f"no daemon serves from {settings.state_dir} now: start `ullage serve`")
            is_for_people = output in (OutputFormat.TABLE, OutputFormat.WIDE)
            is_live = is_for_people and is_on_terminal() and not once
            table = targets_table(status, limit=limit)
            text = render(table, output, on_terminal=is_for_people and is_on_terminal())
            if is_live:
                put("\x1b[H\x1b[2J")
            if is_for_people:
                (put if is_live else say)(_line(status) + ("\n" if is_live else ""))
            put(text)
            if not is_live:
                return
            if not _wait(every_s):
                return


def _line(status: ServeStatus) -> str:
    from datetime import UTC, datetime

    from ullage.outcomes.service_tables import status_line

    return status_line(status, (datetime.now(UTC) - status.at).total_seconds())


def _wait(seconds: float) -> bool:
    """Sleep; False where the person ended it."""
    import time

    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return False
    return True
