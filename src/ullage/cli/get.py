"""`ullage get`: lists of what is recorded."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.outcomes.formats import OutputFormat

if TYPE_CHECKING:
    from ullage.cli.reading import Record
    from ullage.config import Settings
    from ullage.core.ports import RunReader
    from ullage.outcomes.tables import Table

RUNS_PER_WORKLOAD = 100
"""How many latest runs a workload's row sums up."""


class Kind(StrEnum):
    """What can be listed."""

    WORKLOADS = "workloads"
    RUNS = "runs"
    OOMS = "ooms"
    JOBS = "jobs"
    DECISIONS = "decisions"


def get(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    workload: Annotated[str | None, typer.Argument(help="Only of this workload.")] = None,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How to show it.")
    ] = OutputFormat.TABLE,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many rows.")] = 50,
) -> None:
    """List workloads, runs, OOM kills, Dataflow jobs or decisions about services, newest first."""
    from ullage.cli.reading import find_workload, is_on_terminal, put, reading, say
    from ullage.outcomes.render import render

    with reading() as (settings, reader):
        if kind is Kind.JOBS:
            table = _jobs(settings, reader, workload, limit)
        elif kind is Kind.DECISIONS:
            table = _decisions(settings, reader, workload, limit)
        else:
            if workload is not None:
                find_workload(reader, workload)
            table = _table(kind, reader, workload, limit)
    is_for_people = output in (OutputFormat.TABLE, OutputFormat.WIDE)
    if not table.rows:
        say(table.empty)
    if table.rows or not is_for_people:
        put(render(table, output, on_terminal=is_for_people and is_on_terminal()))


def _jobs(settings: Settings, reader: Record | None, workload: str | None, limit: int) -> Table:
    from ullage.outcomes.jobs import jobs_table

    jobs = [] if reader is None else reader.jobs(workload, limit=limit)
    return jobs_table(jobs, settings.price_book, of=workload)


def _decisions(
    settings: Settings, reader: Record | None, workload: str | None, limit: int
) -> Table:
    """Return decisions of the service loop; outcomes stand in rows of their own."""
    from ullage.bootstrap_serve import open_service_store
    from ullage.outcomes.service_tables import DECISION_KINDS, decisions_table
    from ullage.serve_config import load_serve

    if reader is None:
        return decisions_table([], of=workload, limit=limit)
    store = open_service_store(settings, load_serve(settings), read_only=True)
    try:
        records = store.latest(DECISION_KINDS, workload, limit=3 * limit)
    finally:
        store.close()
    return decisions_table(records, of=workload, limit=limit)


def _table(kind: Kind, reader: RunReader | None, workload: str | None, limit: int) -> Table:
    from ullage.outcomes.tables import ooms_table, runs_table, workloads_table

    if kind is Kind.RUNS:
        runs = [] if reader is None else reader.runs(workload, limit=limit)
        return runs_table(runs, of=workload)
    if kind is Kind.OOMS:
        events = [] if reader is None else reader.ooms(workload, limit=limit)
        return ooms_table(events, of=workload)
    if reader is None:
        return workloads_table([])
    found = [each for each in reader.workloads() if workload in (None, each[0].key)][:limit]
    return workloads_table(
        (known, count, reader.runs(known.key, limit=RUNS_PER_WORKLOAD)) for known, count, _ in found
    )
