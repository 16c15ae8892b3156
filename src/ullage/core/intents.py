"""What people ask of the service loop between two of its passes, and what came of it.

The entrances (cli, web) append intents; the loop obeys them in its own pass, under its lease
and its guards. They never change a limit behind its back. Not here: freezes, which the loop
reads at each tick anyway (core.service.Freeze).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ullage.core.audit import Finding
from ullage.core.service import (
    EntryKind,
    Freeze,
    JournalRecord,
    ServiceOom,
    ServiceSpec,
    TargetState,
)


class IntentVerb(StrEnum):
    """What is asked."""

    UNDO = "undo"
    """Limits as they were at a moment; cuts of those workloads stay frozen until unfrozen."""
    RESTORE = "restore"
    """Limits as they were before Ullage (S22); everything stays frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One request. workload_key None = all. to_at: of an undo. by, why: for the record."""

    verb: IntentVerb
    workload_key: str | None = None
    to_at: datetime | None = None
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedIntent:
    """An intent as it stands in the store. result None = not obeyed yet."""

    number: int
    asked_at: datetime
    intent: Intent
    done_at: datetime | None = None
    result: tuple[str, ...] | None = None
    """One line per target, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """Who may write now."""

    holder: str
    pid: int


class OrderBook(Protocol):
    """Where people's orders are written and read: the entrances' side of the store."""

    def freeze(self, order: Freeze) -> None:
        """Hold a workload (or all) still; a later freeze of the same replaces it. Journalled."""
        ...

    def unfreeze(self, workload_key: str | None, *, by: str, at: datetime) -> bool:
        """Lift a freeze; say whether there was one. Journalled."""
        ...

    def rearm(self, *, by: str, at: datetime) -> bool:
        """Close the breaker (S12); say whether it was open. Journalled."""
        ...

    def ask(self, intent: Intent, at: datetime) -> int:
        """Append an intent; return its number. Journalled."""
        ...

    def intents(self, *, only_open: bool = True) -> list[AskedIntent]:
        """Return intents, oldest first."""
        ...

    def answer(self, number: int, result: tuple[str, ...], at: datetime) -> None:
        """Say what came of an intent."""
        ...

    def register(self, target_id: str, spec: ServiceSpec, *, owner: str, at: datetime) -> None:
        """Have the loop watch a service that `ullage run --service` started."""
        ...

    def unregister(self, target_id: str) -> None:
        """It has ended."""
        ...

    def registered(self) -> list[tuple[str, str, ServiceSpec]]:
        """Return (target_id, owner, spec) of what is registered."""
        ...


class ServiceReader(Protocol):
    """What `top`, `get`, `describe`, `undo` and `audit verify` look at."""

    def states(self) -> list[TargetState]:
        """Return the state of every target that was ever acted upon."""
        ...

    def latest(
        self, kinds: tuple[EntryKind, ...], workload_key: str | None = None, *, limit: int
    ) -> list[JournalRecord]:
        """Return the newest records of some kinds, newest first."""
        ...

    def service_ooms(self, workload_key: str | None = None, *, limit: int) -> list[ServiceOom]:
        """Return OOM kills of live targets, newest first."""
        ...

    def month_findings(self) -> list[Finding]:
        """Return where the records do not fit the sealed months."""
        ...

    def lease_holder(self) -> LeaseHolder | None:
        """Return who holds the lease, None if nobody has taken it (or it was given back)."""
        ...
