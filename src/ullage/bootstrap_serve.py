"""Puts `ullage serve` together: names its adapters, as bootstrap does for runs.

Imports are inside the functions: nothing of this is loaded by other commands.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.bootstrap import SystemClock, open_ledger, read_memory, service_policy
from ullage.core.errors import AdapterError, ConfigError, DataError, UllageError
from ullage.core.service import HostCapacity, LimitChange, TargetKind
from ullage.serve_config import changed_keys

if TYPE_CHECKING:
    from ullage.access.folders import CgroupTree
    from ullage.config import Settings
    from ullage.control.daemon import Daemon
    from ullage.control.sentinel import Sentinel
    from ullage.control.tracked import ServeParts
    from ullage.core.serve_status import ServeStatus, StatusSink, StoreStatus
    from ullage.core.service import ChangeOutcome, ServiceSpec
    from ullage.core.service_ports import (
        ServicePolicy,
        TargetActuator,
        TargetFinder,
        TargetSource,
    )
    from ullage.serve_config import ServeConfig
    from ullage.stores.ledger import HostLedger
    from ullage.stores.service import SqliteServiceStore as SqliteServiceStore


@dataclass(slots=True)
class SpecBook:
    """The workloads of the settings and the registered services; reloading replaces them."""

    load: Callable[[], Sequence[ServiceSpec]]
    from_settings: tuple[ServiceSpec, ...] = ()
    registered: tuple[ServiceSpec, ...] = ()

    def all(self) -> tuple[ServiceSpec, ...]:
        """Return both; what the settings name wins over a registration of the same target."""
        named = {(spec.kind, spec.selector) for spec in self.from_settings}
        extra = [one for one in self.registered if (one.kind, one.selector) not in named]
        return (*self.from_settings, *extra)

    def selectors(self, *kinds: TargetKind) -> list[str]:
        """Return what may be touched by an actuator of these kinds."""
        return [spec.selector for spec in self.all() if spec.kind in kinds]

    def reload(self) -> None:
        """Read the settings again; ConfigError leaves what was."""
        self.from_settings = tuple(self.load())


@dataclass(slots=True)
class Adapters:
    """One adapter pair per kind of target that this machine has. missing: kind -> why not."""

    finders: dict[TargetKind, TargetFinder] = field(default_factory=dict)
    sources: dict[TargetKind, TargetSource] = field(default_factory=dict)
    actuators: dict[TargetKind, TargetActuator] = field(default_factory=dict)
    missing: dict[TargetKind, str] = field(default_factory=dict)


class HostMemoryReader:
    """Implements core.service_ports.HostMemory: the kernel's figures and the runs' ledger."""

    def __init__(self, ledger: HostLedger) -> None:
        self._ledger = ledger

    def read(self) -> HostCapacity:
        """Return what there is, what is free, what live runs have booked."""
        free_bytes, total_bytes = read_memory()
        try:
            booked_bytes = self._ledger.summary()[1]
        except UllageError:
            booked_bytes = 0  # without a ledger the kernel's figure stands alone
        return HostCapacity(
            total_bytes=total_bytes, free_bytes=free_bytes, booked_bytes=booked_bytes
        )


class GuardedParking:
    """An actuator whose parked tasks get the OOM killer back even if this process is killed.

    A sentinel, forked first, writes it back as soon as the daemon is gone, however it went.
    file_of: target_id -> the file that gives the killer back when "0" is written.
    """

    def __init__(
        self, inner: TargetActuator, sentinel: Sentinel, file_of: Callable[[str], str]
    ) -> None:
        self._inner = inner
        self._sentinel = sentinel
        self._file_of = file_of

    def apply(self, change: LimitChange) -> ChangeOutcome:
        """Pass the change on."""
        return self._inner.apply(change)

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """Tell the sentinel before tasks can wait, and after they no longer can."""
        file = self._file_of(target_id)
        if is_parking:
            self._sentinel.release_later(file, "0")
        self._inner.set_parking(target_id, is_parking)
        if not is_parking:
            self._sentinel.drop(file)


def open_service_store(
    settings: Settings, config: ServeConfig, *, read_only: bool = False, patience_s: float = 5.0
) -> SqliteServiceStore:
    """Open the service loop's store; errors name the way out."""
    from ullage.stores.service import SqliteServiceStore

    path = settings.state_dir / "state.db"
    return SqliteServiceStore.open(
        path, config.settings, read_only=read_only, patience_s=patience_s
    )


def read_serve_status(settings: Settings) -> ServeStatus | None:
    """Return the newest picture that a daemon left, None where there is none."""
    from ullage.stores.status_file import read_status

    return read_status(settings.state_dir)


def adapters(config: ServeConfig, specs: SpecBook, sentinel: Sentinel | None = None) -> Adapters:
    """Return the adapter pairs of this machine. To add a kind: one function and one line here."""
    found = Adapters()
    clock = SystemClock()
    _allow_descriptors()
    _add_cgroup1(found, config, specs, clock, sentinel)
    _add_cgroup2(found, config, specs, clock)
    _add_docker(found, config, specs, clock)
    return found


def _allow_descriptors() -> None:
    """Take the descriptors that the system would give us: v1 needs two per target."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _add_cgroup1(
    found: Adapters,
    config: ServeConfig,
    specs: SpecBook,
    clock: SystemClock,
    sentinel: Sentinel | None,
) -> None:
    from ullage.access.cgroup1 import memory_tree
    from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator
    from ullage.sources.cgroup_finder import CgroupFinder
    from ullage.sources.live_cgroup1 import LiveCgroup1Source

    kind = TargetKind.CGROUP1
    tree, why_not = memory_tree()
    if tree is None:
        found.missing[kind] = why_not
        return
    found.finders[kind] = CgroupFinder(kind, tree)
    found.sources[kind] = LiveCgroup1Source(tree, now=clock.now, node_bytes=read_memory()[1])
    actuator: TargetActuator = LiveCgroup1Actuator(
        tree, selectors=lambda: specs.selectors(kind), settings=config.settings, now=clock.now
    )
    if sentinel is not None:
        point = tree.point
        actuator = GuardedParking(
            actuator,
            sentinel,
            lambda name: f"{point}{name.partition(':')[2]}/memory.oom_control",
        )
    found.actuators[kind] = actuator


def _add_cgroup2(found: Adapters, config: ServeConfig, specs: SpecBook, clock: SystemClock) -> None:
    from ullage.access.cgroup2 import memory_tree
    from ullage.actuators.live_cgroup2 import LiveCgroup2Actuator
    from ullage.sources.cgroup_finder import CgroupFinder
    from ullage.sources.live_cgroup2 import LiveCgroup2Source

    kind = TargetKind.CGROUP2
    tree, why_not = memory_tree()
    if tree is None:
        found.missing[kind] = why_not
        return
    found.finders[kind] = CgroupFinder(kind, tree)
    found.sources[kind] = LiveCgroup2Source(tree, now=clock.now, node_bytes=read_memory()[1])
    found.actuators[kind] = LiveCgroup2Actuator(
        tree, selectors=lambda: specs.selectors(kind), settings=config.settings, now=clock.now
    )


def _add_docker(found: Adapters, config: ServeConfig, specs: SpecBook, clock: SystemClock) -> None:
    kind = TargetKind.DOCKER
    if (
        not any(spec.kind is kind for spec in specs.all())
        and not Path(config.docker_socket).exists()
    ):
        found.missing[kind] = f"no socket {config.docker_socket}: set serve.docker.socket"
        return
    from ullage.access import cgroup1, cgroup2
    from ullage.access.docker import DockerApi
    from ullage.access.docker_reading import ContainerCgroups
    from ullage.actuators.live_docker import LiveDockerActuator
    from ullage.sources.docker_finder import DockerFinder, own_container_text
    from ullage.sources.live_docker import LiveDockerSource

    api = DockerApi(config.docker_socket, monotonic_s=time.monotonic)
    trees: list[tuple[CgroupTree | None, bool]] = [
        (cgroup1.memory_tree()[0], False),
        (cgroup2.memory_tree()[0], True),
    ]
    cgroups = ContainerCgroups([(tree, is_v2) for tree, is_v2 in trees if tree is not None])
    lives: dict[str, str] = {}
    found.finders[kind] = DockerFinder(api, own_text=own_container_text(), lives=lives)
    found.sources[kind] = LiveDockerSource(api, cgroups, now=clock.now, lives=lives)
    found.actuators[kind] = LiveDockerActuator(
        api,
        cgroups,
        selectors=lambda: specs.selectors(kind),
        settings=config.settings,
        now=clock.now,
    )


def serve_parts(
    settings: Settings,
    config: ServeConfig,
    store: SqliteServiceStore,
    made: Adapters,
    *,
    owner: str,
) -> ServeParts:
    """Return the controller's ports."""
    from ullage.control.tracked import ServeParts
    from ullage.policies.scaled_time import ScaledTime

    policies: list[ServicePolicy] = [ScaledTime(service_policy(), config.policy_hour)]
    return ServeParts(
        clock=SystemClock(),
        finders=made.finders,
        sources=made.sources,
        actuators=made.actuators,
        host=HostMemoryReader(open_ledger(settings)),
        lease=store.lease(holder=owner, monotonic_s=time.monotonic),
        journal=store,
        store=store,
        policies=policies,
    )


def _told_specs(running: ServeConfig, new: ServeConfig) -> tuple[ServiceSpec, ...]:
    """Return the new workloads; say which other settings wait for the next start."""
    waiting = changed_keys(running, new)
    if waiting:
        words = "only workloads are taken over while it runs; restart for %s"
        logging.getLogger("ullage.serve").warning(words, ", ".join(waiting))
    return new.specs


def owner_name() -> str:
    """Return a name for this process that no other has: host, pid, start."""
    import secrets
    import socket

    return f"{socket.gethostname()[:60]}/{os.getpid()}/{secrets.token_hex(4)}"


def open_daemon(
    settings: Settings,
    config: ServeConfig,
    *,
    reload: Callable[[], ServeConfig],
    sentinel: Sentinel | None,
) -> tuple[Daemon, ExitStack]:
    """Return the daemon and what closes its store at the end.

    ConfigError, PermanentError, TransientError: the store or the metrics port cannot be had.
    """
    from ullage.control.daemon import Daemon, DaemonParts

    closing = ExitStack()
    try:
        store = open_service_store(settings, config, patience_s=1.0)
        closing.callback(store.close)
        specs = SpecBook(lambda: _told_specs(config, reload()), config.specs)
        look_for_services(store, specs)
        made = adapters(config, specs, sentinel)
        _refuse_missing(config, made)
        owner = owner_name()
        sinks = _sinks(settings, config)
        daemon_parts = DaemonParts(
            parts=serve_parts(settings, config, store, made, owner=owner),
            orders=store,
            reload=specs.reload,
            specs_now=lambda: look_for_services(store, specs),
            measure=lambda: _measure(store),
            tidy=lambda now: _tidy(store, config, now),
            sinks=sinks,
            owner=owner,
        )
        return Daemon(daemon_parts, config.settings), closing
    except BaseException:
        closing.close()
        raise


def make_one_pass(
    settings: Settings, config: ServeConfig, store: SqliteServiceStore, number: int
) -> tuple[str, ...] | None:
    """Obey an intent in this process where no daemon can; None where one holds the lease.

    The lease is taken, the same controller makes one pass, and the lease is given back.
    """
    from ullage.control.daemon import obey
    from ullage.control.reconcile import Controller

    specs = SpecBook(lambda: config.specs, config.specs)
    look_for_services(store, specs)
    made = adapters(config, specs)
    owner = owner_name()
    parts = serve_parts(settings, config, store, made, owner=owner)
    controller = Controller(parts, specs.all(), config.settings, owner=owner)
    now = parts.clock.now()
    try:
        if not controller.keep_lease(now):
            return None
        [asked] = [one for one in store.intents() if one.number == number]
        result = obey(asked, controller, parts, store, now)
        store.answer(number, result, parts.clock.now())
        controller.stop(parts.clock.now())
    finally:
        for source in made.sources.values():
            source.close()
    return result


def look_for_services(store: SqliteServiceStore, specs: SpecBook) -> tuple[ServiceSpec, ...]:
    """Return all workloads; services that `ullage run --service` registered come and go.

    Whose supervisor and cgroup are both gone is taken out: nobody else will.
    """
    from ullage.bootstrap_registry import has_ended

    try:
        found = store.registered()
        gone = [name for name, owner, spec in found if has_ended(owner, spec)]
        for target_id in gone:
            store.unregister(target_id)
    except (AdapterError, DataError):
        return specs.all()  # the store is down: those known before stay
    specs.registered = tuple(spec for name, _, spec in found if name not in gone)
    return specs.all()


def _refuse_missing(config: ServeConfig, made: Adapters) -> None:
    for spec in config.specs:
        if spec.kind in made.missing:
            raise ConfigError(
                f"workload {spec.workload_key!a}: no {spec.kind} here ({made.missing[spec.kind]})"
            )


def _sinks(settings: Settings, config: ServeConfig) -> list[StatusSink]:
    from ullage.notices.posting import AlertmanagerSink, Poster, WebhookSink
    from ullage.stores.status_file import StatusFile

    sinks: list[StatusSink] = [StatusFile(settings.state_dir)]
    now = SystemClock().now
    posters: list[Poster] = []
    notices = config.notices
    if notices.alertmanager_url:
        sink = AlertmanagerSink(notices.alertmanager_url, runbook_url=RUNBOOKS)
        posters.append(Poster(sink, now=now))
    if notices.webhook_url:
        secret = read_secret(notices.webhook_secret_file, notices.webhook_secret_env, os.environ)
        posters.append(Poster(WebhookSink(notices.webhook_url, secret), now=now))
    sinks += posters
    if config.metrics.host:
        sinks.append(_metrics_page(config, posters))
    return sinks


RUNBOOKS = "docs/runbooks.md"
"""Where alerts say what to do; an anchor per alert."""


def _metrics_page(config: ServeConfig, posters: Sequence[object]) -> StatusSink:
    try:
        from ullage.notices.metrics_page import MetricsPage
    except ModuleNotFoundError as error:
        raise ConfigError(
            "the metrics page needs prometheus-client: pip install 'ullage[serve]', "
            'or set serve.metrics.listen = ""'
        ) from error
    from ullage.notices.posting import Poster

    def notices() -> Mapping[str, int]:
        return {
            f"{one.name}|{outcome}": number
            for one in posters
            if isinstance(one, Poster)
            for outcome, number in one.counts.items()
        }

    tick_s = config.settings.sample_interval.total_seconds()
    return MetricsPage(
        config.metrics.host,
        config.metrics.port,
        hosts=config.metrics.hosts,
        stale_after_s=max(30.0, 3 * tick_s),
        monotonic_s=time.monotonic,
        notices=notices,
    )


def read_secret(file: str, variable: str, environ: Mapping[str, str]) -> bytes:
    """Return a secret from a file or the environment. ConfigError, which never shows it."""
    if file:
        try:
            secret = Path(file).read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"serve.notices.webhook.secret_file: {error.strerror}") from error
    else:
        secret = os.fsencode(environ.get(variable, "")).strip()
    if len(secret) < 16:
        raise ConfigError(
            "serve.notices.webhook: its secret lacks or has less than 16 characters: "
            "make one with `openssl rand -hex 32`"
        )
    return secret


def _measure(store: SqliteServiceStore) -> StoreStatus:
    from ullage.core.serve_status import StoreStatus

    size, files = store.journal_size(), store.file_bytes()
    return StoreStatus(
        database_bytes=files["database"],
        log_bytes=files["log"],
        journal_records_count=size.records_count,
        journal_months_count=size.months_count,
        waiting_readings_count=store.readings.waiting_count,
        lost_readings_count=store.readings.lost_count,
    )


def _tidy(store: SqliteServiceStore, config: ServeConfig, now: datetime) -> None:
    store.drop_months(now - config.journal_kept, at=now)


def observing(config: ServeConfig) -> ServeConfig:
    """Return the same settings with acting switched off (S21)."""
    return replace(config, settings=replace(config.settings, is_acting=False))
