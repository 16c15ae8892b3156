"""What was measured: readings of a live target, samples of an attempt, OOM events."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """One reading of a target.

    usage_bytes: all that is charged, page cache included.
    need_bytes: what cannot be dropped: usage - inactive_file - active_file (anonymous,
        shared and tmpfs, kernel memory). The trigger of every action.
    """

    usage_bytes: int
    need_bytes: int
    recent_peak_usage_bytes: int | None = None
    """The kernel's maximum of usage since the reading before; None where there is none."""

    @property
    def cache_bytes(self) -> int:
        """Page cache: what the kernel drops before anybody has to die."""
        return self.usage_bytes - self.need_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureState:
    """Whether tasks wait at the limit now, and how many were OOM-killed so far."""

    is_waiting: bool
    oom_kills: int


class Attribution(StrEnum):
    """Whose doing an OOM was (safety contract)."""

    ULLAGE = "ullage"
    PLANNED = "planned"
    ORGANIC = "organic"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class OomEvent:
    """One OOM kill; counted once, kept for ever. `at_least_bytes` = max(usage, limit) at death."""

    run_id: str
    workload_key: str
    attempt: int
    at: datetime
    at_least_bytes: int | None
    limit_bytes: int | None
    kills: int
    attribution: Attribution


@dataclass(slots=True, kw_only=True)
class SampleSeries:
    """Samples of one attempt as parallel arrays (struct of arrays), in time order.

    elapsed_ms (float64): milliseconds since the attempt started.
    need_bytes, usage_bytes, limit_bytes (int64): limit -1 = none.
    """

    elapsed_ms: array[float] = field(default_factory=lambda: array("d"))
    need_bytes: array[int] = field(default_factory=lambda: array("q"))
    usage_bytes: array[int] = field(default_factory=lambda: array("q"))
    limit_bytes: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.elapsed_ms)

    def append(
        self, elapsed_ms: float, *, need_bytes: int, usage_bytes: int, limit_bytes: int | None
    ) -> None:
        """Add one sample at the end."""
        self.elapsed_ms.append(elapsed_ms)
        self.need_bytes.append(need_bytes)
        self.usage_bytes.append(usage_bytes)
        self.limit_bytes.append(-1 if limit_bytes is None else limit_bytes)
