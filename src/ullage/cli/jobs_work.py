"""The work of `ullage jobs sync` and of `ullage describe job`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ullage import bootstrap
from ullage.cli.export_work import parse_since
from ullage.cli.progress_bar import progress_bar
from ullage.cli.reading import EXIT_USAGE, fail, is_on_terminal, put, reading, say
from ullage.config import load_settings
from ullage.control.job_sync import SyncedJob, sync_jobs
from ullage.core.errors import ConfigError, TransientError, UllageError
from ullage.core.units import format_duration
from ullage.outcomes.formats import OutputFormat, TextFormat
from ullage.outcomes.job_description import describe_job, job_text
from ullage.outcomes.jobs import bill_of, jobs_table, synced_lines
from ullage.outcomes.render import render, to_json, to_yaml, visible

if TYPE_CHECKING:
    from ullage.cli.reading import Record
    from ullage.config import Settings
    from ullage.core.jobs import RecordedJob
    from ullage.core.launch import WorkerPlan

HISTORY_RUNS = 500
"""How many past runs the plan for a job sees at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """The options as they were typed."""

    project: str
    region: str
    job_ids: tuple[str, ...] = ()
    since: str = "30d"
    endpoint: str | None = None
    has_auth: bool = True
    output: OutputFormat = OutputFormat.TABLE


def sync_and_tell(options: SyncOptions) -> None:
    """Take the jobs over and tell what came of it; ends the command where that fails."""
    synced: list[SyncedJob] = []
    settings = None
    try:
        settings = load_settings()
        _sync(settings, options, synced)
    except ConfigError as error:
        fail(str(error), code=EXIT_USAGE)
    except TransientError as error:
        _tell(settings, options, synced)
        wait = format_duration(error.retry_after.total_seconds())
        fail(f"{error}; wait {wait}; what is told above is recorded")
    except UllageError as error:
        _tell(settings, options, synced)
        fail(str(error))
    _tell(settings, options, synced)
    if options.job_ids and all(each.job is None for each in synced):
        fail("none of these jobs was recorded")


def _sync(settings: Settings, options: SyncOptions, synced: list[SyncedJob]) -> None:
    now = bootstrap.SystemClock().now()
    since = parse_since(options.since, now=now)
    source = bootstrap.dataflow_jobs(
        project=options.project,
        region=options.region,
        endpoint=options.endpoint,
        has_auth=options.has_auth,
    )
    try:
        job_ids = options.job_ids or tuple(source.job_ids(since=since))
        store = bootstrap.open_store(settings)
        asked = bool(options.job_ids)
        try:
            with progress_bar("reading jobs", unit="jobs") as tell:
                for each in sync_jobs(source, job_ids, store, now=now, asks_again=asked):
                    synced.append(each)
                    tell(len(synced), len(job_ids))
        finally:
            store.close()
    finally:
        source.close()


def _tell(settings: Settings | None, options: SyncOptions, synced: list[SyncedJob]) -> None:
    for line in synced_lines(synced):
        say(line)
    if settings is None:
        return
    jobs = [each.job for each in synced if each.job is not None]
    table = jobs_table(jobs, settings.price_book)
    is_for_people = options.output in (OutputFormat.TABLE, OutputFormat.WIDE)
    if table.rows or not is_for_people:
        put(render(table, options.output, on_terminal=is_for_people and is_on_terminal()))


def show_job(job_id: str, output: TextFormat) -> None:
    """Show one recorded job; ends the command where there is none."""
    with reading() as (settings, record):
        job = None if record is None else record.job(job_id)
        if record is None or job is None:
            fail(
                f"unknown job {job_id[:60]!a}: see `ullage get jobs`, or take it over by "
                "`ullage jobs sync --job ID --project P --region R`"
            )
        plan, no_plan = _plan(settings, record, job)
    bill = bill_of(job.facts, settings.price_book, plan)
    described = describe_job(job, bill, plan, no_plan=no_plan)
    match output:
        case TextFormat.JSON:
            put(to_json(described))
        case TextFormat.YAML:
            put(to_yaml(described))
        case TextFormat.TEXT:
            put("".join(f"{visible(line)}\n" for line in job_text(described)))


def _plan(settings: Settings, record: Record, job: RecordedJob) -> tuple[WorkerPlan | None, str]:
    """Return the worker that the job should get now, or why there is none."""
    from ullage.core.view import history_of
    from ullage.policies.workers import PlanRules, plan_worker

    now = bootstrap.SystemClock().now()
    history = history_of(record.runs(job.workload_key, limit=HISTORY_RUNS), at=now)
    if len(history) == 0:
        return None, "no run of this workload has a known need yet"
    try:
        plan = plan_worker(
            job.facts.job,
            history=history,
            policy=bootstrap.worker_policy(),
            asked_at=now,
            prices=settings.price_book.dataflow_in(job.facts.job.region),
            rules=PlanRules(failure_budget_ratio=settings.failure_budget_ratio),
        )
    except ConfigError as error:
        return None, str(error)
    return plan, ""
