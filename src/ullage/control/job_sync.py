"""Takes jobs of a service back into the record: a job that has ended becomes an ended run.

Doing it twice is doing it once: the run has an id that the job gives it, or it is the run that
the launch has begun under the decision on the job's label. What cannot be read of one job does
not stop the others. Not here: asking the service (`core.ports.JobSource`), what a job becomes
(`core.jobs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from ullage.core.decision import RunDecision
from ullage.core.errors import DataError, PermanentError
from ullage.core.jobs import (
    JobFacts,
    RecordedJob,
    decision_label,
    ended_run,
    known_by_label,
    workload_of,
)
from ullage.core.ports import JobArchive, JobSource, RunArchive, RunReader, StateStore
from ullage.core.workload import Outcome, Run, Workload

SETTLES = timedelta(hours=1)
"""After its end a job's metrics and messages may still change for some minutes."""


class JobRecord(StateStore, RunReader, RunArchive, JobArchive, Protocol):
    """The record, as far as jobs need it."""


class Fate(StrEnum):
    """What came of a job."""

    NEW = "new"
    """Recorded as a run of its own."""
    CLOSED = "closed"
    """The run that its launch had begun has ended."""
    KNOWN = "known"
    """Its run was recorded before."""
    RUNNING = "running"
    """It has not ended: its facts are recorded, no run yet."""
    REFUSED = "refused"
    """What the service says about it cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncedJob:
    """What came of one job. reason: why it was refused."""

    job_id: str
    fate: Fate
    job: RecordedJob | None = None
    reason: str = ""


def sync_jobs(
    source: JobSource,
    job_ids: Iterable[str],
    record: JobRecord,
    *,
    now: datetime,
    asks_again: bool = False,
) -> Iterator[SyncedJob]:
    """Take each job over and yield what came of it.

    A job whose last word is recorded is not asked about again, unless `asks_again`.
    Raises TransientError of the source: what was taken over before stays.
    """
    known = known_by_label([workload for workload, _, _ in record.workloads()])
    for job_id in job_ids:
        before = None if asks_again else record.job(job_id)
        if before is not None and _is_final(before):
            yield SyncedJob(job_id=job_id, fate=Fate.KNOWN, job=before)
            continue
        try:
            facts = source.facts(job_id)
        except (DataError, PermanentError) as error:
            yield SyncedJob(job_id=job_id, fate=Fate.REFUSED, reason=str(error))
            continue
        yield sync_job(facts, record, known=known, now=now)


def sync_job(
    facts: JobFacts, record: JobRecord, *, known: Mapping[str, Workload], now: datetime
) -> SyncedJob:
    """Record a job's facts and, once it has ended, its run."""
    label = decision_label(facts)
    decision = None if label is None else record.decision(label)
    begun = _begun(facts, record, label)
    workload = _workload(facts, begun, decision, known)
    run_id, fate = None if begun is None else begun.run_id, Fate.RUNNING
    if facts.is_ended:
        run, ooms = ended_run(facts, workload, begun=begun, decision=decision, now=now)
        run_id = run.run_id
        if begun is None:
            fate = Fate.NEW if record.add_ended([run], ooms) else Fate.KNOWN
        elif _is_open(begun):
            record.end_run(run, ooms)
            fate = Fate.CLOSED
        else:
            fate = Fate.KNOWN
    job = RecordedJob(facts=facts, synced_at=now, workload_key=workload.key, run_id=run_id)
    record.put_job(job)
    return SyncedJob(job_id=facts.job_id, fate=fate, job=job)


def _is_final(job: RecordedJob) -> bool:
    """Whether a job's facts were read long enough after its end not to change any more."""
    ended_at = job.facts.ended_at
    is_done = job.facts.is_ended and job.run_id is not None and ended_at is not None
    return is_done and ended_at is not None and job.synced_at - ended_at >= SETTLES


def _begun(facts: JobFacts, record: JobRecord, label: str | None) -> Run | None:
    """Return the run that the launch of this very job has begun, if any.

    A template may be launched twice under one label: then the first job to come has the run.
    """
    if label is None:
        return None
    runs = record.run_under(label)
    before = record.job(facts.job_id)
    if before is not None and before.run_id is not None:
        return next((run for run in runs if run.run_id == before.run_id), None)
    mine = (run for run in runs if record.job_of_run(run.run_id) is None)
    return next((run for run in mine if _is_open(run) or run.known_at == facts.ended_at), None)


def _is_open(run: Run) -> bool:
    """Whether a run waits for its end; closed as unknown, because its launcher is gone, it does."""
    return run.known_at is None or run.outcome is Outcome.UNKNOWN


def _workload(
    facts: JobFacts,
    begun: Run | None,
    decision: RunDecision | None,
    known: Mapping[str, Workload],
) -> Workload:
    if begun is not None:
        return begun.workload
    if decision is not None:
        key = decision.question.workload_key
        found = next((each for each in known.values() if each.key == key), None)
        return found or Workload(key=key, key_reason="the decision that the job was launched under")
    return workload_of(facts.job, known)
