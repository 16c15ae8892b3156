"""Real memory, real kills: live limits go up and down under processes that run at full speed.

The loop here is the smallest one that an honest controller could be: the real source, the real
growth rule, the real actuator with the live floor. Where tasks cannot wait (v2) they are slowed
down by memory.high, as `ullage run` does it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from live_hogs import HUNGRY, WAVES
from live_worlds import PARENTS, cgroup_world

from ullage.core.serve_settings import ServeSettings, live_floor_bytes
from ullage.core.service import ChangeResult, LiveTarget, TargetKind
from ullage.core.units import MIB
from ullage.policies.live import grow
from ullage.testing.cgroup_world import CgroupWorld
from ullage.testing.target_contract import change_of

pytestmark = pytest.mark.real
CEILING_BYTES = 1024 * MIB
CUTS = {TargetKind.CGROUP1: 1000, TargetKind.CGROUP2: 300}
"""How many cuts must go through; the kernel with v2 runs in an emulated machine."""
MOST_S = {TargetKind.CGROUP1: 150.0, TargetKind.CGROUP2: 600.0}


@pytest.fixture(params=list(TargetKind)[:2], ids=str)
def world(request: pytest.FixtureRequest) -> Iterator[CgroupWorld]:
    kind: TargetKind = request.param
    parent, why_not = PARENTS[kind]
    if parent is None:
        pytest.skip(f"no {kind} to write to: {why_not}")
    with cgroup_world(kind) as made:
        yield made


def make_target(world: CgroupWorld, limit_bytes: int) -> LiveTarget:
    """Make a target whose tasks wait at the limit, or are slowed down there."""
    target_id = world.make(limit_bytes)
    if world.can_park:
        world.actuator.set_parking(target_id, True)
    else:
        folder = world.folder_of(target_id)
        (folder / "memory.max").write_text(str(limit_bytes * 5 // 4))
        (folder / "memory.high").write_text(str(limit_bytes))
    return next(one for one in world.finder.find(world.spec) if one.target_id == target_id)


@dataclass
class Loop:
    """Rescue first, then cut; counts what it did."""

    world: CgroupWorld
    settings: ServeSettings
    cuts: int = 0
    refusals: int = 0
    raises: int = 0

    def step(self, target: LiveTarget, *, may_cut: bool) -> None:
        reading = self.world.source.read(target)
        assert reading.limit_bytes is not None
        wanted_bytes = grow(
            reading.need_bytes,
            reading.limit_bytes,
            CEILING_BYTES,
            (),
            is_waiting=reading.is_waiting,
        )
        is_cut = wanted_bytes is None
        if wanted_bytes is None:
            floor_bytes = live_floor_bytes(
                reading.need_bytes, reading.limit_bytes, 16 * MIB, self.settings
            )
            wanted_bytes = max(floor_bytes, int(reading.limit_bytes * 0.8))
            if not may_cut or wanted_bytes > reading.limit_bytes * 0.95:
                return
        change = change_of(
            target.target_id,
            reading.limit_bytes,
            wanted_bytes,
            is_cut=is_cut,
            floor_bytes=16 * MIB,
        )
        result = self.world.actuator.apply(change).result
        assert result in (ChangeResult.APPLIED, ChangeResult.REFUSED)
        if result is ChangeResult.REFUSED:
            self.refusals += 1
        elif is_cut:
            self.cuts += 1
        else:
            self.raises += 1


def test_nobody_dies_in_a_thousand_live_cuts(world: CgroupWorld) -> None:
    target = make_target(world, 400 * MIB)
    world.source.watch([target])
    process = world.start(target.target_id, WAVES, 8 * MIB, 120 * MIB, 7)
    assert process.stdout is not None
    process.stdout.readline()
    loop = Loop(world, ServeSettings())
    began_s = time.monotonic()
    while loop.cuts < CUTS[world.kind] and time.monotonic() - began_s < MOST_S[world.kind]:
        select.select(world.source.wake_fds(), [], [], 0.002)
        world.source.events()
        loop.step(target, may_cut=True)
        assert process.poll() is None, "the process has died"
    took_s = time.monotonic() - began_s
    kills = world.source.read(target).oom_kills
    print(
        f"\n{world.kind}: {loop.cuts} cuts, {loop.raises} raises, {loop.refusals} refused, "
        f"{kills} kills in {took_s:.1f} s"
    )
    assert kills == 0
    assert process.poll() is None
    assert loop.cuts == CUTS[world.kind]
    assert loop.raises > 0


def test_a_hungry_worker_gets_memory_and_nine_calm_ones_keep_theirs(world: CgroupWorld) -> None:
    calm = [make_target(world, 100 * MIB) for _ in range(9)]
    for target in calm:
        world.fill(target.target_id, 40 * MIB)
    hungry = make_target(world, 100 * MIB)
    process = world.start(hungry.target_id, HUNGRY, 200 * MIB)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    world.source.watch([*calm, hungry])
    world.source.events()
    loop = Loop(world, ServeSettings())
    process.stdin.write("take it\n")
    process.stdin.flush()
    reactions_s = []
    deadline_s = time.monotonic() + MOST_S[world.kind]
    while time.monotonic() < deadline_s:
        # Woken by events; the timer is the net that the loop has too.
        ready, _, _ = select.select([process.stdout, *world.source.wake_fds()], [], [], 0.5)
        woken_s, raises = time.perf_counter(), loop.raises
        woken = {event.target_id for event in world.source.events()}
        if hungry.target_id in woken or not ready:
            loop.step(hungry, may_cut=False)
        if loop.raises > raises:
            reactions_s.append(time.perf_counter() - woken_s)
        if process.stdout in ready:
            break
    took_s = float(process.stdout.readline())
    shown = ", ".join(f"{second * 1000:.1f}" for second in reactions_s)
    print(
        f"\n{world.kind}: {loop.raises} raises; event to raised limit in ms: {shown}; "
        f"200 MiB held after {took_s * 1000:.0f} ms"
    )
    assert loop.raises >= 1
    for target in calm:
        reading = world.source.read(target)
        assert (reading.limit_bytes, reading.oom_kills) == (100 * MIB, 0)
        assert reading.need_bytes >= 40 * MIB
    last = world.source.read(hungry)
    assert (last.oom_kills, process.poll()) == (0, None)
    assert last.need_bytes >= 200 * MIB
