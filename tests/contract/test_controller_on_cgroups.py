"""The real controller over real cgroups: real events, real kernel, journal and lease in memory.

Periods are short; nothing here sleeps for a controller that is not being driven.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest
from live_driver import SETTINGS, Driver
from live_hogs import HUNGRY, WAVES
from live_worlds import PARENTS, cgroup_world

from ullage.core.audit import audit
from ullage.core.service import (
    EntryKind,
    TargetKind,
)
from ullage.core.units import MIB
from ullage.testing.cgroup_world import CgroupWorld
from ullage.testing.sandbox_contract import wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def world() -> Iterator[CgroupWorld]:
    kind = next((one for one, (parent, _) in PARENTS.items() if parent), None)
    if kind is None:
        pytest.skip(f"no cgroups to write to: {PARENTS}")
    with cgroup_world(TargetKind(kind)) as made:
        yield made


def test_limits_follow_a_process_at_full_speed_and_nobody_dies(world: CgroupWorld) -> None:
    target_id = world.make(600 * MIB)
    process = world.start(target_id, WAVES, 8 * MIB, 150 * MIB, 11)
    driver = Driver(world)
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s and driver.count("cut") < 12:
        driver.step()
        assert process.poll() is None, "the process has died"
    (target,) = world.finder.find(world.spec)
    reading = world.source.read(target)
    kinds = sorted({str(record.entry.kind) for record in driver.disk.records})
    print(
        f"\n{world.kind}: {driver.count('cut')} cuts, {driver.count('grow')} raises, "
        f"limit {(reading.limit_bytes or 0) // MIB} MiB, {reading.oom_kills} kills; {kinds}"
    )
    assert reading.oom_kills == 0
    assert driver.count("cut") >= 3
    assert (reading.limit_bytes or 0) < 600 * MIB
    assert audit(driver.disk.records, SETTINGS) == []


def test_a_hungry_target_is_saved_by_an_event(world: CgroupWorld) -> None:
    hungry_id = world.make(100 * MIB)
    calm_id = world.make(100 * MIB)
    if not world.can_park:
        # Without a level that slows it down v2 kills whom no loop can be fast enough for.
        folder = world.folder_of(hungry_id)
        (folder / "memory.max").write_text(str(125 * MIB))
        (folder / "memory.high").write_text(str(100 * MIB))
    world.fill(calm_id, 30 * MIB)
    process = world.start(hungry_id, HUNGRY, 300 * MIB)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    driver = Driver(world)
    deadline_s = time.monotonic() + 60
    for _ in range(20):  # two ticks only observe, then growth is planned and tasks are parked
        driver.step()
    process.stdin.write("take it\n")
    process.stdin.flush()
    while time.monotonic() < deadline_s:
        driver.step()
        if select.select([process.stdout], [], [], 0)[0]:
            break
    took_s = float(process.stdout.readline())
    targets = {one.target_id: one for one in world.finder.find(world.spec)}
    reading = world.source.read(targets[hungry_id])
    shown = ", ".join(f"{second * 1000:.1f}" for second in driver.reactions_s[:10])
    print(
        f"\n{world.kind}: event to written limit and record in ms: {shown}; "
        f"300 MiB held after {took_s * 1000:.0f} ms"
    )
    assert (reading.oom_kills, process.poll()) == (0, None)
    assert reading.need_bytes >= 300 * MIB
    assert world.source.read(targets[calm_id]).oom_kills == 0
    assert audit(driver.disk.records, SETTINGS) == []


@pytest.mark.parametrize("is_pass_first", [True, False], ids=["pass", "event"])
def test_s23_an_oom_kill_is_counted_once_though_its_target_never_returns(
    world: CgroupWorld, *, is_pass_first: bool
) -> None:
    """Whether the loop hears of the kill by its event, or finds the target missing first."""
    target_id = world.make(40 * MIB)
    driver = Driver(world, is_acting=False)
    for _ in range(3):
        driver.tick()
    world.fill(target_id, 100 * MIB)
    counter = world.folder_of(target_id) / (
        "memory.oom_control" if world.can_park else "memory.events"
    )
    assert wait_until(lambda: "\noom_kill 1" in counter.read_text())
    if not is_pass_first:
        driver.step()
    if not world.can_park:
        world.source.events()  # where only the counter tells, somebody has to look in time
    world.remove(target_id)
    time.sleep(0.2)  # v1 tells of a removal some 10 ms late
    for _ in range(3):
        driver.tick()
        driver.step()
    told = [one.entry for one in driver.disk.records if one.entry.kind is EntryKind.OOM]
    assert [(one.target_id, one.workload_key) for one in told] == [(target_id, "web")]
    assert told[0].body["at_least_bytes"] == 40 * MIB
    assert told[0].body["kills"] == 1
    assert audit(driver.disk.records, SETTINGS) == []
