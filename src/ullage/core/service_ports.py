"""Ports of the service loop: how `ullage serve` meets targets, the host, its lease and its record.

Small, owned here, each with a contract suite in `ullage.testing`. Adapters translate foreign
exceptions: TransientError (try again), PermanentError (hold and say so). What is expected
(conflict, refusal, a target gone) is a value: `ChangeOutcome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from ullage.core.service import (
    ChangeOutcome,
    FleetState,
    HostCapacity,
    JournalEntry,
    JournalRecord,
    LimitChange,
    LimitProposal,
    LiveReading,
    LiveTarget,
    ServiceQuestion,
    ServiceSpec,
    TargetEvent,
    TargetHistory,
    TargetState,
)


class ServicePolicy(Protocol):
    """From a target's history to a wish for its limit. Pure: same arguments, same answer."""

    @property
    def policy_id(self) -> str:
        """Return the policy's name in records and reports."""
        ...

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        """Answer `question`; without enough history, a HOLD with its reason."""
        ...


class TargetFinder(Protocol):
    """Finds who is meant."""

    def find(self, spec: ServiceSpec) -> list[LiveTarget]:
        """Return the live targets that `spec` selects; an empty selector finds nobody (S13).

        TransientError, PermanentError: the listing failed; nobody is meant by that.
        """
        ...


class TargetSource(Protocol):
    """Reads live targets and wakes the loop. One per kind of target."""

    @property
    def delay_s(self) -> float:
        """Return how long after the fact a reading of this source is usually known."""
        ...

    def read(self, target: LiveTarget) -> LiveReading:
        """Return the target's memory now. PermanentError if it has vanished."""
        ...

    def watch(self, targets: Sequence[LiveTarget]) -> None:
        """Send events of exactly these targets from now on (level-triggered: call it often)."""
        ...

    def wake_fds(self) -> Sequence[int]:
        """Return file descriptors that become readable when `events` has something."""
        ...

    def events(self) -> list[TargetEvent]:
        """Return what happened since the last call, without waiting. A hint, not evidence."""
        ...

    def close(self) -> None:
        """Give back descriptors; the targets stay."""
        ...


class TargetActuator(Protocol):
    """Changes live targets' limits. Obeys or refuses; decides nothing. One per kind of target."""

    def apply(self, change: LimitChange) -> ChangeOutcome:
        """Compare the limit with `change.expected_bytes`, then set it (S8).

        A cut (`is_cut`) reads need in the same call and is refused below
        core.service.live_floor_bytes (S1); a growth is never refused by that.
        Raises nothing that is expected: see ChangeResult. UNKNOWN: asked, answer lost.
        """
        ...

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """True: tasks wait at the limit. False: the kernel's OOM killer decides.

        Does nothing where a target cannot park (cgroup v2, Docker).
        PermanentError if the target has vanished.
        """
        ...


class HostMemory(Protocol):
    """The memory of the machine that the targets share."""

    def read(self) -> HostCapacity:
        """Return what there is, what is free, what is booked."""
        ...


class Lease(Protocol):
    """The right to write: one holder at a time, a token that only rises (S9)."""

    def acquire(self, now: datetime) -> bool:
        """Take the lease if it is free or expired (with a new token); say whether it is ours."""
        ...

    def renew(self, now: datetime) -> bool:
        """Prolong it; False = somebody else has it, or the store does not answer."""
        ...

    def still_mine(self) -> bool:
        """Say, without I/O, whether a write is allowed: held, and young enough by `age_s`."""
        ...

    @property
    def token(self) -> int:
        """Return the token of our tenure; 0 = never held."""
        ...

    def age_s(self) -> float:
        """Return monotonic seconds since the last successful renewal (inf = never)."""
        ...

    def release(self) -> None:
        """Give it back, so that another can take it at once."""
        ...


class Journal(Protocol):
    """The hash-chained record of everything that was decided and done."""

    def append(
        self,
        entries: Sequence[JournalEntry],
        *,
        token: int,
        states: Sequence[TargetState] = (),
        breaker_since_at: datetime | None = None,
    ) -> list[JournalRecord]:
        """Record `entries`, replace `states` and open the breaker in one durable transaction.

        breaker_since_at: None = leave the breaker as it is (only people close it).
        Sealed with core.audit.seal onto the latest record. FencedError: a higher token has
        written or holds the lease. TransientError, PermanentError: nothing was recorded.
        """
        ...

    def each(self, since_number: int = 0) -> Iterator[JournalRecord]:
        """Yield the records with a higher number, in order, in bounded memory."""
        ...


class ServiceStore(Protocol):
    """What the loop has to know again after a restart, and what people order meanwhile.

    States are written by Journal.append (the same adapter): a state and the record that
    explains it are never apart.
    """

    def states(self) -> list[TargetState]:
        """Return the state of every target that was ever acted upon."""
        ...

    def fleet(self) -> FleetState:
        """Return freezes, breaker, switches as people last left them; read at each tick."""
        ...

    def add_readings(self, readings: Sequence[LiveReading]) -> None:
        """Keep readings (cleaned). Loss of the last minute in a crash is allowed."""
        ...

    def flush(self, at: datetime) -> None:
        """Make the readings so far durable: at the end of a tenure."""
        ...

    def histories(self, since: datetime) -> Iterator[tuple[str, TargetHistory]]:
        """Yield (target_id, history since then): interval peaks, OOM kills, recent samples."""
        ...
