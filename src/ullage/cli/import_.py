"""`ullage import`: history that another system recorded, so that a workload starts warm."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ullage.outcomes.formats import OutputFormat


class HistoryFormat(StrEnum):
    """What `--format` takes; `auto` looks at the content."""

    AUTO = "auto"
    RUNS = "runs"
    NEXTFLOW = "nextflow"
    SNAKEMAKE = "snakemake"
    SLURM = "slurm"
    SPARK = "spark"


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Parquet or CSV of runs, Nextflow trace, Snakemake benchmark, Slurm sacct, "
            "Spark event log.",
        ),
    ],
    form: Annotated[
        HistoryFormat, typer.Option("--format", "-f", help="What the files are.")
    ] = HistoryFormat.AUTO,
    workload: Annotated[
        str | None,
        typer.Option(help="All runs are of this workload (as `ullage run --name` gives it)."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="All runs are of the workload of this command line, run from here."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Only runs of this name in the file.")] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Snakemake: names in the path, 'benchmarks/{rule}/{sample}.tsv'."),
    ] = None,
    timezone: Annotated[
        str, typer.Option(help="Of times without one, e.g. Europe/Berlin.")
    ] = "UTC",
    rejects: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write what was rejected, as CSV.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Record nothing.")] = False,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How to show the result.")
    ] = OutputFormat.TABLE,
) -> None:
    """Take over runs that another system recorded; doing it twice is doing it once."""
    from ullage.cli.import_work import ImportOptions, import_files
    from ullage.cli.reading import EXIT_USAGE, fail
    from ullage.core.errors import ConfigError, UllageError

    options = ImportOptions(
        format_id=form.value,
        workload=workload,
        command=command,
        only=only,
        pattern=pattern,
        timezone=timezone,
        rejects_file=rejects,
        is_dry=dry_run,
        output=output,
    )
    try:
        found_count = import_files(files, options)
    except ConfigError as error:
        fail(str(error), code=EXIT_USAGE)
    except UllageError as error:
        fail(str(error))
    if not found_count:
        fail("no run was found: nothing is imported")
