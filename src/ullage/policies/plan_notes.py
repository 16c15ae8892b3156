"""The reasons of a worker plan, and what a person should know about the choice. Pure.

Not here: what the launch itself is noted for (`launch_rules`), and the layout of the text
(`outcomes.worker_plan`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ullage.core.launch import LaunchedJob, PlanReason
from ullage.core.machines import smallest_shape
from ullage.core.prices import format_usd
from ullage.core.units import format_bytes, format_quantity
from ullage.policies.launch_rules import hinted_bytes, obeys_hints
from ullage.policies.offers import LEAST_KNOWN_RUNS, Offer, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen, and beside what.

    now: the launch as it is. found: the best. chosen: what the plan takes of the two.
    free: the best had the user given no hint.
    """

    terms: Terms
    now: Offer
    chosen: Offer
    found: Offer
    free: Offer


def reasons_of(job: LaunchedJob, choice: Choice) -> tuple[PlanReason, ...]:
    """Return why the worker is what it is, the deciding reason first."""
    now, chosen = choice.now, choice.chosen
    reasons = [_leading(job, choice)]
    if chosen.layout.vcpus_count == now.layout.vcpus_count:
        if chosen.layout.processes_count < now.layout.processes_count:
            reasons.append(PlanReason.FEWER_PROCESSES)
        if chosen.layout.threads_count < now.layout.threads_count:
            reasons.append(PlanReason.FEWER_THREADS)
    if choice.free.memory_bytes < choice.found.memory_bytes:
        reasons.append(PlanReason.USER_HINT)
    if job.is_prime and chosen is not now:
        reasons.append(PlanReason.HINT_ONLY)
    return tuple(reasons)


def _leading(job: LaunchedJob, choice: Choice) -> PlanReason:
    now, chosen = choice.now, choice.chosen
    if job.keeps_machine:
        return PlanReason.MACHINE_KEPT
    if now.need.is_unknown:
        return PlanReason.REQUEST if job.asks else PlanReason.NOTHING_KNOWN
    if not chosen.is_within(choice.terms):
        return PlanReason.LARGEST
    if chosen is now:
        return PlanReason.KEPT
    return PlanReason.CHEAPER if now.is_within(choice.terms) else PlanReason.SAFER


def notes_on_choice(job: LaunchedJob, choice: Choice, min_ram_bytes: int | None) -> list[str]:
    """Return what a person should know about the choice, in sentences."""
    return [
        *_notes_on_evidence(job, choice),
        *_notes_on_layout(job, choice),
        *_notes_on_hint(job, choice, min_ram_bytes),
        *_notes_on_rest(job, choice),
    ]


def _notes_on_evidence(job: LaunchedJob, choice: Choice) -> Iterator[str]:
    need, leading = choice.chosen.need, _leading(job, choice)
    if leading is PlanReason.NOTHING_KNOWN:
        yield (
            f"No run of {job.key} is known, and the launch asks for no machine: nothing is"
            " changed. This run teaches the next; --worker_machine_type sets a start."
        )
    elif leading is PlanReason.REQUEST:
        yield f"No run of {job.key} is known: the launch keeps what it asks for."
    elif 0 < need.known_count < LEAST_KNOWN_RUNS and choice.now.is_within(choice.terms):
        runs = "1 run" if need.known_count == 1 else f"{need.known_count} runs"
        yield f"Only {runs} with a known peak: memory is not lowered before {LEAST_KNOWN_RUNS}."
    elif need.curve is None and need.known_count == 0 and not need.is_unknown:
        yield (
            "Every known run was cut short or ran out of memory: what a process needs is not"
            f" known, only that it is more; it is given {format_bytes(choice.chosen.limit_bytes)}."
        )
    if need.scale_ratio > 1.0:
        threads = choice.chosen.layout.threads_count
        yield (
            f"Too few runs with this load ({threads} threads per process) are known: need is"
            f" taken to rise in proportion, x {need.scale_ratio:.3g}."
        )
    if leading is PlanReason.LARGEST:
        yield (
            "No possible worker keeps the risk within the budget of"
            f" {choice.terms.budget_ratio:.2%}: this is the one with the least."
        )


def _notes_on_layout(job: LaunchedJob, choice: Choice) -> Iterator[str]:
    now, chosen = choice.now.layout, choice.chosen.layout
    reasons = reasons_of(job, choice)
    if PlanReason.FEWER_PROCESSES in reasons:
        yield (
            "One SDK process per worker, as a last resort: it has the worker's memory for"
            f" itself, and {now.processes_count - 1} of {now.processes_count} vCPUs rest."
        )
    if PlanReason.FEWER_THREADS in reasons:
        yield (
            f"{chosen.threads_count} instead of {now.threads_count} threads per process, as a"
            " last resort: work that waits for others gets slower."
        )
    if choice.now.useful_vcpus_count < now.vcpus_count:
        yield (
            f"{choice.now.useful_vcpus_count:.3g} of the launch's {now.vcpus_count} vCPUs per"
            " worker do work: the others are paid for."
        )
    if job.max_workers_count and chosen.vcpus_count < now.vcpus_count:
        workers = -(-job.max_workers_count * now.vcpus_count // chosen.vcpus_count)
        if choice.now.useful_vcpus_count > chosen.vcpus_count:
            yield f"For the same top speed set --max_num_workers={workers}."
    if choice.chosen.family != choice.now.family:
        yield (
            f"{choice.now.family.upper()} has not so much memory per vCPU;"
            f" {choice.chosen.family.upper()} has, at the same price."
        )


def _notes_on_hint(job: LaunchedJob, choice: Choice, min_ram_bytes: int | None) -> Iterator[str]:
    hint = hinted_bytes(job)
    if min_ram_bytes is not None and min_ram_bytes > hint > 0 and obeys_hints(job):
        yield (
            f"The hint min_ram={format_quantity(hint)} is raised to"
            f" {format_quantity(min_ram_bytes)}: it outranks the machine type."
        )
    more_usd = choice.found.vcpu_hour_usd - choice.free.vcpu_hour_usd
    if choice.free.memory_bytes < choice.found.memory_bytes and more_usd > 0:
        yield (
            f"Your own hint min_ram={format_quantity(hint)} costs {format_usd(more_usd * 100)}"
            f" per 100 vCPU-hours more than {format_bytes(choice.free.memory_bytes)} would; it is"
            " never lowered for you."
        )


def _notes_on_rest(job: LaunchedJob, choice: Choice) -> Iterator[str]:
    found = choice.found
    if job.keeps_machine and found is not choice.now:
        shape = smallest_shape(
            found.family,
            vcpus_count=found.layout.vcpus_count,
            memory_bytes=found.memory_bytes,
        )
        yield (
            f"The machine is kept as you asked; advised is {shape.in_words()} with"
            f" {found.layout.in_words()}, {format_usd(found.vcpu_hour_usd)} per vCPU-hour."
        )
    if job.is_prime and found.memory_bytes < choice.now.memory_bytes:
        yield "A hint cannot lower what Prime starts with."
