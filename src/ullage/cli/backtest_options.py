"""From the words of `ullage backtest` to a world and policies: checked before anything is read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.core.allocation import FLOOR_BYTES, Bounds, Prices
from ullage.core.errors import ConfigError
from ullage.core.units import MAX_BYTES, format_quantity, parse_bytes
from ullage.simulation.backtest import World

if TYPE_CHECKING:
    from ullage.config import Settings

STDOUT = Path("-")
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestOptions:
    """The options that runs of a file and own runs share, as they were typed."""

    policy: str
    preset: str | None = None
    failure_budget_ratio: float | None = None
    rho: float | None = None
    ttf_ratio: float = 1.0
    node: str | None = None
    json_file: Path | None = None
    html_file: Path | None = None


def build_world(options: BacktestOptions, settings: Settings) -> tuple[World, dict[str, object]]:
    """Return the world that is the same for every policy, and what of it is told in `settings`.

    --preset sets both knobs, --failure-budget that one; --rho alone prices a failure by
    nothing but the memory-time lost, and no budget is held. They exclude each other.
    """
    given = {
        "--preset": options.preset,
        "--failure-budget": options.failure_budget_ratio,
        "--rho": options.rho,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} exclude each other: give one of them")
    if options.preset is not None:
        settings = settings.with_preset(options.preset)
    budget, rho, failure_gbh = settings.failure_budget_ratio, settings.rho, None
    if options.failure_budget_ratio is not None:
        budget = _within(options.failure_budget_ratio, "--failure-budget", 0.0001, 0.5)
    if options.rho is not None:
        rho, failure_gbh = _within(options.rho, "--rho", 0.1, 1000), 0.0
    node_bytes = _node_bytes(options.node)
    world = World(
        bounds=Bounds(ceiling_bytes=node_bytes or MAX_BYTES),
        ttf_ratio=_within(options.ttf_ratio, "--ttf", 0.001, 1.0),
        prices=Prices(rho=rho, failure_gbh=failure_gbh),
        failure_budget_ratio=budget,
    )
    return world, {
        "preset": options.preset or (None if named else settings.preset),
        "failure_budget": None if options.rho is not None else budget,
        "rho": rho,
        "ttf": world.ttf_ratio,
        "node_bytes": node_bytes,
        "floor_bytes": world.bounds.floor_bytes,
        "gib_hour_usd": settings.prices.gib_hour_usd,
        "price": settings.prices.in_words(),
    }


def choose_policies(words: str, known: Sequence[str]) -> tuple[list[str], bool]:
    """Return (ids in the order asked for, each once; whether `all` was among them)."""
    asked = [word.strip().lower() for word in words.split(",")]
    if not all(asked):
        raise ConfigError(f"--policy {words[:60]!a}: names are separated by one comma")
    chosen = [name for word in asked for name in (known if word == ALL else [word])]
    return list(dict.fromkeys(chosen)), ALL in asked


def check_outputs(*, json_file: Path | None, html_file: Path | None = None) -> None:
    """Find out now, not after minutes of work, that a result cannot be written."""
    for name, file in (("--json", json_file), ("--html", html_file)):
        if file is None or (file == STDOUT and name == "--json"):
            continue
        if file.is_dir():
            raise ConfigError(f"{name} {str(file)!a} is a folder: name a file in it")
        if not os.access(file.parent, os.W_OK):
            folder = ascii(str(file.parent))
            raise ConfigError(f"{name}: folder {folder} is missing or not writable")


def redo_command(words: Sequence[str], options: Mapping[str, object]) -> str:
    """Return the command line that does the same again."""
    import shlex

    line = ["ullage", "backtest", *words]
    for name, value in options.items():
        if value is not None:
            line += [name, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(line)


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _node_bytes(text: str | None) -> int | None:
    if text is None:
        return None
    node_bytes = parse_bytes(text, name="--node-bytes")
    if node_bytes < FLOOR_BYTES:
        raise ConfigError(f"--node-bytes {text}: at least {format_quantity(FLOOR_BYTES)} is needed")
    return node_bytes


def _within(value: float, name: str, least: float, most: float) -> float:
    if not (math.isfinite(value) and least <= value <= most):
        raise ConfigError(f"{name} {value:g} is outside {least:g}..{most:g}")
    return value
