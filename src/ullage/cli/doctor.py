"""`ullage doctor`: what this machine allows, what is missing, and the command that grants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ullage.bootstrap import SandboxFactory
    from ullage.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report. `way_out` is what to do where it is not well."""

    name: str
    is_well: bool
    words: str
    way_out: str = ""


def doctor() -> None:
    """Say what Ullage can do on this machine, and what to do about what it cannot."""
    from ullage.config import load_settings
    from ullage.core.errors import UllageError

    try:
        settings = load_settings()
    except UllageError as error:
        typer.echo(f"FAIL  settings: {error}")
        raise typer.Exit(1) from error
    findings = [
        _version(),
        _memory_control(),
        _host_memory(),
        _state(settings),
        _segments(settings),
        _ledger(settings),
        _settings(settings),
        _services(settings),
    ]
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.is_well else 'FAIL'}  {finding.name}: {finding.words}")
        if finding.way_out:
            typer.echo(f"      {'->'} {finding.way_out}")
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


def _version() -> Finding:
    import platform
    import sqlite3

    from ullage import __version__

    words = (
        f"ullage {__version__}, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}, {platform.system()} {platform.release()}"
    )
    return Finding(name="version", is_well=True, words=words)


def _memory_control() -> Finding:
    from ullage.bootstrap import SandboxFactory

    sandboxes = SandboxFactory()
    if not sandboxes.reason:
        return Finding(name="memory control", is_well=True, words=_how(sandboxes))
    way_out, nothing_to_have = _way_out()
    return Finding(
        name="memory control",
        is_well=nothing_to_have,
        words=f"observe-only: {sandboxes.reason}",
        way_out=way_out,
    )


def _how(sandboxes: SandboxFactory) -> str:
    from ullage.core.workload import ControlKind

    place = f"new cgroups go below {sandboxes.parent}"
    if sandboxes.control is ControlKind.CGROUP2:
        return f"cgroup v2, {place}: limits, growth, slowing down (memory.high; v2 has no waiting)"
    return f"cgroup v1, {place}: limits, growth, waiting"


def _way_out() -> tuple[str, bool]:
    """Return the command that gives more, and whether there is nothing to be had here at all."""
    import os
    import shutil
    import sys

    if sys.platform != "linux":
        return "limits need a Linux kernel: a Linux host, a container, or WSL 2", True
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return (
            "make `ullage run` the container's first process, and its cgroup writable: docker run "
            "--security-opt writable-cgroups=true (28 or newer), podman run --security-opt "
            "unmask=/sys/fs/cgroup"
        ), False
    if os.geteuid() != 0 and shutil.which("systemd-run"):
        return "systemd-run --user --scope -p Delegate=yes -- ullage run -- CMD", False
    return "run as root, for example: sudo env PATH=$PATH ullage run -- CMD", False


def _host_memory() -> Finding:
    from ullage.bootstrap import read_memory
    from ullage.core.errors import UllageError
    from ullage.core.units import format_bytes

    try:
        available_bytes, total_bytes = read_memory()
    except UllageError as error:
        return Finding(name="host memory", is_well=False, words=str(error))
    words = f"{format_bytes(available_bytes)} available of {format_bytes(total_bytes)}"
    return Finding(name="host memory", is_well=True, words=words)


def _state(settings: Settings) -> Finding:
    from ullage.bootstrap import open_store
    from ullage.core.errors import UllageError

    try:
        store = open_store(settings)
        try:
            faults = store.integrity()
            counts = store.counts()
        finally:
            store.close()
    except UllageError as error:
        return Finding(name="state", is_well=False, words=str(error))
    if faults:
        return Finding(
            name="state",
            is_well=False,
            words=f"{settings.state_dir}: {faults[0]}",
            way_out="move the folder away and start anew, or set ULLAGE_STATE_DIR; "
            "nothing is deleted by Ullage",
        )
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    return Finding(name="state", is_well=True, words=f"{settings.state_dir} ({words})")


def _segments(settings: Settings) -> Finding:
    """Verify the segments, digests and all."""
    from ullage.bootstrap import open_store
    from ullage.core.errors import UllageError
    from ullage.outcomes.compaction import segments_words

    try:
        store = open_store(settings)
        try:
            report = store.segments_report()
        finally:
            store.close()
    except UllageError as error:
        return Finding(name="segments", is_well=False, words=str(error))
    return Finding(
        name="segments",
        is_well=not report.faults,
        words=segments_words(report),
        way_out=report.faults[0] if report.faults else "",
    )


def _ledger(settings: Settings) -> Finding:
    from ullage.bootstrap import open_ledger
    from ullage.core.errors import UllageError
    from ullage.core.units import format_bytes

    try:
        budget_bytes, booked_bytes, count = open_ledger(settings).summary()
    except UllageError as error:
        return Finding(
            name="host ledger",
            is_well=False,
            words=str(error),
            way_out="set ULLAGE_LEDGER to a file that you can write",
        )
    words = (
        f"{settings.ledger_path}: {count} live runs have booked {format_bytes(booked_bytes)}; "
        f"{format_bytes(budget_bytes)} can still be given"
    )
    return Finding(name="host ledger", is_well=True, words=words)


def _settings(settings: Settings) -> Finding:
    return Finding(name="settings", is_well=True, words=f"from {settings.source}")


def _services(settings: Settings) -> Finding:
    """Say what `ullage serve` can do here, and who does it."""
    from ullage.bootstrap_serve import SpecBook, adapters, open_service_store
    from ullage.core.errors import UllageError
    from ullage.core.service import TargetKind
    from ullage.serve_config import load_serve

    try:
        config = load_serve(settings)
        store = open_service_store(settings, config)
        try:
            holder = store.lease_holder()
            fleet = store.fleet()
        finally:
            store.close()
        made = adapters(config, SpecBook(lambda: (), config.specs))
        for source in made.sources.values():
            source.close()
    except UllageError as error:
        return Finding(name="services", is_well=False, words=str(error))
    lacking = [spec.kind for spec in config.specs if spec.kind in made.missing]
    if lacking:
        return Finding(
            name="services",
            is_well=False,
            words=f"no {lacking[0]} here ({made.missing[lacking[0]]})",
            way_out="`ullage config check` names the workloads",
        )
    kinds = ", ".join(kind for kind in TargetKind if kind in made.finders) or "nothing"
    words = f"can watch {kinds}; {len(config.specs)} workloads in the settings"
    words += f"; daemon {holder.holder}" if holder else "; no daemon acts (`ullage serve`)"
    if fleet.breaker_since_at is not None:
        return Finding(
            name="services",
            is_well=False,
            words=f"{words}; the breaker is open: no cuts",
            way_out="look at `ullage get decisions`, then `ullage unfreeze --breaker`",
        )
    return Finding(name="services", is_well=True, words=words)
