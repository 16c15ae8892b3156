"""Which worker a Dataflow job should get: machine type, vCPUs, processes, threads, hint. Pure.

Reads as: check, what the launch would get, what a process needs under each layout, the
cheapest worker whose risk is within the budget, and why. Money, not gigabytes, decides:

    usd(v, M) = (v x vCPU-hour + M x GiB-hour + D x disk-hour) / useful vCPUs
    useful vCPUs = min(v, processes x threads, vCPUs that past jobs kept busy)
    expected = usd x (1 + risk x rerun share)
    risk = P(need of the hottest process > (M - overhead) / processes)

The last one is conservative: it asks every process of a worker to be as hungry as the
hottest of the job at once. Batch work is taken to need the same vCPU-hours whatever the
size of the worker. Not here: rules of the service (`launch_rules`), needs (`layouts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, takewhile

from ullage.core.allocation import Bounds
from ullage.core.decision import RunQuestion
from ullage.core.errors import ConfigError
from ullage.core.launch import (
    OVERHEAD_BYTES,
    LaunchedJob,
    Sdk,
    WorkerLayout,
    WorkerPlan,
    service_disk,
    service_layout,
)
from ullage.core.machines import FAMILIES, MachineShape, smallest_shape
from ullage.core.ports import RunPolicy
from ullage.core.prices import DATAFLOW, DataflowPrice
from ullage.core.units import GIB
from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.policies.launch_rules import (
    check_launch,
    families_of,
    hinted_bytes,
    notes_on_launch,
    obeys_hints,
    shape_before,
)
from ullage.policies.layouts import NeedReader
from ullage.policies.offers import (
    LEAST_KNOWN_RUNS,
    Offer,
    Terms,
    best_of,
    offer_at,
    safest_of,
)
from ullage.policies.plan_notes import Choice, notes_on_choice, reasons_of

MEMORY_GAIN_RATIO = 0.01
"""A change of memory alone has to save so much: machine types do not flutter."""
STREAMING_STRICTNESS = 4.0
"""A batch job gives a work item 4 attempts, then fails; a streaming job retries for ever. So in
streaming the budget is a quarter, and a failure counts four times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """What a user may set about the choice of a worker."""

    failure_budget_ratio: float = 0.02
    """The highest chance that a batch worker runs out of memory; streaming has a quarter of it."""
    gain_ratio: float = 0.05
    """Other vCPUs, processes or threads have to save so much."""
    overhead_bytes: int = OVERHEAD_BYTES
    busy_vcpus_count: float | None = None
    """vCPUs that a worker of past jobs kept busy at most, where that was measured."""

    def __post_init__(self) -> None:
        if not 0.0 < self.failure_budget_ratio < 1.0:
            raise ConfigError(f"a failure budget of {self.failure_budget_ratio}: take 0.02")
        if not 0.0 <= self.gain_ratio < 1.0:
            raise ConfigError(f"a least gain of {self.gain_ratio}: take 0.05")
        if self.overhead_bytes < 0:
            raise ConfigError("a worker's overhead is below 0; take 1GiB")
        if self.busy_vcpus_count is not None and not self.busy_vcpus_count > 0.0:
            raise ConfigError("busy vCPUs have to be above 0; leave them out where unknown")

    def budget(self, job: LaunchedJob) -> float:
        """Return the chance that is allowed for this job."""
        return self.failure_budget_ratio / (STREAMING_STRICTNESS if job.is_streaming else 1.0)


DEFAULT_RULES = PlanRules()


def plan_worker(
    job: LaunchedJob,
    *,
    history: RunHistory,
    policy: RunPolicy,
    asked_at: datetime,
    related: RunHistory | None = None,
    prices: DataflowPrice = DATAFLOW,
    rules: PlanRules = DEFAULT_RULES,
) -> WorkerPlan:
    """Return the worker that `job` should get; same arguments, same plan.

    `policy` should tell its needs (UllageRunPolicy(tells_needs=True)); of another the
    staircase of its ladder is used. Raises ConfigError for a launch that cannot be.
    """
    check_launch(job)
    before = shape_before(job)
    layout = service_layout(job, before.vcpus_count)
    terms = _terms(job, prices, rules)
    reader = NeedReader(
        history,
        _question(job, before, layout, asked_at=asked_at, rules=rules),
        policy,
        related=related,
        before=layout,
    )
    now = offer_at(terms, layout, reader.need(layout), before.family, before.memory_bytes)
    terms = replace(terms, least_limit_bytes=_least_limit(now))
    found = _choice(job, terms, reader, now, before)
    free = found
    if terms.floor_bytes:
        free = _choice(job, replace(terms, floor_bytes=0), reader, now, before)
    chosen = now if job.keeps_machine else found
    plan = _plan(job, before, now, chosen)
    choice = Choice(terms=terms, now=now, chosen=chosen, found=found, free=free)
    return replace(
        plan,
        reasons=reasons_of(job, choice),
        notes=(*notes_on_launch(job, before), *notes_on_choice(job, choice, plan.min_ram_bytes)),
    )


def _terms(job: LaunchedJob, prices: DataflowPrice, rules: PlanRules) -> Terms:
    vcpu_hour = prices.streaming_vcpu_hour_usd if job.is_streaming else prices.batch_vcpu_hour_usd
    return Terms(
        vcpu_hour_usd=vcpu_hour,
        gib_hour_usd=prices.memory_gib_hour_usd,
        disk_hour_usd=service_disk(job) / GIB * prices.disk_gib_hour_usd,
        budget_ratio=rules.budget(job),
        rerun_ratio=STREAMING_STRICTNESS if job.is_streaming else 1.0,
        gain_ratio=rules.gain_ratio,
        overhead_bytes=rules.overhead_bytes,
        busy_vcpus_count=rules.busy_vcpus_count,
        floor_bytes=hinted_bytes(job) if obeys_hints(job) else 0,
    )


def _question(
    job: LaunchedJob,
    before: MachineShape,
    layout: WorkerLayout,
    *,
    asked_at: datetime,
    rules: PlanRules,
) -> RunQuestion:
    """Return the question about one SDK process: no growth in place, a rerun by hand."""
    family = FAMILIES[before.family]
    top = max(family.top_bytes(before.vcpus_count), before.memory_bytes)
    own = max((before.memory_bytes - rules.overhead_bytes) // layout.processes_count, 1)
    labels = {"sdk": str(job.sdk), "runner": "dataflow"}
    if job.sdk_version is not None:
        labels["sdk_version"] = job.sdk_version
    numbers = dict(job.features.numbers)
    if job.workers_count is not None:
        numbers["workers_count"] = float(job.workers_count)
    return RunQuestion(
        workload_key=job.key,
        asked_at=asked_at,
        features=Features(
            numbers=numbers,
            labels={**job.features.labels, **labels},
            sources=job.features.sources,
        ),
        bounds=Bounds(ceiling_bytes=max(top // layout.processes_count, own)),
        request_bytes=own if job.asks else None,
        default_bytes=own,
        attempts_left=1,
        can_grow=False,
        failure_budget_ratio=rules.budget(job),
    )


def _least_limit(now: Offer) -> int:
    """Return the memory below which no process may come: its own, where little is known."""
    return now.limit_bytes if now.need.known_count < LEAST_KNOWN_RUNS else 1


def _choice(
    job: LaunchedJob, terms: Terms, reader: NeedReader, now: Offer, before: MachineShape
) -> Offer:
    """Return the cheapest worker within the budget; of equal worth the launch's own.

    Where nothing at all is known nothing changes. Where none is within it: one SDK process
    or fewer threads as the last resort, else the worker with the least risk.
    """
    if now.need.is_unknown:
        return now
    if job.is_prime:
        terms = replace(terms, floor_bytes=max(terms.floor_bytes, before.memory_bytes))
    families = families_of(job, before)
    layouts = [now.layout] if job.is_prime else _layouts(job, now, families)
    for family in families:
        found = [best_of(terms, each, reader.need(each), family) for each in layouts]
        chosen = _steadiest(terms, now, [offer for offer in found if offer is not None])
        if chosen is not None:
            return chosen
    last = [] if job.is_prime else _last_resorts(job, now.layout, reader)
    resorts = [best_of(terms, each, reader.need(each), families[-1]) for each in last]
    within = [offer for offer in resorts if offer is not None]
    if within:
        return min(within, key=lambda offer: offer.expected_usd)
    safest = [
        safest_of(terms, each, reader.need(each), family)
        for family in families
        for each in (*layouts, *last)
    ]
    rest = [offer for offer in safest if offer is not None]
    if now.memory_bytes >= terms.floor_bytes:
        rest.insert(0, now)
    return min(rest, key=lambda offer: (offer.oom_prob, -offer.limit_bytes, offer.expected_usd))


def _steadiest(terms: Terms, now: Offer, found: list[Offer]) -> Offer | None:
    """Return what to take of workers within the budget: no change that does not pay."""
    own = [offer for offer in found if offer.layout == now.layout]
    chosen = now if now.is_within(terms) else None
    if chosen is not None and now.need.known_count < LEAST_KNOWN_RUNS:
        return now
    for offer in own:
        worth = 1.0 if chosen is None else 1.0 - MEMORY_GAIN_RATIO
        if chosen is None or offer.expected_usd < worth * chosen.expected_usd:
            chosen = offer
    if not found:
        return chosen
    cheapest = min(found, key=lambda offer: offer.expected_usd)
    if chosen is None or cheapest.expected_usd < (1.0 - terms.gain_ratio) * chosen.expected_usd:
        return cheapest
    return chosen


def _layouts(job: LaunchedJob, now: Offer, families: tuple[str, ...]) -> list[WorkerLayout]:
    """Return the launch's own layout, double its vCPUs, every half, and as many as are useful."""
    own = now.layout.vcpus_count
    halves = takewhile(bool, (own >> steps for steps in count(1)))
    wanted = {2 * own, math.ceil(now.useful_vcpus_count), *halves}
    possible = [
        {*FAMILIES[family].custom_vcpus_count, *FAMILIES[family].series_mib["standard"]}
        for family in families
    ]
    others = sorted(
        {
            min((vcpus for vcpus in each if vcpus >= least), default=own)
            for each in possible
            for least in wanted
        }
        - {own}
    )
    return [now.layout, *(service_layout(job, vcpus) for vcpus in others)]


def _last_resorts(job: LaunchedJob, layout: WorkerLayout, reader: NeedReader) -> list[WorkerLayout]:
    """Return layouts that trade throughput for memory per process.

    Fewer threads only where past runs had so few: else nothing says what they would need.
    """
    fewer = [n for n in reader.seen_threads() if n < layout.threads_count]
    found = [replace(layout, threads_count=n) for n in fewer]
    if job.sdk is Sdk.PYTHON and layout.processes_count > 1:
        found.append(replace(layout, processes_count=1))
    return found


def _plan(job: LaunchedJob, before: MachineShape, now: Offer, chosen: Offer) -> WorkerPlan:
    """Return the plan for a choice, without its reasons and notes."""
    shape, min_ram = before, job.min_ram_bytes
    if job.is_prime:
        if chosen.memory_bytes > max(before.memory_bytes, hinted_bytes(job)):
            min_ram = chosen.memory_bytes
    elif chosen is not now:
        shape = smallest_shape(
            chosen.family,
            vcpus_count=chosen.layout.vcpus_count,
            memory_bytes=chosen.memory_bytes,
        )
        if obeys_hints(job) and 0 < hinted_bytes(job) < shape.memory_bytes:
            min_ram = shape.memory_bytes
    is_known = chosen.need.curve is not None
    return WorkerPlan(
        job=job,
        before=before,
        before_layout=now.layout,
        shape=shape,
        layout=chosen.layout,
        min_ram_bytes=min_ram,
        process_limit_bytes=chosen.limit_bytes,
        oom_prob=chosen.oom_prob if is_known else None,
        before_oom_prob=now.oom_prob if now.need.curve is not None else None,
        vcpu_hour_usd=chosen.vcpu_hour_usd,
        before_vcpu_hour_usd=now.vcpu_hour_usd,
        decision=chosen.need.settle(chosen.limit_bytes),
        reasons=(),
        expected_usd=chosen.expected_usd,
        before_expected_usd=now.expected_usd,
    )
