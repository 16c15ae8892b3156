"""Jobs of a service as a table, and one job in full: what it used, what it cost, what it should.

Pure. Texts are hostile until `outcomes.render` has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullage.control.job_sync import Fate, SyncedJob
from ullage.core.errors import ConfigError
from ullage.core.job_cost import JobCost, OomCost, at_shape, job_cost, oom_cost
from ullage.core.jobs import JobFacts, RecordedJob, process_limit, worker_of
from ullage.core.launch import WorkerPlan
from ullage.core.oom_signals import Surety
from ullage.core.price_book import PriceBook
from ullage.core.prices import DataflowPrice, format_usd
from ullage.core.units import format_bytes, format_duration
from ullage.core.workload import Outcome
from ullage.outcomes.render import plain
from ullage.outcomes.tables import Table, Value

SHOWN_EVIDENCE = 5


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
        "runtime_s": _runtime_s(facts),
        "machine_type": _machine(facts),
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


def _runtime_s(facts: JobFacts) -> float | None:
    if facts.ended_at is None:
        return None
    return (facts.ended_at - (facts.started_at or facts.created_at)).total_seconds()


def _machine(facts: JobFacts) -> str | None:
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


# -- one job -----------------------------------------------------------------------------------


def describe_job(
    job: RecordedJob, bill: JobBill, plan: WorkerPlan | None, *, no_plan: str = ""
) -> dict[str, Any]:
    """Return what is known of a job, plain values; unknown is None. no_plan: why there is none."""
    facts, launched = job.facts, job.facts.job
    worker = worker_of(launched)
    return {
        "job_id": facts.job_id,
        "name": launched.job_name,
        "project": launched.project,
        "region": launched.region,
        "workload": job.workload_key,
        "run_id": job.run_id,
        "state": facts.state.lower(),
        "is_streaming": launched.is_streaming,
        "is_prime": launched.is_prime,
        "is_flexrs": launched.is_flexrs,
        "sdk": str(launched.sdk),
        "sdk_version": launched.sdk_version,
        "created_at": plain(facts.created_at),
        "started_at": plain(facts.started_at),
        "ended_at": plain(facts.ended_at),
        "runtime_s": _runtime_s(facts),
        "machine_type": _machine(facts),
        "processes_count": None if worker is None else worker[1].processes_count,
        "threads_count": None if worker is None else worker[1].threads_count,
        "need_peak_bytes": facts.need_peak_bytes,
        "process_limit_bytes": process_limit(launched),
        "oom_kills_count": facts.oom_kills,
        "oom_evidence": [
            {
                "at": plain(each.at),
                "name": each.name,
                "surety": str(each.surety),
                "need_bytes": each.need_bytes,
                "text": each.text,
            }
            for each in facts.evidence
        ],
        "failed_attempts_count": facts.failed_attempts_count,
        "cost": None if bill.cost is None else _cost_plain(bill.cost),
        "price_fault": bill.price_fault or None,
        "recommended": _recommended_plain(bill, plan, no_plan),
        "oom_cost": None
        if bill.oom is None
        else {
            "lost_vcpu_hours": bill.oom.lost_vcpu_hours,
            "lost_usd": bill.oom.lost_usd,
            "is_job_lost": bill.oom.is_job_lost,
        },
        "synced_at": plain(job.synced_at),
    }


def _cost_plain(cost: JobCost) -> dict[str, Any]:
    return {
        "total_usd": cost.total_usd,
        "is_complete": cost.is_complete,
        "missing": list(cost.missing),
        "parts": [
            {
                "name": part.name,
                "quantity": part.quantity_count,
                "unit": part.unit,
                "price_usd": part.price_usd,
                "cost_usd": part.cost_usd,
                "is_verified": part.is_verified,
            }
            for part in cost.parts
        ],
        "price": f"{cost.price.source}, {cost.price.region}, {cost.price.as_of.isoformat()}",
    }


def _recommended_plain(bill: JobBill, plan: WorkerPlan | None, no_plan: str) -> dict[str, Any]:
    if plan is None:
        return {"machine_type": None, "total_usd": None, "why_not": no_plan or None}
    cost = bill.recommended
    return {
        "machine_type": plan.shape.machine_type,
        "processes_count": plan.layout.processes_count,
        "threads_count": plan.layout.threads_count,
        "reasons": [str(reason) for reason in plan.reasons],
        "total_usd": None if cost is None else cost.total_usd,
        "saved_usd": None
        if cost is None or bill.cost is None
        else bill.cost.total_usd - cost.total_usd,
        "why_not": None,
    }


def job_text(d: Mapping[str, Any]) -> list[str]:
    """Return the description as lines of plain text (not yet escaped for a terminal)."""
    kind = "streaming" if d["is_streaming"] else "batch"
    kind += ", Prime" if d["is_prime"] else ", FlexRS" if d["is_flexrs"] else ""
    runtime = "" if d["runtime_s"] is None else f" after {format_duration(d['runtime_s'])}"
    version = f" {d['sdk_version']}" if d["sdk_version"] else ""
    return [
        f"{d['job_id']}  {d['name']}",
        f"  where     {d['project']}, {d['region']}; {kind}; {d['sdk']}{version}",
        f"  workload  {d['workload']} (run {d['run_id'] or 'not recorded: it has not ended'})",
        f"  state     {d['state']}{runtime}, as of {d['synced_at']}",
        f"  worker    {_worker_words(d)}",
        f"  need      {_need_words(d)}",
        *_oom_words(d),
        *_cost_words(d),
        f"  at best   {_recommended_words(d)}",
    ]


def _worker_words(d: Mapping[str, Any]) -> str:
    if d["processes_count"] is None:
        return f"{d['machine_type']}: a machine that Ullage does not size"
    one = d["processes_count"] == 1
    processes = f"{d['processes_count']} SDK process{'' if one else 'es'}"
    threads = f"{d['threads_count']} thread{'' if d['threads_count'] == 1 else 's'} each"
    return f"{d['machine_type']}, {processes}, {threads}"


def _need_words(d: Mapping[str, Any]) -> str:
    limit = format_bytes(d["process_limit_bytes"])
    if d["need_peak_bytes"] is None:
        return f"unknown: no agent in the workers (docs/agent.md); a process could have {limit}"
    return f"{format_bytes(d['need_peak_bytes'])} in the hottest process of {limit}"


def _oom_words(d: Mapping[str, Any]) -> list[str]:
    weak = sum(each["surety"] == Surety.WEAK for each in d["oom_evidence"])
    lines = [f"  ooms      {d['oom_kills_count']} killed" + (f"; {weak} weak signs" if weak else "")]
    for each in d["oom_evidence"][:SHOWN_EVIDENCE]:
        lines.append(f"            {each['at']} {each['surety']} {each['name']}: {each['text'][:90]}")
    if len(d["oom_evidence"]) > SHOWN_EVIDENCE:
        lines.append(f"            ... {len(d['oom_evidence']) - SHOWN_EVIDENCE} more: -o json")
    if d["oom_cost"] is not None:
        lost = d["oom_cost"]
        what = "the whole job" if lost["is_job_lost"] else "attempts that failed"
        lines.append(
            f"            lost by them: {lost['lost_vcpu_hours']:,.2f} vCPU-hours ({what}), "
            f"{format_usd(lost['lost_usd'])}"
        )
    elif d["oom_kills_count"]:
        lines.append("            what they cost cannot be told: the service keeps no work items")
    return lines


def _cost_words(d: Mapping[str, Any]) -> list[str]:
    cost = d["cost"]
    if cost is None:
        return [f"  cost      unknown: {d['price_fault']}"]
    least = "" if cost["is_complete"] else "at least "
    lines = [f"  cost      {least}{format_usd(cost['total_usd'])} ({cost['price']})"]
    for part in cost["parts"]:
        price, amount = "no price known", "?"
        if part["price_usd"] is not None:
            mark = "" if part["is_verified"] else " (unverified)"
            price, amount = f"{part['price_usd']:g} USD{mark}", format_usd(part["cost_usd"])
        quantity = f"{part['quantity']:,.2f} {part['unit']}"
        lines.append(f"            {part['name']:<10}{quantity:>22} x {price} = {amount}")
    if cost["missing"]:
        lines.append(f"            not reported: {', '.join(cost['missing'])}")
    return lines


def _recommended_words(d: Mapping[str, Any]) -> str:
    best = d["recommended"]
    if best["machine_type"] is None:
        return f"unknown: {best['why_not'] or 'no plan'}"
    reasons = ", ".join(best["reasons"])
    if best["total_usd"] is None:
        return f"{best['machine_type']} ({reasons}); its cost cannot be told"
    saved = best["saved_usd"]
    change = "the same" if not saved else f"{format_usd(abs(saved))} {'less' if saved > 0 else 'more'}"
    return (
        f"{best['machine_type']} ({reasons}): {format_usd(best['total_usd'])} for as many "
        f"vCPU-hours, {change}"
    )
