"""One job of a service in full: what it used, what it cost by part, and at the best shape. Pure.

Texts are hostile until `outcomes.render` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ullage.core.job_cost import JobCost
from ullage.core.jobs import RecordedJob, process_limit, worker_of
from ullage.core.launch import WorkerPlan
from ullage.core.oom_signals import Surety
from ullage.core.prices import format_usd
from ullage.core.units import format_bytes, format_duration
from ullage.outcomes.jobs import JobBill, machine_of, runtime_s
from ullage.outcomes.render import plain

SHOWN_EVIDENCE = 5


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
        "runtime_s": runtime_s(facts),
        "machine_type": machine_of(facts),
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
    lines = [
        f"  ooms      {d['oom_kills_count']} killed" + (f"; {weak} weak signs" if weak else "")
    ]
    lines += [
        f"            {each['at']} {each['surety']} {each['name']}: {each['text'][:90]}"
        for each in d["oom_evidence"][:SHOWN_EVIDENCE]
    ]
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
    change = (
        "the same" if not saved else f"{format_usd(abs(saved))} {'less' if saved > 0 else 'more'}"
    )
    return (
        f"{best['machine_type']} ({reasons}): {format_usd(best['total_usd'])} for as many "
        f"vCPU-hours, {change}"
    )
