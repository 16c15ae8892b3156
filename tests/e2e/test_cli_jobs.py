"""`ullage jobs sync`, `get jobs`, `describe job` as they are typed, over a fake of the service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from conftest import Cli
from ullage.testing.fake_dataflow import FakeDataflow, Fault

pytest.importorskip("google.auth", reason="needs google-auth: it is in requirements/dev.txt")
pytestmark = pytest.mark.dataflow  # there the discovery documents check what is asked, too

METRICS = {
    "TotalVcpuTime": 360_000.0,
    "TotalMemoryUsage": 3840 * 360_000.0,
    "TotalPdUsage": 2500 * 3600.0,
    "BillableShuffleDataProcessed": 50.0,
}
"""100 vCPU-hours, 375 GiB-hours, 2,500 GiB-hours of disk, 50 GiB: 7.618875 USD by hand."""


class Cloud:
    """The fake, and `ullage jobs sync` against it."""

    def __init__(self, fake: FakeDataflow, cli: Cli) -> None:
        self.fake = fake
        self.cli = cli

    def job(self, name: str, *needs: int, state: str = "DONE", **more: object) -> str:
        """Add a job that used METRICS and whose processes needed so many bytes."""
        pool = {"kind": "harness", "machineType": "n1-standard-4", "numWorkers": 3}
        body = {
            "name": name,
            "type": "JOB_TYPE_BATCH",
            "environment": {"workerPools": [pool]},
            **more,
        }
        url = f"{self.fake.endpoint}/v1b3/projects/p/locations/us-central1/jobs"
        with urlopen(Request(url, data=json.dumps(body).encode(), method="POST")) as answer:
            job_id = str(json.load(answer)["id"])
        self.fake.jobs.move(job_id, "JOB_STATE_RUNNING")
        for metric, value in METRICS.items():
            self.fake.jobs.measure(job_id, metric, value)
        if needs:
            self.fake.jobs.distribute(job_id, "ullage", "need_bytes", list(needs))
        if state != "RUNNING":
            self.fake.jobs.move(job_id, f"JOB_STATE_{state}")
        return job_id

    def sync(self, *options: object) -> subprocess.CompletedProcess[str]:
        """Run `ullage jobs sync` with the fake's address."""
        place = ("--project", "p", "--region", "us-central1", "--since", "2025-01-01")
        where = ("--endpoint", self.fake.endpoint, "--no-auth")
        return self.cli("jobs", "sync", *place, *where, *options)


@pytest.fixture
def cloud(cli: Cli) -> Iterator[Cloud]:
    with FakeDataflow() as fake:
        yield Cloud(fake, cli)
        fake.assert_valid()


def _json(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def test_jobs_become_runs_and_twice_is_once(cloud: Cloud) -> None:
    for day in range(1, 5):
        cloud.job(f"orders-2026-01-0{day}", 10**9 + day * 10**7)
    cloud.job("orders-2026-01-05", state="RUNNING")
    first = cloud.sync()
    assert first.stderr.splitlines() == [
        "ullage: 5 jobs: 4 new, 0 of launches under Ullage closed, 0 recorded before, "
        "1 still running"
    ]
    assert len(first.stdout.splitlines()) == 6
    assert "0 new, 0 of launches under Ullage closed, 4 recorded before" in cloud.sync().stderr
    (row,) = _json(cloud.cli("get", "workloads", "-o", "json"))
    assert (row["workload"], row["runs_count"]) == ("beam/orders", 4)
    jobs = _json(cloud.cli("get", "jobs", "-o", "json"))
    assert [job["state"] for job in jobs] == ["running", *["done"] * 4]
    assert jobs[1]["cost_usd"] == pytest.approx(7.618875)
    assert jobs[1]["need_peak_bytes"] == 10**9 + 4 * 10**7
    assert len(_json(cloud.cli("get", "jobs", "beam/orders", "-o", "json", "--limit", "2"))) == 2


def test_describe_job_says_what_it_cost_and_what_it_should(cloud: Cloud) -> None:
    ids = [cloud.job(f"orders-2026-01-0{day}", 10**9) for day in range(1, 8)]
    cloud.sync()
    (told,) = [json.loads(cloud.cli("describe", "job", ids[0], "-o", "json").stdout)]
    parts = {part["name"]: part["cost_usd"] for part in told["cost"]["parts"]}
    assert parts == pytest.approx({"vCPU": 5.6, "memory": 1.333875, "disk": 0.135, "shuffle": 0.55})
    assert told["cost"]["total_usd"] == pytest.approx(7.618875)
    best = told["recommended"]
    assert best["machine_type"] != "n1-standard-4"
    assert best["total_usd"] < 7.618875
    assert best["saved_usd"] == pytest.approx(7.618875 - best["total_usd"])
    text = cloud.cli("describe", "job", ids[0]).stdout
    assert "7.62 USD" in text
    assert "100.00 vCPU-hours x 0.056 USD = 5.60 USD" in text
    assert "0.95 GiB" in text or "954 MiB" in text


def test_an_oom_and_what_it_cost(cloud: Cloud) -> None:
    job_id = cloud.job("orders", 10**9, state="RUNNING")
    cloud.fake.jobs.say(job_id, "SDK harness sdk-0-0 exited: signal: killed", "JOB_MESSAGE_ERROR")
    cloud.fake.jobs.move(job_id, "JOB_STATE_FAILED")
    cloud.sync()
    (oom,) = _json(cloud.cli("get", "ooms", "-o", "json"))
    assert (oom["workload"], oom["limit_bytes"]) == ("beam/orders", int(3.5 * (1 << 30)))
    text = cloud.cli("describe", "job", job_id).stdout
    assert "1 killed" in text
    assert "100.00 vCPU-hours (the whole job), 7.62 USD" in text


def test_hostile_names_and_secrets(cloud: Cloud) -> None:
    hostile = "x\x1b[31m\n=cmd()"
    job_id = cloud.job(hostile, 10**9, labels={"api_key": "hunter22"}, state="RUNNING")
    cloud.fake.jobs.say(job_id, "OOMKilled \x1b]0;owned\x07 password=hunter22")
    cloud.fake.jobs.move(job_id, "JOB_STATE_DONE")
    outs = [cloud.sync(), cloud.cli("describe", "job", job_id)]
    outs += [cloud.cli("get", "jobs", "-o", form) for form in ("wide", "json", "yaml", "csv")]
    for done in outs:
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert "\x1b" not in told
        assert "\x07" not in told
        assert "hunter22" not in told
    state = cloud.cli.folder / "state"
    assert not [file for file in state.iterdir() if b"hunter22" in file.read_bytes()]


def test_only_these_jobs(cloud: Cloud) -> None:
    first, _ = cloud.job("a", 10**9), cloud.job("b", 10**9)
    assert [row["job_id"] for row in _json(cloud.sync("--job", first, "-o", "json"))] == [first]
    gone = cloud.sync("--job", "gone", "--job", first)
    assert gone.returncode == 0
    assert "job gone left out: there is no p/us-central1/gone" in gone.stderr
    alone = cloud.sync("--job", "gone")
    assert alone.returncode == 1
    assert "none of these jobs was recorded" in alone.stderr


def test_a_service_that_is_busy_says_when_to_come_back(cloud: Cloud) -> None:
    for name in ("a", "b", "c"):
        cloud.job(name, 10**9)
    assert cloud.sync("--job", "2026-01-01_00_00_00-0000000000000000001").returncode == 0
    cloud.fake.fail_next("jobs.getMetrics", Fault.RATE_LIMITED)
    done = cloud.sync()
    assert done.returncode == 1
    assert "429" in done.stderr
    assert "wait 30.0 s" in done.stderr
    assert cloud.sync().returncode == 0
    assert len(_json(cloud.cli("get", "jobs", "-o", "json"))) == 3


def test_without_the_agent_it_says_what_is_missing(cloud: Cloud) -> None:
    job_id = cloud.job("orders")
    assert "--beam_plugin=ullage_agent" in cloud.sync().stderr
    text = cloud.cli("describe", "job", job_id).stdout
    assert "unknown: no agent in the workers" in text
    assert "no run of this workload has a known need yet" in text


def test_a_region_without_prices_says_how_to_add_them(cloud: Cloud, tmp_path: Path) -> None:
    job_id = cloud.job("orders", 10**9)
    answer = cloud.fake.jobs.jobs[job_id].answer
    answer["location"] = "europe-west1"
    place = ("--project", "p", "--region", "europe-west1", "--since", "2025-01-01")
    where = ("--endpoint", cloud.fake.endpoint, "--no-auth")
    cloud.cli("jobs", "sync", *place, *where)
    text = cloud.cli("describe", "job", job_id).stdout
    assert "no price of Dataflow in region 'europe-west1' is known" in text
    assert "[prices.dataflow.REGION]" in text
    (row,) = _json(cloud.cli("get", "jobs", "-o", "json"))
    assert row["cost_usd"] is None


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("describe", "job", "none"), 1, "unknown job 'none'"),
        (("describe", "jobs", "none"), 2, "describe job ID"),
        (("get", "jobs"), 0, "no jobs yet: try `ullage jobs sync`"),
        (("jobs", "sync", "--project", "p"), 2, "region"),
        (("jobs", "sync", "--project", "p", "--region", "r", "--no-auth"), 2, "this machine"),
        (("jobs", "sync", "--project", "../", "--region", "r"), 2, "--project"),
    ],
)
def test_what_goes_wrong_is_one_line(
    cli: Cli, words: tuple[str, ...], code: int, told: str
) -> None:
    done = cli(*words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
