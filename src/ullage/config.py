"""Settings: defaults, then the configuration file, then the environment.

Every field says its unit and why it is what it is. Options of a command outrank all of
this and are applied by the command. A file is optional; TOML is read only where one is.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ullage.core.errors import ConfigError
from ullage.core.price_book import PriceBook, dataflow_price_from
from ullage.core.prices import DEFAULT_MEMORY_PRICE, MemoryPrice
from ullage.core.units import GIB, parse_bytes

_REGION = re.compile(r"[a-z][a-z0-9-]{1,39}", re.ASCII)

PRESETS: Mapping[str, tuple[float, float]] = {
    "batch": (1.0, 0.02),
    "batch-tolerant": (1.0, 0.05),
    "batch-critical": (20.0, 0.005),
}
"""Name -> (rho, failure_budget_ratio)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one invocation. Spans are seconds, sizes bytes, shares 0..1."""

    state_dir: Path
    """Folder of the durable record (runs, decisions, OOM kills); made 0700 when needed.
    ULLAGE_STATE_DIR, else $XDG_STATE_HOME/ullage, else ~/.local/state/ullage."""

    ledger_path: Path
    """File in which all runs of this host book memory, so that they share one budget.
    ULLAGE_LEDGER, else /run/ullage/ledger.db for root (gone after a reboot, as bookings
    should be), else $XDG_RUNTIME_DIR/ullage/ledger.db, else in state_dir."""

    preset: str = "batch"
    """batch, batch-tolerant or batch-critical: sets rho and failure_budget_ratio together."""

    failure_budget_ratio: float = 0.02
    """Share of first attempts that may be OOM-killed: spent where it saves most."""

    rho: float = 1.0
    """Price of memory-time lost in a failed attempt, relative to memory-time wasted. It is
    the failure budget that holds failures down; without one, 1 would fail one in ten."""

    reserve_ratio: float = 0.05
    """Share of the host's memory that runs never book: what the rest of the host needs."""

    reserve_min_bytes: int = GIB
    """Least reserve in bytes: 5 % of a small host is too little to stay reachable. On hosts and
    in containers below 8 GiB one part in eight of the memory is enough."""

    poll_s: float = 0.05
    """Seconds between two readings of a quiet run: 21 us each, far below 0.5 % of a core."""

    fast_poll_s: float = 0.005
    """Seconds between two readings once need is over 80 % of the limit, where the kernel's
    threshold events may not fire because of page cache."""

    wait_for_memory_s: float = 60.0
    """Seconds a run may wait at its limit for memory that others hold, before the kernel
    gets its OOM killer back: longer waits look like a hang."""

    keep_samples: timedelta | None = None
    """How long samples that have left the state are kept (keep_samples_days in the file); None
    = for ever. Runs, attempts and OOM kills are kept for ever whatever this says."""

    prices: MemoryPrice = field(default=DEFAULT_MEMORY_PRICE)
    """What a GiB-hour costs in reports: [prices] in the file, or ULLAGE_PRICE_GIB_HOUR_USD."""

    price_book: PriceBook = field(default_factory=PriceBook)
    """What Dataflow costs by region: us-central1, and each [prices.dataflow.REGION] of the file."""

    serve_table: Mapping[str, object] = field(default_factory=dict)
    """What [serve] says, as read: `serve_config` understands it where it is needed."""

    source: str = "defaults"
    """Where these settings came from, in words (for `ullage doctor`)."""

    def with_preset(self, name: str) -> Settings:
        """Return the settings under the preset `name`; ConfigError if there is none."""
        rho, budget = _preset(name)
        return replace(self, preset=name, rho=rho, failure_budget_ratio=budget)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this invocation.

    environ: the environment (default: the process's). Raises ConfigError for a named file
    that is missing, for unreadable TOML, unknown keys, wrong types and values out of range.
    """
    env = os.environ if environ is None else environ
    file, is_named = _config_file(env)
    table = _read_toml(file, must_exist=is_named)
    where = str(file) if table is not None else ""
    values = _checked(table or {}, where)
    state_dir = _folder(env.get("ULLAGE_STATE_DIR"), "ULLAGE_STATE_DIR") or values.pop(
        "state_dir", _xdg(env, "XDG_STATE_HOME", ".local/state")
    )
    values.pop("state_dir", None)
    ledger_path = _folder(env.get("ULLAGE_LEDGER"), "ULLAGE_LEDGER") or values.pop(
        "ledger_path", _default_ledger(env, state_dir)
    )
    values.pop("ledger_path", None)
    price, book = values.pop("prices", (DEFAULT_MEMORY_PRICE, PriceBook()))
    settings = Settings(
        state_dir=state_dir,
        ledger_path=ledger_path,
        prices=_price_from(env, price),
        price_book=book,
        source=where or "defaults and the environment",
    ).with_preset(values.pop("preset", "batch"))
    return replace(settings, **values)


def _config_file(env: Mapping[str, str]) -> tuple[Path, bool]:
    named = _folder(env.get("ULLAGE_CONFIG"), "ULLAGE_CONFIG")
    if named is not None:
        return named, True
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "config.toml", False


def _read_toml(file: Path, *, must_exist: bool) -> dict[str, object] | None:
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if must_exist:
            raise ConfigError(f"ULLAGE_CONFIG names {file}, which does not exist") from error
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _xdg(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    """Return the user's folder for Ullage; relative values are ignored, as XDG asks."""
    given = env.get(variable, "")
    if given.startswith("/"):
        return Path(given) / "ullage"
    home = env.get("HOME", "")
    return (Path(home) if home.startswith("/") else Path.home()) / fallback / "ullage"


def _folder(text: str | None, name: str) -> Path | None:
    if not text:
        return None
    if "\0" in text:
        raise ConfigError(f"{name} holds a null byte: give a path")
    return Path(os.path.abspath(os.path.expanduser(text)))


def _default_ledger(env: Mapping[str, str], state_dir: Path) -> Path:
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/ullage/ledger.db")
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.access(runtime, os.W_OK):
        return Path(runtime) / "ullage" / "ledger.db"
    return state_dir / "ledger.db"


def _price_from(env: Mapping[str, str], price: MemoryPrice) -> MemoryPrice:
    name = "ULLAGE_PRICE_GIB_HOUR_USD"
    if not env.get(name):
        return price
    try:
        amount = float(env[name])
    except ValueError:
        raise ConfigError(f"{name}={env[name][:40]!r}: write USD per GiB-hour, 0.0036") from None
    return MemoryPrice(
        gib_hour_usd=_number(amount, name, 0, 1000), name=name, region="", as_of=None, source=name
    )


# -- the keys of the file ------------------------------------------------------------------


def _checked(table: Mapping[str, object], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in table.items():
        reader = _KEYS.get(key)
        if reader is None:
            raise ConfigError(f"{where}: unknown key {key!a}{nearest(key, _KEYS)}")
        name, read = reader
        try:
            values[name] = read(value, key)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return values


def nearest(key: str, known: Mapping[str, object]) -> str:
    """Return what an error about an unknown key says about the known ones."""
    import difflib

    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(sorted(known))}"


def _number(value: object, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: {value!r:.40} is not a number")
    if not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} is outside {low:g}..{high:g}")
    return float(value)


def _between(low: float, high: float) -> Callable[[object, str], object]:
    return lambda value, name: _number(value, name, low, high)


def _days(value: object, name: str) -> object:
    return timedelta(days=_number(value, name, 1, 36_500))


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 4096:
        raise ConfigError(f"{name}: {value!r:.40} is not a text of printable characters")
    return value


def _quantity(value: object, name: str) -> object:
    if not isinstance(value, str):
        raise ConfigError(f'{name}: {value!r:.40} needs a unit: write "1GiB"')
    return parse_bytes(value, name=name)


def _path(value: object, name: str) -> object:
    path = _folder(_text(value, name), name)
    if path is None:
        raise ConfigError(f"{name} is empty: give a path or leave it out")
    return path


def _preset_name(value: object, name: str) -> object:
    text = _text(value, name)
    _preset(text)
    return text


def _preset(name: str) -> tuple[float, float]:
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name[:40]!a}: use {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def _prices(value: object, name: str) -> object:
    keys = dict.fromkeys(("gib_hour_usd", "name", "region", "as_of", "dataflow"))
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write a table [{name}] with gib_hour_usd = 0.0036")
    for key in value:
        if key not in keys:
            raise ConfigError(f"unknown key {name}.{key!a}{nearest(key, keys)}")
    book = _price_book(value.get("dataflow", {}), f"{name}.dataflow")
    is_memory_told = value.keys() - {"dataflow"} or not value
    return (_memory_price(value, name) if is_memory_told else DEFAULT_MEMORY_PRICE), book


def _price_book(value: object, name: str) -> PriceBook:
    book = PriceBook()
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write a table for each region, [{name}.europe-west1]")
    for region, table in value.items():
        if not isinstance(table, dict) or not _REGION.fullmatch(region):
            raise ConfigError(f"{name}.{region[:40]!a}: write [{name}.europe-west1], a table")
        book = book.with_dataflow(dataflow_price_from(table, region=region))
    return book


def _memory_price(value: Mapping[str, object], name: str) -> MemoryPrice:
    from datetime import date

    if "gib_hour_usd" not in value:
        raise ConfigError(f"[{name}] needs gib_hour_usd, the price of one GiB-hour in USD")
    as_of = value.get("as_of")
    if as_of is not None and type(as_of) is not date:
        raise ConfigError(f"{name}.as_of: write a date without quotes, as_of = 2026-11-23")
    return MemoryPrice(
        gib_hour_usd=_number(value["gib_hour_usd"], f"{name}.gib_hour_usd", 0, 1000),
        name=_text(value.get("name", "own price"), f"{name}.name"),
        region=_text(value.get("region", ""), f"{name}.region"),
        as_of=as_of,
        source="the configuration file",
    )


def _serve_table(value: object, name: str) -> object:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write a table [{name}], see docs/operating.md")
    return value


_KEYS: Mapping[str, tuple[str, Callable[[object, str], object]]] = {
    "state_dir": ("state_dir", _path),
    "ledger_path": ("ledger_path", _path),
    "preset": ("preset", _preset_name),
    "failure_budget_ratio": ("failure_budget_ratio", _between(0.0001, 0.5)),
    "rho": ("rho", _between(0.1, 1000)),
    "reserve_ratio": ("reserve_ratio", _between(0.0, 0.9)),
    "reserve_min": ("reserve_min_bytes", _quantity),
    "poll_s": ("poll_s", _between(0.001, 10)),
    "fast_poll_s": ("fast_poll_s", _between(0.0005, 10)),
    "wait_for_memory_s": ("wait_for_memory_s", _between(0, 86_400)),
    "keep_samples_days": ("keep_samples", _days),
    "prices": ("prices", _prices),
    "serve": ("serve_table", _serve_table),
}
"""Key in the file -> (field of Settings, how it is read)."""
