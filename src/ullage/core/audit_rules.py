"""What a journal proves: S1..S24, as far as rows can show them. `ullage audit verify` runs it.

One pass, bounded memory: per target its limit, its open change, its watch, its deadlines.
Moments are those of the rows; where the wall clock jumped (a row says so) what rests on spans
is judged anew from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ullage.core.allocation import round_up
from ullage.core.audit import Finding
from ullage.core.live_guards import cuts_allowed, stale_after_s
from ullage.core.reason_codes import GuardCode
from ullage.core.service import (
    ChangeResult,
    Direction,
    EntryKind,
    JournalRecord,
    ModelStep,
    ServeSettings,
    TargetKind,
    UpdateMode,
    live_floor_bytes,
)
from ullage.core.telemetry import Attribution

NOT_VISIBLE: Mapping[str, str] = {
    "s3": "a pressure that no event told of leaves no row; rescues that failed have one",
    "s13": "whom a selector meant is not recorded; only what was done to whom",
    "s15": "models are promoted elsewhere",
    "s18": "a store that fails writes no rows; that nothing is missing shows in the chain",
    "s19": "caps are figures of the metrics page",
}
"""Invariants that rows cannot prove, and why. The others are judged below."""

_RESTORE_WITHIN = timedelta(seconds=60)
_DRIFT = timedelta(minutes=5)
"""So far the wall clock may have crept, by steps too small to be a jump, within a day's span."""


@dataclass(slots=True)
class _Target:
    """What is known of one target so far."""

    workload_key: str = ""
    has_original: bool = False
    open_id: str | None = None
    open_row: Mapping[str, Any] | None = None
    watch_until: datetime | None = None
    watch_from_bytes: int = 0
    watch_to_bytes: int = 0
    watch_id: str | None = None
    watch_instance: str = ""
    watch_kills: int = 0
    kernel_counts: bool = True
    oom_instance: str = ""
    oom_total: int = 0
    hands_off_until: datetime | None = None
    envelope_bytes: int = 0
    envelope_until: datetime | None = None
    instance: str | None = None
    harmed_at: datetime | None = None
    group: str = ""
    done_ids: deque[str] = field(default_factory=lambda: deque(maxlen=64))
    ooms: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=256))


class History:
    """Judges rows in order; `ended` tells what should have followed and did not."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._targets: dict[str, _Target] = {}
        self._quarantines: dict[str, datetime] = {}
        self._breaker_open = False
        self._ours: deque[datetime] = deque(maxlen=1000)
        self._ours_since_row = 0
        self._tick = 0
        self._cuts_in_tick = 0
        self._observe_until_tick = 0
        self._observe_rule = "s17"
        self._last: JournalRecord | None = None

    def judge(self, record: JournalRecord) -> list[Finding]:
        """Return what is wrong with one row, given all before it."""
        self._last = record
        entry = record.entry
        judge = {
            EntryKind.START: self._start,
            EntryKind.CLOCK_JUMP: self._jump,
            EntryKind.ORIGINAL: self._original,
            EntryKind.ENVELOPE: self._envelope,
            EntryKind.DECISION: self._decision,
            EntryKind.OUTCOME: self._outcome,
            EntryKind.SETTLED: self._settled,
            EntryKind.HOLD: self._hold,
            EntryKind.OOM: self._oom,
            EntryKind.WATCH_ENDED: self._watch_ended,
            EntryKind.QUARANTINE: self._quarantine,
            EntryKind.HANDS_OFF: self._hands_off,
            EntryKind.BREAKER: self._breaker,
            EntryKind.ORDER: self._order,
        }.get(entry.kind)
        if judge is None:
            return []
        target = self._targets.setdefault(entry.target_id or "", _Target())
        target.workload_key = entry.workload_key or ""
        target.kernel_counts = not (entry.target_id or "").startswith(f"{TargetKind.DOCKER}:")
        return [
            Finding(rule=rule, number=record.number, target_id=entry.target_id, words=words)
            for rule, words in judge(target, entry.at, dict(entry.body))
        ]

    def ended(self) -> list[Finding]:
        """Return what the end of the journal leaves undone beyond its time."""
        last = self._last
        if last is None:
            return []
        return [
            Finding(
                rule="s11",
                number=last.number,
                target_id=target_id,
                words="harm after a cut, and 60 s later its limit had not been given back",
            )
            for target_id, target in sorted(self._targets.items())
            if target.harmed_at is not None and last.entry.at - target.harmed_at > _RESTORE_WITHIN
        ]

    # -- the loop ------------------------------------------------------------------------------

    def _start(self, _: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        self._observe("s17", body)
        for target in self._targets.values():
            # Who begins anew looks at the world before anything else; its rows follow.
            target.harmed_at = None
            if not target.kernel_counts:
                target.watch_kills = 0  # its source begins to count with the process
            if target.watch_until is not None:
                target.watch_until = at + self._settings.watch  # watched anew in full
        yield from ()

    def _jump(self, _: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        self._observe("s20", body)
        shift = timedelta(seconds=float(body.get("jump_s", 0.0)))
        self._quarantines = {key: until + shift for key, until in self._quarantines.items()}
        self._ours = deque((moment + shift for moment in self._ours), maxlen=1000)
        for target in self._targets.values():
            if target.watch_until is not None:
                target.watch_until += shift
            if target.hands_off_until is not None:
                target.hands_off_until += shift
            if target.harmed_at is not None:
                target.harmed_at += shift
        yield from ()

    def _observe(self, rule: str, body: Mapping[str, Any]) -> None:
        """Note until which tick nothing but rescue and restore may happen."""
        tick = int(body.get("tick", 0))
        self._observe_until_tick = tick + self._settings.settle_ticks
        self._observe_rule = rule
        if rule == "s17":
            self._tick, self._cuts_in_tick = tick, 0

    # -- decisions -----------------------------------------------------------------------------

    def _original(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        t.has_original = True
        yield from ()

    def _envelope(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        t.envelope_bytes = int(body["ceiling_bytes"])
        t.envelope_until = datetime.fromisoformat(str(body["until_at"]))
        if not t.has_original:
            yield "s22", "growth is pre-authorised, but the original limit is not stored"

    def _decision(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        yield from self._common(t, at, body)
        direction = Direction(body["direction"])
        if body["policy"] == "undo":  # a person's: back to what was, up or down
            t.watch_until = t.watch_id = t.harmed_at = None
        elif direction is Direction.CUT:
            yield from self._cut(t, at, body)
        else:
            yield from self._raise(t, at, body)
        t.open_id, t.open_row = str(body["decision_id"]), body
        t.group = str(body["inputs"]["group"])
        if direction is Direction.CUT:
            t.watch_until = at + self._settings.watch
            t.watch_from_bytes, t.watch_id = int(body["old_bytes"]), t.open_id
            t.watch_to_bytes = int(body["new_bytes"])
            inputs = body["inputs"]
            t.watch_instance, t.watch_kills = inputs["instance"], inputs.get("oom_kills") or 0

    def _common(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        inputs = body["inputs"]
        if not body["reasons"] or str(body["step"]) not in list(ModelStep):
            yield "s24", "a change without a reason, or without the step that answered"
        if not t.has_original:
            yield "s22", "a change before the original limit was stored"
        if t.open_id is not None:
            yield "s7", f"a second change while the outcome of {t.open_id} is unknown"
        if inputs["mode"] != str(UpdateMode.IN_PLACE) and body["policy"] != "undo":
            yield "s21", "a change of a workload that did not opt in"
        is_rescue = body["policy"] in ("rescue", "watch", "undo")
        if t.hands_off_until is not None and at < t.hands_off_until - _DRIFT and not is_rescue:
            yield "s8", "a change within the hands-off window after somebody else's edit"
        if int(body["tick"]) <= self._observe_until_tick and not is_rescue:
            yield self._observe_rule, "a change in a tick that may only observe"
        new_bytes = body["new_bytes"]
        if isinstance(new_bytes, bool) or not isinstance(new_bytes, int):
            yield "s4", f"the new limit {new_bytes!r:.40} is not a whole number of bytes"

    def _cut(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        if body["is_after"]:
            yield "s6", "a cut before its row"
        settings, inputs = self._settings, body["inputs"]
        old_bytes, new_bytes = int(body["old_bytes"]), int(body["new_bytes"])
        live_bytes = live_floor_bytes(
            int(inputs["need_bytes"]), old_bytes, int(inputs["floor_bytes"]), settings
        )
        if new_bytes < live_bytes:
            yield "s1", f"a cut to {new_bytes}, below the live floor {live_bytes}"
        if new_bytes < old_bytes * (1 - settings.cut_step_ratio):
            yield "s5", "a cut of more than one step"
        if old_bytes - new_bytes < settings.small_step_ratio * old_bytes:
            yield "s5", "a cut too small to be made"
        if inputs["max_bytes"] is not None and int(inputs["max_bytes"]) < live_bytes:
            yield "s4", "a cut although the maximum is below the live floor"
        yield from self._evidence(inputs)
        yield from self._leave(t, at, body)

    def _evidence(self, inputs: Mapping[str, Any]) -> Iterator[_Said]:
        """Judge the telemetry that a cut rests on."""
        settings = self._settings
        age_s = inputs["age_s"]
        if age_s is None or age_s > stale_after_s(float(inputs["delay_s"]), settings):
            yield "s2", "a cut on stale telemetry"
        elif age_s < -settings.future_slack.total_seconds():
            yield "s2", "a cut on telemetry from the future"
        if inputs["samples_count"] < settings.least_samples_count:
            yield "s2", "a cut on too few readings"
        if inputs["poisoned_count"] > 0:
            yield "s2", "a cut on poisoned telemetry"
        if inputs["gap_ratio"] > settings.gap_ratio:
            yield "s2", "a cut on telemetry with gaps"
        if inputs["is_conservative"]:
            yield "s16", "a cut although feedback asks for more room"
        if inputs["incident"]:
            yield "s10", "a cut during an incident"

    def _leave(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        """Judge whether a cut may be made at this time."""
        if t.watch_until is not None:
            yield "s11", "a second cut while one is being watched"
        until = self._quarantines.get(t.workload_key)
        if until is not None and at < until - _DRIFT:
            yield "s11", "a cut of a workload in quarantine"
        if self._breaker_open or self._ours_since_row:
            yield "s12", "a cut while the breaker is, or should be, open"
        group = str(body["inputs"]["group"])
        others = (one for one in self._targets.values() if one is not t and one.group == group)
        if any(one.watch_until is not None for one in others):
            yield "s10", "a cut of a second replica of a group"
        tick = int(body["tick"])
        self._cuts_in_tick = self._cuts_in_tick + 1 if tick == self._tick else 1
        self._tick = tick
        if self._cuts_in_tick > cuts_allowed(int(body["opted_in_count"]), self._settings):
            yield "s10", "more cuts in one tick than its share"

    def _raise(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        inputs, new_bytes, old_bytes = body["inputs"], int(body["new_bytes"]), body["old_bytes"]
        if old_bytes is None or new_bytes <= int(old_bytes):
            yield "s4", "a raise that does not raise"
        if body["direction"] == str(Direction.RESTORE):
            t.harmed_at = None
            if body["is_after"] and new_bytes > t.watch_from_bytes:
                yield "s6", "a restore beyond what a recorded cut had taken"
            return
        if body["is_after"] and (
            t.envelope_until is None or at > t.envelope_until or new_bytes > t.envelope_bytes
        ):
            yield "s6", "a growth before its row and outside of any envelope"
        bounds = [inputs["max_bytes"], inputs["node_bytes"], inputs["host_bytes"] or None]
        ceiling_bytes = min((int(bound) for bound in bounds if bound is not None), default=None)
        if ceiling_bytes is not None and new_bytes > ceiling_bytes:
            yield "s4", f"a growth to {new_bytes}, above the maximum {ceiling_bytes}"
        is_clamped = str(GuardCode.S4_CLAMPED) in body["guards"]
        if new_bytes < round_up(int(body["evidence_bytes"])) and not is_clamped:
            at_ceiling = ceiling_bytes is not None and new_bytes >= ceiling_bytes
            if not at_ceiling and new_bytes < int(body["evidence_bytes"]):
                yield "s5", "a growth below what need proves"

    # -- what became of it ---------------------------------------------------------------------

    def _outcome(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        decision_id, result = str(body["decision_id"]), ChangeResult(body["result"])
        if t.open_id != decision_id:
            yield "s6", "an effect without a decision recorded before its outcome"
        if decision_id in t.done_ids:
            yield "s7", "a decision with two outcomes"
        row = t.open_row or {}
        needs_floor = body["direction"] == str(Direction.CUT) and result is ChangeResult.APPLIED
        if needs_floor and body["need_bytes"] is not None and body["limit_bytes"] is not None:
            floor_bytes = int(row.get("inputs", {}).get("floor_bytes", 0))
            old_bytes = int(row.get("old_bytes") or 0)
            live_bytes = live_floor_bytes(
                int(body["need_bytes"]), old_bytes, floor_bytes, self._settings
            )
            if int(body["limit_bytes"]) < live_bytes:
                yield "s1", "the actuator cut below the need that it read itself"
        self._close(t, decision_id, result)

    def _settled(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        if body["decision_id"] is None:
            limit_bytes = int(body["limit_bytes"])
            if t.envelope_until is None or limit_bytes > t.envelope_bytes:
                yield "s6", "a growth that no row and no envelope allows"
            return
        self._close(t, str(body["decision_id"]), ChangeResult(body["result"]))

    def _close(self, t: _Target, decision_id: str, result: ChangeResult) -> None:
        if result is ChangeResult.UNKNOWN:
            return
        t.open_id, t.open_row = None, None
        t.done_ids.append(decision_id)
        if result is not ChangeResult.APPLIED and t.watch_id == decision_id:
            t.watch_until = t.watch_id = None

    def _hold(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        codes = body["codes"]
        if not codes or not set(codes) <= {str(code) for code in GuardCode}:
            yield "s24", f"a hold without a known reason code: {codes!r:.80}"

    # -- harm ----------------------------------------------------------------------------------

    def _oom(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        key = (str(body["instance"]), str(body["died_at"]))
        if key in t.ooms:
            yield "s23", "one OOM kill counted twice"
        t.ooms.append(key)
        total = body.get("kills_total")
        if total is not None and t.kernel_counts:
            if t.oom_instance == key[0] and int(total) - int(body["kills"]) < t.oom_total:
                yield "s23", "one OOM kill counted twice, by what the kernel counted"
            t.oom_instance, t.oom_total = key[0], int(total)
        if int(body["at_least_bytes"]) < int(body["limit_bytes"] or 0):
            yield "s23", "an OOM kill that keeps less than the limit at death"
        is_older = total is not None and key[0] == t.watch_instance and total <= t.watch_kills
        limit_bytes = int(body["limit_bytes"] or 0)
        is_elsewhere = key[0] != t.watch_instance and limit_bytes != t.watch_to_bytes
        is_watched = t.watch_until is not None and not is_older and not is_elsewhere
        is_ours = body["attribution"] == str(Attribution.ULLAGE)
        if is_watched and limit_bytes < t.watch_from_bytes and not is_ours:
            yield "s12", "an OOM kill within the watch of a cut was not counted as ours"
        if not is_ours:
            return
        if is_watched and limit_bytes < t.watch_from_bytes:
            t.harmed_at = at
        self._ours.append(at)
        window = self._settings.breaker_window
        lately = [moment for moment in self._ours if at - moment < window]
        if len(lately) >= self._settings.breaker_ooms and not self._breaker_open:
            self._ours_since_row = len(lately)

    def _watch_ended(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        is_early = float(body["watched_s"]) < self._settings.watch.total_seconds() - 1
        if body["verdict"] == "calm" and is_early:
            yield "s11", "a watch ended calmly before its time"
        if t.harmed_at is not None and at - t.harmed_at > _RESTORE_WITHIN:
            yield "s11", "harm after a cut, and its limit was not given back within 60 s"
        t.watch_until = t.watch_id = t.harmed_at = None

    def _quarantine(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        until = datetime.fromisoformat(str(body["until_at"]))
        if until - at < self._settings.quarantine:
            yield "s11", "a quarantine that is too short"
        self._quarantines[t.workload_key] = until

    def _hands_off(self, t: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        t.hands_off_until = at + self._settings.hands_off
        t.watch_until = t.watch_id = t.harmed_at = None
        yield from ()

    def _breaker(self, _: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        self._breaker_open, self._ours_since_row = True, 0
        yield from ()

    def _order(self, _: _Target, at: datetime, body: Mapping[str, Any]) -> Iterator[_Said]:
        if body.get("verb") == "rearm":
            self._breaker_open, self._ours_since_row = False, 0
            self._ours.clear()
        yield from ()


_Said = tuple[str, str]
