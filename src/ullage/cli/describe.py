"""`ullage describe`: all that is known of one workload, or of one job of Dataflow."""

from __future__ import annotations

from typing import Annotated

import typer

from ullage.outcomes.formats import TextFormat

DESCRIBED_RUNS = 500
SHOWN_RUNS = 10


def describe(
    workload: Annotated[
        str,
        typer.Argument(help="The workload, as `ullage get workloads` names it; or the word job."),
    ],
    job_id: Annotated[
        str | None, typer.Argument(help="After the word job: its id, as `ullage get jobs` has it.")
    ] = None,
    output: Annotated[
        TextFormat, typer.Option("--output", "-o", help="How to show it.")
    ] = TextFormat.TEXT,
) -> None:
    """Show a workload: its key, its runs, their memory, OOM kills and cost; or a Dataflow job."""
    if job_id is not None:
        _describe_job(workload, job_id, output)
        return
    from ullage.cli.describe_service import service_of, show_service
    from ullage.cli.reading import find_workload, put, reading
    from ullage.outcomes.description import describe_workload, description_text
    from ullage.outcomes.formats import OutputFormat
    from ullage.outcomes.render import render, to_json, to_yaml, visible
    from ullage.outcomes.stages import stages_table
    from ullage.outcomes.tables import runs_table

    with reading() as (settings, reader):
        service = None if reader is None else service_of(settings, workload)
        if service is not None:
            show_service(*service, output)
            return
        found = find_workload(reader, workload)
        assert reader is not None
        runs = reader.runs(found.key, limit=DESCRIBED_RUNS)
        stages = reader.stages(found.key)
    description = describe_workload(found, runs, price=settings.prices, stages=stages)
    match output:
        case TextFormat.JSON:
            put(to_json(description))
        case TextFormat.YAML:
            put(to_yaml(description))
        case TextFormat.TEXT:
            put("".join(f"{visible(line)}\n" for line in description_text(description)))
            if stages:
                put("\n" + render(stages_table(stages), OutputFormat.TABLE))
            put("\n" + render(runs_table(runs[:SHOWN_RUNS], of=found.key), OutputFormat.TABLE))


def _describe_job(word: str, job_id: str, output: TextFormat) -> None:
    from ullage.cli.jobs_work import show_job
    from ullage.cli.reading import EXIT_USAGE, fail

    if word != "job":
        fail("write `ullage describe WORKLOAD`, or `ullage describe job ID`", code=EXIT_USAGE)
    show_job(job_id, output)
