"""One target as the loop carries it along, what all parts of the loop share, what it counts."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ullage.core.ports import Clock
from ullage.core.service import (
    FleetState,
    GuardCode,
    HostCapacity,
    LimitChange,
    LiveReading,
    LiveTarget,
    ServeSettings,
    ServiceSpec,
    TargetKind,
    TargetState,
    UpdateMode,
)
from ullage.core.service_ports import (
    HostMemory,
    Journal,
    Lease,
    ServicePolicy,
    ServiceStore,
    TargetActuator,
    TargetFinder,
    TargetSource,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeParts:
    """The ports that one controller works with. policies: the model, then the last good one."""

    clock: Clock
    finders: Mapping[TargetKind, TargetFinder]
    sources: Mapping[TargetKind, TargetSource]
    actuators: Mapping[TargetKind, TargetActuator]
    host: HostMemory
    lease: Lease
    journal: Journal
    store: ServiceStore
    policies: Sequence[ServicePolicy]


@dataclass(slots=True, kw_only=True)
class Tracked:
    """What the loop knows of one live target now.

    Deadlines (`*_until_s`) run by the monotonic clock (S20); the moments in `state` are what
    is recorded of them. seen_kills: OOM kills told of so far; None until the first reading.
    is_listed: the last listing that succeeded named it.
    """

    target: LiveTarget
    spec: ServiceSpec
    state: TargetState
    row: int
    due_s: float
    reading: LiveReading | None = None
    reading_instance: str = ""
    """The life in which it was read."""
    newest_at: datetime | None = None
    """Of the latest reading that was not from the future (S2)."""
    read_s: float = 0.0
    read_count: int = 0
    pending_read_count: int = 0
    is_listed: bool = True
    is_ambiguous: bool = False
    is_vanished: bool = False
    seen_kills: int | None = None
    seen_instance: str = ""
    """The life that seen_kills counts."""
    oom_until_s: float = 0.0
    oom_at_least_bytes: int = 0
    waiting_since_s: float | None = None
    poisoned_count: int = 0
    poisoned_until_s: float = 0.0
    watch_until_s: float = 0.0
    hands_off_until_s: float = 0.0
    envelope_until_s: float = 0.0
    hold_codes: tuple[GuardCode, ...] = ()
    hold_recorded_s: float | None = None
    broken_until_s: float = 0.0
    wanted_bytes: int | None = None
    harm_sign: str = ""
    """Seen, and not yet answered by a restore."""
    unsaved_why: str = ""
    """Why a rescue failed, as last told; "" = it did not."""
    voided: LimitChange | None = None
    """A change of an earlier holder that had no effect when the world was looked at: should it
    take effect late (a paused zombie wakes up), it is undone (S9)."""
    is_adopted: bool = False
    """Its state comes from the store and has not been compared with the world yet."""

    @property
    def limit_bytes(self) -> int | None:
        """The limit as last read."""
        return self.reading.limit_bytes if self.reading else None


@dataclass(slots=True, kw_only=True)
class Tick:
    """One pass: its moment by both clocks, and what holds throughout it.

    room_bytes: what growth may still take of the host; goes down as it is granted.
    """

    number: int
    at: datetime
    mono_s: float
    fleet: FleetState
    host: HostCapacity
    room_bytes: int
    has_lease: bool
    has_store: bool
    observe_only: GuardCode | None
    cuts_left_count: int = 0
    busy_groups: dict[str, str] = field(default_factory=dict)
    """Group -> the target in it that is being cut or watched."""
    group_needs_bytes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Group -> the largest need known of each target in it; filled where somebody asks."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the loop counted since it began: the source of the metrics page."""

    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(direction, result) -> how often."""
    guard_blocks: Counter[str] = field(default_factory=Counter)
    oom_kills: Counter[str] = field(default_factory=Counter)
    """By attribution."""
    rejected_readings: Counter[str] = field(default_factory=Counter)
    """By cause: poisoned, future, out_of_order, failed."""
    broken: Counter[str] = field(default_factory=Counter)
    """By the class of what was raised."""
    unsaved: int = 0
    clock_jumps: int = 0
    fenced: int = 0
    ticks: int = 0


def remaining_s(until_at: datetime | None, now: datetime, at_most: timedelta) -> float:
    """Return the seconds from `now` to a recorded moment, in 0..at_most: clocks may have jumped.

    Worked: 10 min ahead, at most 15 min -> 600; 3 h ahead (the clock went back) -> 900.
    """
    if until_at is None:
        return 0.0
    return min(max(0.0, (until_at - now).total_seconds()), at_most.total_seconds())


def stagger_s(target_id: str, interval_s: float) -> float:
    """Return a phase in 0..interval_s that spreads targets evenly and stays the same."""
    return zlib.crc32(target_id.encode("utf-8", "surrogatepass")) / 2**32 * interval_s


def is_acting(settings: ServeSettings, spec: ServiceSpec) -> bool:
    """Say whether limits of this workload may be moved (S21)."""
    return settings.is_acting and spec.mode is UpdateMode.IN_PLACE
