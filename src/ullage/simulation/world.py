"""A simulated host: targets whose need moves, and a kernel that kills by the rules of v1 and v2.

Deterministic, in virtual time, without threads: the same calls give the same kills and the
same journal. It knows nothing of the controller; simulation.world_ports shows it as ports, and
simulation.world_daemons lets controllers live in it.

What is simplified: memory is taken in pieces (`pieces`), and after each piece those who listen
are told of pressure before the next one, as threshold events do; `leap` takes it in one piece,
as nobody can react to. Targets do not swap, and take nothing from each other.

Rules: v1 drops cache before anything else, refuses a limit below need (EBUSY), and parks tasks
at the limit where it has been told to. v2 and Docker's limit is set first, then cache is
dropped, then processes are killed until it fits; Docker refuses a limit below need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ullage.core.service import EventKind, TargetEvent, TargetKind
from ullage.core.units import GIB, MIB

EVENT_RATIO = 0.90
"""Need above this share of the limit raises an event after each piece."""

PIECE_RATIO = 0.04
"""One piece is this share of the limit: what is taken before an event is answered."""

KILL_S = 0.001
"""A kill takes this long."""

RESTART_RATIO = 0.3
"""After a kill the process begins anew with this share of its need."""


class WorldClock:
    """Both clocks of the host. The wall clock can be set; the monotonic one cannot."""

    def __init__(self) -> None:
        self._start_at = datetime(2026, 1, 5, tzinfo=UTC)
        self._elapsed_s = 0.0
        self._offset_s = 0.0
        self.stall_s = 0.0
        """Added whenever the monotonic clock is asked: a policy that takes its time."""

    def now(self) -> datetime:
        """Return the wall clock."""
        return self._start_at + timedelta(seconds=self._elapsed_s + self._offset_s)

    def monotonic_s(self) -> float:
        """Return seconds since the world began."""
        self._elapsed_s += self.stall_s
        return self._elapsed_s

    def advance(self, span_s: float) -> None:
        """Let time pass."""
        self._elapsed_s += span_s

    def jump(self, span_s: float) -> None:
        """Set the wall clock, as a person or NTP does; the monotonic one does not notice."""
        self._offset_s += span_s


@dataclass(slots=True, kw_only=True)
class SimTarget:
    """One live cgroup or container. demand_bytes: what its processes would like to have."""

    target_id: str
    workload_key: str
    kind: TargetKind
    limit_bytes: int | None
    need_bytes: int
    demand_bytes: int
    cache_bytes: int = 0
    oom_kills: int = 0
    is_parking: bool = False
    is_waiting: bool = False
    psi_ratio: float | None = None
    life: int = 1
    """Counts its restarts: the instance."""
    kill_limits_bytes: list[int] = field(default_factory=list)

    @property
    def instance(self) -> str:
        """The present life's name."""
        return f"life-{self.life}"

    @property
    def usage_bytes(self) -> int:
        """All that is charged, cache included; never above the limit."""
        return self.need_bytes + self.cache_bytes


class World:
    """One host with its targets. `tell` hears of every event at once."""

    def __init__(self, *, host_bytes: int = 64 * GIB) -> None:
        self.clock = WorldClock()
        self.host_bytes = host_bytes
        self.targets: dict[str, SimTarget] = {}
        self.log: list[str] = []
        """What the kernel did to whom, for people who read a failure."""
        self.tell: Callable[[TargetEvent], None] = lambda event: None

    # -- targets -------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        *,
        kind: TargetKind = TargetKind.CGROUP1,
        workload_key: str | None = None,
        limit_bytes: int | None = 4 * GIB,
        need_bytes: int = GIB,
    ) -> SimTarget:
        """Start a target."""
        target = SimTarget(
            target_id=f"{kind}:/{name}",
            workload_key=workload_key or name,
            kind=kind,
            limit_bytes=limit_bytes,
            need_bytes=need_bytes,
            demand_bytes=need_bytes,
        )
        self.targets[target.target_id] = target
        return target

    def remove(self, target_id: str) -> None:
        """Let a target end."""
        target = self.targets.pop(target_id)
        self._note(f"{target_id} ends")
        self._emit(target, EventKind.GONE)

    def restart(self, target_id: str) -> None:
        """Begin a new life of a target (a deploy, a crash): counters start anew."""
        target = self.targets[target_id]
        target.life += 1
        target.oom_kills = 0
        target.is_waiting = False
        target.need_bytes = int(target.demand_bytes * RESTART_RATIO)
        self._note(f"{target_id} restarts")

    def free_bytes(self) -> int:
        """Return what no target needs."""
        return max(0, self.host_bytes - sum(one.need_bytes for one in self.targets.values()))

    # -- memory --------------------------------------------------------------------------------

    def leap(self, target_id: str, need_bytes: int) -> None:
        """Let need rise in one piece: no event can come before."""
        target = self.targets[target_id]
        target.demand_bytes = need_bytes
        self._take(target, need_bytes)

    def pieces(self, target_id: str, *, at_most: int = 200) -> Iterator[None]:
        """Let need follow demand piece by piece, with an event after each near the limit."""
        for _ in range(at_most):
            target = self.targets.get(target_id)
            if target is None:
                return
            if target.demand_bytes <= target.need_bytes:
                target.need_bytes = target.demand_bytes
                target.is_waiting = False
                return
            piece_bytes = max(MIB, int((target.limit_bytes or GIB) * PIECE_RATIO))
            kills = target.oom_kills
            self._take(target, min(target.demand_bytes, target.need_bytes + piece_bytes))
            yield
            if target.is_waiting or target.oom_kills > kills:
                return

    def _take(self, target: SimTarget, need_bytes: int) -> None:
        """Charge memory; at the limit the kernel drops cache, then parks or kills."""
        limit_bytes = target.limit_bytes
        if limit_bytes is None or need_bytes <= limit_bytes:
            target.need_bytes = need_bytes
            target.is_waiting = False
            if limit_bytes is not None:
                target.cache_bytes = min(target.cache_bytes, limit_bytes - need_bytes)
                if need_bytes >= EVENT_RATIO * limit_bytes:
                    self._emit(target, EventKind.PRESSURE)
            return
        target.cache_bytes = 0
        target.need_bytes = max(target.need_bytes, limit_bytes)
        if target.is_parking and target.kind is TargetKind.CGROUP1:
            if not target.is_waiting:
                self._note(f"{target.target_id} waits at {limit_bytes}")
            target.need_bytes = limit_bytes
            target.is_waiting = True
            self._emit(target, EventKind.WAITING)
            return
        self._kill(target)

    def _kill(self, target: SimTarget) -> None:
        self.clock.advance(KILL_S)  # no two in one moment
        target.oom_kills += 1
        target.kill_limits_bytes.append(target.limit_bytes or 0)
        self._note(f"{target.target_id} killed at {target.limit_bytes}")
        target.need_bytes = int(
            min(target.limit_bytes or target.demand_bytes, target.demand_bytes) * RESTART_RATIO
        )
        target.demand_bytes = target.need_bytes
        target.is_waiting = False
        self._emit(target, EventKind.OOM)

    # -- limits --------------------------------------------------------------------------------

    def set_limit(self, target_id: str, limit_bytes: int) -> bool:
        """Set a limit by the rules of the kind; False = refused."""
        target = self.targets[target_id]
        is_below = limit_bytes < target.need_bytes
        if is_below and target.kind is not TargetKind.CGROUP2:
            return False
        target.limit_bytes = limit_bytes
        target.cache_bytes = max(0, min(target.cache_bytes, limit_bytes - target.need_bytes))
        self._note(f"{target_id} limit {limit_bytes}")
        if is_below:
            self._kill(target)
        elif target.is_waiting and target.need_bytes < limit_bytes:
            target.is_waiting = False
        return True

    def set_parking(self, target_id: str, is_parking: bool) -> None:
        """Take the OOM killer away from a v1 target, or give it back: then who waits is killed."""
        target = self.targets[target_id]
        if target.kind is not TargetKind.CGROUP1:
            return
        target.is_parking = is_parking
        if target.is_waiting and not is_parking:
            self._kill(target)

    def _emit(self, target: SimTarget, kind: EventKind) -> None:
        self.tell(TargetEvent(target_id=target.target_id, kind=kind, at=self.clock.now()))

    def _note(self, words: str) -> None:
        self.log.append(f"{self.clock.now().isoformat(timespec='seconds')} {words}")
