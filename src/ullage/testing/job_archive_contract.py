"""What every archive of jobs must do. Subclass it; give `record`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ullage.control.job_sync import JobRecord
from ullage.core.job_cost import JobMetrics
from ullage.core.jobs import JobFacts, OomEvidence, RecordedJob
from ullage.core.launch import LaunchedJob, Sdk
from ullage.core.oom_signals import Surety
from ullage.testing.records import begun_run, one_decision

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def one_job(number: int = 1, *, workload_key: str = "beam/orders") -> RecordedJob:
    """Return a job with every field set, created `number` hours after the first of January."""
    created_at = CREATED_AT + timedelta(hours=number)
    launched = LaunchedJob(
        job_name=f"orders-{number}",
        sdk=Sdk.PYTHON,
        sdk_version="2.77.0",
        region="us-central1",
        project="p",
        machine_type="n1-standard-4",
        threads_count=2,
        experiments=("use_runner_v2",),
        workers_count=3,
        labels={"team": "x"},
    )
    evidence = OomEvidence(
        at=created_at, name="kernel", surety=Surety.DEFINITE, text="killed", need_bytes=7
    )
    facts = JobFacts(
        job_id=f"2026-{number:04d}",
        job=launched,
        state="DONE",
        created_at=created_at,
        started_at=created_at,
        ended_at=created_at + timedelta(minutes=90),
        metrics=JobMetrics(vcpu_hours=1.5, memory_gib_hours=4.0),
        evidence=(evidence,),
        need_peak_bytes=1 << 30,
        lost_vcpu_hours=0.5,
        failed_attempts_count=2,
    )
    return RecordedJob(
        facts=facts,
        synced_at=created_at + timedelta(days=1),
        workload_key=workload_key,
        run_id=f"i-{number}",
    )


class JobArchiveContract:
    """The suite."""

    @pytest.fixture
    def record(self) -> JobRecord:
        """Return an empty archive that is a record too."""
        raise NotImplementedError

    def test_a_job_comes_back_as_it_was(self, record: JobRecord) -> None:
        """Every field is kept."""
        assert record.job("2026-0001") is None
        record.put_job(one_job())
        assert record.job("2026-0001") == one_job()
        assert record.job_of_run("i-1") == one_job()
        assert record.job_of_run("i-2") is None

    def test_the_last_word_counts(self, record: JobRecord) -> None:
        """A job's row is one, however often it is said."""
        record.put_job(one_job())
        later = replace(one_job(), run_id=None, synced_at=CREATED_AT + timedelta(days=9))
        record.put_job(later)
        record.put_job(later)
        assert record.jobs() == [later]

    def test_created_last_comes_first(self, record: JobRecord) -> None:
        """Of all workloads or one, at most so many."""
        for number in (2, 3, 1):
            record.put_job(one_job(number))
        record.put_job(one_job(4, workload_key="beam/other"))
        assert record.jobs() == [
            one_job(4, workload_key="beam/other"),
            *map(one_job, (3, 2, 1)),
        ]
        assert record.jobs("beam/orders", limit=2) == [one_job(3), one_job(2)]
        assert record.jobs("none") == []

    def test_secrets_are_masked(self, record: JobRecord) -> None:
        """In labels and messages alike."""
        job = one_job()
        launched = replace(job.facts.job, labels={"db_password": "hunter22", "team": "x"})
        evidence = (replace(job.facts.evidence[0], text="killed; api_key=hunter22"),)
        record.put_job(replace(job, facts=replace(job.facts, job=launched, evidence=evidence)))
        assert "hunter22" not in repr(record.jobs())
        assert "team" in repr(record.jobs())

    def test_runs_under_a_decision(self, record: JobRecord) -> None:
        """By its id, whether they have ended or not."""
        decision = one_decision()
        run = replace(begun_run(), decision_id=decision.decision_id)
        record.begin_run(run, decision, owner="1")
        assert record.run_under(decision.decision_id) == [run]
        assert record.run_under("d-none") == []
