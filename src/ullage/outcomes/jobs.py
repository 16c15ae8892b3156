"""Jobs of a service: what each cost, all of them as a table, and what came of taking them over.

Pure. Texts are hostile until `outcomes.render` has them. Not here: one job in full
(`outcomes.job_description`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ullage.control.job_sync import Fate, SyncedJob
from ullage.core.errors import ConfigError
from ullage.core.job_cost import JobCost, OomCost, at_shape, job_cost, oom_cost
from ullage.core.jobs import JobFacts, RecordedJob, process_limit, worker_of
from ullage.core.launch import WorkerPlan
from ullage.core.price_book import PriceBook
from ullage.core.prices import DataflowPrice
from ullage.core.workload import Outcome
from ullage.outcomes.tables import Table, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBill:
    """What a job cost. price_fault: why nothing can be priced."""

    cost: JobCost | None = None
    recommended: JobCost | None = None
    oom: OomCost | None = None
    price_fault: str = ""


def bill_of(facts: JobFacts, book: PriceBook, plan: WorkerPlan | None) -> JobBill:
    """Return what a job cost, what it would have cost at the plan's shape, and its OOM kills."""
    try:
        price = book.dataflow_in(facts.job.region)
    except ConfigError as error:
        return JobBill(price_fault=str(error))
    worker = worker_of(facts.job)
    metrics = None
    if plan is not None:
        before = None if worker is None else worker[0]
        metrics = at_shape(facts.metrics, plan.shape, before=before)
    return JobBill(
        cost=job_cost(facts.metrics, price),
        recommended=None if metrics is None else job_cost(metrics, price),
        oom=_oom_cost(facts, price),
    )


def _oom_cost(facts: JobFacts, price: DataflowPrice) -> OomCost | None:
    if not facts.oom_kills:
        return None
    return oom_cost(
        facts.metrics,
        price,
        lost_vcpu_hours=facts.lost_vcpu_hours,
        is_job_lost=facts.outcome is Outcome.OOM_KILLED,
    )


# -- the list ----------------------------------------------------------------------------------


def jobs_table(jobs: Iterable[RecordedJob], book: PriceBook, *, of: str | None = None) -> Table:
    """Return one row for each job, with its cost where its region has prices."""
    return Table(
        columns=(
            "job_id",
            "name",
            "workload",
            "state",
            "created_at",
            "runtime_s",
            "machine_type",
            "need_peak_bytes",
            "process_limit_bytes",
            "oom_kills_count",
            "cost_usd",
            "region",
            "project",
            "sdk",
            "run_id",
            "synced_at",
        ),
        wide=frozenset({"name", "machine_type", "region", "project", "sdk", "run_id", "synced_at"}),
        rows=tuple(_job_row(job, book) for job in jobs),
        empty="no jobs" + ("" if of is None else f" of {of}") + " yet: try `ullage jobs sync`",
    )


def _job_row(job: RecordedJob, book: PriceBook) -> dict[str, Value]:
    facts, launched = job.facts, job.facts.job
    cost = bill_of(facts, book, None).cost
    return {
        "job_id": facts.job_id,
        "name": launched.job_name,
        "workload": job.workload_key,
        "state": facts.state.lower(),
        "created_at": facts.created_at,
        "runtime_s": runtime_s(facts),
        "machine_type": machine_of(facts),
        "need_peak_bytes": facts.need_peak_bytes,
        "process_limit_bytes": process_limit(launched),
        "oom_kills_count": facts.oom_kills,
        "cost_usd": None if cost is None else cost.total_usd,
        "region": launched.region,
        "project": launched.project,
        "sdk": str(launched.sdk),
        "run_id": job.run_id,
        "synced_at": job.synced_at,
    }


def runtime_s(facts: JobFacts) -> float | None:
    """Return the seconds from start to end, None while it runs."""
    if facts.ended_at is None:
        return None
    return (facts.ended_at - (facts.started_at or facts.created_at)).total_seconds()


def machine_of(facts: JobFacts) -> str | None:
    """Return the machine type: the launch's own, or what the service takes without one."""
    worker = worker_of(facts.job)
    return facts.job.machine_type or (None if worker is None else worker[0].machine_type)


# -- what came of a sync -----------------------------------------------------------------------


def synced_lines(synced: Sequence[SyncedJob]) -> list[str]:
    """Return the account of a sync in words: nothing that was listed is missing from it."""
    counts = {fate: sum(each.fate is fate for each in synced) for fate in Fate}
    lines = [
        f"{len(synced):,} job{'' if len(synced) == 1 else 's'}: {counts[Fate.NEW]:,} new, "
        f"{counts[Fate.CLOSED]:,} of launches under Ullage closed, {counts[Fate.KNOWN]:,} recorded "
        f"before, {counts[Fate.RUNNING]:,} still running"
    ]
    refused = [each for each in synced if each.fate is Fate.REFUSED]
    lines += [f"job {each.job_id} left out: {each.reason}" for each in refused[:20]]
    if len(refused) > 20:
        lines.append(f"... and {len(refused) - 20:,} more left out")
    silent = [
        each
        for each in synced
        if each.fate in (Fate.NEW, Fate.CLOSED)
        and each.job is not None
        and each.job.facts.need_peak_bytes is None
    ]
    if silent:
        lines.append(
            f"{len(silent):,} without the need of their processes: their workers had no agent "
            "(--beam_plugin=ullage_agent, see docs/agent.md)"
        )
    return lines
