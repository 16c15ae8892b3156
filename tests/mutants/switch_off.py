"""A pytest plugin that takes one guard of the service loop away, so that tests can miss it.

`ULLAGE_MUTANT=name pytest -p switch_off` with this folder on the path. Nothing in the package
knows of it. A mutant that no test catches means a guard that no test holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

Patch = Callable[[], None]


def _guard(name: str) -> Patch:
    """Return a patch that makes one guard of the registry let everything pass."""

    def patch() -> None:
        from ullage.core import live_guards

        live_guards.GUARDS = tuple(
            (known, (lambda p, view, settings: p) if known == name else check)
            for known, check in live_guards.GUARDS
        )

    return patch


def _method(path: str, make: Callable[[Any], Any]) -> Patch:
    """Return a patch that replaces module:Class.method or module:function by make(original)."""

    def patch() -> None:
        from importlib import import_module

        module_name, _, dotted = path.partition(":")
        owner: Any = import_module(module_name)
        *parents, last = dotted.split(".")
        for name in parents:
            owner = getattr(owner, name)
        setattr(owner, last, make(getattr(owner, last)))

    return patch


def _returns(value: Any) -> Callable[[Any], Any]:
    return lambda original: lambda *args, **given: value


def _rescue_obeys_all() -> None:
    from ullage.core import live_guards

    live_guards.RESCUE_GUARDS = tuple(name for name, _ in live_guards.GUARDS)


def _bounds_first() -> None:
    from ullage.core import live_guards

    *others, bounds = live_guards.GUARDS
    live_guards.GUARDS = (bounds, *others)


def _record_later(original: Any) -> Any:
    def record(self: Any, entries: Any, tracked: Any = (), **given: Any) -> bool:
        if any(entry.kind == "decision" for entry in entries):
            self.note(entries, tracked)
            return True
        return bool(original(self, entries, tracked, **given))

    return record


def _forget_unknown(original: Any) -> Any:
    def settle(self: Any, tracked: Any, result: Any, limit_bytes: Any, tick: Any) -> Any:
        if result == "unknown":
            self.drop(tracked)
            return []
        return original(self, tracked, result, limit_bytes, tick)

    return settle


def _count_again(original: Any) -> Any:
    def count(self: Any, tracked: Any, *rest: Any) -> Any:
        seen = tracked.seen_kills
        answer = original(self, tracked, *rest)
        tracked.seen_kills = seen
        return answer

    return count


def _any_selector(original: Any) -> Any:
    def listed(self: Any, spec: Any) -> Any:
        wide = spec if spec.selector.strip() else replace(spec, selector="*")
        return original(self, wide)

    return listed


def _without_code(original: Any) -> Any:
    def hold(proposal: Any, code: Any) -> Any:
        return replace(original(proposal, code), guards=())

    return hold


def _no_observing(original: Any) -> Any:
    def take_over(self: Any, now: Any) -> None:
        original(self, now)
        self._observe_left = 0

    return take_over


def _unguarded(original: Any) -> Any:
    return lambda self, tracked, tick, step: step(tracked)


def _smallest_first(original: Any) -> Any:
    def share(asks: Any, room_bytes: int) -> Any:
        calm = [replace(ask, urgency_ratio=-ask.urgency_ratio) for ask in asks]
        return original(calm, room_bytes)

    return share


def _all_room(original: Any) -> Any:
    return lambda asks, room_bytes: original(asks, 1 << 50)


def _ends_unseen(original: Any) -> Any:
    return lambda self, tracked, tick, delay_s: tick.mono_s >= tracked.watch_until_s


def _trusting(original: Any) -> Any:
    return lambda raw, target_id: raw


def _no_cap(original: Any) -> Any:
    def track(self: Any, found: Any, tick: Any) -> None:
        self._settings = replace(self._settings, targets_max_count=1_000_000_000)
        original(self, found, tick)

    return track


def _never_down(original: Any) -> Any:
    def record(self: Any, entries: Any, tracked: Any = (), **given: Any) -> bool:
        made = bool(original(self, entries, tracked, **given))
        self.is_store_up = True
        return made

    return record


def _over_at_once(original: Any) -> Any:
    def begin(self: Any, tracked: Any, decision: Any, tick: Any) -> None:
        original(self, tracked, decision, tick)
        tracked.watch_until_s = tick.mono_s

    return begin


def _same_life(original: Any) -> Any:
    def told(self: Any, tracked: Any, kills: int) -> Any:
        tracked.seen_instance = ""
        return original(self, tracked, kills)

    return told


def _unlisted_is_well(original: Any) -> Any:
    def observe_only(tracked: Any, tick: Any) -> Any:
        was, tracked.is_listed = tracked.is_listed, True
        try:
            return original(tracked, tick)
        finally:
            tracked.is_listed = was

    return observe_only


def _patient(original: Any) -> Any:
    def init(self: Any, parts: Any, settings: Any, *rest: Any) -> None:
        original(self, parts, replace(settings, policy_at_most=timedelta(days=1)), *rest)

    return init


CONTROL = "ullage.control"
GUARD_NAMES = (
    *("S21", "freeze", "S9", "S17/S20", "S7", "S8", "S4 unlimited", "S18", "S2", "S12", "S16"),
    *("S11", "S10", "S5 step", "S1", "S5 small", "S4 bounds"),
)
MUTANTS: dict[str, Patch] = {
    **{f"{name}: guard": _guard(name) for name in GUARD_NAMES},
    "S1: the actuator cuts blindly": _method(
        "ullage.access.cgroup_changes:refusal_of", _returns(None)
    ),
    "S1: the simulated actuator cuts blindly": _method(
        "ullage.simulation.world_ports:refusal_of", _returns(None)
    ),
    "S2: poisoned numbers come in": _method(f"{CONTROL}.views:clean", _trusting),
    "S2: gaps are not seen": _method(f"{CONTROL}.views:Collector._gap_ratio", _returns(0.0)),
    "S3: rescue obeys every guard": _rescue_obeys_all,
    "S3: no rescue": _method(f"{CONTROL}.raising:Raising.rescue", _returns(None)),
    "S3: the riskiest last": _method(f"{CONTROL}.raising:share_out", _smallest_first),
    "S3: the host's room has no end": _method(f"{CONTROL}.raising:share_out", _all_room),
    "S3: who was not saved is not told": _method(
        f"{CONTROL}.raising:Raising._unsaved", _returns(None)
    ),
    "S4: bounds first": _bounds_first,
    "S6: rows after the effect": _method(f"{CONTROL}.changes:Changes.record", _record_later),
    "S6: any growth counts as covered": _method(
        f"{CONTROL}.raising:Raising._is_covered", _returns(True)
    ),
    "S6: parked for ever": _method(f"{CONTROL}.raising:Raising.unpark", _returns(None)),
    "S7: an unknown outcome is forgotten": _method(
        f"{CONTROL}.changes:Changes.settle", _forget_unknown
    ),
    "S8: an edit is not noticed": _method(
        f"{CONTROL}.settling:Settling._notice_edit", _returns(None)
    ),
    "S8: no hands-off window": _method(f"{CONTROL}.changes:Changes.hands_off", _returns([])),
    "S9: the lease is not looked at before a write": _method(
        "ullage.simulation.world_ports:WorldLease.still_mine", _returns(True)
    ),
    "S9: a late write stays": _method(f"{CONTROL}.raising:is_late_write", _returns(False)),
    "S9: tokens may fall (audit)": _method("ullage.core.audit:check_chain", _returns(())),
    "S10: groups are never busy": _method(f"{CONTROL}.reconcile:busy_groups", _returns({})),
    "S11: harm is not seen": _method(f"{CONTROL}.watching:Watching.harm", _returns("")),
    "S11: nothing is given back": _method(f"{CONTROL}.raising:Raising._raise_back", _returns(True)),
    "S11: no quarantine": _method(f"{CONTROL}.watching:Watching._quarantine", _returns([])),
    "S11: silence is calm": _method(f"{CONTROL}.watching:Watching.is_over", _ends_unseen),
    "S11: a watch is over at once": _method(f"{CONTROL}.watching:Watching.begin", _over_at_once),
    "S11: quarantines do not get longer": _method(
        f"{CONTROL}.watching:quarantine_span", lambda original: lambda n, s: original(1, s)
    ),
    "S12: kills from before a cut are ours": _method(
        f"{CONTROL}.watching:Watching._whose",
        _returns("ullage"),
    ),
    "S12: the breaker never opens": _method(
        f"{CONTROL}.watching:Watching._is_too_many", _returns(False)
    ),
    "S13: an empty selector means all": _method(f"{CONTROL}.fleet:Fleet._list", _any_selector),
    "S13: who is no longer listed is acted on": _method(
        f"{CONTROL}.views:_observe_only", _unlisted_is_well
    ),
    "S14: an answer may take its time": _method(f"{CONTROL}.deciding:Deciding.__init__", _patient),
    "S14: every answer is sound": _method(f"{CONTROL}.deciding:is_sound", _returns(True)),
    "S17: acts at once": _method(f"{CONTROL}.reconcile:Controller._take_over", _no_observing),
    "S17: parked tasks stay parked": _method(f"{CONTROL}.fleet:Fleet._release", _returns(None)),
    "S17: nothing is settled": _method(f"{CONTROL}.settling:Settling.settle", _returns(None)),
    "S18: the store is never down": _method(f"{CONTROL}.changes:Changes.record", _never_down),
    "S19: targets without a cap": _method(f"{CONTROL}.fleet:Fleet._track", _no_cap),
    "S19: waiting rows without a cap": _method(
        f"{CONTROL}.changes:Changes.is_full", lambda original: property(lambda self: False)
    ),
    "S20: recorded windows stay where they were": _method(
        f"{CONTROL}.fleet:Fleet.shift_moments", _returns([])
    ),
    "S20: jumps are not noticed": _method(
        f"{CONTROL}.reconcile:Controller._look_at_clocks", _returns([])
    ),
    "S22: the original is not stored": _method(
        f"{CONTROL}.changes:Changes.ensure_original", _returns([])
    ),
    "S22: undo does nothing": _method(f"{CONTROL}.undoing:Undoing.restore", _returns([])),
    "S23: a new life goes on counting": _method(f"{CONTROL}.watching:Watching._told", _same_life),
    "S23: an old picture counts anew": _method(
        f"{CONTROL}.watching:_KERNEL_COUNTED", lambda original: ()
    ),
    "S23: an OOM kill counts again": _method(
        f"{CONTROL}.watching:Watching.count_oom", _count_again
    ),
    "S24: holds without a code": _method("ullage.core.live_guards:hold", _without_code),
    "one broken workload breaks all": _method(
        f"{CONTROL}.reconcile:Controller._guarded", _unguarded
    ),
}
"""Name -> how to take it away; the first word is the S-number where there is one."""


def pytest_configure() -> None:
    """Take away what the environment names."""
    name = os.environ.get("ULLAGE_MUTANT")
    if name is not None:
        MUTANTS[name]()
