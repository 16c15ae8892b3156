"""A state machine that does to the real controller what a bad month does: rules and invariants.

Everything happens in simulation.world, in virtual time. What the world's kernel and the orders
that reach it show is checked at each step; what the journal shows, at the end (core.audit).

Left out on purpose, because nobody could survive it without having done nothing: memory taken in
one piece, or while nobody is able to react (daemon dead, source or store broken), by a target
whose cut is still being watched. Such an OOM kill is ours and is counted as ours; a rule that made
it would only prove that.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ullage.core.audit import audit
from ullage.core.service import (
    EntryKind,
    Freeze,
    FreezeScope,
    LimitChange,
    ServeSettings,
    ServiceSpec,
    TargetKind,
    UpdateMode,
)
from ullage.core.units import GIB, MIB
from ullage.simulation.world import SimTarget, World
from ullage.simulation.world_daemons import Daemon, WorldRun
from ullage.simulation.world_ports import CRASH_POINTS
from ullage.testing.doubles import LargestNeed

SETTINGS = ServeSettings(
    is_acting=True,
    decide_interval=timedelta(seconds=60),
    least_samples_count=6,
    least_history=timedelta(minutes=3),
    gap_window=timedelta(minutes=4),
    recent_samples_count=40,
    peaks_kept=timedelta(days=1),
    watch=timedelta(minutes=5),
    hands_off=timedelta(minutes=30),
)
"""Short periods, so that 40 steps see whole cycles; thresholds are those of the contract."""

HOST_BYTES = 40 * GIB
MAX_BYTES = 12 * GIB
POISONS = [float("nan"), float("inf"), -1, 1e18, 2**63, "12GiB", True, None]
READ_FAULTS = ["fail", "frozen", "poison", "kib", "future", "late"]
APPLY_FAULTS = ["unknown_done", "unknown_not_done", "refuse", "edit", "slip"]


def specs() -> list[ServiceSpec]:
    """Return one acting workload per kind, a group of replicas, and one that only observes."""
    acting = [
        ServiceSpec(
            workload_key=f"w-{kind}",
            kind=kind,
            selector=f"{kind}:/w*",
            mode=UpdateMode.IN_PLACE,
            floor_bytes=256 * MIB,
            max_bytes=MAX_BYTES,
            group="replicas" if kind is TargetKind.CGROUP2 else None,
        )
        for kind in TargetKind
    ]
    kind = TargetKind.CGROUP1
    observed = ServiceSpec(workload_key="seen", kind=kind, selector=f"{kind}:/seen*")
    return [*acting, observed]


class ServeMachine(RuleBasedStateMachine):
    """The rules are what may happen, the invariants what must hold whatever happens."""

    @initialize(
        kinds=st.lists(st.sampled_from(list(TargetKind)), min_size=1, max_size=4),
        needs=st.lists(st.integers(2, 60), min_size=5, max_size=5),
        limit=st.sampled_from([2 * GIB, 6 * GIB, 11 * GIB]),
    )
    def begin(self, kinds: list[TargetKind], needs: list[int], limit: int) -> None:
        """Start some targets and a daemon."""
        self.problems: list[str] = []
        self.names = 0
        self.world = World(host_bytes=HOST_BYTES)
        for kind, need in zip(kinds, needs, strict=False):
            self.add(kind, max(limit, need * GIB // 8), need * GIB // 10)
        self.world.add("seen", limit_bytes=4 * GIB, need_bytes=GIB)
        self.run = WorldRun(self.world, specs(), SETTINGS, lambda: [LargestNeed()])
        self.run.actuator.witness = self.witness
        self.run.start()
        self.last_fault_s = 0.0
        self.decided: set[str] = set()
        self.read_to = 0

    def add(self, kind: TargetKind, limit: int, need: int) -> SimTarget:
        self.names += 1
        return self.world.add(f"w{self.names}", kind=kind, limit_bytes=limit, need_bytes=need)

    # -- who may be made to grow -----------------------------------------------------------------

    def is_watched(self, target: SimTarget) -> bool:
        """Whether an OOM kill now would be ours: within a watch, or a change is on its way."""
        stored = self.run.disk.state_of.get(target.target_id)
        live = [
            tracked.state
            for daemon in self.run.daemons
            for tracked in daemon.controller.targets()
            if tracked.target.target_id == target.target_id
        ]
        states = [state for state in (stored, *live) if state is not None]
        slipped = {change.target_id for change in self.run.faults.slipped}
        return target.target_id in slipped or any(
            state.watch is not None or state.pending is not None for state in states
        )

    def leader(self) -> Daemon | None:
        """Return the daemon that may write now."""
        for daemon in self.run.live():
            if daemon.name == self.run.disk.holder and daemon.controller.keep_lease(
                self.world.clock.now()
            ):
                return daemon
        return None

    def is_cared_for(self, target: SimTarget) -> bool:
        """Whether somebody is able to react to what this target does next."""
        faults = self.run.faults
        return (
            not faults.store
            and not faults.crash_point
            and target.target_id not in faults.reads
            and not faults.applies.get(target.target_id)
            and not self.run.disk.orders.freezes
            and self.leader() is not None
            and self.knows(target)
        )

    def knows(self, target: SimTarget) -> bool:
        daemon = self.leader()
        assert daemon is not None
        known = {one.target.target_id: one for one in daemon.controller.targets()}
        tracked = known.get(target.target_id)
        return tracked is not None and tracked.is_listed

    def pick(self, number: int) -> SimTarget:
        names = sorted(self.world.targets)
        return self.world.targets[names[number % len(names)]]

    # -- rules: life goes on ---------------------------------------------------------------------

    @rule(span=st.sampled_from([5, 30, 61, 150, 400]))
    def time_passes(self, span: int) -> None:
        self.run.advance(span)

    @rule(number=st.integers(0, 9), tenths=st.integers(3, 40))
    def demand(self, number: int, tenths: int) -> None:
        target = self.pick(number)
        wanted = min(target.demand_bytes * tenths // 10, 14 * GIB)
        if wanted > target.need_bytes and self.is_watched(target) and not self.is_cared_for(target):
            return
        target.demand_bytes = max(64 * MIB, wanted)
        self.run.follow()

    @rule(number=st.integers(0, 9), tenths=st.integers(11, 30))
    def leap(self, number: int, tenths: int) -> None:
        """Need rises in one piece; see the module for who is spared."""
        target = self.pick(number)
        is_safe = target.is_parking and self.is_cared_for(target)
        if self.is_watched(target) and not is_safe:
            return
        self.world.leap(target.target_id, min(target.need_bytes * tenths // 10, 14 * GIB))
        self.run.deliver()

    @rule(number=st.integers(0, 9), share=st.integers(0, 10))
    def cache(self, number: int, share: int) -> None:
        target = self.pick(number)
        free = (target.limit_bytes or 0) - target.need_bytes
        target.cache_bytes = max(0, free * share // 10)

    @rule(number=st.integers(0, 9))
    def restart(self, number: int) -> None:
        self.world.restart(self.pick(number).target_id)

    @rule(number=st.integers(0, 9), psi=st.sampled_from([None, 0.0, 0.05, 0.5]))
    def pressure(self, number: int, psi: float | None) -> None:
        self.pick(number).psi_ratio = psi

    @precondition(lambda self: len(self.world.targets) > 2)
    @rule(number=st.integers(0, 9))
    def vanish(self, number: int) -> None:
        self.world.remove(self.pick(number).target_id)
        self.run.deliver()

    @precondition(lambda self: len(self.world.targets) < 7)
    @rule(kind=st.sampled_from(list(TargetKind)), limit=st.integers(1, 11))
    def appear(self, kind: TargetKind, limit: int) -> None:
        self.add(kind, limit * GIB, GIB // 2)

    # -- rules: people ---------------------------------------------------------------------------

    @rule(number=st.integers(0, 9), limit=st.integers(1, 13))
    def edit(self, number: int, limit: int) -> None:
        target = self.pick(number)
        if limit * GIB > target.need_bytes:
            self.world.set_limit(target.target_id, limit * GIB)

    @rule(scope=st.sampled_from(list(FreezeScope)), workload=st.sampled_from([None, "w-docker"]))
    def freeze(self, scope: FreezeScope, workload: str | None) -> None:
        order = Freeze(scope=scope, workload_key=workload, since_at=self.world.clock.now())
        self.run.disk.orders = replace(self.run.disk.orders, freezes=(order,))

    @rule(incident=st.sampled_from(["", "deploy"]))
    def thaw(self, incident: str) -> None:
        orders = replace(self.run.disk.orders, freezes=(), incident=incident)
        self.run.disk.orders = orders

    # -- rules: things break ---------------------------------------------------------------------

    @rule(
        number=st.integers(0, 9),
        fault=st.sampled_from(READ_FAULTS),
        poison=st.sampled_from(POISONS),
    )
    def source_breaks(self, number: int, fault: str, poison: Any) -> None:
        self.run.faults.reads[self.pick(number).target_id] = fault
        self.run.faults.poison = poison

    @rule()
    def sources_mend(self) -> None:
        self.run.faults.reads.clear()
        self.run.faults.listing_fails.clear()

    @rule(number=st.integers(0, 9), faults=st.lists(st.sampled_from(APPLY_FAULTS), max_size=3))
    def apply_breaks(self, number: int, faults: list[str]) -> None:
        self.run.faults.applies[self.pick(number).target_id] = list(faults)

    @rule(why=st.sampled_from(["", "", "full", "locked"]))
    def store(self, why: str) -> None:
        self.run.faults.store = why

    @rule(workload=st.sampled_from(["w-cgroup1", "w-docker"]))
    def listing_fails(self, workload: str) -> None:
        self.run.faults.listing_fails.add(workload)

    @rule(span=st.sampled_from([-3600, -90, 30, 90, 3600]))
    def clock_jumps(self, span: int) -> None:
        self.world.clock.jump(span)

    @rule()
    def leader_dies(self) -> None:
        for daemon in self.run.live():
            if daemon.name == self.run.disk.holder:
                self.run.kill(daemon)

    @rule(point=st.sampled_from(CRASH_POINTS), after=st.integers(0, 3))
    def crash_at(self, point: str, after: int) -> None:
        self.run.faults.crash_point = point
        self.run.faults.crash_after = after

    @precondition(lambda self: len(self.run.live()) < 2)
    @rule()
    def daemon_starts(self) -> None:
        self.run.faults.crash_point = ""
        self.run.start()

    @rule()
    def daemon_pauses(self) -> None:
        for daemon in self.run.live()[:1]:
            daemon.is_paused = True

    @rule()
    def daemons_wake(self) -> None:
        for daemon in self.run.daemons:
            daemon.is_paused = False
        self.run.wake_slipped()
        self.run.tick()

    @rule()
    def all_is_well_for_a_while(self) -> None:
        """Mend everything; then nobody may be left standing at a limit that could rise."""
        faults = self.run.faults
        faults.store, faults.crash_point = "", ""
        faults.reads.clear()
        faults.applies.clear()
        faults.listing_fails.clear()
        self.run.disk.orders = replace(self.run.disk.orders, freezes=(), incident="")
        if not self.run.live():
            self.run.start()
        self.run.advance(240)
        stuck = [one.target_id for one in self.world.targets.values() if one.is_waiting]
        if stuck:
            self.problems.append(f"S3/S6: still waiting after four good minutes: {stuck}")

    # -- invariants ------------------------------------------------------------------------------

    def witness(self, change: LimitChange) -> None:
        """Judge an order at the moment at which it reaches the target."""
        disk = self.run.disk
        if change.token != disk.token:
            self.problems.append(f"S9: token {change.token} wrote, {disk.token} holds the lease")
        self.read_decisions()
        state = disk.state_of.get(change.target_id)
        if state is None or state.original_limit_bytes is None:
            self.problems.append(f"S22: {change.target_id} changed, original not stored")
        if change.decision_id in self.decided:
            return
        if change.is_cut:
            self.problems.append(f"S6: a cut without a durable row: {change}")
        elif state is not None:
            watch, envelope = state.watch, state.envelope
            allowed = max(
                envelope.ceiling_bytes if envelope else 0, watch.from_bytes if watch else 0
            )
            if change.new_bytes > allowed:
                self.problems.append(f"S6: growth outside of every envelope: {change}")

    def read_decisions(self) -> None:
        for record in self.run.records[self.read_to :]:
            if record.entry.kind is EntryKind.DECISION:
                self.decided.add(str(record.entry.body["decision_id"]))
        self.read_to = len(self.run.records)

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.problems, self.problems

    @invariant()
    def no_order_twice(self) -> None:
        ids = [change.decision_id for change in self.run.actuator.written]
        assert len(ids) == len(set(ids)), "S7"

    @invariant()
    def only_who_opted_in(self) -> None:
        seen = self.world.targets.get("cgroup1:/seen")
        touched = {change.target_id for change in self.run.actuator.written}
        assert seen is None or seen.target_id not in touched, "S21"

    @invariant()
    def no_oom_of_ours(self) -> None:
        ours = [
            record.entry
            for record in self.run.records
            if record.entry.kind is EntryKind.OOM and record.entry.body["attribution"] == "ullage"
        ]
        assert not ours, f"0 OOMs attributed to ullage: {ours}"

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        assert not self.problems, self.problems
        findings = audit(self.run.records, SETTINGS)
        assert not findings, "\n".join(map(str, findings[:5]))
