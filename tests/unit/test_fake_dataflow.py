"""The fake of Dataflow and Cloud Storage, asked by a plain HTTP client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import pytest

from ullage.testing.fake_dataflow import FakeDataflow, Fault
from ullage.testing.fake_routes import ROUTES, find_route
from ullage.testing.serve_dataflow import flags_for, posted_line

JOBS = "v1b3/projects/p/locations/us-central1/jobs"


@pytest.fixture
def cloud() -> Iterator[FakeDataflow]:
    with FakeDataflow() as fake:
        yield fake
        fake.assert_valid()


def call(cloud: FakeDataflow, verb: str, path: str, body: Any = None, **headers: str) -> Any:
    """Return the JSON of the answer; {"code": status} where it is an error."""
    content = (
        body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    )
    request = urllib.request.Request(
        f"{cloud.endpoint}/{path}", data=content, method=verb, headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
            if answer.headers.get("Location"):
                return answer.headers["Location"]
            return json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read() or b"{}").get("error", {"code": error.code})


def create(cloud: FakeDataflow, name: str = "orders", **fields: Any) -> Any:
    return call(cloud, "POST", JOBS, {"name": name, **fields})


def test_a_job_is_created_read_and_listed(cloud: FakeDataflow) -> None:
    job = create(cloud, type="JOB_TYPE_BATCH", labels={"team": "a"})
    assert job["currentState"] == "JOB_STATE_PENDING"
    assert call(cloud, "GET", f"{JOBS}/{job['id']}") == job
    summary = call(cloud, "GET", JOBS)["jobs"]
    assert [each["id"] for each in summary] == [job["id"]]
    assert cloud.jobs.newest().posted["labels"] == {"team": "a"}
    assert cloud.seen_methods()[0] == "dataflow.projects.locations.jobs.create"


def test_one_active_job_has_a_name(cloud: FakeDataflow) -> None:
    job = create(cloud)
    assert create(cloud)["code"] == 409
    cloud.jobs.move(job["id"], "JOB_STATE_DONE")
    assert create(cloud)["id"] != job["id"]


def test_the_same_request_creates_once(cloud: FakeDataflow) -> None:
    first = create(cloud, clientRequestId="r1")
    assert create(cloud, clientRequestId="r1")["id"] == first["id"]
    assert len(cloud.jobs.jobs) == 1


def test_a_job_goes_through_states_as_the_test_says(cloud: FakeDataflow) -> None:
    job = create(cloud)
    cloud.jobs.next_states = ["JOB_STATE_RUNNING", "JOB_STATE_DONE"]
    path = f"{JOBS}/{job['id']}"
    states = [call(cloud, "GET", path)["currentState"] for _ in range(3)]
    assert states == ["JOB_STATE_RUNNING", "JOB_STATE_DONE", "JOB_STATE_DONE"]
    with pytest.raises(ValueError, match="has ended"):
        cloud.jobs.move(job["id"], "JOB_STATE_RUNNING")


def test_a_wish_is_taken_and_an_ended_job_refuses_it(cloud: FakeDataflow) -> None:
    job = create(cloud)
    wish = {"requestedState": "JOB_STATE_CANCELLED"}
    path = f"{JOBS}/{job['id']}"
    assert call(cloud, "PUT", path, wish)["currentState"] == "JOB_STATE_CANCELLING"
    cloud.jobs.move(job["id"], "JOB_STATE_CANCELLED")
    assert call(cloud, "PUT", path, wish)["code"] == 400


def test_a_replaced_job_is_updated(cloud: FakeDataflow) -> None:
    old = create(cloud)
    new = create(cloud, replaceJobId=old["id"])
    assert cloud.jobs.jobs[old["id"]].state == "JOB_STATE_UPDATED"
    assert cloud.jobs.jobs[old["id"]].answer["replacedByJobId"] == new["id"]
    assert create(cloud, replaceJobId=old["id"])["code"] == 404


def test_messages_metrics_and_details_are_what_the_test_says(cloud: FakeDataflow) -> None:
    job = create(cloud)["id"]
    cloud.jobs.say(job, "Workers have started.")
    cloud.jobs.say(job, "Out of memory: Killed process 7", "JOB_MESSAGE_ERROR")
    cloud.jobs.scale(job, current=1, target=3, text="Raised the number of workers to 3.")
    cloud.jobs.measure(job, "TotalVcpuTime", 3600.0)
    cloud.jobs.count(job, "ullage", "oom_kills", 2)
    cloud.jobs.distribute(job, "ullage", "need_bytes", [10, 30])
    messages = call(cloud, "GET", f"{JOBS}/{job}/messages")
    assert [m["messageText"] for m in messages["jobMessages"]][1].startswith("Out of memory")
    assert messages["autoscalingEvents"][0]["targetNumWorkers"] == "3"
    first = call(cloud, "GET", f"{JOBS}/{job}/messages?pageSize=1")
    assert len(first["jobMessages"]) == 1
    assert first["nextPageToken"] == "1"
    metrics = call(cloud, "GET", f"{JOBS}/{job}/metrics")["metrics"]
    by_name = {metric["name"]["name"]: metric for metric in metrics}
    assert by_name["TotalVcpuTime"]["scalar"] == 3600.0
    assert by_name["oom_kills"]["name"]["context"]["namespace"] == "ullage"
    assert by_name["need_bytes"]["distribution"] == {"count": 2, "sum": 40, "min": 10, "max": 30}
    cloud.jobs.jobs[job].stages = [{"stageId": "F1", "state": "EXECUTION_STATE_RUNNING"}]
    cloud.jobs.jobs[job].workers = {"F1": [{"workerName": "w-1"}]}
    details = call(cloud, "GET", f"{JOBS}/{job}/executionDetails")
    assert details["stages"][0]["stageId"] == "F1"
    workers = call(cloud, "GET", f"{JOBS}/{job}/stages/F1/executionDetails")["workers"]
    assert workers == [{"workerName": "w-1"}]


def test_templates_start_jobs(cloud: FakeDataflow) -> None:
    region = "v1b3/projects/p/locations/us-central1"
    parameter = {
        "jobName": "orders",
        "containerSpecGcsPath": "gs://bucket/t.json",
        "environment": {"machineType": "n2-standard-4", "additionalUserLabels": {"a": "b"}},
    }
    job = call(cloud, "POST", f"{region}/flexTemplates:launch", {"launchParameter": parameter})
    assert job["job"]["labels"] == {"a": "b"}
    assert cloud.jobs.launched[0]["environment"]["machineType"] == "n2-standard-4"
    update = {"launchParameter": parameter | {"update": True}}
    again = call(cloud, "POST", f"{region}/flexTemplates:launch", update)
    assert cloud.jobs.jobs[job["job"]["id"]].state == "JOB_STATE_UPDATED"
    assert again["job"]["replaceJobId"] == job["job"]["id"]
    classic = call(
        cloud, "POST", f"{region}/templates:launch?gcsPath=gs://bucket/t", {"jobName": "late"}
    )
    assert classic["job"]["name"] == "late"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.RATE_LIMITED, 429), (Fault.INTERNAL, 500), (Fault.UNAVAILABLE, 503)],
)
def test_it_fails_as_often_as_it_is_told(cloud: FakeDataflow, fault: Fault, code: int) -> None:
    cloud.fail_next("jobs.create", fault, times=2)
    assert [create(cloud).get("code") for _ in range(3)] == [code, code, None]
    assert len(cloud.jobs.jobs) == 1


@pytest.mark.parametrize(("fault", "jobs_count"), [(Fault.RESET, 0), (Fault.LOST_ANSWER, 1)])
def test_a_broken_connection(cloud: FakeDataflow, fault: Fault, jobs_count: int) -> None:
    cloud.fail_next("jobs.create", fault)
    with pytest.raises((OSError, HTTPException)):
        create(cloud, clientRequestId="r1")
    assert len(cloud.jobs.jobs) == jobs_count
    assert cloud.seen[0].status == 0
    create(cloud, clientRequestId="r1")
    assert len(cloud.jobs.jobs) == 1


def test_no_answer_until_the_client_gives_up(cloud: FakeDataflow) -> None:
    cloud.fail_next("jobs.create", Fault.TIMEOUT)
    request = urllib.request.Request(f"{cloud.endpoint}/{JOBS}", data=b"{}", method="POST")
    with pytest.raises(OSError, match="timed out"):
        urllib.request.urlopen(request, timeout=0.2)
    assert not cloud.jobs.jobs


def test_objects_are_uploaded_in_every_way_and_read_back(cloud: FakeDataflow) -> None:
    upload = "upload/storage/v1/b/bucket/o"
    assert call(cloud, "POST", f"{upload}?uploadType=media&name=a/b", b"one")["size"] == "3"
    two = (
        b'--x\r\nContent-Type: application/json\r\n\r\n{"name": "two"}\r\n'
        b"--x\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff2\r\n--x--\r\n"
    )
    kind = "multipart/related; boundary=x"
    call(cloud, "POST", f"{upload}?uploadType=multipart", two, **{"Content-Type": kind})
    where = call(cloud, "POST", f"{upload}?uploadType=resumable", {"name": "three"})
    path = where.removeprefix(f"{cloud.endpoint}/")
    begun = call(cloud, "PUT", path, b"abc", **{"Content-Range": "bytes 0-2/*"})
    assert begun == {"code": 308}
    done = call(cloud, "PUT", path, b"de", **{"Content-Range": "bytes 3-4/5"})
    assert done["size"] == "5"
    contents = {name: content for (_, name), content in cloud.storage.objects.items()}
    assert contents == {"a/b": b"one", "two": b"\x00\xff2", "three": b"abcde"}
    assert cloud.storage.read("gs://bucket/three") == b"abcde"
    with urllib.request.urlopen(f"{cloud.endpoint}/storage/v1/b/bucket/o/a%2Fb?alt=media") as got:
        assert got.read() == b"one"
    listed = call(cloud, "GET", "storage/v1/b/bucket/o?prefix=a/")["items"]
    assert [item["name"] for item in listed] == ["a/b"]
    copied = "storage/v1/b/bucket/o/two/rewriteTo/b/bucket/o/four"
    assert call(cloud, "POST", copied)["done"] is True
    call(cloud, "DELETE", "storage/v1/b/bucket/o/two")
    assert call(cloud, "GET", "storage/v1/b/bucket/o/two")["code"] == 404
    assert call(cloud, "GET", "storage/v1/b/none")["code"] == 404


def test_what_nothing_serves_is_a_violation() -> None:
    with FakeDataflow() as cloud:
        assert call(cloud, "GET", "v1b3/projects/p/surprise")["code"] == 404
        with pytest.raises(AssertionError, match="not served"):
            cloud.assert_valid()


def test_each_path_has_one_method() -> None:
    for route in ROUTES:
        path = route.path.replace("{", "").replace("}", "")
        found = find_route(route.verb, path)
        assert found is not None
        assert found[0] == route


def test_the_served_fake_tells_what_was_posted(cloud: FakeDataflow) -> None:
    assert cloud.endpoint in flags_for(cloud)
    environment = {
        "workerPools": [{"machineType": "n2-standard-2", "numThreadsPerWorker": 2}],
        "sdkPipelineOptions": {"options": {"resource_hints": ["min_ram=4GiB"]}},
    }
    create(cloud, "orders\x1b[2J", environment=environment, labels={"team": "a"})
    line = posted_line(cloud.jobs.newest().posted)
    assert line.startswith("job orders\\x1b[2J: machine: n2-standard-2; threads: 2; hints: min_ram")
    assert "labels: team=a" in line
    assert "the service's default" in posted_line({"name": "x"})
