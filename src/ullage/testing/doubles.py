"""Small doubles for the ports, for tests of pure control logic (never for what a kernel does)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ullage.core.allocation import round_up
from ullage.core.errors import PermanentError
from ullage.core.service import Direction, LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.workload import ControlKind


class ManualClock:
    """A clock that moves when it is told to. Both clocks move together, until one is set."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """Return the virtual wall clock."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic_s(self) -> float:
        """Return the virtual monotonic clock, 0 at the start."""
        return self._elapsed_s

    def advance(self, span: timedelta) -> None:
        """Move both clocks forward."""
        self._elapsed_s += span.total_seconds()

    def set_wall(self, at: datetime) -> None:
        """Set the wall clock, forward or back; the monotonic clock does not notice."""
        self._start = at - timedelta(seconds=self._elapsed_s)


class RecordingSandbox:
    """A sandbox that keeps what it was told: `limits` and `parkings` in order."""

    kind = ControlKind.CGROUP1
    path = "/recorded"
    release_writes: tuple[tuple[str, str], ...] = ()

    def __init__(self, *, refuses: bool = False) -> None:
        self.limits: list[int] = []
        self.parkings: list[bool] = []
        self.refuses = refuses

    def create(self) -> None:
        """Make nothing."""

    def enter(self) -> None:
        """Move nobody."""

    def set_limit(self, limit_bytes: int) -> int:
        """Keep the limit; PermanentError if told to refuse."""
        if self.refuses:
            raise PermanentError("the recorded cgroup has been removed")
        self.limits.append(limit_bytes)
        return limit_bytes

    def is_parked(self) -> bool | None:
        """Return the last order."""
        return self.parkings[-1] if self.parkings else None

    def current_limit_bytes(self) -> int | None:
        """Return the last limit."""
        return self.limits[-1] if self.limits else None

    def set_parking(self, is_parking: bool) -> None:
        """Keep the order."""
        self.parkings.append(is_parking)

    def member_pids(self) -> list[int]:
        """Return nobody."""
        return []

    def remove(self) -> bool:
        """Say that it is gone."""
        return True


class FixedBooking:
    """A ledger with `host_bytes` left for this run; keeps what was booked."""

    def __init__(self, host_bytes: int) -> None:
        self.host_bytes = host_bytes
        self.booked: list[int] = []
        self.is_released = False

    def ceiling_bytes(self, need_bytes: int) -> int:
        """Return what the host can give."""
        return self.host_bytes

    def book(self, *, booked_bytes: int, need_bytes: int) -> int:
        """Keep the booking; return what the host can give."""
        self.booked.append(booked_bytes)
        return self.host_bytes

    def release(self) -> None:
        """Keep that it was released."""
        self.is_released = True


class LargestNeed:
    """A stand-in for a service policy: the largest need known x `margin_ratio`."""

    def __init__(self, margin_ratio: float = 1.2) -> None:
        self.policy_id = f"largest_x{margin_ratio:g}"
        self._margin_ratio = margin_ratio

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        """Return largest x margin in whole MiB, not below the floor; HOLD without history."""
        seen = (history.need_bytes, history.peak_bytes, history.oom_at_least_bytes)
        largest_bytes = max((int(array.max()) for array in seen if len(array)), default=0)
        limit_bytes = question.limit_bytes
        if largest_bytes == 0 or limit_bytes is None:
            return self._answer(question, None, Direction.HOLD)
        wanted_bytes = round_up(largest_bytes * self._margin_ratio)
        wanted_bytes = min(max(wanted_bytes, question.floor_bytes), question.ceiling_bytes)
        if wanted_bytes == limit_bytes:
            return self._answer(question, None, Direction.HOLD)
        rises = wanted_bytes > limit_bytes
        return self._answer(question, wanted_bytes, Direction.GROW if rises else Direction.CUT)

    def _answer(
        self, question: ServiceQuestion, wanted_bytes: int | None, direction: Direction
    ) -> LimitProposal:
        return LimitProposal(
            target_id=question.target_id,
            wanted_bytes=wanted_bytes,
            direction=direction,
            reason="largest_need",
            policy=self.policy_id,
        )
