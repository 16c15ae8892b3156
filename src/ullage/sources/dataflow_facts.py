"""Dataflow's answers (REST v1b3, JSON) as facts of a job. Hostile until checked here. Pure.

What each metric counts: TotalVcpuTime seconds, TotalMemoryUsage MB x seconds, TotalPdUsage and
TotalSsdUsage GB x seconds, BillableShuffleDataProcessed and TotalStreamingDataProcessed GB (their
original names end with _gb), TotalDcuUsage millionths of a DCU-hour (undocumented: seen in
published output, where it agrees with the vCPU time beside it). Not here: HTTP (`dataflow`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
from ullage.sources.dataflow_values import (
    MOST_TEXT,
    Json,
    amount_of,
    count_of,
    object_of,
    objects_of,
    text_of,
    texts_of,
    texts_of_both,
    time_of,
)

MICRO_DCU_HOURS = 1e6
MOST_EVIDENCE = 1_000
MOST_LABELS = 100
NAMESPACE, NEED = "ullage", "need_bytes"


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


# -- what was launched -------------------------------------------------------------------------


def _launched(job: Json, *, project: str, region: str) -> LaunchedJob:
    environment = object_of(job.get("environment"))
    options = object_of(object_of(environment.get("sdkPipelineOptions")).get("options"))
    pools = objects_of(environment.get("workerPools"))
    # Java calls the pool of workers "harness", Python "local"; beside it may be one for shuffling
    pool = next((each for each in pools if each.get("kind") != "shuffle"), {})
    experiments = texts_of_both(environment.get("experiments"), options.get("experiments"))
    services = texts_of_both(
        environment.get("serviceOptions"), options.get("dataflow_service_options")
    )
    sdk, version = _sdk(job, environment)
    hints = texts_of(options.get("resource_hints"))
    machine = pool.get("machineType")
    scaling = object_of(pool.get("autoscalingSettings"))
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
        threads_count=count_of(pool.get("numThreadsPerWorker"))
        or count_of(options.get("number_of_worker_harness_threads")),
        min_ram_bytes=_min_ram(hints),
        experiments=experiments,
        service_options=services,
        workers_count=count_of(pool.get("numWorkers")),
        max_workers_count=count_of(scaling.get("maxNumWorkers")),
        labels=_labels(job.get("labels")),
        disk_bytes=(count_of(pool.get("diskSizeGb")) or 0) * GIB or None,
    )


def _sdk(job: Json, environment: Json) -> tuple[Sdk, str | None]:
    """Return the SDK and its version, from the metadata or from the user agent."""
    version = object_of(object_of(job.get("jobMetadata")).get("sdkVersion"))
    agent = object_of(environment.get("userAgent"))
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
        for name, text in list(object_of(value).items())[:MOST_LABELS]
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
    for metric in objects_of(answer.get("metrics")):
        name = object_of(metric.get("name"))
        if name.get("origin") == "user" or "tentative" in object_of(name.get("context")):
            continue
        value = amount_of(metric.get("scalar"))
        if value is not None and isinstance(name.get("name"), str):
            found[name["name"]] = value
    return found


def _need_peak(answer: Json) -> int | None:
    """Return the largest need that the worker agent reported, over all steps.

    Also from attempts that failed (tentative): their memory was as real.
    """
    peaks = []
    for metric in objects_of(answer.get("metrics")):
        name = object_of(metric.get("name"))
        context = object_of(name.get("context"))
        if name.get("origin") != "user" or context.get("namespace") != NAMESPACE:
            continue
        if name.get("name") == NEED:
            peaks.append(
                believed_bytes(amount_of(object_of(metric.get("distribution")).get("max")))
            )
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
        for item in objects_of(worker.get("workItems")):
            started_at, ended_at = time_of(item.get("startTime")), time_of(item.get("endTime"))
            if item.get("state") != "EXECUTION_STATE_FAILED":
                continue
            if started_at is not None and ended_at is not None and started_at <= ended_at:
                found.append((ended_at - started_at).total_seconds())
    return found
