"""`ullage jobs`: jobs of Google Cloud Dataflow, taken back into the record."""

from __future__ import annotations

from typing import Annotated

import typer

from ullage.outcomes.formats import OutputFormat

app = typer.Typer(
    name="jobs",
    help="Take jobs of Dataflow into the record.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Take jobs of Dataflow into the record."""


@app.command()
def sync(
    project: Annotated[str, typer.Option(help="The Google Cloud project.")],
    region: Annotated[str, typer.Option(help="The region, e.g. us-central1.")],
    job: Annotated[
        list[str] | None, typer.Option(help="Only this job id; may be repeated.")
    ] = None,
    since: Annotated[
        str, typer.Option(help="Only jobs created from then on: 2026-11-01, or 30d, 12h ago.")
    ] = "30d",
    endpoint: Annotated[
        str | None, typer.Option(help="Another address of the API, e.g. http://localhost:8080.")
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Sign nothing: for an endpoint on this machine.")
    ] = False,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How to show the result.")
    ] = OutputFormat.TABLE,
) -> None:
    """Read jobs and their metrics, record what they needed; doing it twice is doing it once."""
    from ullage.cli.jobs_work import SyncOptions, sync_and_tell

    options = SyncOptions(
        project=project,
        region=region,
        job_ids=tuple(job or ()),
        since=since,
        endpoint=endpoint,
        has_auth=not no_auth,
        output=output,
    )
    sync_and_tell(options)
