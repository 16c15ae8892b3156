"""Settings of `ullage serve`: the tables `[serve]` and `[[serve.workload]]` of config.toml.

Sizes need a unit ("512MiB"), spans too ("30s", "15min", "24h", "5w"): a bare number is an error.
What would loosen the safety contract is out of range. Not here: the other settings (config).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ullage.config import Settings, nearest
from ullage.core.errors import ConfigError
from ullage.core.selectors import cgroup_pattern, docker_label
from ullage.core.serve_settings import (
    HISTORIES_AT_MOST_BYTES,
    ServeSettings,
    history_bytes,
    peaks_count,
)
from ullage.core.service import ServiceSpec, TargetKind, UpdateMode
from ullage.core.units import MIB, format_bytes, parse_bytes

WORKLOADS_AT_MOST = 10_000
PRESETS = ("service", "service-critical", "service-tolerant")
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(ms|s|min|h|d|w)", re.ASCII)
_SPAN_S = {"ms": 0.001, "s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}

BOUNDS: Mapping[str, tuple[float, float]] = {
    "recent_samples_count": (10, 100_000),
    "live_floor_ratio": (1.10, 10),
    "live_floor_room_ratio": (0.25, 10),
    "stale_intervals_count": (1, 3),
    "gap_ratio": (0, 0.20),
    "least_samples_count": (2, 100_000),
    "cut_step_ratio": (0.05, 0.20),
    "small_step_ratio": (0, 0.5),
    "lease_write_ratio": (0.1, 0.8),
    "blast_ratio": (0, 0.25),
    "watch_psi_ratio": (0.001, 0.10),
    "breaker_ooms": (1, 2),
    "breaker_cohort_ratio": (0.0001, 0.01),
    "fallback_ratio": (1.15, 10),
    "settle_ticks": (2, 100),
    "targets_max_count": (1, 100_000),
    "backlog_max_count": (1, 1_000_000),
    "host_reserve_ratio": (0.01, 0.9),
}
"""Range of each number: the safety contract's value is always the loosest one."""

_OWN_KEYS = {"is_acting": "act", "live_floor_room_bytes": "live_floor_room"}
_SHORTEST = timedelta(milliseconds=100)
_LONGEST = timedelta(weeks=104)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where Prometheus finds us. host "" = nowhere. hosts: Host headers that are answered."""

    host: str = "127.0.0.1"
    port: int = 9464
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSettings:
    """Who is told. "" = nobody. secret_file, secret_env: where the webhook's secret stands."""

    alertmanager_url: str = ""
    webhook_url: str = ""
    webhook_secret_file: str = ""
    webhook_secret_env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """All that `ullage serve` is told."""

    settings: ServeSettings = field(default_factory=ServeSettings)
    specs: tuple[ServiceSpec, ...] = ()
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    docker_socket: str = "/var/run/docker.sock"
    policy_hour: timedelta = timedelta(hours=1)
    """What the policy takes for an hour: its windows, of two hours to five weeks, go with it."""
    journal_kept: timedelta = timedelta(days=400)
    """Whole months of the journal that ended before are dropped."""
    warnings: tuple[str, ...] = ()
    """What is allowed and hardly meant."""


def load_serve(settings: Settings) -> ServeConfig:
    """Return what the `[serve]` tables say; without any, the defaults and no workloads.

    Raises ConfigError: unknown keys (with the nearest one), numbers without a unit or out of
    range, two tables for one workload or one selector.
    """
    table = dict(settings.serve_table)
    try:
        return _serve(table)
    except ConfigError as error:
        raise ConfigError(f"{settings.source}: {error}") from None


def _serve(table: dict[str, Any]) -> ServeConfig:
    values: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for key, value in table.items():
        if key in _PARTS:
            parts.update(_PARTS[key](value, f"serve.{key}"))
        elif key in _SETTINGS:
            name, read = _SETTINGS[key]
            values[name] = read(value, f"serve.{key}")
        else:
            raise ConfigError(f"unknown key serve.{key!a}{nearest(key, {**_PARTS, **_SETTINGS})}")
    made = ServeSettings(**values)
    _check_spans(made)
    specs = parts.get("specs", ())
    warnings = [
        f"workload {spec.workload_key!a}: its selector is empty, so nobody is meant"
        for spec in specs
        if not spec.selector.strip()
    ]
    if not specs:
        warnings.append("no [[serve.workload]]: only services of `ullage run --service` are seen")
    if made.is_acting and specs and all(spec.mode is UpdateMode.OFF for spec in specs):
        warnings.append('serve.act is on, but no workload has mode = "in_place": nothing moves')
    return ServeConfig(settings=made, warnings=tuple(warnings), **parts)


def changed_keys(old: ServeConfig, new: ServeConfig) -> list[str]:
    """Return the keys, as a settings file has them, that differ; workloads left out."""
    keys = [
        f"serve.{_OWN_KEYS.get(one.name, one.name)}"
        for one in fields(ServeSettings)
        if getattr(old.settings, one.name) != getattr(new.settings, one.name)
    ]
    parts = {
        "metrics": "metrics",
        "notices": "notices",
        "docker": "docker_socket",
        "policy": "policy_hour",
        "journal": "journal_kept",
    }
    return keys + [
        f"serve.{part}" for part, name in parts.items() if getattr(old, name) != getattr(new, name)
    ]


def _check_spans(settings: ServeSettings) -> None:
    if settings.sample_interval > settings.decide_interval:
        raise ConfigError("serve.decide_interval is shorter than serve.sample_interval")
    if settings.lease_span > timedelta(seconds=15):
        raise ConfigError("serve.lease_span: at most 15s, so that a takeover takes at most 20 s")
    if settings.stale_at_most > timedelta(minutes=10):
        raise ConfigError("serve.stale_at_most: at most 10min (S2)")
    if settings.live_floor_room_bytes < 128 * MIB:
        raise ConfigError("serve.live_floor_room: at least 128MiB (S1)")
    if settings.quarantine > settings.quarantine_at_most:
        raise ConfigError("serve.quarantine is longer than serve.quarantine_at_most")
    _check_memory(settings)


def _check_memory(settings: ServeSettings) -> None:
    """Refuse a past that does not fit into memory (S19)."""
    whole_bytes = history_bytes(settings) * settings.targets_max_count
    if whole_bytes > HISTORIES_AT_MOST_BYTES:
        raise ConfigError(
            f"the past of {settings.targets_max_count} targets (serve.targets_max_count) with "
            f"{peaks_count(settings)} peaks (serve.peaks_kept / serve.peak_interval) and "
            f"{settings.recent_samples_count} readings (serve.recent_samples_count) each would "
            f"take {format_bytes(whole_bytes)} of memory, at most "
            f"{format_bytes(HISTORIES_AT_MOST_BYTES)} is allowed: lower one of them"
        )


# -- workloads ---------------------------------------------------------------------------------


def _workloads(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ConfigError(f"{name}: write each workload as a table [[serve.workload]]")
    if len(value) > WORKLOADS_AT_MOST:
        raise ConfigError(f"{name}: {len(value)} tables are more than {WORKLOADS_AT_MOST}")
    specs = tuple(_workload(one, number) for number, one in enumerate(value, 1))
    names: dict[str, int] = {}
    selectors: dict[tuple[TargetKind, str], str] = {}
    for number, spec in enumerate(specs, 1):
        if spec.workload_key in names:
            raise ConfigError(
                f"two policies for workload {spec.workload_key!a} (tables "
                f"{names[spec.workload_key]} and {number}): keep one of them"
            )
        names[spec.workload_key] = number
        key = (spec.kind, spec.selector.strip())
        if key[1] and key in selectors:
            raise ConfigError(
                f"workloads {selectors[key]!a} and {spec.workload_key!a} have one selector, "
                f"{key[1][:80]!a}: keep one of them"
            )
        selectors[key] = spec.workload_key
    return {"specs": specs}


def _workload(table: dict[str, Any], number: int) -> ServiceSpec:
    where = f"serve.workload {number}"
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _WORKLOAD:
            raise ConfigError(f"{where}: unknown key {key!a}{nearest(key, _WORKLOAD)}")
        name, read = _WORKLOAD[key]
        values[name] = read(value, f"{where}, {key}")
    for key, name in (("name", "workload_key"), ("kind", "kind"), ("selector", "selector")):
        if name not in values:
            raise ConfigError(f"{where}: {key} lacks")
    spec = ServiceSpec(**values)
    if spec.max_bytes is not None and spec.max_bytes < spec.floor_bytes:
        raise ConfigError(f"{where}: max is below floor")
    (docker_label if spec.kind is TargetKind.DOCKER else cgroup_pattern)(spec.selector)
    return spec


# -- values ------------------------------------------------------------------------------------


def parse_span(text: object, name: str) -> timedelta:
    """Return the span that a text names: "500ms", "30s", "15min", "24h", "7d", "5w".

    >>> parse_span("1.5h", "watch")
    datetime.timedelta(seconds=5400)
    """
    match = _SPAN.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f'{name}: {text!r:.40} is no span: write "30s", "15min", "24h" or "7d"')
    span = timedelta(seconds=float(match[1]) * _SPAN_S[match[2]])
    if not _SHORTEST <= span <= _LONGEST:
        raise ConfigError(f"{name}: {text!r:.40} is outside 100ms..104w")
    return span


def _number(low: float, high: float, *, is_whole: bool) -> Callable[[object, str], object]:
    def read(value: object, name: str) -> object:
        kinds = int if is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            raise ConfigError(f"{name}: {value!r:.40} is not a {'whole ' * is_whole}number")
        if not low <= value <= high:
            raise ConfigError(f"{name}: {value!r} is outside {low:g}..{high:g}")
        return value

    return read


def _size(value: object, name: str) -> int:
    if not isinstance(value, str):
        raise ConfigError(f'{name}: {value!r:.40} needs a unit: write "512MiB"')
    return parse_bytes(value, name=name)


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r:.40} is neither true nor false")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 4096:
        raise ConfigError(f"{name}: {value!r:.40} is not a text of printable characters")
    return value


def _name(value: object, name: str) -> str:
    text = _text(value, name).strip()
    if not text or len(text) > 200:
        raise ConfigError(f"{name}: a name has 1 to 200 characters")
    return text


def _one_of(words: tuple[str, ...]) -> Callable[[object, str], str]:
    def read(value: object, name: str) -> str:
        if value not in words:
            close = nearest(str(value), dict.fromkeys(words))
            raise ConfigError(f"{name}: {value!r:.40} is none of {', '.join(words)}{close}")
        return str(value)

    return read


def _kind(value: object, name: str) -> TargetKind:
    return TargetKind(_one_of(tuple(map(str, TargetKind)))(value, name))


def _mode(value: object, name: str) -> UpdateMode:
    return UpdateMode(_one_of(tuple(map(str, UpdateMode)))(value, name))


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _url(value: object, name: str, *, is_plain_allowed: bool = False) -> str:
    """Return a URL that may be called: https, or http to this machine (or where allowed)."""
    text = _text(value, name)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{name}: {text[:60]!a} is no URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{name}: {text[:60]!a} is no URL: write https://host/path")
    if parts.username or parts.password:
        raise ConfigError(f"{name}: no passwords in URLs; they would end in logs")
    if parts.scheme == "http" and not is_loopback(host) and not is_plain_allowed:
        raise ConfigError(f"{name}: https, or http to this machine only")
    return text


def _table(
    readers: Mapping[str, tuple[str, Callable[[object, str], object]]], value: object, name: str
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write a table [{name}]")
    values: dict[str, Any] = {}
    for key, each in value.items():
        if key not in readers:
            raise ConfigError(f"unknown key {name}.{key!a}{nearest(key, readers)}")
        field_name, read = readers[key]
        values[field_name] = read(each, f"{name}.{key}")
    return values


def _metrics(value: object, name: str) -> dict[str, object]:
    values = _table(_METRICS, value, name)
    is_proxied = values.pop("behind_proxy", False)
    host, port = values.pop("listen", (MetricsSettings().host, MetricsSettings().port))
    if host and not is_loopback(host) and not is_proxied:
        raise ConfigError(
            f"{name}.listen: {host} can be reached from outside and the page has no login: "
            "listen on 127.0.0.1, or put a proxy with TLS before it and say behind_proxy = true"
        )
    return {"metrics": MetricsSettings(host=host, port=port, hosts=values.get("hosts", ()))}


def _listen(value: object, name: str) -> tuple[str, int]:
    text = _text(value, name)
    if not text:
        return "", 0
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f'{name}: {text[:60]!a} is no address: write "127.0.0.1:9464"')
    return host.strip("[]"), int(port)


def _hosts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError(f'{name}: write a list, ["metrics.example.org"]')
    return tuple(_name(one, name).lower() for one in value)


def _alertmanager(value: object, name: str) -> dict[str, object]:
    values = _table({"url": ("url", _url)}, value, name)
    return {"alertmanager_url": values.get("url", "")}


def _webhook(value: object, name: str) -> dict[str, object]:
    values = _table(_WEBHOOK, value, name)
    if values.get("webhook_url") and not (
        values.get("webhook_secret_file") or values.get("webhook_secret_env")
    ):
        raise ConfigError(f"{name}: say where its secret is: secret_file or secret_env")
    return values


def _notices(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: write tables [{name}.alertmanager], [{name}.webhook]")
    readers = {"alertmanager": _alertmanager, "webhook": _webhook}
    values: dict[str, Any] = {}
    for key, each in value.items():
        if key not in readers:
            raise ConfigError(f"unknown key {name}.{key!a}{nearest(key, readers)}")
        values.update(readers[key](each, f"{name}.{key}"))
    return {"notices": NoticeSettings(**values)}


def _absolute(value: object, name: str) -> str:
    text = _text(value, name)
    if not text.startswith("/"):
        raise ConfigError(f"{name}: {text[:60]!a} is not an absolute path")
    return str(Path(text))


def _docker(value: object, name: str) -> dict[str, object]:
    return _table({"socket": ("docker_socket", _absolute)}, value, name)


def _policy(value: object, name: str) -> dict[str, object]:
    return _table({"hour": ("policy_hour", parse_span)}, value, name)


def _journal(value: object, name: str) -> dict[str, object]:
    return _table({"keep": ("journal_kept", parse_span)}, value, name)


def _reader_of(name: str, kind: str) -> Callable[[object, str], object]:
    if "timedelta" in kind:
        return parse_span
    if kind == "bool":
        return _flag
    if name.endswith("_bytes"):
        return _size
    low, high = BOUNDS[name]
    return _number(low, high, is_whole=kind == "int")


_SETTINGS: Mapping[str, tuple[str, Callable[[object, str], object]]] = {
    _OWN_KEYS.get(one.name, one.name): (one.name, _reader_of(one.name, str(one.type)))
    for one in fields(ServeSettings)
}
"""Key in `[serve]` -> (field of ServeSettings, how it is read)."""

_PARTS: Mapping[str, Callable[[object, str], dict[str, object]]] = {
    "workload": _workloads,
    "metrics": _metrics,
    "notices": _notices,
    "docker": _docker,
    "journal": _journal,
    "policy": _policy,
}
_METRICS: Mapping[str, tuple[str, Callable[[object, str], object]]] = {
    "listen": ("listen", _listen),
    "hosts": ("hosts", _hosts),
    "behind_proxy": ("behind_proxy", _flag),
}
_WEBHOOK: Mapping[str, tuple[str, Callable[[object, str], object]]] = {
    "url": ("webhook_url", _url),
    "secret_file": ("webhook_secret_file", _absolute),
    "secret_env": ("webhook_secret_env", _name),
}
_WORKLOAD: Mapping[str, tuple[str, Callable[[object, str], object]]] = {
    "name": ("workload_key", _name),
    "kind": ("kind", _kind),
    "selector": ("selector", _text),
    "mode": ("mode", _mode),
    "floor": ("floor_bytes", _size),
    "max": ("max_bytes", _size),
    "group": ("group", _name),
    "preset": ("preset", _one_of(PRESETS)),
}
"""Key of a workload -> (field of ServiceSpec, how it is read)."""
