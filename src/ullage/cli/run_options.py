"""From the words of `ullage run` to a request: checked before anything happens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.cli.early import prepare_run
from ullage.control.launch import check_command
from ullage.control.run import RunRequest
from ullage.core.allocation import FLOOR_BYTES, Prices
from ullage.core.errors import ConfigError
from ullage.core.recognition import recognise
from ullage.core.units import MIB, format_bytes, format_quantity, parse_bytes

if TYPE_CHECKING:
    from ullage.config import Settings

LEAST_FIXED_BYTES = 4 * MIB
"""Below this not even a small program can start, and the kernel would kill it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options as they were typed."""

    name: str | None = None
    request: str | None = None
    max_memory: str | None = None
    limit: str | None = None
    can_grow: bool = True
    retries: int = 0
    is_observing: bool = False
    is_service: bool = False
    features: tuple[str, ...] = ()
    failure_budget_ratio: float | None = None
    preset: str | None = None
    json_file: Path | None = None
    is_recording: bool = True


def build_request(options: RunOptions, command: Sequence[str], settings: Settings) -> RunRequest:
    """Return the checked request.

    Raises ConfigError for options that cannot be, CommandNotStartedError for a command that
    cannot be executed.
    """
    from ullage.bootstrap import measure_features, read_memory

    _, environment = prepare_run()
    check_command(command, search_path=environment.get("PATH"))
    _check_combination(options)
    _check_json_file(options.json_file)
    total_bytes = read_memory()[1]
    request_bytes = _quantity("--request", options.request, FLOOR_BYTES, total_bytes)
    max_bytes = _quantity("--max-memory", options.max_memory, FLOOR_BYTES, total_bytes)
    if request_bytes is not None and max_bytes is not None and request_bytes > max_bytes:
        raise ConfigError(
            f"--request {options.request} is above --max-memory {options.max_memory}: "
            "lower the first or raise the second"
        )
    settings = settings.with_preset(options.preset) if options.preset else settings
    return RunRequest(
        workload=recognise(options.name, command, os.getcwd()),
        features=measure_features(command, os.getcwd(), options.features),
        argv=tuple(command),
        env=environment,
        request_bytes=request_bytes,
        max_bytes=max_bytes,
        fixed_limit_bytes=_quantity("--limit", options.limit, LEAST_FIXED_BYTES, total_bytes),
        growth_allowed=options.can_grow and options.limit is None,
        observe_only=options.is_observing,
        is_service=options.is_service,
        retries=options.retries,
        failure_budget_ratio=options.failure_budget_ratio or settings.failure_budget_ratio,
        prices=Prices(rho=settings.rho),
        parent_run_id=_parent_run_id(environment),
    )


def _check_combination(options: RunOptions) -> None:
    if options.limit and options.is_observing:
        raise ConfigError(
            "--limit and --observe exclude each other: a limit is more than observing"
        )
    if options.is_service and (options.limit or options.is_observing or options.retries):
        raise ConfigError(
            "--service is for what runs until it is stopped, under a limit that moves: "
            "leave out --limit, --observe and --retries"
        )
    if options.limit and (options.request or options.max_memory):
        raise ConfigError("--limit fixes the memory: leave out --request and --max-memory")


def _check_json_file(file: Path | None) -> None:
    """Find out now, not after hours of work, that the result cannot be written."""
    if file is None:
        return
    if file.is_dir():
        raise ConfigError(f"--json {file} is a folder: name a file in it")
    if not os.access(file.parent, os.W_OK):
        raise ConfigError(f"--json {file}: folder {file.parent} is missing or not writable")


def _quantity(name: str, text: str | None, least_bytes: int, total_bytes: int) -> int | None:
    if text is None:
        return None
    value_bytes = parse_bytes(text, name=name)
    if value_bytes < least_bytes:
        raise ConfigError(
            f"{name} {text} is too small: at least {format_quantity(least_bytes)} is needed"
        )
    if value_bytes > total_bytes:
        raise ConfigError(
            f"{name} {text} is above this host's memory of {format_bytes(total_bytes)}: "
            f"use at most {total_bytes // MIB}MiB"
        )
    return value_bytes


def _parent_run_id(environment: Mapping[str, str]) -> str | None:
    from ullage.core.ids import is_run_id

    run_id = environment.get("ULLAGE_RUN_ID", "")
    return run_id if is_run_id(run_id) else None
