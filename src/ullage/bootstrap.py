"""Puts the parts together: the only module that names adapters.

Imports are inside the functions: `ullage --help` loads none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from ullage.core.workload import ControlKind, Features

if TYPE_CHECKING:
    from pathlib import Path

    from ullage.config import Settings
    from ullage.control.job_launch import LaunchPorts
    from ullage.core.ports import (
        Booking,
        HistoryReader,
        JobSource,
        MemorySource,
        RunPolicy,
        Sandbox,
    )
    from ullage.core.service_ports import ServicePolicy
    from ullage.policies.service_rules import RulePrior
    from ullage.stores.ledger import HostLedger
    from ullage.stores.state import SqliteStateStore


class SystemClock:
    """Implements core.ports.Clock with the machine's clocks."""

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return the monotonic clock."""
        import time

        return time.monotonic()


class SandboxFactory:
    """Makes cgroup sandboxes where that is possible, else observing ones.

    control says which; reason says why it can only observe.
    """

    def __init__(self) -> None:
        from ullage.actuators import cgroup1, cgroup2

        self.control = ControlKind.CGROUP1
        self.parent, self.reason = cgroup1.find_parent()
        if self.parent is not None:
            return
        self.control = ControlKind.CGROUP2
        self.parent, reason = cgroup2.find_parent()
        if self.parent is not None:
            self.reason = ""
            return
        self.control = ControlKind.OBSERVE
        self.reason = f"{self.reason}; {reason}"

    def make(self, name: str) -> tuple[Sandbox, Callable[[int], MemorySource]]:
        """Return a sandbox that is not created yet, and how to open its source."""
        if self.parent is None:
            return self._observing()
        if self.control is ControlKind.CGROUP2:
            from ullage.actuators.cgroup2 import Cgroup2Sandbox
            from ullage.sources.cgroup2 import Cgroup2Source

            second = Cgroup2Sandbox(self.parent, name)
            return second, lambda pid: Cgroup2Source(second.path)
        from ullage.actuators.cgroup1 import Cgroup1Sandbox
        from ullage.sources.cgroup1 import Cgroup1Source

        sandbox = Cgroup1Sandbox(self.parent, name)
        return sandbox, lambda pid: Cgroup1Source(sandbox.path)

    def _observing(self) -> tuple[Sandbox, Callable[[int], MemorySource]]:
        from ullage.actuators.observe import ObserveSandbox
        from ullage.sources.process import ProcessTreeSource

        sandbox = ObserveSandbox()

        def open_source(pid: int) -> MemorySource:
            source = ProcessTreeSource(pid)
            sandbox.members = source.member_pids
            return source

        return sandbox, open_source


def read_memory() -> tuple[int, int]:
    """Return (available_bytes, total_bytes) of the host, or of the limited cgroup around us."""
    from ullage.actuators import cgroup1, cgroup2
    from ullage.sources.host import read_host_memory

    available_bytes, total_bytes = read_host_memory()
    sandboxes = SandboxFactory()
    if sandboxes.parent is not None:
        version = cgroup2 if sandboxes.control is ControlKind.CGROUP2 else cgroup1
        room_bytes = version.enclosing_room_bytes(sandboxes.parent)
        limit_bytes = version.enclosing_limit_bytes(sandboxes.parent)
        if room_bytes is not None and limit_bytes is not None:
            return min(available_bytes, room_bytes), min(total_bytes, limit_bytes)
    return available_bytes, total_bytes


def measure_features(argv: Sequence[str], cwd: str, given: Sequence[str]) -> Features:
    """Return what is known before the start: sizes of inputs, threads, and `given` k=v words."""
    from ullage.sources.inputs import measure_inputs, merge_features, parse_feature

    return merge_features(
        measure_inputs(argv, cwd, environ=os.environ), [parse_feature(text) for text in given]
    )


def open_store(settings: Settings, *, read_only: bool = False) -> SqliteStateStore:
    """Open the state store of `settings`; errors name the way out."""
    from ullage.stores.state import SqliteStateStore

    return SqliteStateStore.open(settings.state_dir / "state.db", read_only=read_only)


def history_readers() -> tuple[HistoryReader, ...]:
    """Return the readers of what other systems record, in the order in which they are asked."""
    from functools import partial

    from ullage.core.workload import Run
    from ullage.simulation.recorded_runs import RunsFileReader
    from ullage.sources.trace_nextflow import NextflowTraceReader
    from ullage.sources.trace_slurm import SlurmAccountingReader
    from ullage.sources.trace_snakemake import SnakemakeBenchmarkReader
    from ullage.sources.trace_spark import SparkEventLogReader
    from ullage.stores.record_json import from_json

    return (
        SparkEventLogReader(),
        RunsFileReader(partial(from_json, Run)),
        SnakemakeBenchmarkReader(),
        NextflowTraceReader(),
        SlurmAccountingReader(),
    )


def history_reader(file: Path, format_id: str) -> HistoryReader:
    """Return the reader called `format_id`; with "auto" the one that recognises the content.

    Raises ConfigError where the file cannot be read, or nobody recognises it.
    """
    from ullage.core.errors import ConfigError
    from ullage.sources.trace_text import head_of

    readers = history_readers()
    head = head_of(str(file))
    for reader in readers:
        if format_id == reader.format_id or (format_id == "auto" and reader.recognises(head)):
            return reader
    known = ", ".join(sorted(reader.format_id for reader in readers))
    raise ConfigError(
        f"{str(file)!a} is of no known format: name one by --format ({known}), "
        "see docs/import-export.md for what each looks like"
    )


def export_formats() -> tuple[str, ...]:
    """Return the formats in which rows can be written."""
    from ullage.stores.export_files import WRITERS

    return tuple(WRITERS)


def export_writer(format_id: str) -> Callable[[IO[bytes], Mapping[str, str], Iterable[Any]], int]:
    """Return what writes rows as `format_id`: (stream, columns, rows) -> number of rows."""
    from ullage.stores.export_files import WRITERS

    return WRITERS[format_id]


def record_json(record: object) -> str:
    """Return a record of the core as canonical JSON; what was stored has no secrets."""
    from ullage.stores.record_json import to_json

    return to_json(record)


def open_ledger(settings: Settings) -> HostLedger:
    """Open the ledger in which all runs of this host book their memory."""
    from ullage.stores.ledger import HostLedger

    return HostLedger.open(
        settings.ledger_path,
        read_memory=read_memory,
        reserve_ratio=settings.reserve_ratio,
        reserve_min_bytes=settings.reserve_min_bytes,
    )


def ledger_joiner(settings: Settings, *, sentinel_pid: int) -> Callable[[str, str | None], Booking]:
    """Return how a run joins the ledger: (run_id, parent_run_id) -> its booking."""

    def join(run_id: str, parent_run_id: str | None) -> Booking:
        return open_ledger(settings).join(
            run_id=run_id,
            pid=os.getpid(),
            sentinel_pid=sentinel_pid,
            parent_run_id=parent_run_id,
        )

    return join


def run_policy() -> RunPolicy:
    """Return the policy that decides runs."""
    # OpenBLAS would start a thread per core for arrays of some hundred numbers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ullage.policies.runs import UllageRunPolicy

    return UllageRunPolicy()


def service_policy() -> ServicePolicy:
    """Return the policy that decides long-running workloads."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ullage.policies.services import UllageServicePolicy

    return UllageServicePolicy()


def usage_policy(
    policy_id: str, price_hours: float, *, prior: RulePrior | None = None
) -> ServicePolicy:
    """Return the policy that a backtest of services calls `policy_id`, at a price of an OOM kill.

    `ullage` is what `service_policy` gives, with another prior where there is one.
    Raises ConfigError for an unknown one.
    """
    if policy_id in ("ullage", "ullage-guarded"):
        from ullage.policies.services import UllageServicePolicy
        from ullage.simulation.usage_guarded import GuardedServicePolicy

        ours = UllageServicePolicy(price_hours=price_hours, prior=prior)
        return ours if policy_id == "ullage" else GuardedServicePolicy(ours, policy_id=policy_id)
    from ullage.peers.services import make_service_peer

    return make_service_peer(policy_id)


def usage_policy_ids() -> tuple[str, ...]:
    """Return all that can be compared on services: ours (also guarded), peers, the oracle."""
    from ullage.peers.services import SERVICE_PEER_IDS
    from ullage.simulation.usage_backtest import ORACLE

    return ("ullage", "ullage-guarded", *SERVICE_PEER_IDS, ORACLE)


def worker_policy() -> RunPolicy:
    """Return the policy behind the choice of a job's workers: it tells its needs."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ullage.policies.runs import UllageRunPolicy

    return UllageRunPolicy(tells_needs=True)


def launch_ports(store: SqliteStateStore | None) -> LaunchPorts:
    """Return the world of a launch on Dataflow. store: None reads and records nothing."""
    from ullage.control.job_launch import LaunchPorts

    return LaunchPorts(
        store=store,
        policy=worker_policy(),
        clock=SystemClock(),
        entropy=os.urandom,
    )


def dataflow_jobs(
    *, project: str, region: str, endpoint: str | None = None, has_auth: bool = True
) -> JobSource:
    """Open the jobs of Dataflow in one project and region; errors name the way out."""
    from ullage.sources.dataflow import DataflowJobs

    return DataflowJobs.open(project=project, region=region, endpoint=endpoint, has_auth=has_auth)


def backtest_policy(policy_id: str) -> RunPolicy:
    """Return the policy that a backtest calls `policy_id`: `ullage` as in a live run, or a peer.

    Only that `ullage` names no deciding runs here.
    Raises ConfigError for an unknown one, and where a package that it needs is not installed.
    """
    if policy_id == "ullage":
        from ullage.policies.runs import UllageRunPolicy

        return UllageRunPolicy(names_runs=False)
    from ullage.peers.registry import make_peer

    return make_peer(policy_id)


def backtest_policy_ids() -> tuple[str, ...]:
    """Return all that can be compared on runs: `ullage`, every peer, and the oracle."""
    from ullage.peers.registry import PEER_IDS
    from ullage.simulation.compare import ORACLE

    return ("ullage", *PEER_IDS, ORACLE)
