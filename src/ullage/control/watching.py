"""After a cut: watch it, give the limit back at a sign of harm, open the breaker (S11, S12)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from ullage.control.changes import Changes
from ullage.control.entries import entry, oom_entry
from ullage.control.tracked import Counts, Tick, Tracked, is_acting, remaining_s
from ullage.core.live_guards import ceiling_of, quarantine_span, stale_after_s
from ullage.core.service import (
    EntryKind,
    JournalEntry,
    LimitDecision,
    ServeSettings,
    ServiceOom,
    TargetKind,
    TargetState,
    Watch,
)
from ullage.core.telemetry import Attribution
from ullage.policies.live import TRIGGER_RATIO

CALM = "calm"
OUTGROWN = "outgrown"
"""The limit has been raised to where it was before the cut: nothing is left to watch."""


_KERNEL_COUNTED = (TargetKind.CGROUP1, TargetKind.CGROUP2)
"""Where the kernel counts OOM kills, for as long as the cgroup lives. Docker's are counted by its
source, from when that began to listen."""


@dataclass(slots=True)
class _Quarantine:
    """No cuts of a workload until then; how many in a row so far."""

    until_s: float
    count: int


class Watching:
    """Keeps watches, quarantines (per workload) and the count of our own OOMs."""

    def __init__(self, changes: Changes, settings: ServeSettings, counts: Counts) -> None:
        self._changes = changes
        self._settings = settings
        self._counts = counts
        self._quarantines: dict[str, _Quarantine] = {}
        self._ours: deque[tuple[float, str]] = deque(maxlen=1000)

    def is_quarantined(self, workload_key: str, tick: Tick) -> bool:
        """Say whether a cut of this workload did harm lately."""
        quarantine = self._quarantines.get(workload_key)
        return quarantine is not None and tick.mono_s < quarantine.until_s

    def load(self, state: TargetState, now: datetime, mono_s: float) -> None:
        """Take over what a state remembers from before a restart."""
        settings = self._settings
        left_s = remaining_s(state.quarantine_until_at, now, settings.quarantine_at_most)
        if left_s > 0:
            key = state.workload_key
            known = self._quarantines.get(key, _Quarantine(0.0, 0))
            until_s = max(known.until_s, mono_s + left_s)
            count = max(known.count, state.quarantines)
            self._quarantines[key] = _Quarantine(until_s, count)
        window = settings.breaker_window
        if state.last_ours_at is not None:
            ago_s = (now - state.last_ours_at).total_seconds()
            if 0 <= ago_s < window.total_seconds():
                self._ours.append((mono_s - ago_s, state.target_id))

    # -- a cut begins and ends to be watched -------------------------------------------------

    def begin(self, tracked: Tracked, decision: LimitDecision, tick: Tick) -> None:
        """Watch from before the write on: an OOM of an unknown outcome counts too."""
        assert decision.old_bytes is not None
        assert decision.new_bytes is not None
        until_at = tick.at + self._settings.watch
        tracked.watch_until_s = tick.mono_s + self._settings.watch.total_seconds()
        watch = Watch(
            decision_id=decision.decision_id,
            from_bytes=decision.old_bytes,
            to_bytes=decision.new_bytes,
            began_at=tick.at,
            until_at=until_at,
            oom_kills=tracked.reading.oom_kills if tracked.reading else 0,
            instance=tracked.target.instance,
        )
        tracked.state = replace(tracked.state, watch=watch)

    def harm(self, tracked: Tracked) -> str:
        """Return the sign of harm since the watched cut; "" = none that can be seen."""
        watch, reading = tracked.state.watch, tracked.reading
        if watch is None or reading is None:
            return ""
        if watch.instance != tracked.target.instance:
            return "restart"
        if reading.oom_kills > watch.oom_kills:
            return "oom"
        if reading.is_waiting:
            return "waiting"
        limit_bytes = reading.limit_bytes
        if limit_bytes is not None and reading.need_bytes >= TRIGGER_RATIO * limit_bytes:
            return "near"
        psi = reading.psi_full_avg10_ratio
        return "psi" if psi is not None and psi > self._settings.watch_psi_ratio else ""

    def is_over(self, tracked: Tracked, tick: Tick, delay_s: float) -> bool:
        """Say whether a watch has ended calmly: its time is over, and somebody has looked.

        Silence is not calm: without a fresh reading it goes on.
        """
        if tracked.reading is None or tick.mono_s < tracked.watch_until_s:
            return False
        return tick.mono_s - tracked.read_s <= stale_after_s(delay_s, self._settings)

    def end(self, tracked: Tracked, tick: Tick, *, verdict: str) -> list[JournalEntry]:
        """End the watch; after harm the workload's cuts are in quarantine. Returns the rows."""
        watch = tracked.state.watch
        if watch is None:
            return []
        rows = [
            entry(
                EntryKind.WATCH_ENDED,
                tick.at,
                tracked,
                decision_id=watch.decision_id,
                verdict=verdict,
                watched_s=round(self._watched_s(tracked, tick), 3),
                has_psi=bool(tracked.reading and tracked.reading.psi_full_avg10_ratio is not None),
            )
        ]
        tracked.state = replace(tracked.state, watch=None)
        tracked.harm_sign = ""
        if verdict == OUTGROWN:
            return rows
        if verdict == CALM:
            tracked.state = replace(tracked.state, quarantines=0)
            self._forgive(tracked.spec.workload_key, tick)
            return rows
        return [*rows, *self._quarantine(tracked, tick)]

    def _watched_s(self, tracked: Tracked, tick: Tick) -> float:
        """Return for how long it was watched, by the clock that does not jump."""
        return tick.mono_s - tracked.watch_until_s + self._settings.watch.total_seconds()

    def _forgive(self, workload_key: str, tick: Tick) -> None:
        if not self.is_quarantined(workload_key, tick):
            self._quarantines.pop(workload_key, None)

    def _quarantine(self, tracked: Tracked, tick: Tick) -> list[JournalEntry]:
        key = tracked.spec.workload_key
        known = self._quarantines.get(key, _Quarantine(0.0, 0))
        count = max(known.count, tracked.state.quarantines) + 1
        span = quarantine_span(count, self._settings)
        self._quarantines[key] = _Quarantine(tick.mono_s + span.total_seconds(), count)
        tracked.state = replace(
            tracked.state, quarantine_until_at=tick.at + span, quarantines=count
        )
        until = (tick.at + span).isoformat()
        return [entry(EntryKind.QUARANTINE, tick.at, tracked, until_at=until, count=count)]

    # -- OOM kills ---------------------------------------------------------------------------

    def new_ooms(self, tracked: Tracked, tick: Tick) -> ServiceOom | None:
        """Return the OOM kills since the reading before, counted once (S23); None = none."""
        reading = tracked.reading
        if reading is None or tracked.reading_instance != tracked.target.instance:
            return None  # what the life before was read to have is not this one's
        seen = self._told(tracked, reading.oom_kills)
        if reading.oom_kills < seen:
            if tracked.target.kind in _KERNEL_COUNTED:
                return None  # an old reading: what it lacks has been told
            seen = self._count_anew(tracked, reading.oom_kills)
        if reading.oom_kills == seen:
            return None
        limit_bytes = reading.limit_bytes
        return ServiceOom(
            target_id=tracked.target.target_id,
            workload_key=tracked.spec.workload_key,
            instance=tracked.target.instance,
            at=reading.at,
            at_least_bytes=max(reading.usage_bytes, limit_bytes or 0),
            limit_bytes=limit_bytes,
            kills=reading.oom_kills - seen,
            attribution=self._whose(tracked, tick),
        )

    def _told(self, tracked: Tracked, kills: int) -> int:
        """Return how many OOM kills of this life have been told; a new life's count begins at 0.

        Stored with the next row, so that the next holder knows it too.
        """
        life, seen = tracked.target.instance, tracked.seen_kills
        if seen is None:
            seen = kills
        elif tracked.seen_instance not in ("", life):
            seen = 0
        tracked.seen_kills, tracked.seen_instance = seen, life
        state = tracked.state
        if state.oom_kills is None or state.oom_instance != life:
            tracked.state = replace(state, oom_kills=seen, oom_instance=life)
        return seen

    def _count_anew(self, tracked: Tracked, kills: int) -> int:
        """Begin to count with a source that does; a watch goes by the new count too."""
        tracked.seen_kills = kills
        watch = tracked.state.watch
        if watch is not None:
            watch = replace(watch, oom_kills=min(watch.oom_kills, kills))
        tracked.state = replace(tracked.state, oom_kills=kills, watch=watch)
        return kills

    def _whose(self, tracked: Tracked, tick: Tick) -> Attribution:
        """Return whose doing an OOM is: ours within a watch, or below the original without way up.

        Worked: 5 min after a cut -> ullage; limit 1 GiB, original 2 GiB, maximum 1 GiB -> ullage;
        limit above the original -> organic; within a watch, but counted before the cut -> organic.
        """
        state, limit_bytes, watch = tracked.state, tracked.limit_bytes, tracked.state.watch
        if watch is not None and (limit_bytes or 0) < watch.from_bytes:
            kills = tracked.reading.oom_kills if tracked.reading else 0
            is_ours = kills > watch.oom_kills
            if watch.instance != tracked.target.instance:
                # A new life under a limit that somebody else set has nothing to do with the cut.
                is_ours = limit_bytes in (watch.to_bytes, state.our_limit_bytes)
            return Attribution.ULLAGE if is_ours else Attribution.ORGANIC
        if limit_bytes is None or state.original_limit_bytes is None:
            return Attribution.ORGANIC
        is_lowered = state.original_limit_bytes < 0 or limit_bytes < state.original_limit_bytes
        ceiling_bytes = ceiling_of(tracked.spec, tracked.reading, tick.host)
        can_grow = limit_bytes < ceiling_bytes and is_acting(self._settings, tracked.spec)
        is_ours = is_lowered and not can_grow and state.our_limit_bytes == limit_bytes
        return Attribution.ULLAGE if is_ours else Attribution.ORGANIC

    def count_oom(
        self, tracked: Tracked, oom: ServiceOom, tick: Tick, acting_count: int
    ) -> tuple[list[JournalEntry], datetime | None]:
        """Count one OOM; return its rows, and the breaker's moment if it opens (S12)."""
        rows = [oom_entry(tracked, oom, tick.at)]
        self._counts.oom_kills[str(oom.attribution)] += oom.kills
        tracked.seen_kills = (tracked.seen_kills or 0) + oom.kills
        tracked.state = replace(tracked.state, oom_kills=tracked.seen_kills)
        tracked.oom_until_s = tick.mono_s + self._settings.oom_trigger.total_seconds()
        tracked.oom_at_least_bytes = oom.at_least_bytes
        if oom.attribution is not Attribution.ULLAGE:
            return rows, None
        tracked.state = replace(tracked.state, last_ours_at=tick.at)
        self._ours.append((tick.mono_s, tracked.target.target_id))
        if tick.fleet.breaker_since_at is not None or not self._is_too_many(tick, acting_count):
            return rows, None
        tick.fleet = replace(tick.fleet, breaker_since_at=tick.at)
        rows.append(entry(EntryKind.BREAKER, tick.at, ours_count=len(self._ours)))
        return rows, tick.at

    def _is_too_many(self, tick: Tick, acting_count: int) -> bool:
        since_s = tick.mono_s - self._settings.breaker_window.total_seconds()
        lately = [target_id for at_s, target_id in self._ours if at_s >= since_s]
        share = len(set(lately)) / acting_count if acting_count else 0.0
        # In a small fleet one target is always more than 1 %: there the count alone decides.
        is_cohort = acting_count * self._settings.breaker_cohort_ratio >= 1
        return len(lately) >= self._settings.breaker_ooms or (
            is_cohort and share >= self._settings.breaker_cohort_ratio
        )


def busy_groups(targets: Iterable[Tracked]) -> dict[str, str]:
    """Return the groups in which a cut is pending or watched, with the target (S10)."""
    return {
        tracked.spec.group_key: tracked.target.target_id
        for tracked in targets
        if tracked.state.watch is not None
        or (tracked.state.pending is not None and tracked.state.pending.is_cut)
    }
