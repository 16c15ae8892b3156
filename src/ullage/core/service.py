"""Records of long-running workloads under `ullage serve`: targets, readings, decisions, changes.

Workload > target: what recurs (a service, one of its replicas' common name) > one live cgroup
or container whose limit can move. Moments are aware UTC; every fact has two of them, when it
happened (`at`) and when it was known (`known_at`). Periods that the loop waits for are
measured with the monotonic clock, what is stored is told with the wall clock (S20).
Settings and codes have files of their own (core.serve_settings, core.reason_codes) and can be
imported from here. Not here: the ports (core.service_ports), the guards (core.live_guards).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import FLOOR_BYTES
from ullage.core.reason_codes import GuardCode as GuardCode
from ullage.core.serve_settings import ServeSettings as ServeSettings
from ullage.core.serve_settings import live_floor_bytes as live_floor_bytes
from ullage.core.telemetry import Attribution

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class TargetKind(StrEnum):
    """By which adapter pair a target is read and changed."""

    CGROUP1 = "cgroup1"
    CGROUP2 = "cgroup2"
    DOCKER = "docker"


class UpdateMode(StrEnum):
    """What Ullage may do with a workload (S21)."""

    OFF = "off"
    """Observe: decide and record, change nothing. The default."""
    IN_PLACE = "in_place"
    """Move the limit of the live target."""


class Direction(StrEnum):
    """Which way a limit is to move."""

    GROW = "grow"
    CUT = "cut"
    HOLD = "hold"
    RESTORE = "restore"
    """Back up to the limit before a cut that did harm (S11), or before a crash (S17)."""


class ModelStep(StrEnum):
    """Which step of the fallback answered (S14), best first."""

    MODEL = "model"
    LAST_GOOD = "last_good"
    EMPIRICAL = "empirical"
    """Largest need seen x 1.15."""
    KEEP = "keep"
    """The limit stays."""


class EventKind(StrEnum):
    """What a source wakes the loop with."""

    PRESSURE = "pressure"
    """Need near the limit, PSI, throttling: grow now or somebody dies."""
    WAITING = "waiting"
    """Tasks wait at the limit (cgroup v1 with the OOM killer off)."""
    OOM = "oom"
    """The kernel killed something in the target."""
    GONE = "gone"
    """The target has vanished."""


class ChangeResult(StrEnum):
    """What became of a change."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """The limit was not the expected one (S8): nothing was written."""
    REFUSED = "refused"
    """The target said no, or the actuator's own live floor did (S1): nothing has changed."""
    VANISHED = "vanished"
    UNKNOWN = "unknown"
    """Asked for, answer lost: look at the world before anything else (S7)."""


class FreezeScope(StrEnum):
    """How much a freeze stops (kill switch of S3)."""

    CUTS = "cuts-only"
    EVERYTHING = "everything"
    """Growth and rescue too; parked tasks get the kernel's OOM killer back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """What a settings file says about one workload.

    selector: path pattern of cgroups, or docker label "key=value". Empty matches nobody (S13).
    group: replicas of one group are cut one at a time (S10); None = the workload's own.
    """

    workload_key: str
    kind: TargetKind
    selector: str
    mode: UpdateMode = UpdateMode.OFF
    floor_bytes: int = FLOOR_BYTES
    max_bytes: int | None = None
    group: str | None = None
    preset: str = "service"

    @property
    def group_key(self) -> str:
        """The group whose replicas are cut one at a time."""
        return self.group or self.workload_key


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTarget:
    """One live cgroup or container.

    target_id: stable and unique: "cgroup1:/path", "docker:<container id>".
    instance: tells one life from the next under the same id (container start, inode);
        OOM counters start anew with it (S23).
    """

    target_id: str
    workload_key: str
    instance: str
    kind: TargetKind
    mode: UpdateMode


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveReading:
    """One reading of a live target, as its source gives it; cleaned by control.views.

    usage_bytes: all that is charged. need_bytes: without file cache (see core.telemetry).
    limit_bytes: None = no limit. oom_kills: since this instance began. node_bytes: size of
    the machine that it runs on. psi_full_avg10_ratio: 0..1; None where there is no PSI.
    """

    target_id: str
    at: datetime
    known_at: datetime
    usage_bytes: int
    need_bytes: int
    limit_bytes: int | None
    oom_kills: int = 0
    is_waiting: bool = False
    psi_full_avg10_ratio: float | None = None
    node_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetEvent:
    """What woke the loop: something happened to `target_id`. A hint to read, not evidence."""

    target_id: str
    kind: EventKind
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetHistory:
    """What is known of one target by the moment of a view: parallel arrays, oldest first.

    at_s (float64, epoch seconds, rising), need_bytes, limit_bytes (int64; limit -1 = none):
        the latest readings, at most ServeSettings.recent_samples_count of them.
    peak_at_s (float64, start of an interval, rising), peak_bytes (int64): largest need in
        each interval of peak_interval_s that has readings, five weeks back.
    oom_at_s (float64), oom_at_least_bytes (int64): OOM kills; the need was *at least* that.
    """

    at_s: NDArray[np.float64]
    need_bytes: NDArray[np.int64]
    limit_bytes: NDArray[np.int64]
    peak_at_s: NDArray[np.float64]
    peak_bytes: NDArray[np.int64]
    peak_interval_s: float
    oom_at_s: NDArray[np.float64]
    oom_at_least_bytes: NDArray[np.int64]
    first_seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCapacity:
    """The memory of the host. free: the kernel's MemAvailable. booked: of the runs' ledger."""

    total_bytes: int
    free_bytes: int
    booked_bytes: int = 0

    @property
    def room_bytes(self) -> int:
        """What growth may still take, both accounts obeyed."""
        return max(0, min(self.free_bytes, self.total_bytes - self.booked_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A cut that is being watched (S11)."""

    decision_id: str
    from_bytes: int
    """The limit before the cut: what is given back at a sign of harm."""
    to_bytes: int
    began_at: datetime
    until_at: datetime
    oom_kills: int
    """The target's count when the cut was made."""
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthEnvelope:
    """Pre-authorised growth (S6): durable before, so that a raise needs no write first."""

    ceiling_bytes: int
    until_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """What has to survive a restart about one target; stored together with the journal.

    original_limit_bytes: before our first change (S22), -1 = it had none; None = nothing was
        changed yet. our_limit_bytes: what we last left there; another value is an edit (S8).
    pending: the change whose outcome is not known (S7, S17). quarantines: how often in a row
        a cut did harm (the wait doubles).
    """

    target_id: str
    workload_key: str
    instance: str
    original_limit_bytes: int | None = None
    our_limit_bytes: int | None = None
    pending: LimitChange | None = None
    watch: Watch | None = None
    envelope: GrowthEnvelope | None = None
    last_change_at: datetime | None = None
    hands_off_until_at: datetime | None = None
    quarantine_until_at: datetime | None = None
    quarantines: int = 0
    is_parked: bool = False
    oom_kills: int | None = None
    """The count up to which OOM kills are journalled (S23); None = none seen yet."""
    oom_instance: str = ""
    """The life that oom_kills counts; "" = that of `instance`. It may be a later one: a watch
    goes on over a restart until its limit is given back."""
    last_ours_at: datetime | None = None
    """The latest OOM here that was attributed to Ullage (S12 after a restart)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A person's (or a rule's) order to hold still. workload_key None = all of them."""

    scope: FreezeScope
    workload_key: str | None
    since_at: datetime
    until_at: datetime | None = None
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """What holds for all targets: people's orders and the breaker.

    breaker_since_at: cuts are off since then, until a person re-arms (S12); None = armed.
    incident: why cuts should wait (deploy, incident); "" = no such flag (S10).
    conservative: workloads whose feedback asks for more room (S16).
    """

    freezes: tuple[Freeze, ...] = ()
    breaker_since_at: datetime | None = None
    incident: str = ""
    conservative: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetView:
    """Everything that a decision about one target may see at `at`; all of it known by then.

    telemetry_age_s: from `at` back to the latest reading (below 0: it is from the future);
        None = there is no reading. gap_ratio: share of expected readings that are missing.
    poisoned_count: rejected readings lately. source_delay_s: what the source states.
    has_store, has_lease: at the beginning of the tick. observe_only: S17 or S20 forbids to
        act, and which. cuts_left_count: of this tick (S10). is_group_busy: another replica
        of the group is being cut or watched.
    """

    at: datetime
    target: LiveTarget
    spec: ServiceSpec
    state: TargetState
    fleet: FleetState
    host: HostCapacity
    reading: LiveReading | None
    history: TargetHistory
    telemetry_age_s: float | None
    source_delay_s: float = 0.0
    gap_ratio: float = 0.0
    poisoned_count: int = 0
    has_store: bool = True
    has_lease: bool = True
    observe_only: GuardCode | None = None
    cuts_left_count: int = 1
    is_group_busy: bool = False
    is_quarantined: bool = False
    group_needs_bytes: tuple[int, ...] = ()
    """Largest need of each other target of its group, where its own past is thin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceQuestion:
    """What a policy is asked about one target (S14 judges the answer).

    ceiling_bytes: of the settings and of the node, whichever is lower.
    """

    target_id: str
    workload_key: str
    asked_at: datetime
    need_bytes: int
    usage_bytes: int
    limit_bytes: int | None
    floor_bytes: int
    ceiling_bytes: int
    preset: str = "service"
    group_needs_bytes: tuple[int, ...] = ()
    """Largest need of each other member of its group; counts while the own past is thin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitProposal:
    """A wish for one target's limit on its way through the guards.

    wanted_bytes: None = the limit stays as it is. reason: the policy's rule, in a word.
    evidence: for people, one sentence. guards: the codes that spoke so far. evidence_bytes:
    what need proves by itself; no guard but the bounds may go below it for a growth (S5).
    """

    target_id: str
    wanted_bytes: int | None
    direction: Direction
    reason: str
    evidence: str = ""
    policy: str = ""
    step: ModelStep = ModelStep.MODEL
    evidence_bytes: int = 0
    guards: tuple[GuardCode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDecision:
    """The recorded decision: durable before a cut, and before a growth outside its envelope.

    What it saw, and the digest of that, stand in its journal row.
    """

    decision_id: str
    target_id: str
    workload_key: str
    asked_at: datetime
    old_bytes: int | None
    new_bytes: int | None
    direction: Direction
    reasons: tuple[str, ...]
    guards: tuple[GuardCode, ...]
    policy: str
    step: ModelStep = ModelStep.MODEL
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """An order to an actuator. It obeys or refuses; it decides nothing.

    expected_bytes: what the limit must be now (S8), None = no limit. token: of the lease (S9).
    is_cut: the actuator reads need in the same call and refuses below
    `live_floor_bytes(need, limit, floor_bytes)` (S1). decision_id travels to the target
    where the target can keep it (S7).
    """

    target_id: str
    decision_id: str
    expected_bytes: int | None
    new_bytes: int
    token: int
    is_cut: bool
    floor_bytes: int = FLOOR_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOutcome:
    """What became of a change. limit_bytes: the limit after it as read back, None = unknown."""

    decision_id: str
    at: datetime
    result: ChangeResult
    limit_bytes: int | None = None
    need_bytes: int | None = None
    """What an actuator read in the same call before a cut (S1)."""
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOom:
    """An OOM kill of a live target: counted once per (workload, instance, moment) (S23)."""

    target_id: str
    workload_key: str
    instance: str
    at: datetime
    at_least_bytes: int
    limit_bytes: int | None
    kills: int
    attribution: Attribution


class EntryKind(StrEnum):
    """What a journal entry tells."""

    START = "start"
    ORIGINAL = "original"
    ENVELOPE = "envelope"
    DECISION = "decision"
    HOLD = "hold"
    """Written when a target's codes change, not at every tick."""
    OUTCOME = "outcome"
    SETTLED = "settled"
    """A pending change whose outcome was read from the world."""
    OOM = "oom"
    WATCH_ENDED = "watch_ended"
    QUARANTINE = "quarantine"
    HANDS_OFF = "hands_off"
    UNSAVED = "unsaved"
    """A rescue that could not give what was needed, and why."""
    BREAKER = "breaker"
    ORDER = "order"
    """A person's: freeze, unfreeze, undo, re-arm."""
    CLOCK_JUMP = "clock_jump"
    BROKEN = "broken"
    """Something raised; its workload was left alone for this tick."""
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One thing to record. body: JSON values only (sorted and hashed by core.audit)."""

    kind: EntryKind
    at: datetime
    target_id: str | None = None
    workload_key: str | None = None
    body: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """A sealed entry: `digest` = sha256 over (number, token, entry, previous_digest).

    number: 1, 2, 3 ... without a gap. token: of the lease under which it was written.
    """

    number: int
    token: int
    entry: JournalEntry
    previous_digest: str
    digest: str
