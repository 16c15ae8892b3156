"""Jobs: the Dataflow source over a wire-level fake of its REST API, and the archive in SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from ullage.control.job_sync import JobRecord
from ullage.core.errors import ConfigError, PermanentError
from ullage.core.ports import JobSource
from ullage.sources.dataflow import DataflowJobs
from ullage.sources.dataflow_values import time_of
from ullage.stores.state import SqliteStateStore
from ullage.testing.fake_dataflow import FakeDataflow, Fault
from ullage.testing.fake_jobs import FakeJob
from ullage.testing.job_archive_contract import JobArchiveContract
from ullage.testing.job_source_contract import JobService, JobSourceContract

pytest.importorskip("google.auth", reason="needs google-auth: it is in requirements/dev.txt")
pytestmark = pytest.mark.dataflow  # there the discovery documents check what is asked, too

FAULTS = {429: Fault.RATE_LIMITED, 500: Fault.INTERNAL, 503: Fault.UNAVAILABLE, 0: Fault.RESET}
METRICS = {
    "TotalVcpuTime": 7200.0,
    "TotalMemoryUsage": 3840 * 7200.0,
    "TotalPdUsage": 250 * 1800.0,
    "TotalSsdUsage": 0.0,
    "BillableShuffleDataProcessed": 0.5,
    "TotalDcuUsage": 2_000_000.0,
}


class Service:
    """Jobs posted to the fake as a launcher posts them."""

    def __init__(self, cloud: FakeDataflow) -> None:
        self.cloud = cloud

    def post(self, body: dict[str, object]) -> str:
        """Post a job and return its id."""
        url = f"{self.cloud.endpoint}/v1b3/projects/p/locations/us-central1/jobs"
        with urlopen(Request(url, data=json.dumps(body).encode(), method="POST")) as answer:
            return str(json.load(answer)["id"])

    def add_job(self, name: str, *, state: str, machine_type: str) -> str:
        """Add a job in a state."""
        pool = {"kind": "harness", **({"machineType": machine_type} if machine_type else {})}
        body = {"name": name, "type": "JOB_TYPE_BATCH", "environment": {"workerPools": [pool]}}
        job_id = self.post(body)
        self.cloud.jobs.move(job_id, "JOB_STATE_RUNNING")
        if state != "RUNNING":
            self.cloud.jobs.move(job_id, f"JOB_STATE_{state}")
        return job_id

    def job(self, job_id: str) -> FakeJob:
        """Return the fake's own job."""
        return self.cloud.jobs.jobs[job_id]

    def created_at(self, job_id: str) -> datetime:
        """Return when it was created."""
        moment = time_of(self.job(job_id).answer["createTime"])
        assert moment is not None
        return moment

    def fail_next(self, status: int) -> None:
        """Let the next request about a job fail."""
        self.cloud.fail_next("jobs.get", FAULTS[status])


@pytest.fixture
def service() -> Iterator[Service]:
    with FakeDataflow() as cloud:
        yield Service(cloud)
        cloud.assert_valid()


@pytest.fixture
def source(service: Service) -> Iterator[DataflowJobs]:
    source = DataflowJobs.open(
        project="p", region="us-central1", endpoint=service.cloud.endpoint, has_auth=False
    )
    yield source
    source.close()


class TestDataflowJobs(JobSourceContract):
    @pytest.fixture
    def service(self, service: JobService) -> JobService:  # type: ignore[override]
        return service

    @pytest.fixture
    def source(self, source: JobSource) -> JobSource:  # type: ignore[override]
        return source


class TestSqliteJobs(JobArchiveContract):
    @pytest.fixture
    def record(self, tmp_path: Path) -> Iterator[JobRecord]:
        store = SqliteStateStore.open(tmp_path / "state" / "state.db")
        yield store
        store.close()


def test_metrics_in_their_units(service: Service, source: DataflowJobs) -> None:
    job_id = service.add_job("orders", state="RUNNING", machine_type="n1-standard-1")
    for name, value in METRICS.items():
        service.cloud.jobs.measure(job_id, name, value)
        service.cloud.jobs.measure(job_id, name, value * 9, {"tentative": "true"})
    metrics = source.facts(job_id).metrics
    assert (metrics.vcpu_hours, metrics.memory_gib_hours, metrics.disk_gib_hours) == (2, 7.5, 125)
    assert (metrics.shuffle_bytes, metrics.dcu_hours) == (0.5 * (1 << 30), 2)
    assert (metrics.ssd_gib_hours, metrics.streaming_bytes) == (None, None)


def test_the_agents_need_is_the_largest_of_all_steps(
    service: Service, source: DataflowJobs
) -> None:
    job_id = service.add_job("orders", state="RUNNING", machine_type="n1-standard-1")
    service.cloud.jobs.distribute(job_id, "ullage", "need_bytes", [1 << 30, 3 << 30])
    service.cloud.jobs.distribute(job_id, "theirs", "need_bytes", [1 << 40])
    service.cloud.jobs.distribute(job_id, "ullage", "worker_usage_bytes", [1 << 41])
    assert source.facts(job_id).need_peak_bytes == 3 << 30


def test_oom_evidence_from_messages(service: Service, source: DataflowJobs) -> None:
    job_id = service.add_job("orders", state="RUNNING", machine_type="n1-standard-1")
    for text in (
        "Starting 3 workers",
        "Out of memory: Killed process 7 (python) anon-rss:2048kB password=hunter22",
        "The worker lost contact with the service.",
    ):
        service.cloud.jobs.say(job_id, text, "JOB_MESSAGE_ERROR")
    facts = source.facts(job_id)
    assert [(each.name, str(each.surety)) for each in facts.evidence] == [
        ("kernel", "definite"),
        ("worker_lost", "weak"),
    ]
    assert facts.oom_kills == 1
    assert facts.evidence[0].need_bytes == 2 << 20
    assert "hunter22" not in repr(facts)


def test_failed_attempts_of_work_items(service: Service, source: DataflowJobs) -> None:
    """Two attempts of half an hour and one of a quarter failed: 1.25 vCPU-hours."""
    job_id = service.add_job("orders", state="RUNNING", machine_type="n1-standard-1")
    assert source.facts(job_id).lost_vcpu_hours is None, "no stages: nobody can tell"
    job = service.job(job_id)
    job.stages = [{"stageId": "F1"}, {"stageId": "F2", "state": "EXECUTION_STATE_NOT_STARTED"}]
    spans = [("FAILED", "10:30"), ("FAILED", "10:30"), ("FAILED", "10:15"), ("SUCCEEDED", "11:00")]
    items = [
        {
            "taskId": f"t{n}",
            "attemptId": str(n),
            "state": f"EXECUTION_STATE_{state}",
            "startTime": "2026-01-01T10:00:00Z",
            "endTime": f"2026-01-01T{end}:00Z",
        }
        for n, (state, end) in enumerate(spans)
    ]
    items.append({"taskId": "t9", "state": "EXECUTION_STATE_FAILED"})
    job.workers = {"F1": [{"workerName": "w1", "workItems": items}]}
    facts = source.facts(job_id)
    assert (facts.lost_vcpu_hours, facts.failed_attempts_count) == (1.25, 3)


def test_what_was_launched(service: Service, source: DataflowJobs) -> None:
    pool = {
        "kind": "local",
        "machineType": "n2-custom-4-24576",
        "numWorkers": 3,
        "numThreadsPerWorker": 2,
        "diskSizeGb": 30,
        "autoscalingSettings": {"maxNumWorkers": 20},
    }
    environment = {
        "workerPools": [{"kind": "shuffle"}, pool],
        "experiments": ["use_runner_v2", "enable_streaming_engine"],
        "serviceOptions": ["enable_prime"],
        "flexResourceSchedulingGoal": "FLEXRS_COST_OPTIMIZED",
        "userAgent": {"name": "Apache Beam SDK for Java", "version": "2.77.0"},
        "sdkPipelineOptions": {
            "options": {
                "experiments": ["no_use_multiple_sdk_containers"],
                "resource_hints": ["min_ram=12GiB"],
            }
        },
    }
    body = {
        "name": "orders",
        "type": "JOB_TYPE_STREAMING",
        "environment": environment,
        "labels": {"team": "x", "api_key": "hunter22"},
    }
    job = source.facts(service.post(body)).job
    assert (str(job.sdk), job.sdk_version, job.region, job.project) == (
        *("java", "2.77.0"),
        *("us-central1", "p"),
    )
    assert job.is_streaming
    assert job.is_prime
    assert job.is_flexrs
    assert job.is_streaming_engine
    assert (job.machine_type, job.threads_count) == ("n2-custom-4-24576", 2)
    assert (job.workers_count, job.max_workers_count, job.disk_bytes) == (3, 20, 30 << 30)
    assert job.min_ram_bytes == 12 << 30
    assert "no_use_multiple_sdk_containers" in job.experiments
    assert job.labels == {"team": "x", "api_key": "***"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"project": "../x"}, "--project"),
        ({"project": ""}, "--project"),
        ({"region": "us central1\n"}, "--region"),
        ({"endpoint": "http://dataflow.example.com"}, "machine"),
        ({"endpoint": "ftp://localhost"}, "https"),
        ({"endpoint": "http://a:b@localhost:1"}, "without a user"),
        ({"endpoint": "http://localhost:99999999"}, "address"),
        ({"endpoint": "http://localhost:1", "has_auth": True}, "unencrypted"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, object], told: str) -> None:
    usual = {"project": "p", "region": "us-central1", "has_auth": False}
    with pytest.raises(ConfigError, match=told):
        DataflowJobs.open(**{**usual, **options})  # type: ignore[arg-type]


def test_no_credentials_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="gcloud auth application-default login"):
        DataflowJobs.open(project="p", region="us-central1")


def test_nobody_listens_there() -> None:
    from ullage.core.errors import TransientError

    source = DataflowJobs.open(
        project="p", region="us-central1", endpoint="http://127.0.0.1:1", has_auth=False
    )
    with pytest.raises(TransientError, match="does not answer"):
        source.facts("j")
    source.close()


def test_only_reading_methods_are_called(service: Service, source: DataflowJobs) -> None:
    source.facts(service.add_job("orders", state="DONE", machine_type=""))
    list(source.job_ids())
    verbs = {each.verb for each in service.cloud.seen if not each.method_id.endswith("create")}
    assert verbs == {"GET"}


def test_another_region_is_another_place(service: Service) -> None:
    job_id = service.add_job("orders", state="DONE", machine_type="")
    elsewhere = DataflowJobs.open(
        project="p", region="europe-west1", endpoint=service.cloud.endpoint, has_auth=False
    )
    with pytest.raises(PermanentError, match="check project, region"):
        elsewhere.facts(job_id)
    elsewhere.close()
