"""Dataflow's answers (REST v1b3, JSON) as facts of a job. Hostile until checked here. Pure.

What each metric counts: TotalVcpuTime seconds, TotalMemoryUsage MB x seconds, TotalPdUsage and
TotalSsdUsage GB x seconds, BillableShuffleDataProcessed and TotalStreamingDataProcessed GB (their
original names end with _gb), TotalDcuUsage millionths of a DCU-hour (undocumented: seen in
published output, where it agrees with the vCPU time beside it). Not here: HTTP (`dataflow`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ullage.core.errors import ConfigError, DataError
from ullage.core.job_cost import (
    HOUR_S,
    JobMetrics,
    gib_hours_of_gb_s,
    gib_hours_of_mb_s,
)
from ullage.core.jobs import OUTCOMES, JobFacts, OomEvidence
from ullage.core.launch import LaunchedJob, Sdk, min_ram_of
from ullage.core.masking import mask_labels, mask_text
from ullage.core.oom_signals import oom_signal
from ullage.core.recorded import believed_bytes
from ullage.core.units import GIB

MICRO_DCU_HOURS = 1e6
MOST_AMOUNT = 1e15
"""No metric of a job is believed above this."""
MOST_EVIDENCE = 1_000
MOST_TEXT = 500
MOST_LABELS = 100
NAMESPACE, NEED = "ullage", "need_bytes"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was asked about one job. failed_s: seconds of each attempt of a work item that
    failed, None = nobody can tell.
    """

    job: Json
    metrics: Json
    messages: Sequence[Json]
    failed_s: Sequence[float] | None = None


def job_facts(answers: Answers, *, project: str, region: str) -> JobFacts:
    """Return the facts of a job. DataError where it has no id, state or time of creation."""
    job = answers.job
    created_at = time_of(job.get("createTime"))
    if created_at is None:
        raise DataError("a job without a time of creation")
    state = text_of(job.get("currentState"), "state of a job").removeprefix("JOB_STATE_")
    launched = _launched(job, project=project, region=region)
    failed_s = answers.failed_s
    return JobFacts(
        job_id=text_of(job.get("id"), "id of a job"),
        job=launched,
        state=state[:40],
        created_at=created_at,
        started_at=time_of(job.get("startTime")),
        ended_at=time_of(job.get("currentStateTime")) if state in OUTCOMES else None,
        metrics=_metrics(answers.metrics, launched),
        evidence=_evidence(answers.messages),
        need_peak_bytes=_need_peak(answers.metrics),
        lost_vcpu_hours=None if failed_s is None else sum(failed_s) / HOUR_S,
        failed_attempts_count=None if failed_s is None else len(failed_s),
    )


# -- values ------------------------------------------------------------------------------------


def text_of(value: object, what: str) -> str:
    """Return a text that is not empty; DataError else."""
    if not isinstance(value, str) or not value.strip() or len(value) > 1_000:
        raise DataError(f"{what}: {value!r:.40} is no text")
    return value


def time_of(value: object) -> datetime | None:
    """Return an aware UTC instant of RFC 3339, None for anything else.

    >>> time_of("2026-11-01T10:00:00.123456789Z").isoformat()
    '2026-11-01T10:00:00.123456+00:00'
    """
    if not isinstance(value, str) or not 20 <= len(value) <= 40:
        return None
    whole, dot, rest = value.partition(".")
    if dot:
        digits = rest.rstrip("Z")
        if not (rest.endswith("Z") and digits.isascii() and digits.isdigit()):
            return None
        value = f"{whole}.{digits[:6]:0<6}+00:00"
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def _amount(value: object) -> float | None:
    """Return a finite amount, 0 .. 1e15, also from the text that int64 becomes in JSON."""
    if isinstance(value, str) and value.isascii() and len(value) <= 40:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= MOST_AMOUNT else None


def _count(value: object) -> int | None:
    amount = _amount(value)
    return int(amount) if amount is not None and 1 <= amount <= 1e6 else None


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(mask_text(each[:MOST_TEXT]) for each in value if isinstance(each, str))


def _both(first: object, second: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_texts(first), *_texts(second))))


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


# -- what was launched -------------------------------------------------------------------------


def _launched(job: Json, *, project: str, region: str) -> LaunchedJob:
    environment = _object(job.get("environment"))
    options = _object(_object(environment.get("sdkPipelineOptions")).get("options"))
    pools = _objects(environment.get("workerPools"))
    # Java calls the pool of workers "harness", Python "local"; beside it may be one for shuffling
    pool = next((each for each in pools if each.get("kind") != "shuffle"), {})
    experiments = _both(environment.get("experiments"), options.get("experiments"))
    services = _both(environment.get("serviceOptions"), options.get("dataflow_service_options"))
    sdk, version = _sdk(job, environment)
    hints = _texts(options.get("resource_hints"))
    machine = pool.get("machineType")
    scaling = _object(pool.get("autoscalingSettings"))
    engine = {"enable_streaming_engine", "enable_windmill_service"}
    return LaunchedJob(
        job_name=text_of(job.get("name", "unnamed"), "name of a job")[:MOST_TEXT],
        sdk=sdk,
        sdk_version=version,
        region=region,
        project=project,
        is_streaming=job.get("type") == "JOB_TYPE_STREAMING",
        is_prime="enable_prime" in {*experiments, *services},
        is_flexrs=environment.get("flexResourceSchedulingGoal") == "FLEXRS_COST_OPTIMIZED",
        is_streaming_engine=bool(engine & set(experiments)),
        machine_type=machine if isinstance(machine, str) and 0 < len(machine) <= 100 else None,
        threads_count=_count(pool.get("numThreadsPerWorker"))
        or _count(options.get("number_of_worker_harness_threads")),
        min_ram_bytes=_min_ram(hints),
        experiments=experiments,
        service_options=services,
        workers_count=_count(pool.get("numWorkers")),
        max_workers_count=_count(scaling.get("maxNumWorkers")),
        labels=_labels(job.get("labels")),
        disk_bytes=(_count(pool.get("diskSizeGb")) or 0) * GIB or None,
    )


def _sdk(job: Json, environment: Json) -> tuple[Sdk, str | None]:
    """Return the SDK and its version, from the metadata or from the user agent."""
    version = _object(_object(job.get("jobMetadata")).get("sdkVersion"))
    agent = _object(environment.get("userAgent"))
    name = str(version.get("versionDisplayName") or agent.get("name") or "").lower()
    number = version.get("version") or agent.get("version")
    sdk = next((each for each in (Sdk.JAVA, Sdk.GO) if str(each) in name.split()), Sdk.PYTHON)
    text = number if isinstance(number, str) and 0 < len(number) <= 60 else None
    return sdk, text


def _min_ram(hints: Sequence[str]) -> int | None:
    try:
        return min_ram_of(hints)
    except ConfigError:
        return None  # the service took it: what it made of it is not told


def _labels(value: object) -> dict[str, str]:
    found = {
        name[:100]: text[:200]
        for name, text in list(_object(value).items())[:MOST_LABELS]
        if isinstance(name, str) and isinstance(text, str)
    }
    return mask_labels(found)


# -- metrics -----------------------------------------------------------------------------------


def _metrics(answer: Json, job: LaunchedJob) -> JobMetrics:
    totals = _totals(answer)

    def of(name: str, factor: float = 1.0) -> float | None:
        value = totals.get(name)
        return None if value is None else value * factor

    memory, disk, ssd = map(of, ("TotalMemoryUsage", "TotalPdUsage", "TotalSsdUsage"))
    return JobMetrics(
        vcpu_hours=of("TotalVcpuTime", 1 / HOUR_S),
        memory_gib_hours=None if memory is None else gib_hours_of_mb_s(memory),
        disk_gib_hours=None if disk is None else gib_hours_of_gb_s(disk),
        ssd_gib_hours=None if not ssd else gib_hours_of_gb_s(ssd),
        shuffle_bytes=of("BillableShuffleDataProcessed", GIB),
        streaming_bytes=of("TotalStreamingDataProcessed", GIB),
        dcu_hours=of("TotalDcuUsage", 1 / MICRO_DCU_HOURS),
        is_streaming=job.is_streaming,
        is_prime=job.is_prime,
        is_flexrs=job.is_flexrs,
    )


def _totals(answer: Json) -> dict[str, float]:
    """Return name -> the service's committed total."""
    found: dict[str, float] = {}
    for metric in _objects(answer.get("metrics")):
        name = _object(metric.get("name"))
        if name.get("origin") == "user" or "tentative" in _object(name.get("context")):
            continue
        value = _amount(metric.get("scalar"))
        if value is not None and isinstance(name.get("name"), str):
            found[name["name"]] = value
    return found


def _need_peak(answer: Json) -> int | None:
    """Return the largest need that the worker agent reported, over all steps.

    Also from attempts that failed (tentative): their memory was as real.
    """
    peaks = []
    for metric in _objects(answer.get("metrics")):
        name = _object(metric.get("name"))
        context = _object(name.get("context"))
        if name.get("origin") != "user" or context.get("namespace") != NAMESPACE:
            continue
        if name.get("name") == NEED:
            peaks.append(believed_bytes(_amount(_object(metric.get("distribution")).get("max"))))
    return max((peak for peak in peaks if peak is not None), default=None)


# -- messages and work items -------------------------------------------------------------------


def _evidence(messages: Iterable[Json]) -> tuple[OomEvidence, ...]:
    found = {}
    for message in messages:
        text, at = message.get("messageText"), time_of(message.get("time"))
        signal = oom_signal(text) if isinstance(text, str) else None
        if signal is None or at is None or not isinstance(text, str):
            continue
        words = mask_text(" ".join(text[: 4 * MOST_TEXT].split()))[:MOST_TEXT]
        found[(at, words)] = OomEvidence(
            at=at,
            name=signal.name,
            surety=signal.surety,
            text=words,
            need_bytes=signal.need_bytes,
        )
    return tuple(found[key] for key in sorted(found))[:MOST_EVIDENCE]


def stages_with_work_items(stages: Iterable[Json]) -> list[str]:
    """Return the ids of stages that have begun."""
    return [
        stage["stageId"]
        for stage in stages
        if isinstance(stage.get("stageId"), str)
        and 0 < len(stage["stageId"]) <= 200
        and stage.get("state") != "EXECUTION_STATE_NOT_STARTED"
    ]


def failed_attempts(workers: Iterable[Json]) -> list[float]:
    """Return the seconds of each attempt of a work item that failed."""
    found = []
    for worker in workers:
        for item in _objects(worker.get("workItems")):
            started_at, ended_at = time_of(item.get("startTime")), time_of(item.get("endTime"))
            if item.get("state") != "EXECUTION_STATE_FAILED":
                continue
            if started_at is not None and ended_at is not None and started_at <= ended_at:
                found.append((ended_at - started_at).total_seconds())
    return found
