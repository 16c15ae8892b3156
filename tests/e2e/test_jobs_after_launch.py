"""The whole circle: a real Beam job is launched under Ullage, ends, is taken back, sizes the next.

The service is the local fake; the job, its labels and its requests are real.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from conftest import Cli
from ullage.testing.fake_dataflow import FakeDataflow

pytest.importorskip(
    "google.cloud.dataflow", reason="needs Beam with Google's clients: run `make test-dataflow`"
)
pytestmark = pytest.mark.dataflow

PIPELINE = Path(__file__).with_name("dataflow_pipeline.py")
GIB = 1 << 30


@pytest.fixture
def cloud(cli: Cli) -> Iterator[FakeDataflow]:
    with FakeDataflow() as fake:
        assert fake.is_validating, "google-api-python-client ships the documents"
        cli.env["STORAGE_EMULATOR_HOST"] = fake.endpoint
        yield fake
        fake.assert_valid()


def _launch(cli: Cli, cloud: FakeDataflow) -> str:
    """Launch the pipeline under `ullage run` and return the job's id."""
    command = [*cli.command, "run", "--quiet", "--", sys.executable, "-W", "ignore"]
    command += [str(PIPELINE), "--job_name=orders", "--project=acme", "--region=us-central1"]
    command += ["--temp_location=gs://bucket/tmp", "--no_auth", "--runner=DataflowRunner"]
    command += [f"--dataflow_endpoint={cloud.endpoint}", "--worker_machine_type=n1-standard-4"]
    done = subprocess.run(
        command, env=cli.env, cwd=cli.folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return cloud.jobs.newest().job_id


def _sync(cli: Cli, cloud: FakeDataflow) -> str:
    place = ("--project", "acme", "--region", "us-central1", "--since", "2025-01-01")
    done = cli("jobs", "sync", *place, "--endpoint", cloud.endpoint, "--no-auth")
    assert done.returncode == 0, done.stderr
    return done.stderr


def _finish(cloud: FakeDataflow, job_id: str) -> None:
    """Let a job end well, its hottest process with 1 GiB."""
    cloud.jobs.move(job_id, "JOB_STATE_RUNNING")
    cloud.jobs.measure(job_id, "TotalVcpuTime", 7200.0)
    cloud.jobs.measure(job_id, "TotalMemoryUsage", 3840 * 7200.0)
    cloud.jobs.measure(job_id, "TotalPdUsage", 25 * 1800.0)
    cloud.jobs.distribute(job_id, "ullage", "need_bytes", [GIB // 2, GIB])
    cloud.jobs.move(job_id, "JOB_STATE_DONE")


def _runs_elsewhere(cloud: FakeDataflow, like_job_id: str, count: int) -> None:
    """Let the same job run so often without Ullage: no label of ours, another name each day."""
    posted = cloud.jobs.jobs[like_job_id].posted
    for day in range(1, count + 1):
        body = {
            "type": 1,
            "name": f"orders-2026-01-{day:02d}",
            "environment": posted["environment"],
        }
        url = f"{cloud.endpoint}/v1b3/projects/acme/locations/us-central1/jobs"
        with urlopen(Request(url, data=json.dumps(body).encode(), method="POST")) as answer:
            _finish(cloud, json.load(answer)["id"])


def _machine(cloud: FakeDataflow, job_id: str) -> str:
    pool = cloud.jobs.jobs[job_id].posted["environment"]["workerPools"][0]
    return str(pool.get("machineType"))


def test_a_launched_job_closes_its_own_run_and_sizes_the_next(
    cli: Cli, cloud: FakeDataflow
) -> None:
    first = _launch(cli, cloud)
    assert _machine(cloud, first) == "n1-standard-4"
    _finish(cloud, first)
    assert "0 new, 1 of launches under Ullage closed" in _sync(cli, cloud)
    _runs_elsewhere(cloud, first, 8)
    assert "8 new, 0 of launches under Ullage closed, 1 recorded before" in _sync(cli, cloud)
    runs = json.loads(cli("get", "runs", "beam/orders", "-o", "json").stdout)
    told = {(run["outcome"], run["control"], run["peak_bytes"]) for run in runs}
    assert (len(runs), told) == (9, {("ok", "dataflow", GIB)})
    described = json.loads(cli("describe", "job", first, "-o", "json").stdout)
    assert described["run_id"] in {run["run_id"] for run in runs}
    best = described["recommended"]["machine_type"]
    assert best != "n1-standard-4", "9 runs of 1 GiB under 3.5 GiB each"
    assert _machine(cloud, _launch(cli, cloud)) == best
