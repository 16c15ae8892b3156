"""The Dataflow service in memory: jobs and their states, messages, metrics, templates.

Answers as the service does where a client would notice: one active job per name, the same
request id creates once, an update replaces, a wanted state is taken by the next move. What a
job does is the test's to say: `move`, `say`, `measure`. Not here: HTTP (`fake_dataflow`). Not
covered: running anything, permissions, quotas, snapshots.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = Any

STATES = (
    *("JOB_STATE_UNKNOWN", "JOB_STATE_STOPPED", "JOB_STATE_RUNNING", "JOB_STATE_DONE"),
    *("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_UPDATED", "JOB_STATE_DRAINING"),
    *("JOB_STATE_DRAINED", "JOB_STATE_PENDING", "JOB_STATE_CANCELLING", "JOB_STATE_QUEUED"),
    *("JOB_STATE_RESOURCE_CLEANING_UP", "JOB_STATE_PAUSING", "JOB_STATE_PAUSED"),
)
"""By the number that stands for each in a request."""
ENDED = frozenset(
    f"JOB_STATE_{name}" for name in ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")
)
TYPES = ("JOB_TYPE_UNKNOWN", "JOB_TYPE_BATCH", "JOB_TYPE_STREAMING")
_WISHES = {
    "JOB_STATE_CANCELLED": "JOB_STATE_CANCELLING",
    "JOB_STATE_DRAINED": "JOB_STATE_DRAINING",
    "JOB_STATE_DRAINING": "JOB_STATE_DRAINING",
    "JOB_STATE_DONE": "JOB_STATE_CANCELLING",
    "JOB_STATE_PAUSED": "JOB_STATE_PAUSING",
}


class Refusal(Exception):  # noqa: N818 - not an error of ours: what the service answers
    """An answer that is no success: HTTP status and the service's words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class FakeJob:
    """One job: what was posted, what is answered, and what the test says about it."""

    posted: dict[str, Json]
    answer: dict[str, Json]
    messages: list[dict[str, Json]] = field(default_factory=list)
    autoscaling: list[dict[str, Json]] = field(default_factory=list)
    metrics: list[dict[str, Json]] = field(default_factory=list)
    stages: list[dict[str, Json]] = field(default_factory=list)
    workers: dict[str, list[dict[str, Json]]] = field(default_factory=dict)
    """Stage id -> its WorkerDetails."""

    @property
    def job_id(self) -> str:
        """The id that the service gave it."""
        return str(self.answer["id"])

    @property
    def state(self) -> str:
        """Its state now."""
        return str(self.answer["currentState"])

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED


class FakeJobs:
    """The jobs of every project and region."""

    def __init__(self, start_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.launched: list[dict[str, Json]] = []
        """What was sent to launch a template, in order."""
        self.first_state = "JOB_STATE_PENDING"
        """The state of a job that has just been created."""
        self.next_states: list[str] = []
        """States that the jobs go through, one at each reading of a job."""
        self._now_at = start_at
        self.handlers: Mapping[str, Callable[[Mapping[str, str], Mapping[str, str], Json], Json]]
        self.handlers = {
            "jobs.create": self._create,
            "jobs.get": self._get,
            "jobs.list": self._list,
            "jobs.aggregated": self._list,
            "jobs.update": self._update,
            "jobs.messages.list": self._list_messages,
            "jobs.getMetrics": self._get_metrics,
            "jobs.getExecutionDetails": self._get_stages,
            "jobs.stages.getExecutionDetails": self._get_workers,
            "templates.launch": self._launch_template,
            "flexTemplates.launch": self._launch_flex_template,
        }

    # -- what a test says ------------------------------------------------------------------

    def newest(self) -> FakeJob:
        """Return the job that was created last. LookupError where there is none."""
        if not self.jobs:
            raise LookupError("no job was posted")
        return list(self.jobs.values())[-1]

    def move(self, job_id: str, state: str) -> None:
        """Put a job into `state`; ValueError for a job that has ended, or no state at all."""
        job = self.jobs[job_id]
        if state not in STATES:
            raise ValueError(f"there is no state {state}")
        if not job.is_active:
            raise ValueError(f"job {job_id} has ended: {job.state}")
        job.answer["currentState"] = state
        job.answer["currentStateTime"] = self._tick()
        if state == "JOB_STATE_RUNNING":
            job.answer.setdefault("startTime", job.answer["currentStateTime"])

    def say(self, job_id: str, text: str, importance: str = "JOB_MESSAGE_BASIC") -> None:
        """Add a job message, as the service writes it into the job's log."""
        job = self.jobs[job_id]
        job.messages.append(
            {
                "id": f"m{len(job.messages)}",
                "time": self._tick(),
                "messageText": text,
                "messageImportance": importance,
            }
        )

    def scale(self, job_id: str, *, current: int, target: int, text: str = "") -> None:
        """Add an autoscaling event."""
        event: dict[str, Json] = {
            "time": self._tick(),
            "currentNumWorkers": str(current),
            "targetNumWorkers": str(target),
            "eventType": "CURRENT_NUM_WORKERS_CHANGED",
        }
        if text:
            event["description"] = {"messageText": text}
        self.jobs[job_id].autoscaling.append(event)

    def measure(
        self, job_id: str, name: str, scalar: float, context: Mapping[str, str] | None = None
    ) -> None:
        """Set a service metric (TotalVcpuTime, TotalMemoryUsage ...), committed."""
        metric = {"name": _metric_name("dataflow/v1b3", name, context or {}), "scalar": scalar}
        self._put_metric(job_id, metric)

    def count(self, job_id: str, namespace: str, name: str, value: int, step: str = "s1") -> None:
        """Set a user counter, as a worker has reported it."""
        context = {"namespace": namespace, "step": step}
        self._put_metric(job_id, {"name": _metric_name("user", name, context), "scalar": value})

    def distribute(self, job_id: str, namespace: str, name: str, values: list[int]) -> None:
        """Set a user distribution from the values that workers have reported."""
        context = {"namespace": namespace, "step": "s1"}
        summary = {
            "count": len(values),
            "sum": sum(values),
            "min": min(values),
            "max": max(values),
        }
        metric = {"name": _metric_name("user", name, context), "distribution": summary}
        self._put_metric(job_id, metric)

    def _put_metric(self, job_id: str, metric: dict[str, Json]) -> None:
        job = self.jobs[job_id]
        metric["updateTime"] = self._tick()
        job.metrics = [old for old in job.metrics if old["name"] != metric["name"]] + [metric]

    # -- what the service answers ----------------------------------------------------------

    def _create(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        posted = dict(body or {})
        again = self._by_request_id(str(posted.get("clientRequestId", "")))
        if again is not None:
            return again.answer  # the first answer may have been lost on its way
        name = str(posted.get("name", ""))
        if not name:
            raise Refusal(400, "INVALID_ARGUMENT", "The workflow could not be created: no name.")
        replaced = posted.get("replaceJobId") or query.get("replaceJobId")
        self._replace_or_refuse(name, path, replaced)
        job_id = f"2026-01-01_00_00_00-{len(self.jobs) + 1:019d}"
        now = self._tick()
        answer = copy.deepcopy(posted) | {
            "id": job_id,
            "projectId": path["projectId"],
            "location": path.get("location", "us-central1"),
            "type": _by_number(posted.get("type", 1), TYPES),
            "currentState": self.first_state,
            "currentStateTime": now,
            "createTime": now,
        }
        self.jobs[job_id] = FakeJob(posted=posted, answer=answer)
        if replaced:
            old = self.jobs[replaced]
            old.answer |= {"currentState": "JOB_STATE_UPDATED", "replacedByJobId": job_id}
        return answer

    def _by_request_id(self, request_id: str) -> FakeJob | None:
        found = (
            job for job in self.jobs.values() if job.posted.get("clientRequestId") == request_id
        )
        return next(found, None) if request_id else None

    def _replace_or_refuse(self, name: str, path: Mapping[str, str], replaced: str | None) -> None:
        if replaced:
            if replaced not in self.jobs or not self.jobs[replaced].is_active:
                raise Refusal(404, "NOT_FOUND", f"There is no active job {replaced} to replace.")
            return
        for job in self.jobs.values():
            if job.is_active and job.answer["name"] == name and _is_at(job, path):
                raise Refusal(
                    409,
                    "ALREADY_EXISTS",
                    f"There is already an active job named {name}. If you want to submit a second "
                    "job, try again by setting a different name.",
                )

    def _find(self, path: Mapping[str, str]) -> FakeJob:
        job = self.jobs.get(path["jobId"])
        if job is None or not _is_at(job, path):
            raise Refusal(404, "NOT_FOUND", f"Information about job {path['jobId']} not found.")
        return job

    def _get(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        job = self._find(path)
        if self.next_states and job.is_active:
            self.move(job.job_id, self.next_states.pop(0))
        return _viewed(job.answer, query.get("view", "JOB_VIEW_ALL"))

    def _list(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        wanted = query.get("filter", "ALL")
        jobs = [
            _viewed(job.answer, "JOB_VIEW_SUMMARY")
            for job in reversed(self.jobs.values())
            if _is_at(job, path)
            and (wanted not in ("ACTIVE", "3") or job.is_active)
            and (wanted not in ("TERMINATED", "2") or not job.is_active)
            and query.get("name", job.answer["name"]) == job.answer["name"]
        ]
        return _page("jobs", jobs, query)

    def _update(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        job = self._find(path)
        wish = (body or {}).get("requestedState")
        if wish is not None:
            state = _by_number(wish, STATES)
            if state not in _WISHES:
                raise Refusal(400, "INVALID_ARGUMENT", f"A job cannot be asked to be {state}.")
            if not job.is_active:
                raise Refusal(400, "FAILED_PRECONDITION", f"Job {job.job_id} has ended already.")
            job.answer["requestedState"] = state
            self.move(job.job_id, _WISHES[state])
        if "runtimeUpdatableParams" in (body or {}):
            known = job.answer.setdefault("runtimeUpdatableParams", {})
            known.update(body["runtimeUpdatableParams"])
        return job.answer

    def _list_messages(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        job = self._find(path)
        since = query.get("startTime", "")
        messages = [message for message in job.messages if message["time"] >= since]
        page = _page("jobMessages", messages, query)
        return page | ({"autoscalingEvents": job.autoscaling} if job.autoscaling else {})

    def _get_metrics(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        job = self._find(path)
        return {"metricTime": _text(self._now_at), "metrics": job.metrics}

    def _get_stages(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        return _page("stages", self._find(path).stages, query)

    def _get_workers(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        return _page("workers", self._find(path).workers.get(path["stageId"], []), query)

    def _launch_template(
        self, path: Mapping[str, str], query: Mapping[str, str], body: Json
    ) -> Json:
        self.launched.append({"gcsPath": query.get("gcsPath", "")} | (body or {}))
        posted = {"name": (body or {}).get("jobName", ""), "environment": {}}
        return {"job": self._create(path, {}, posted)}

    def _launch_flex_template(
        self, path: Mapping[str, str], query: Mapping[str, str], body: Json
    ) -> Json:
        parameter = (body or {}).get("launchParameter", {})
        self.launched.append(parameter)
        posted: dict[str, Json] = {"name": parameter.get("jobName", ""), "environment": {}}
        if parameter.get("update"):
            active = (job for job in self.jobs.values() if job.is_active and _is_at(job, path))
            old = next((job for job in active if job.answer["name"] == posted["name"]), None)
            if old is None:
                raise Refusal(404, "NOT_FOUND", f"No active job {posted['name']} to update.")
            posted["replaceJobId"] = old.job_id
        labels = parameter.get("environment", {}).get("additionalUserLabels")
        if labels:
            posted["labels"] = labels
        return {"job": self._create(path, {}, posted)}

    def _tick(self) -> str:
        """Go one second on and return the moment: every fact has a time of its own."""
        self._now_at += timedelta(seconds=1)
        return _text(self._now_at)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _by_number(value: Json, names: tuple[str, ...]) -> str:
    return names[value] if isinstance(value, int) and value < len(names) else str(value)


def _is_at(job: FakeJob, path: Mapping[str, str]) -> bool:
    region = path.get("location", job.answer["location"])
    return bool(
        job.answer["projectId"] == path["projectId"] and region in (job.answer["location"], "-")
    )


def _viewed(answer: dict[str, Json], view: str) -> dict[str, Json]:
    if view in ("JOB_VIEW_ALL", "2"):
        return answer
    hidden = {"environment", "steps", "pipelineDescription"}
    return {name: value for name, value in answer.items() if name not in hidden}


def _page(name: str, rows: list[dict[str, Json]], query: Mapping[str, str]) -> dict[str, Json]:
    start, size = int(query.get("pageToken") or 0), int(query.get("pageSize") or 100)
    page: dict[str, Json] = {name: rows[start : start + size]}
    if start + size < len(rows):
        page["nextPageToken"] = str(start + size)
    return page


def _metric_name(origin: str, name: str, context: Mapping[str, str]) -> dict[str, Json]:
    return {"origin": origin, "name": name, "context": dict(context)}
