"""A job as it is about to be launched, and the worker that Ullage answers with. Pure records.

Not here: how the worker is chosen (`policies.workers`), and its words, flags and JSON
(`outcomes.worker_plan`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ullage.core.decision import RunDecision
from ullage.core.machines import MachineShape
from ullage.core.units import format_quantity
from ullage.core.workload import Features

ONE_PROCESS = "no_use_multiple_sdk_containers"
"""Dataflow's experiment: one Python SDK process per worker instead of one per vCPU."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLayout:
    """How a worker's vCPUs are used: SDK processes per worker, threads per process."""

    vcpus_count: int
    processes_count: int
    threads_count: int


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
        if self.layout.threads_count != self.before_layout.threads_count:
            found["number_of_worker_harness_threads"] = str(self.layout.threads_count)
        if self.layout.processes_count == 1 < self.before_layout.processes_count:
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

    >>> label_value("Orders (daily)/EU")
    'orders--daily--eu'
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower()).strip("-")[:LABEL_LENGTH]
