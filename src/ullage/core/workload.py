"""Workload > run > attempt: what recurs, one execution of it, one try at one limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Outcome(StrEnum):
    """How a run or an attempt ended."""

    OK = "ok"
    ERROR = "error"
    OOM_KILLED = "oom_killed"
    SIGNALLED = "signalled"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """The supervisor died before it could write the end; never printed by a live run."""


class ControlKind(StrEnum):
    """By what means a run's memory is measured and limited."""

    CGROUP1 = "cgroup1"
    CGROUP2 = "cgroup2"
    OBSERVE = "observe"
    IMPORTED = "imported"
    """Another system ran, measured and limited it; `ullage import` told us."""
    DATAFLOW = "dataflow"
    """A Dataflow job: sized at its launch, measured by the service and the worker agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What recurs. `key` identifies it; `key_reason` says in words where it came from."""

    key: str
    key_reason: str
    command: tuple[str, ...] = ()
    """The masked command line (no secrets, no dates), for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Facts known before a run starts. Missing is absent, never zero.

    numbers: name -> finite float, for example input_bytes, input_files_count,
        threads_count, and the user's own `--feature k=v` with a numeric value.
    labels: name -> text, categorical.
    sources: name -> where the value came from, in words ("--input orders.csv").
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one limit. Limits are None where nothing limited the command."""

    number: int
    started_at: datetime
    limit_bytes: int | None
    final_limit_bytes: int | None
    peak_bytes: int | None
    """Largest need seen. Where `oom_kills` > 0 the true peak is *at least* this."""
    runtime: timedelta
    outcome: Outcome
    exit_code: int | None
    oom_kills: int = 0
    raises: int = 0
    waits: int = 0
    wait_total: timedelta = timedelta()
    reserved_byte_seconds: float | None = None
    """Integral of the limit over the attempt; None where nothing limited it."""
    used_byte_seconds: float | None = None
    """Integral of the need over the attempt; None where it could not be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a workload, as it is stored."""

    run_id: str
    workload: Workload
    started_at: datetime
    known_at: datetime | None
    """When the end was recorded; None while it runs. A view at t sees known_at <= t."""
    features: Features
    control: ControlKind
    outcome: Outcome | None
    exit_code: int | None
    attempts: tuple[Attempt, ...] = ()
    decision_id: str | None = None
    expert_costs: Mapping[str, float] = field(default_factory=dict)
    """Expert name -> GB-hours its own ladder would have cost on this run."""
    spent_prob: tuple[float, ...] = ()
    """What its decision spent of the failure budget (Recommendation.spent_prob); empty
    where the first limit was not chosen under the budget."""
    first_oom_prob: float | None = None
    """The announced chance that the first limit fails; None like `spent_prob`."""

    @property
    def oom_kills(self) -> int:
        """OOM kills over all attempts."""
        return sum(attempt.oom_kills for attempt in self.attempts)

    @property
    def raises(self) -> int:
        """Live raises of the limit over all attempts."""
        return sum(attempt.raises for attempt in self.attempts)
