"""Jobs of a service in the state store: their latest facts, as rows and back.

Secrets are masked on the way in. Not here: the transaction (`stores.state`), the run that a job
was (`run`, as any other).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from ullage.core.jobs import RecordedJob
from ullage.core.masking import mask_labels, mask_text
from ullage.core.workload import Run
from ullage.stores import rows
from ullage.stores.record_json import from_json, to_json

Execute = Callable[..., sqlite3.Cursor]


def job_row(job: RecordedJob) -> rows.Row:
    """Return the row of a job, secrets masked."""
    job = _masked(job)
    return {
        "project": job.facts.job.project or "",
        "region": job.facts.job.region,
        "job_id": job.facts.job_id,
        "workload_key": job.workload_key,
        "run_id": job.run_id,
        "state": job.facts.state,
        "created_at_us": rows.instant_us(job.facts.created_at),
        "synced_at_us": rows.instant_us(job.synced_at),
        "record_json": to_json(job),
    }


def job(execute: Execute, job_id: str) -> RecordedJob | None:
    """Return a recorded job, or None; of two with one id the one recorded last."""
    query = "SELECT record_json FROM job WHERE job_id = :id ORDER BY synced_at_us DESC LIMIT 1"
    row = execute(query, {"id": job_id}).fetchone()
    return None if row is None else from_json(RecordedJob, row["record_json"])


def job_of_run(execute: Execute, run_id: str) -> RecordedJob | None:
    """Return the job that a run is, or None."""
    query = "SELECT record_json FROM job WHERE run_id = :id LIMIT 1"
    row = execute(query, {"id": run_id}).fetchone()
    return None if row is None else from_json(RecordedJob, row["record_json"])


def jobs(execute: Execute, workload_key: str | None, limit_count: int) -> list[RecordedJob]:
    """Return recorded jobs, created last first."""
    where = "" if workload_key is None else "WHERE workload_key = :key"
    query = f"SELECT record_json FROM job {where} ORDER BY created_at_us DESC, job_id DESC LIMIT :n"  # noqa: S608
    found = execute(query, {"key": workload_key, "n": limit_count}).fetchall()
    return [from_json(RecordedJob, row["record_json"]) for row in found]


def runs_under(execute: Execute, decision_id: str) -> list[Run]:
    """Return the runs that were begun under a decision, oldest first."""
    query = "SELECT * FROM run WHERE decision_id = :id ORDER BY started_at_us, run_id"
    found = execute(query, {"id": decision_id}).fetchall()
    attempts = execute(
        "SELECT * FROM attempt WHERE run_id IN (SELECT run_id FROM run WHERE decision_id = :id)"
        " ORDER BY run_id, number",
        {"id": decision_id},
    ).fetchall()
    return rows.runs_of(found, attempts)


def _masked(job: RecordedJob) -> RecordedJob:
    launched = job.facts.job
    launched = replace(
        launched,
        job_name=mask_text(launched.job_name),
        labels=mask_labels(launched.labels),
        experiments=tuple(map(mask_text, launched.experiments)),
        service_options=tuple(map(mask_text, launched.service_options)),
        features=rows.masked_features(launched.features),
    )
    evidence = tuple(replace(each, text=mask_text(each.text)) for each in job.facts.evidence)
    return replace(job, facts=replace(job.facts, job=launched, evidence=evidence))
