"""The peers by their ids. A peer's module is loaded when it is asked for, and not before.

Not here: `ullage` itself, and `oracle`, which knows the peak (the backtest makes it).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from ullage.core.errors import ConfigError
from ullage.core.ports import RunPolicy

_PLACES: Mapping[str, tuple[str, str, Mapping[str, float]]] = MappingProxyType(
    {
        "request": ("request", "RequestPolicy", {}),
        "max-1.1": ("yardsticks", "max_1_1", {}),
        "p95-1.2": ("yardsticks", "p95_1_2", {}),
        "last-1.3": ("yardsticks", "last_1_3", {}),
        "krr": ("krr", "KrrPolicy", {}),
        "vpa": ("vpa", "VpaPolicy", {}),
        "crane": ("crane", "CranePolicy", {}),
        "kruize": ("kruize", "KruizePolicy", {}),
        "tovar": ("tovar", "TovarPolicy", {}),
        "witt-p95": ("witt_percentile", "WittPercentilePolicy", {}),
        "witt-lr": ("witt_lr", "WittLrPolicy", {}),
        "witt-lwr": ("witt_lwr", "WittLwrPolicy", {}),
        "ponder": ("ponder", "PonderPolicy", {}),
        "sizey": ("sizey", "SizeyPolicy", {}),
        "dataflow-prime": ("dataflow_prime", "DataflowPrimePolicy", {}),
        "dataflow-prime-1.25": ("dataflow_prime", "DataflowPrimePolicy", {"step_ratio": 1.25}),
        "dataflow-prime-2": ("dataflow_prime", "DataflowPrimePolicy", {"step_ratio": 2.0}),
        "retry-1.2": ("retry_factor", "RetryFactorPolicy", {"factor_ratio": 1.2}),
        "retry-1.5": ("retry_factor", "RetryFactorPolicy", {"factor_ratio": 1.5}),
        "retry-2": ("retry_factor", "RetryFactorPolicy", {"factor_ratio": 2.0}),
    }
)
"""Id -> module in ullage.peers, what makes the policy there, and with which arguments."""

PEER_IDS: tuple[str, ...] = tuple(_PLACES)
"""Every peer that can be replayed on runs."""

NOT_ON_RUNS: Mapping[str, str] = MappingProxyType(
    {
        "autopilot-window": "it reads the usage of running services, which a runs file lacks",
        "autopilot-ml": "it reads the usage of running services, which a runs file lacks",
        "k-segments": "it changes the limit within a run, and a runs file has one peak a run",
        "ks-plus": "it changes the limit within a run, and a runs file has one peak a run",
        "senpai": "it probes the pressure of live processes, which no trace answers",
    }
)
"""Peers that have a name and no replay on runs, and why (docs/benchmarks-peers.md)."""


def make_peer(policy_id: str) -> RunPolicy:
    """Return the peer with this id.

    Raises ConfigError for an id that is none (it names the nearest) or that cannot be
    replayed on runs, and where the peer needs a package that is not installed.
    """
    if policy_id in NOT_ON_RUNS:
        raise ConfigError(
            f"policy {policy_id!r} cannot be replayed on runs: {NOT_ON_RUNS[policy_id]}; "
            f"choose from {', '.join(PEER_IDS)}"
        )
    if policy_id not in _PLACES:
        raise ConfigError(
            f"unknown policy {policy_id[:40]!a}: did you mean {_nearest(policy_id)!r}? "
            f"Peers are {', '.join(PEER_IDS)}"
        )
    module, name, arguments = _PLACES[policy_id]
    try:
        make = getattr(import_module(f"ullage.peers.{module}"), name)
        return cast("RunPolicy", make(**arguments))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"policy {policy_id!r} needs the package {error.name!r}: "
            "install ullage[benchmarks], or leave the policy out"
        ) from error


def _nearest(policy_id: str) -> str:
    """Return the id that looks most like `policy_id` (at most 40 characters of it count)."""
    from difflib import get_close_matches

    asked = policy_id[:40].strip().lower().replace("_", "-")
    return get_close_matches(asked, ("ullage", *PEER_IDS), n=1, cutoff=0.0)[0]
