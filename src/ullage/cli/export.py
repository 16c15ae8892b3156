"""`ullage export`: what is recorded, for other programs. Data to stdout or a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Exported(StrEnum):
    """What can be exported."""

    RUNS = "runs"
    SAMPLES = "samples"
    DECISIONS = "decisions"


class FileFormat(StrEnum):
    """As what."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"


def export(
    what: Annotated[Exported, typer.Argument(help="What to export.")],
    form: Annotated[
        FileFormat | None,
        typer.Option("--format", "-f", help="Default: by the ending of --output, else csv."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; else stdout.")
    ] = None,
    workload: Annotated[str | None, typer.Option(help="Only of this workload.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only from then on: 2026-11-01, or 30d, 12h ago.")
    ] = None,
) -> None:
    """Write runs, samples or decisions as Parquet, CSV or JSON, oldest first."""
    from ullage.cli.export_work import ExportOptions, export_to
    from ullage.cli.reading import reading

    options = ExportOptions(
        what=what.value,
        format_id=None if form is None else form.value,
        file=output,
        workload=workload,
        since=since,
    )
    with reading() as (_, reader):
        export_to(reader, options)
