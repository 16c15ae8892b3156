"""Who is watched: listings become tracked targets, states of earlier tenures are taken over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from ullage.control.histories import Histories
from ullage.control.tracked import (
    ServeParts,
    Tick,
    Tracked,
    is_acting,
    remaining_s,
    stagger_s,
)
from ullage.control.watching import Watching
from ullage.core.errors import AdapterError
from ullage.core.service import (
    LiveTarget,
    ServeSettings,
    ServiceSpec,
    TargetKind,
    TargetState,
)


class Fleet:
    """The targets of all workloads, by id."""

    def __init__(
        self,
        parts: ServeParts,
        specs: Sequence[ServiceSpec],
        settings: ServeSettings,
        histories: Histories,
        watching: Watching,
    ) -> None:
        self.capped_count = 0
        self._parts = parts
        self._specs = tuple(specs)
        self._settings = settings
        self._histories = histories
        self._watching = watching
        self._tracked: dict[str, Tracked] = {}
        self._states: dict[str, TargetState] = {}
        self._lacks_past = False
        self._open: set[str] = set()
        self._sorted: list[Tracked] | None = None
        self._acting_count = 0

    def all(self) -> list[Tracked]:
        """Return all targets, in the order of their ids."""
        if self._sorted is None:
            self._sorted = [self._tracked[name] for name in sorted(self._tracked)]
        return self._sorted

    def get(self, target_id: str) -> Tracked | None:
        """Return one target."""
        return self._tracked.get(target_id)

    def acting_count(self) -> int:
        """Return how many targets may be acted upon (S10)."""
        return self._acting_count

    def due(self, tick: Tick) -> list[Tracked]:
        """Return whose decision is due, longest overdue first."""
        due = [one for one in self.all() if tick.mono_s >= one.due_s and one.reading is not None]
        return sorted(due, key=lambda one: one.due_s)

    def put_off(self, tracked: Tracked, tick: Tick) -> None:
        """Set when the next decision about a target is due: an interval on, in its own phase."""
        interval_s = self._settings.decide_interval.total_seconds()
        late_count = (tick.mono_s - tracked.due_s) // interval_s
        tracked.due_s += interval_s * max(1, late_count + 1)

    def group_needs(self, tracked: Tracked, tick: Tick) -> tuple[int, ...]:
        """Return the largest need known of each other target in the group."""
        key = tracked.spec.group_key
        known = tick.group_needs_bytes.get(key)
        if known is None:
            members = [one for one in self.all() if one.spec.group_key == key]
            largest = self._histories.largest([one.row for one in members])
            names = [one.target.target_id for one in members]
            known = tick.group_needs_bytes[key] = dict(zip(names, largest, strict=True))
        return tuple(need for name, need in known.items() if name != tracked.target.target_id)

    def forget_recent(self) -> None:
        """Drop recent readings: they lie in what is the future since the clock went back."""
        for one in self._tracked.values():
            self._histories.forget_recent(one.row)
            one.reading = one.newest_at = None

    def shift_moments(self, span: timedelta) -> list[TargetState]:
        """Move recorded deadlines with a wall clock that has jumped; return the states changed.

        They mean a span by the monotonic clock (S20): the next holder reads what is left of it.
        """
        stored: dict[str, TargetState] = {}
        with suppress(AdapterError):  # those of targets that have gone: their quarantines hold
            stored = {state.target_id: state for state in self._parts.store.states()}
        known = {name: tracked.state for name, tracked in self._tracked.items()}
        moved = []
        for name, state in {**stored, **known}.items():
            new = replace(
                state,
                hands_off_until_at=_later(state.hands_off_until_at, span),
                quarantine_until_at=_later(state.quarantine_until_at, span),
                last_ours_at=_later(state.last_ours_at, span),
            )
            if new == state:
                continue
            moved.append(new)
            if name in self._tracked:
                self._tracked[name].state = new
        return moved

    def replace_specs(self, specs: Sequence[ServiceSpec]) -> None:
        """List by these from the next tick on; whom none of them means is dropped there."""
        self._specs = tuple(specs)

    # -- listings ------------------------------------------------------------------------------

    def find(self, tick: Tick, *, peek: Callable[[], None]) -> list[Tracked]:
        """List all workloads; return the targets that have vanished (no longer tracked).

        peek: looks at events before anybody is dropped: who was killed and is gone is read once
        more by the life that it had (S23).
        """
        found: dict[str, list[tuple[ServiceSpec, LiveTarget]]] = {}
        failed: set[str] = set()
        for spec in self._specs:
            try:
                listed = self._list(spec)
            except AdapterError:
                failed.add(spec.workload_key)
                continue
            for target in listed:
                found.setdefault(target.target_id, []).append((spec, target))
        peek()
        self._track(found, tick)
        gone = self._drop_missing(found, failed) + self._never_seen_again(found, failed, tick)
        self._sorted = None
        self._acting_count = sum(
            is_acting(self._settings, one.spec) for one in self._tracked.values()
        )
        if self._lacks_past:
            self._recall(tick)
        for kind, source in self._parts.sources.items():
            source.watch([one.target for one in self._tracked.values() if one.target.kind is kind])
        return gone

    def _list(self, spec: ServiceSpec) -> list[LiveTarget]:
        """Return whom a workload means; an empty selector means nobody (S13)."""
        finder = self._parts.finders.get(spec.kind)
        if finder is None or not spec.selector.strip():
            return []
        return finder.find(spec)

    def _track(self, found: dict[str, list[tuple[ServiceSpec, LiveTarget]]], tick: Tick) -> None:
        self.capped_count = 0
        for target_id in sorted(found):
            spec, target = found[target_id][0]
            tracked = self._tracked.get(target_id)
            if tracked is None and len(self._tracked) >= self._settings.targets_max_count:
                self.capped_count += 1
                continue
            if tracked is None:
                tracked = self._begin(spec, target, tick)
            tracked.target = target
            tracked.spec = spec
            tracked.is_listed = True
            tracked.is_ambiguous = len(found[target_id]) > 1

    def _begin(self, spec: ServiceSpec, target: LiveTarget, tick: Tick) -> Tracked:
        state = TargetState(
            target_id=target.target_id,
            workload_key=spec.workload_key,
            instance=target.instance,
        )
        interval_s = self._settings.decide_interval.total_seconds()
        tracked = Tracked(
            target=target,
            spec=spec,
            state=state,
            row=self._histories.take_row(tick.at),
            due_s=tick.mono_s + stagger_s(target.target_id, interval_s),
        )
        self._tracked[target.target_id] = tracked
        if target.target_id in self._states:
            self._adopt(tracked, tick.at, tick.mono_s)
        return tracked

    def _drop_missing(
        self, found: dict[str, list[tuple[ServiceSpec, LiveTarget]]], failed: set[str]
    ) -> list[Tracked]:
        gone = []
        for target_id, tracked in list(self._tracked.items()):
            if target_id in found:
                continue
            tracked.is_listed = False
            if tracked.spec.workload_key not in failed:
                gone.append(self._tracked.pop(target_id))
                self._histories.release(tracked.row)
        return gone

    def _never_seen_again(
        self, found: dict[str, list[tuple[ServiceSpec, LiveTarget]]], failed: set[str], tick: Tick
    ) -> list[Tracked]:
        """Return targets that an earlier tenure left with open accounts, and that are gone."""
        gone = []
        for target_id in sorted(self._open):
            state = self._states[target_id]
            spec = next((s for s in self._specs if s.workload_key == state.workload_key), None)
            if spec is not None and spec.workload_key in failed:
                continue  # nothing is known: asked again in the next tick
            self._open.discard(target_id)
            if spec is None or target_id in found or target_id in self._tracked:
                continue
            kind, instance = spec.kind, state.instance
            target = LiveTarget(
                target_id=target_id,
                workload_key=spec.workload_key,
                instance=instance,
                kind=kind,
                mode=spec.mode,
            )
            tracked = self._begin(spec, target, tick)
            self._tracked.pop(target_id)
            self._histories.release(tracked.row)
            gone.append(tracked)
        return gone

    # -- what an earlier tenure left -------------------------------------------------------------

    def load(self, now: datetime, mono_s: float) -> None:
        """Take the stored states over, and release parked tasks at once (S17)."""
        self._states = {state.target_id: state for state in self._parts.store.states()}
        self._lacks_past = True
        self._open = {
            state.target_id
            for state in self._states.values()
            if state.watch is not None or state.pending is not None
        }
        for state in self._states.values():
            if state.is_parked:
                self._release(state)
        for state in self._states.values():
            self._watching.load(state, now, mono_s)
        for tracked in self._tracked.values():
            if tracked.target.target_id in self._states:
                self._adopt(tracked, now, mono_s)

    def _release(self, state: TargetState) -> None:
        kind = state.target_id.partition(":")[0]
        if kind in list(TargetKind):
            with suppress(AdapterError):  # it has vanished, so nobody is parked in it
                self._parts.actuators[TargetKind(kind)].set_parking(state.target_id, False)
        self._states[state.target_id] = replace(state, is_parked=False)

    def _adopt(self, tracked: Tracked, now: datetime, mono_s: float) -> None:
        state, settings = self._states[tracked.target.target_id], self._settings
        hands_off_s = remaining_s(state.hands_off_until_at, now, settings.hands_off)
        tracked.hands_off_until_s = mono_s + hands_off_s
        # Watched anew in full: what the clock did meanwhile nobody knows.
        tracked.watch_until_s = mono_s + settings.watch.total_seconds()
        envelope = state.envelope
        until_at = envelope.until_at if envelope else None
        tracked.envelope_until_s = mono_s + remaining_s(until_at, now, settings.envelope_span)
        tracked.state = state
        tracked.is_adopted = True
        tracked.pending_read_count = tracked.read_count
        counted = state.oom_instance or state.instance
        if counted == tracked.target.instance and state.oom_kills is not None:
            tracked.seen_kills, tracked.seen_instance = state.oom_kills, counted

    def _recall(self, tick: Tick) -> None:
        """Fill the memory of targets that we see for the first time with what the store kept."""
        try:
            for target_id, history in self._parts.store.histories(
                tick.at - self._settings.peaks_kept
            ):
                tracked = self._tracked.get(target_id)
                if tracked is not None and tracked.read_count == 0:
                    self._histories.restore(tracked.row, history)
            self._lacks_past = False
        except AdapterError:
            pass  # asked again in the next tick


def _later(moment: datetime | None, span: timedelta) -> datetime | None:
    return None if moment is None else moment + span
