"""What the service loop shows of itself: one frozen picture per pass, for metrics, `top`, alerts.

Made by the loop's thread, read by others: no lock is needed, and nobody who looks can hold
the loop up. Not here: how it is shown (outcomes.service_tables, adapters of notices).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatus:
    """One live target. wanted_bytes: of the policy, None = it has not answered. holds: codes."""

    target_id: str
    workload_key: str
    kind: str
    mode: str
    limit_bytes: int | None = None
    need_bytes: int | None = None
    usage_bytes: int | None = None
    wanted_bytes: int | None = None
    original_bytes: int | None = None
    age_s: float | None = None
    oom_kills: int = 0
    is_waiting: bool = False
    is_watched: bool = False
    holds: tuple[str, ...] = ()

    @property
    def slack_ratio(self) -> float | None:
        """Return the share of the limit that is not needed; None without a limit or reading."""
        if not self.limit_bytes or self.need_bytes is None:
            return None
        return 1 - self.need_bytes / self.limit_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """How much the store holds (S19)."""

    database_bytes: int = 0
    log_bytes: int = 0
    journal_records_count: int = 0
    journal_months_count: int = 0
    waiting_readings_count: int = 0
    lost_readings_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeStatus:
    """The loop at the end of one pass.

    mode: "observe" or "act". is_leader: it holds the lease. counts: name -> labels -> number,
    labels joined by "|". unmatched: workloads whose selector matches nobody.
    """

    at: datetime
    started_at: datetime
    owner: str
    pid: int
    mode: str
    tick_number: int = 0
    tick_s: float = 0.0
    is_leader: bool = False
    has_store: bool = True
    token: int = 0
    breaker_since_at: datetime | None = None
    freezes: tuple[str, ...] = ()
    """"" = all of them."""
    targets: tuple[TargetStatus, ...] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    capped_count: int = 0
    store: StoreStatus = field(default_factory=StoreStatus)
    host_free_bytes: int = 0
    host_total_bytes: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether it can do what it is there for: a store that answers, a pass that ended."""
        return self.has_store and self.tick_number > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a person should know. name: as in the alert rules and the runbooks."""

    name: str
    severity: str
    workload_key: str
    summary: str


class StatusSink:
    """Where pictures go. Overwrite `show`; it must return at once and raise nothing."""

    def show(self, status: ServeStatus, alerts: tuple[Alert, ...]) -> None:
        """Take the newest picture."""

    def close(self) -> None:
        """The loop has ended."""
