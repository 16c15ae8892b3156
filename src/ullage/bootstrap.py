"""Puts the parts together: the only module that names adapters.

Imports are inside the functions: `ullage --help` loads none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    from ullage.core.serve_settings import ServeSettings
    from ullage.core.service import ServiceSpec, TargetKind
    from ullage.core.service_ports import TargetActuator, TargetFinder, TargetSource
    from ullage.core.service_registry import ServiceRegistry
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


def service_registry(settings: Settings) -> ServiceRegistry:
    """Return where `ullage run --service` tells `ullage serve` of its services."""
    from ullage.stores.service_files import ServiceFiles

    return ServiceFiles(settings.state_dir / "services")


def registered_specs(settings: Settings) -> list[ServiceSpec]:
    """Return what `ullage run --service` has registered, as if the settings named it.

    Typing `--service` opts the workload in; without the global switch nothing is changed
    (S21). Registrations whose cgroup and supervisor are both gone are forgotten.
    """
    from ullage.access import cgroup1, cgroup2
    from ullage.control.owners import is_owner_alive
    from ullage.core.selectors import is_pattern
    from ullage.core.service import ServiceSpec, TargetKind, UpdateMode

    registry = service_registry(settings)
    trees = {
        ControlKind.CGROUP1: cgroup1.memory_tree()[0],
        ControlKind.CGROUP2: cgroup2.memory_tree()[0],
    }
    specs = []
    for service in registry.all():
        tree = trees.get(service.kind)
        if not os.path.isdir(service.folder):
            if not is_owner_alive(service.owner):
                registry.drop(service.run_id)
            continue
        path = service.folder.removeprefix(tree.point) if tree else ""
        if not path.startswith("/") or path == service.folder or is_pattern(path):
            continue  # not below this mount, or a name that would mean others too
        specs.append(
            ServiceSpec(
                workload_key=service.workload_key,
                kind=TargetKind(str(service.kind)),
                selector=path,
                mode=UpdateMode.IN_PLACE,
                max_bytes=service.max_bytes,
            )
        )
    return specs


@dataclass(slots=True, kw_only=True)
class TargetAdapters:
    """The adapters of `ullage serve` that this machine has, and why others are missing."""

    finders: dict[TargetKind, TargetFinder] = field(default_factory=dict)
    sources: dict[TargetKind, TargetSource] = field(default_factory=dict)
    actuators: dict[TargetKind, TargetActuator] = field(default_factory=dict)
    missing: dict[TargetKind, str] = field(default_factory=dict)


def target_adapters(
    specs: Callable[[], Sequence[ServiceSpec]],
    serve_settings: ServeSettings,
    *,
    docker_socket: str | None = None,
) -> TargetAdapters:
    """Return finders, sources and actuators of every kind of target that can be had here.

    specs: who may be touched, asked at each change. docker_socket: None = no Docker.
    """
    from ullage.core.service import TargetKind

    def selectors(kind: TargetKind) -> Callable[[], list[str]]:
        return lambda: [spec.selector for spec in specs() if spec.kind is kind]

    _allow_descriptors()
    found = TargetAdapters()
    _add_cgroup1(found, selectors(TargetKind.CGROUP1), serve_settings)
    _add_cgroup2(found, selectors(TargetKind.CGROUP2), serve_settings)
    if docker_socket is None:
        found.missing[TargetKind.DOCKER] = "the settings name no docker socket"
    else:
        _add_docker(found, selectors(TargetKind.DOCKER), serve_settings, docker_socket)
    return found


def _allow_descriptors() -> None:
    """Take the descriptors that the system would give us: v1 needs two per target."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _add_cgroup1(
    found: TargetAdapters, selectors: Callable[[], list[str]], serve_settings: ServeSettings
) -> None:
    from ullage.access.cgroup1 import memory_tree
    from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator
    from ullage.core.service import TargetKind
    from ullage.sources.cgroup_finder import CgroupFinder
    from ullage.sources.live_cgroup1 import LiveCgroup1Source

    tree, why_not = memory_tree()
    kind, now = TargetKind.CGROUP1, SystemClock().now
    if tree is None:
        found.missing[kind] = why_not
        return
    found.finders[kind] = CgroupFinder(kind, tree)
    found.sources[kind] = LiveCgroup1Source(tree, now=now, node_bytes=read_memory()[1])
    found.actuators[kind] = LiveCgroup1Actuator(
        tree, selectors=selectors, settings=serve_settings, now=now
    )


def _add_cgroup2(
    found: TargetAdapters, selectors: Callable[[], list[str]], serve_settings: ServeSettings
) -> None:
    from ullage.access.cgroup2 import memory_tree
    from ullage.actuators.live_cgroup2 import LiveCgroup2Actuator
    from ullage.core.service import TargetKind
    from ullage.sources.cgroup_finder import CgroupFinder
    from ullage.sources.live_cgroup2 import LiveCgroup2Source

    tree, why_not = memory_tree()
    kind, now = TargetKind.CGROUP2, SystemClock().now
    if tree is None:
        found.missing[kind] = why_not
        return
    found.finders[kind] = CgroupFinder(kind, tree)
    found.sources[kind] = LiveCgroup2Source(tree, now=now, node_bytes=read_memory()[1])
    found.actuators[kind] = LiveCgroup2Actuator(
        tree, selectors=selectors, settings=serve_settings, now=now
    )


def _add_docker(
    found: TargetAdapters,
    selectors: Callable[[], list[str]],
    serve_settings: ServeSettings,
    docker_socket: str,
) -> None:
    import time

    from ullage.access import cgroup1, cgroup2
    from ullage.access.docker import DockerApi
    from ullage.access.docker_reading import ContainerCgroups
    from ullage.actuators.live_docker import LiveDockerActuator
    from ullage.core.service import TargetKind
    from ullage.sources.live_docker import DockerFinder, LiveDockerSource, own_container_text

    kind, now = TargetKind.DOCKER, SystemClock().now
    trees = [(cgroup1.memory_tree()[0], False), (cgroup2.memory_tree()[0], True)]
    cgroups = ContainerCgroups([(tree, is_v2) for tree, is_v2 in trees if tree is not None])
    api = DockerApi(docker_socket, monotonic_s=time.monotonic)
    lives: dict[str, str] = {}
    found.finders[kind] = DockerFinder(api, own_text=own_container_text(), lives=lives)
    found.sources[kind] = LiveDockerSource(api, cgroups, now=now, lives=lives)
    found.actuators[kind] = LiveDockerActuator(
        api, cgroups, selectors=selectors, settings=serve_settings, now=now
    )


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
