"""A job as it is about to be launched, and the worker that Ullage answers with. Pure.

How the service divides a worker's memory is here as well, for whoever reads a launch.
Sources: Dataflow's pages on pipeline options (default machine types), on pricing (default
disks) and on out of memory errors (processes, threads, overhead), beside Beam's resource
hints. Not here: how the worker is chosen (`policies.workers`), and its words, flags and
JSON (`outcomes.worker_plan`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ullage.core.decision import RunDecision
from ullage.core.machines import MachineShape, parse_machine_type
from ullage.core.units import GIB, format_quantity, parse_bytes
from ullage.core.workload import Features

ONE_PROCESS = "no_use_multiple_sdk_containers"
"""Dataflow's experiment: one Python SDK process per worker instead of one per vCPU."""
OVERHEAD_BYTES = GIB
"""A worker's memory that no SDK process can have: system and service. Dataflow's page on out of
memory errors: at most 1 GB, mostly less."""
STREAMING_PYTHON_THREADS = 12
"""Threads of one Python SDK process, of which there is one per vCPU, in a streaming job."""
STREAMING_THREADS = 300
"""Threads of a streaming worker in Java and Go with Streaming Engine; 500 without."""
STREAMING_THREADS_WITHOUT_ENGINE = 500
LABEL_LENGTH = 63
WORKLOAD_LABEL = "ullage-workload"
DECISION_LABEL = "ullage-decision"


class Sdk(StrEnum):
    """The Beam SDK that the pipeline is written in."""

    PYTHON = "python"
    JAVA = "java"
    GO = "go"


class PlanReason(StrEnum):
    """Why a worker is what it is. Every plan carries at least one."""

    KEPT = "kept"
    """What the launch has already is within the budget, and nothing is worth a change."""
    CHEAPER = "cheaper"
    """Another worker does the same work for less money within the budget."""
    SAFER = "safer"
    """The launch's own worker runs out of memory more often than the budget allows."""
    LARGEST = "largest"
    """No possible worker is within the budget: the one with the least risk."""
    FEWER_PROCESSES = "fewer_processes"
    """One SDK process per worker, so that it has the worker's memory for itself."""
    FEWER_THREADS = "fewer_threads"
    """Fewer threads per SDK process, as a last resort: it lowers throughput."""
    USER_HINT = "user_hint"
    """The user's own hint asks for more memory than is needed; it is never lowered."""
    HINT_ONLY = "hint_only"
    """The machine type cannot be set (Prime); only a memory hint is sent."""
    MACHINE_KEPT = "machine_kept"
    """The user wants the machine kept: what is said is advice."""
    REQUEST = "request"
    """No history yet: the machine that the launch itself asks for."""
    NOTHING_KNOWN = "nothing_known"
    """No history and no request: the launch is left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchedJob:
    """What a launch says before Ullage touches it. None = it does not say."""

    job_name: str
    sdk: Sdk
    sdk_version: str | None
    region: str
    project: str | None
    is_streaming: bool = False
    is_prime: bool = False
    is_flexrs: bool = False
    is_streaming_engine: bool = False
    is_right_fitting: bool = False
    """Streaming right fitting switched on (enable_streaming_rightfitting), batch under Prime."""
    machine_type: str | None = None
    threads_count: int | None = None
    """Per SDK process (--number_of_worker_harness_threads)."""
    min_ram_bytes: int | None = None
    """The user's own hint for the whole job, per worker."""
    transform_min_ram_bytes: int | None = None
    """The largest hint inside the pipeline, where it is known."""
    experiments: tuple[str, ...] = ()
    service_options: tuple[str, ...] = ()
    workers_count: int | None = None
    max_workers_count: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    disk_bytes: int | None = None
    features: Features = field(default_factory=Features)
    """Sizes of inputs and the like, known before the start."""
    workload_key: str | None = None
    """What recurs, with dates and counters masked; None: `beam/` and the job's name."""
    keeps_machine: bool = False
    """The user wants machine, processes and threads left alone: only explain."""

    @property
    def key(self) -> str:
        """The workload that this job is a run of."""
        return self.workload_key or f"beam/{self.job_name}"

    @property
    def asks(self) -> bool:
        """Whether the launch itself says what memory its workers shall have."""
        hinted = self.min_ram_bytes is not None or self.transform_min_ram_bytes is not None
        return self.machine_type is not None or hinted


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLayout:
    """How a worker's vCPUs are used: SDK processes per worker, threads per process."""

    vcpus_count: int
    processes_count: int
    threads_count: int

    def in_words(self) -> str:
        """Return the processes and threads for people.

        >>> WorkerLayout(vcpus_count=8, processes_count=8, threads_count=1).in_words()
        '8 SDK processes with 1 thread each'
        """
        processes = _counted(self.processes_count, "SDK process", "SDK processes")
        each = " each" if self.processes_count > 1 else ""
        return f"{processes} with {_counted(self.threads_count, 'thread', 'threads')}{each}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def service_shape(job: LaunchedJob) -> MachineShape:
    """Return the machine that the service takes where the launch names none.

    n1-standard-1 for batch, n1-standard-2 for FlexRS and for Streaming Engine,
    n1-standard-4 for streaming without it.
    """
    if not job.is_streaming:
        return parse_machine_type("n1-standard-2" if job.is_flexrs else "n1-standard-1")
    return parse_machine_type("n1-standard-2" if job.is_streaming_engine else "n1-standard-4")


def service_layout(
    job: LaunchedJob, vcpus_count: int, *, one_process: bool = False
) -> WorkerLayout:
    """Return how the service uses so many vCPUs, under the launch's own threads if it says.

    Python: one SDK process per vCPU (a single one with `no_use_multiple_sdk_containers`)
    with 1 thread per vCPU in batch, 12 in streaming. Java and Go: one process, 1 thread per
    vCPU in batch, 300 or 500 in streaming.
    """
    is_python = job.sdk is Sdk.PYTHON
    single = not is_python or one_process or ONE_PROCESS in job.experiments
    processes = 1 if single else vcpus_count
    if not job.is_streaming:
        threads = vcpus_count // processes
    elif is_python:
        threads = STREAMING_PYTHON_THREADS * vcpus_count // processes
    else:
        threads = STREAMING_THREADS if job.is_streaming_engine else STREAMING_THREADS_WITHOUT_ENGINE
    return WorkerLayout(
        vcpus_count=vcpus_count,
        processes_count=processes,
        threads_count=job.threads_count or threads,
    )


def service_disk(job: LaunchedJob) -> int:
    """Return the disk of a worker in bytes: the launch's own, or the service's default.

    25 GiB in batch with the shuffle service (the default), 250 without; 30 GiB in
    streaming with Streaming Engine, 400 without.
    """
    if job.disk_bytes is not None:
        return job.disk_bytes
    if job.is_streaming:
        return (30 if job.is_streaming_engine else 400) * GIB
    return (250 if "shuffle_mode=appliance" in job.experiments else 25) * GIB


def min_ram_of(hints: Sequence[str]) -> int | None:
    """Return the largest min_ram in bytes among Beam's hints, None where there is none.

    Raises ConfigError for a quantity without a unit or with an unknown one.

    >>> min_ram_of(["accelerator=type:t4", "min_ram=12GiB", "minRam=1GB"]) == 12 * 1024**3
    True
    """
    found = []
    for hint in hints:
        name, _, value = hint.partition("=")
        if name.strip().lower().replace("_", "") == "minram":
            found.append(parse_bytes(value, name="the hint min_ram"))
    return max(found, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """The worker a job should get, what it would have got, and why.

    oom_prob: chance that a worker runs out of memory; None where nothing is known.
    vcpu_hour_usd: money for one vCPU-hour of work with its share of memory and disk, without
    reruns. expected_usd: the same with the reruns that the risk makes likely.
    """

    job: LaunchedJob
    before: MachineShape
    """What the launch would have got: its own, or the service's default."""
    before_layout: WorkerLayout
    shape: MachineShape
    """What it should get; == before where nothing changes."""
    layout: WorkerLayout
    min_ram_bytes: int | None
    """The hint to send, never below the user's; None = send none."""
    process_limit_bytes: int
    """The memory that one SDK process can have under the plan."""
    oom_prob: float | None
    before_oom_prob: float | None
    vcpu_hour_usd: float
    before_vcpu_hour_usd: float
    decision: RunDecision
    """The recorded decision behind it."""
    reasons: tuple[PlanReason, ...]
    notes: tuple[str, ...] = ()
    expected_usd: float | None = None
    before_expected_usd: float | None = None

    def options(self) -> Mapping[str, str | tuple[str, ...]]:
        """Return what to set, by Beam's own (Python) option words.

        A text replaces what the launch says. A tuple (experiments, resource_hints, labels)
        is to be added to it: Beam takes repeated flags, and merges hints by the maximum.
        """
        found: dict[str, str | tuple[str, ...]] = {}
        if self.shape != self.before:
            found["worker_machine_type"] = self.shape.machine_type
        is_single = self.layout.processes_count == 1 < self.before_layout.processes_count
        is_single = is_single and self.layout.vcpus_count > 1
        given = service_layout(self.job, self.layout.vcpus_count, one_process=is_single)
        if self.layout.threads_count != given.threads_count:
            found["number_of_worker_harness_threads"] = str(self.layout.threads_count)
        if is_single:
            found["experiments"] = (ONE_PROCESS,)
        if self.min_ram_bytes is not None and self.min_ram_bytes != self.job.min_ram_bytes:
            found["resource_hints"] = (f"min_ram={format_quantity(self.min_ram_bytes)}",)
        found["labels"] = (
            f"{WORKLOAD_LABEL}={label_value(self.job.key.removeprefix('beam/'))}",
            f"{DECISION_LABEL}={label_value(self.decision.decision_id)}",
        )
        return found


def label_value(text: str) -> str:
    """Return `text` as the value of a Google Cloud label: [a-z0-9_-], at most 63 characters.

    >>> label_value("Orders (daily)/EU"), label_value("<date>")
    ('orders--daily--eu', 'date')
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower()).strip("-")[:LABEL_LENGTH] or "unnamed"
