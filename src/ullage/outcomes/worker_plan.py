"""A worker plan for people and machines: a block of text, flags, JSON.

Names come from outside: control characters are written out, flags are quoted for a shell.
Not here: the plan itself (`policies.workers`).
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from ullage.core.launch import PlanReason, Sdk, WorkerLayout, WorkerPlan
from ullage.core.machines import MachineShape
from ullage.core.prices import format_usd
from ullage.core.units import format_bytes
from ullage.outcomes.render import visible

PLAN_SCHEMA = 1

_WHY = {
    PlanReason.KEPT: "the launch's own worker is within the budget, and no other saves enough",
    PlanReason.CHEAPER: "it does the same work for less money within the budget",
    PlanReason.SAFER: "the launch's own worker runs out of memory too often",
    PlanReason.LARGEST: "no possible worker is within the budget; this one fails least",
    PlanReason.FEWER_PROCESSES: "one SDK process has the whole worker",
    PlanReason.FEWER_THREADS: "fewer threads share a process",
    PlanReason.USER_HINT: "your own hint asks for more than is needed",
    PlanReason.HINT_ONLY: "Prime takes no machine type, so a hint is sent",
    PlanReason.MACHINE_KEPT: "you asked to keep the machine",
    PlanReason.REQUEST: "nothing is known yet, so the launch gets what it asks for",
    PlanReason.NOTHING_KNOWN: "nothing is known yet, and nothing was asked for",
}
_JAVA_FLAGS = {
    "worker_machine_type": "workerMachineType",
    "number_of_worker_harness_threads": "numberOfWorkerHarnessThreads",
    "resource_hints": "resourceHints",
}
_WIDTH = 9


def plan_text(plan: WorkerPlan) -> str:
    """Return the plan as a block of lines: what, why, risk, money, flags, notes."""
    rows = [
        ("worker", f"{_worker(plan)}, {format_bytes(plan.process_limit_bytes)} per process"),
        ("before", f"{plan.before.in_words()}, {plan.before_layout.in_words()}"),
        ("why", _why(plan)),
        ("risk", _risk(plan)),
        ("money", _money(plan)),
        ("flags", " ".join(plan_flags(plan))),
        *(("note", note) for note in plan.notes),
    ]
    if not _is_changed(plan):
        del rows[1]
    head = f"ullage plan for {plan.job.job_name} ({plan.job.sdk}, {plan.job.region})"
    lines = [head, *(f"  {name:<{_WIDTH}}{text}" for name, text in rows)]
    return "\n".join(visible(line) for line in lines) + "\n"


def plan_flags(plan: WorkerPlan) -> list[str]:
    """Return the flags that a launch command needs, each quoted for a shell, in the SDK's form.

    Java writes option words in camel case, Java and Go take labels as JSON.
    """
    flags: list[str] = []
    is_python = plan.job.sdk is Sdk.PYTHON
    for name, value in plan.options().items():
        word = _JAVA_FLAGS.get(name, name) if plan.job.sdk is Sdk.JAVA else name
        if name == "labels" and not is_python:
            pairs = dict(each.split("=", 1) for each in value)
            merged = {**plan.job.labels, **pairs}
            value = json.dumps(merged, separators=(",", ":"))
        values = (value,) if isinstance(value, str) else value
        flags.extend(shlex.quote(f"--{word}={each}") for each in values)
    return flags


def plan_json(plan: WorkerPlan) -> dict[str, Any]:
    """Return the plan as plain values; schema `PLAN_SCHEMA`, unknown is null."""
    return {
        "schema": PLAN_SCHEMA,
        "job_name": plan.job.job_name,
        "workload": plan.job.key,
        "sdk": str(plan.job.sdk),
        "region": plan.job.region,
        "worker": _machine_json(plan.shape, plan.layout),
        "before": _machine_json(plan.before, plan.before_layout),
        "is_changed": _is_changed(plan),
        "min_ram_bytes": plan.min_ram_bytes,
        "process_limit_bytes": plan.process_limit_bytes,
        "oom_prob": plan.oom_prob,
        "before_oom_prob": plan.before_oom_prob,
        "failure_budget_ratio": plan.decision.question.failure_budget_ratio,
        "vcpu_hour_usd": plan.vcpu_hour_usd,
        "before_vcpu_hour_usd": plan.before_vcpu_hour_usd,
        "expected_usd": plan.expected_usd,
        "before_expected_usd": plan.before_expected_usd,
        "decision_id": plan.decision.decision_id,
        "runs_used": plan.decision.recommendation.runs_used,
        "deciding_run_ids": list(plan.decision.recommendation.deciding_run_ids),
        "reasons": [str(reason) for reason in plan.reasons],
        "notes": list(plan.notes),
        "options": {
            name: value if isinstance(value, str) else list(value)
            for name, value in plan.options().items()
        },
        "flags": plan_flags(plan),
    }


def _machine_json(shape: MachineShape, layout: WorkerLayout) -> dict[str, Any]:
    return {
        "machine_type": shape.machine_type,
        "vcpus_count": shape.vcpus_count,
        "memory_bytes": shape.memory_bytes,
        "processes_count": layout.processes_count,
        "threads_count": layout.threads_count,
    }


def _is_changed(plan: WorkerPlan) -> bool:
    same = plan.shape == plan.before and plan.layout == plan.before_layout
    return not same or plan.min_ram_bytes != plan.job.min_ram_bytes


def _worker(plan: WorkerPlan) -> str:
    layout = plan.layout.in_words()
    if not plan.job.is_prime:
        return f"{plan.shape.in_words()}, {layout}"
    least_bytes = max(plan.min_ram_bytes or 0, plan.shape.memory_bytes)
    return f"chosen by Prime, {format_bytes(least_bytes)} or more, {layout}"


def _why(plan: WorkerPlan) -> str:
    """Return one sentence: the reasons, and the runs that decided."""
    text = "; ".join(_WHY[reason] for reason in plan.reasons)
    answer = plan.decision.recommendation
    if plan.oom_prob is None or not answer.deciding_run_ids:
        return f"{text}."
    runs = "1 run" if answer.runs_used == 1 else f"{answer.runs_used} runs"
    return f"{text}; from {runs}, mostly {', '.join(answer.deciding_run_ids)}."


def _risk(plan: WorkerPlan) -> str:
    if plan.oom_prob is None:
        return "unknown: no known run says what a process needs"
    budget = plan.decision.question.failure_budget_ratio
    text = f"{_percent(plan.oom_prob)} that a worker runs out of memory"
    before = "" if plan.before_oom_prob is None else f"before: {_percent(plan.before_oom_prob)}; "
    return f"{text} ({before}budget: {_percent(budget)})"


def _percent(prob: float) -> str:
    return "less than 0.1 %" if prob < 0.001 else f"{prob * 100:.3g} %"


def _money(plan: WorkerPlan) -> str:
    usd, before = plan.vcpu_hour_usd, plan.before_vcpu_hour_usd
    text = f"{format_usd(usd)} per vCPU-hour of work, {format_usd(usd * 100)} per 100"
    if not _is_changed(plan) or not before > 0:
        return text
    ratio = usd / before - 1.0
    more = "less" if ratio < 0 else "more"
    return (
        f"{text} (before: {format_usd(before)} and {format_usd(before * 100)};"
        f" {abs(ratio):.1%} {more})"
    )
