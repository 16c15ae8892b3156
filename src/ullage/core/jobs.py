"""A job of a service (Dataflow), as its facts tell it, and the run that it was. Pure.

A job is one run of its workload with one attempt. Its peak is the need of its hottest SDK
process, which the worker agent reports; OOM kills make it a lower bound. Not here: asking the
service (`sources.dataflow`), what a job costs (`core.job_cost`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ullage.core.beam_key import PREFIX, beam_workload_key
from ullage.core.decision import RunDecision
from ullage.core.errors import ConfigError
from ullage.core.ids import make_imported_run_id
from ullage.core.job_cost import JobMetrics
from ullage.core.launch import (
    DECISION_LABEL,
    OVERHEAD_BYTES,
    WORKLOAD_LABEL,
    LaunchedJob,
    WorkerLayout,
    label_value,
    service_layout,
    service_shape,
)
from ullage.core.machines import MachineShape, parse_machine_type
from ullage.core.oom_signals import Surety
from ullage.core.recorded import believed_bytes, clean_features
from ullage.core.telemetry import Attribution, OomEvent
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload

OUTCOMES: Mapping[str, Outcome] = {
    "DONE": Outcome.OK,
    "DRAINED": Outcome.OK,
    "FAILED": Outcome.ERROR,
    "CANCELLED": Outcome.INTERRUPTED,
    "UPDATED": Outcome.INTERRUPTED,
}
"""State of a job that has ended -> how it ended. Replaced by another job: stopped before its
end, as a cancelled one; its peak is a lower bound."""


SAME_KILL = timedelta(minutes=1)
"""Messages of one OOM kill come within this span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OomEvidence:
    """A message that tells of an OOM kill: when, what, how surely, and its words (masked)."""

    at: datetime
    name: str
    surety: Surety
    text: str
    need_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OomMoment:
    """OOM kills within a minute. need_bytes: the most that a killed process had, if told."""

    at: datetime
    kills: int
    need_bytes: int | None


def oom_moments(evidence: Iterable[OomEvidence]) -> tuple[OomMoment, ...]:
    """Return the OOM kills behind messages, each counted once, in order of time.

    One kill is told of by several: the kernel, the harness, the container. So within a minute
    the most told-of kind counts, not the sum. Weak signs are no kills.
    """
    groups: list[list[OomEvidence]] = []
    for each in sorted(evidence, key=lambda one: (one.at, one.name)):
        if each.surety is Surety.WEAK:
            continue
        if not groups or each.at - groups[-1][0].at > SAME_KILL:
            groups.append([])
        groups[-1].append(each)
    return tuple(
        OomMoment(
            at=group[0].at,
            kills=max(Counter(each.name for each in group).values()),
            need_bytes=max((each.need_bytes or 0 for each in group), default=0) or None,
        )
        for group in groups
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What the service says about a job. None = it does not say. state: "RUNNING", "DONE" ..."""

    job_id: str
    job: LaunchedJob
    state: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    """When it came into its last state, for a job that has ended."""
    metrics: JobMetrics = field(default_factory=JobMetrics)
    evidence: tuple[OomEvidence, ...] = ()
    need_peak_bytes: int | None = None
    """The need of the hottest SDK process, by the worker agent's metric."""
    lost_vcpu_hours: float | None = None
    """Of work items whose attempt failed, at one vCPU each."""
    failed_attempts_count: int | None = None

    @property
    def is_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in OUTCOMES and self.ended_at is not None

    @property
    def oom_kills(self) -> int:
        """OOM kills that are told of definitely or strongly: weak signs are no kills."""
        return sum(each.kills for each in oom_moments(self.evidence))

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs. Failed after OOM kills, it failed by them."""
        outcome = OUTCOMES.get(self.state) if self.is_ended else None
        return Outcome.OOM_KILLED if outcome is Outcome.ERROR and self.oom_kills else outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJob:
    """A job as it is recorded: its facts at `synced_at`, and the run that it is."""

    facts: JobFacts
    synced_at: datetime
    workload_key: str
    run_id: str | None
    """None while it runs, if no launch of ours has begun a run for it."""


def worker_of(job: LaunchedJob) -> tuple[MachineShape, WorkerLayout] | None:
    """Return a job's worker and how it is used, None for a machine that Ullage does not know."""
    try:
        named = job.machine_type
        shape = service_shape(job) if named is None else parse_machine_type(named)
    except ConfigError:
        return None
    return shape, service_layout(job, shape.vcpus_count)


def process_limit(job: LaunchedJob) -> int | None:
    """Return the memory that one SDK process could have: (worker - overhead) / processes.

    Worked: n1-standard-4, Python: (15 GiB - 1 GiB) / 4 = 3.5 GiB. None where the service
    chooses the memory itself (Prime), and for a machine that Ullage does not know.
    """
    worker = None if job.is_prime else worker_of(job)
    if worker is None:
        return None
    shape, layout = worker
    limit_bytes = (shape.memory_bytes - OVERHEAD_BYTES) // layout.processes_count
    return limit_bytes if limit_bytes > 0 else None


def workload_of(job: LaunchedJob, known: Mapping[str, Workload]) -> Workload:
    """Return the workload that a job is a run of. known: label value -> recorded workload.

    By its label `ullage-workload`, which a launch under Ullage sets, else by its masked name.
    """
    label = job.labels.get(WORKLOAD_LABEL)
    if label:
        found = known.get(label)
        key = beam_workload_key(label) if found is None else found.key
        return found or Workload(key=key, key_reason=f"label {WORKLOAD_LABEL} of the job")
    key = beam_workload_key(job.job_name)
    return Workload(key=key, key_reason="the job's name without dates, counters and random parts")


def known_by_label(workloads: list[Workload]) -> dict[str, Workload]:
    """Return label value -> workload, for Beam's workloads first."""
    ordered = sorted(workloads, key=lambda each: each.key.startswith(PREFIX))
    return {label_value(each.key.removeprefix(PREFIX)): each for each in ordered}


def features_of(job: LaunchedJob) -> Features:
    """Return what was known of a job before it started."""
    numbers = dict(job.features.numbers)
    worker = worker_of(job)
    if worker is not None:
        _, layout = worker
        numbers["vcpus_count"] = float(layout.vcpus_count)
        numbers["processes_count"] = float(layout.processes_count)
        numbers["threads_count"] = float(layout.threads_count)
    if job.workers_count is not None:
        numbers["workers_count"] = float(job.workers_count)
    labels = {**job.features.labels, "sdk": str(job.sdk), "runner": "dataflow"}
    if job.sdk_version is not None:
        labels["sdk_version"] = job.sdk_version
    return clean_features(numbers, labels, source="the job's facts")


def job_run_id(facts: JobFacts) -> str:
    """Return the id of the run of a job that no launch of ours has begun: always the same."""
    job = facts.job
    return make_imported_run_id(("dataflow", job.project or "", job.region, facts.job_id))


def decision_label(facts: JobFacts) -> str | None:
    """Return the label that joins a job with the decision it was launched under."""
    return facts.job.labels.get(DECISION_LABEL) or None


def ended_run(
    facts: JobFacts,
    workload: Workload,
    *,
    now: datetime,
    begun: Run | None = None,
    decision: RunDecision | None = None,
) -> tuple[Run, tuple[OomEvent, ...]]:
    """Return the run of a job that has ended, with its OOM events.

    begun: the run that its launch has recorded; it keeps its id, decision and features.
    decision: the recorded decision that it was launched under.
    The peak is the agent's; an OOM kill needed at least what one process could have, or what
    the kernel says the process had.
    """
    assert facts.ended_at is not None
    attempt = _attempt(facts, facts.ended_at)
    limit_bytes, started_at = attempt.limit_bytes, attempt.started_at
    known_at = min(facts.ended_at, now)
    if begun is not None:
        known_at = max(known_at, begun.started_at)
        run = replace(begun, known_at=known_at, outcome=facts.outcome, attempts=(attempt,))
        if decision is not None:
            from ullage.core.scoring import expert_costs_gbh  # numpy: lists need none of it

            run = replace(run, expert_costs=expert_costs_gbh(decision, run))
    else:
        run = Run(
            run_id=job_run_id(facts),
            workload=workload,
            started_at=started_at,
            known_at=max(known_at, started_at),
            features=features_of(facts.job),
            control=ControlKind.DATAFLOW,
            outcome=facts.outcome,
            exit_code=None,
            attempts=(attempt,),
        )
    return run, _oom_events(facts, run, limit_bytes, _attribution(decision, limit_bytes))


def _attempt(facts: JobFacts, ended_at: datetime) -> Attempt:
    """Return the one attempt that a job is."""
    assert facts.outcome is not None
    started_at = min(facts.started_at or facts.created_at, ended_at)
    limit_bytes = process_limit(facts.job)
    return Attempt(
        number=1,
        started_at=started_at,
        limit_bytes=limit_bytes,
        final_limit_bytes=limit_bytes,
        peak_bytes=_peak_bytes(facts, limit_bytes),
        runtime=ended_at - started_at,
        outcome=facts.outcome,
        exit_code=None,
        oom_kills=facts.oom_kills,
    )


def _peak_bytes(facts: JobFacts, limit_bytes: int | None) -> int | None:
    moments = oom_moments(facts.evidence)
    needs = [each.need_bytes or limit_bytes for each in moments]
    needs.append(believed_bytes(facts.need_peak_bytes))
    return max((need for need in needs if need is not None), default=None)


def _attribution(decision: RunDecision | None, limit_bytes: int | None) -> Attribution:
    """Return whose doing the OOM kills of a job are: ours where we gave it less than it asked."""
    if decision is None:
        return Attribution.ORGANIC
    asked_bytes = decision.question.default_bytes
    if asked_bytes is None or limit_bytes is None:
        return Attribution.UNKNOWN
    return Attribution.ULLAGE if limit_bytes < asked_bytes else Attribution.ORGANIC


def _oom_events(
    facts: JobFacts, run: Run, limit_bytes: int | None, attribution: Attribution
) -> tuple[OomEvent, ...]:
    """Return one event for each moment of OOM kills."""
    return tuple(
        OomEvent(
            run_id=run.run_id,
            workload_key=run.workload.key,
            attempt=1,
            at=each.at,
            at_least_bytes=each.need_bytes or limit_bytes,
            limit_bytes=limit_bytes,
            kills=each.kills,
            attribution=attribution,
        )
        for each in oom_moments(facts.evidence)
    )
