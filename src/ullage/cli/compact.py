"""`ullage compact`: samples leave the state as Parquet segments; old ones are given up."""

from __future__ import annotations

from typing import Annotated

import typer


def compact(
    older_than: Annotated[
        str, typer.Option(metavar="SPAN", help="Only of runs that ended so long ago; 0s = all.")
    ] = "1d",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="Give up segments whose newest sample is older, 400d. Default: keep_samples_days "
            "of the settings, else keep all.",
        ),
    ] = None,
    forget_damaged: Annotated[
        bool,
        typer.Option(
            "--forget-damaged", help="Give up segments that cannot be read; files are set aside."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
) -> None:
    """Move the samples of ended runs into small files beside the state; no answer changes."""
    from ullage.cli.compact_work import CompactOptions, compact_samples
    from ullage.cli.reading import EXIT_USAGE, fail
    from ullage.core.errors import ConfigError, UllageError

    options = CompactOptions(
        older_than=older_than, keep=keep, forgets_damaged=forget_damaged, is_dry=dry_run
    )
    try:
        compact_samples(options)
    except ConfigError as error:
        fail(str(error), code=EXIT_USAGE)
    except UllageError as error:
        fail(str(error))
