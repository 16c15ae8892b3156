"""Existing cgroups of v1 keep the target contract, and what only v1 does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from live_worlds import PARENTS, cgroup_world, now, tree_of

from ullage.access.cgroup1 import own_path
from ullage.access.folders import Folder
from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator
from ullage.core.errors import PermanentError, VanishedError
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeResult, EventKind, ServiceSpec, TargetKind
from ullage.core.units import MIB
from ullage.sources.live_cgroup1 import LiveCgroup1Source
from ullage.testing.cgroup_world import CgroupWorld
from ullage.testing.sandbox_contract import COPY, HOG, wait_until
from ullage.testing.target_contract import TargetContract, change_of

PARENT, WHY_NOT = PARENTS[TargetKind.CGROUP1]
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PARENT is None, reason=f"no cgroup v1 to write to: {WHY_NOT}"),
]
NO_FLOOR = ServeSettings(live_floor_ratio=0.0, live_floor_room_bytes=-1000 * MIB)
"""For tests of what the kernel itself refuses."""


@pytest.fixture
def world() -> Iterator[CgroupWorld]:
    with cgroup_world(TargetKind.CGROUP1) as made:
        yield made


def floorless(world: CgroupWorld) -> LiveCgroup1Actuator:
    return LiveCgroup1Actuator(
        tree_of(TargetKind.CGROUP1),
        selectors=lambda: [world.spec.selector],
        settings=NO_FLOOR,
        now=now,
        patience=timedelta(seconds=20),
    )


class TestLiveCgroup1(TargetContract):
    @pytest.fixture
    def world(self, world: CgroupWorld) -> CgroupWorld:
        return world

    def test_the_kernel_refuses_a_cut_below_what_is_in_use(self, world: CgroupWorld) -> None:
        """EBUSY is an outcome in words, and nothing has moved."""
        target = self.target(world)
        world.fill(target.target_id, 100 * MIB)
        change = change_of(target.target_id, 200 * MIB, 20 * MIB, is_cut=True)
        outcome = floorless(world).apply(change)
        assert (outcome.result, outcome.limit_bytes) == (ChangeResult.REFUSED, 200 * MIB)
        assert "EBUSY" in outcome.words
        assert world.source.read(target).oom_kills == 0

    def test_a_cut_into_page_cache_drops_it(self, world: CgroupWorld, tmp_path: Path) -> None:
        target = self.target(world)
        process = world.start(target.target_id, COPY, tmp_path / "copy", 100)
        process.communicate()
        if world.source.read(target).usage_bytes < 90 * MIB:
            pytest.skip("the temporary folder's file system keeps no page cache of this cgroup")

        def is_cut() -> bool:  # in as many goes as the kernel's pace asks for
            limit_bytes = self.limit_of(world, target)
            world.actuator.apply(change_of(target.target_id, limit_bytes, 60 * MIB, is_cut=True))
            return self.limit_of(world, target) == 60 * MIB

        assert wait_until(is_cut)
        reading = world.source.read(target)
        assert (reading.limit_bytes, reading.oom_kills) == (60 * MIB, 0)
        assert reading.usage_bytes <= 60 * MIB

    def test_memory_and_swap_move_in_the_order_that_the_kernel_wants(
        self, world: CgroupWorld
    ) -> None:
        """EINVAL otherwise; and they stay as far apart as somebody has set them."""
        target = self.target(world)
        both = world.folder_of(target.target_id) / "memory.memsw.limit_in_bytes"
        if not both.exists():
            pytest.skip("this kernel does not account for swap")
        both.write_text(str(230 * MIB))
        for new, old in ((300, 200), (100, 300)):
            change = change_of(target.target_id, old * MIB, new * MIB, is_cut=new < old)
            assert world.actuator.apply(change).result is ChangeResult.APPLIED
            assert int(both.read_text()) == (new + 30) * MIB

    def test_a_disorder_of_memory_and_swap_is_refused_not_raised(
        self, world: CgroupWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """EINVAL: somebody lowers the second limit between our two writes."""
        target = self.target(world)
        both = world.folder_of(target.target_id) / "memory.memsw.limit_in_bytes"
        if not both.exists():
            pytest.skip("this kernel does not account for swap")
        both.write_text(str(230 * MIB))
        write = Folder.write

        def late(folder: Folder, name: str, text: str) -> None:
            if name == "memory.limit_in_bytes":
                both.write_text(str(230 * MIB))
            write(folder, name, text)

        monkeypatch.setattr(Folder, "write", late)
        outcome = world.actuator.apply(change_of(target.target_id, 200 * MIB, 300 * MIB))
        assert (outcome.result, outcome.limit_bytes) == (ChangeResult.REFUSED, 200 * MIB)
        assert "EINVAL" in outcome.words

    @pytest.mark.parametrize("name", ["memory.usage_in_bytes", "memory.stat"])
    def test_a_cgroup_removed_during_apply_has_vanished(
        self, world: CgroupWorld, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """After the directory was opened, and after need was read."""
        target = self.target(world)
        read = Folder.read

        def late(folder: Folder, file: str) -> bytes:
            text = read(folder, file)
            if file == name and world.folder_of(target.target_id).exists():
                world.remove(target.target_id)
            return text

        monkeypatch.setattr(Folder, "read", late)
        outcome = world.actuator.apply(change_of(target.target_id, 200 * MIB, 300 * MIB))
        assert outcome.result is ChangeResult.VANISHED

    def test_a_cgroup_made_anew_is_another_life(self, world: CgroupWorld) -> None:
        target = self.target(world)
        world.remove(target.target_id)
        os.mkdir(world.folder_of(target.target_id))
        with pytest.raises(VanishedError, match="another one"):
            world.source.read(target)
        (again,) = world.finder.find(world.spec)
        assert again.instance != target.instance

    def test_removal_wakes_the_loop(self, world: CgroupWorld) -> None:
        target = self.target(world)
        world.source.watch([target])
        world.remove(target.target_id)
        self.wait_for(world, target, EventKind.GONE)
        assert world.source.events() == []

    def test_killed_and_removed_before_anybody_could_look(self, world: CgroupWorld) -> None:
        """S23: the counter is gone with the cgroup, but the kernel has said that it kills."""
        target = self.target(world, 40 * MIB)
        world.source.watch([target])
        world.source.read(target)
        world.fill(target.target_id, 100 * MIB)
        counter = world.folder_of(target.target_id) / "memory.oom_control"
        assert wait_until(lambda: "\noom_kill 1" in counter.read_text())
        world.remove(target.target_id)
        self.wait_for(world, target, EventKind.OOM)
        assert world.source.read(target).oom_kills == 1
        with pytest.raises(VanishedError):
            world.source.read(target)

    def test_what_the_kernel_said_of_somebody_else_is_no_kill(self, world: CgroupWorld) -> None:
        """An OOM of the cgroup above is told to all below it; this one ends later, unharmed."""
        target, other = self.target(world), self.target(world)
        world.source.watch([target])
        world.source.read(target)
        (Path(world.folder) / "memory.use_hierarchy").write_text("1")
        above = Path(world.folder) / world.limit_file
        above.write_text(str(60 * MIB))
        world.start(other.target_id, HOG, 100 * MIB, 600).wait()
        self.wait_for(world, target, EventKind.PRESSURE)
        above.write_text("-1")
        assert world.source.read(target).oom_kills == 0
        world.remove(target.target_id)
        seen = self.wait_for(world, target, EventKind.GONE)
        time.sleep(0.05)  # a second notice would come now
        seen.update((event.target_id, event.kind) for event in world.source.events())
        assert (target.target_id, EventKind.OOM) not in seen
        with pytest.raises(VanishedError):
            world.source.read(target)

    def test_a_level_of_usage_wakes_the_loop_before_the_limit(self, world: CgroupWorld) -> None:
        """PRESSURE at 85 % of the limit, and again below a limit that has moved."""
        target = self.target(world, 100 * MIB)
        source = world.source
        assert isinstance(source, LiveCgroup1Source)
        source.watch([target])
        assert wait_until(lambda: source.armed_count == 1)
        world.fill(target.target_id, 90 * MIB)
        self.wait_for(world, target, EventKind.PRESSURE)
        world.actuator.apply(change_of(target.target_id, 100 * MIB, 200 * MIB))
        source.read(target)  # this is how it learns of the new limit
        assert wait_until(lambda: source.armed_limit_bytes(target.target_id) == 200 * MIB)
        source.events()
        world.fill(target.target_id, 90 * MIB)
        self.wait_for(world, target, EventKind.PRESSURE)
        assert source.read(target).oom_kills == 0

    def test_a_cut_that_takes_long_stays_where_it_has_got_to(
        self, world: CgroupWorld, tmp_path: Path
    ) -> None:
        """Cache is dropped in steps; without patience only the first one is made."""
        target = self.target(world)
        process = world.start(target.target_id, COPY, tmp_path / "copy", 150)
        process.communicate()
        usage_bytes = world.source.read(target).usage_bytes
        if usage_bytes < 140 * MIB:
            pytest.skip("the temporary folder's file system keeps no page cache of this cgroup")
        hurried = LiveCgroup1Actuator(
            tree_of(TargetKind.CGROUP1),
            selectors=lambda: [world.spec.selector],
            settings=ServeSettings(),
            now=now,
            patience=timedelta(0),
        )
        change = change_of(target.target_id, 200 * MIB, 60 * MIB, is_cut=True)
        outcome = hurried.apply(change)
        assert outcome.result is ChangeResult.APPLIED
        assert outcome.limit_bytes == world.source.read(target).limit_bytes
        assert 60 * MIB < (outcome.limit_bytes or 0) < usage_bytes

    def test_a_cut_refused_half_way_is_taken_back(self, world: CgroupWorld, tmp_path: Path) -> None:
        target = self.target(world)
        world.fill(target.target_id, 60 * MIB)
        world.start(target.target_id, COPY, tmp_path / "copy", 100).communicate()
        change = change_of(target.target_id, 200 * MIB, 40 * MIB, is_cut=True)
        outcome = floorless(world).apply(change)
        assert (outcome.result, outcome.limit_bytes) == (ChangeResult.REFUSED, 200 * MIB)
        assert self.limit_of(world, target) == 200 * MIB

    def test_descriptors_run_out_and_files_can_still_be_read(
        self, world: CgroupWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "ullage.sources.live_cgroup1.resource.getrlimit", lambda which: (262, 262)
        )
        for _ in range(5):
            world.make(100 * MIB)
        targets = world.finder.find(world.spec)
        source = world.source
        assert isinstance(source, LiveCgroup1Source)
        source.watch(targets)
        assert source.unwatched_count == 2
        assert all(source.read(target).limit_bytes == 100 * MIB for target in targets)

    def test_hundreds_of_targets_need_one_thread(self, world: CgroupWorld) -> None:
        before = threading.active_count()
        for _ in range(200):
            world.make(100 * MIB)
        targets = world.finder.find(world.spec)
        world.source.watch(targets)
        assert (len(targets), len(world.source.wake_fds())) == (200, 1)
        assert threading.active_count() <= before + 1
        began_s = time.perf_counter()
        for target in targets:
            world.source.read(target)
        print(f"\n200 readings: {(time.perf_counter() - began_s) * 1000:.0f} ms")


def test_what_must_not_be_managed_is_refused(world: CgroupWorld) -> None:
    """The root, our own cgroup, what encloses it, links and '..': found by nobody, opened never."""
    tree = tree_of(TargetKind.CGROUP1)
    own = tree.shown(own_path())
    assert own is not None
    above = [own.rsplit("/", n)[0] for n in range(1, own.count("/"))]
    for path in ["/", "", "relative", "/a/../b", "//", "/a\n/b", own, *above]:
        with pytest.raises(PermanentError):
            tree.open(path)
    for selector in [own, *above]:
        if selector != "/":
            assert tree.find(selector) == []
    assert own not in tree.find("/**")


def test_a_pattern_matches_one_name_at_a_time(world: CgroupWorld) -> None:
    target_id = world.make(100 * MIB)
    path = target_id.partition(":")[2]
    deep = world.folder_of(target_id) / "deep"
    deep.mkdir()
    top = path.rpartition("/")[0]

    def found(selector: str) -> list[str]:
        spec = ServiceSpec(workload_key="w", kind=TargetKind.CGROUP1, selector=selector)
        return [one.target_id.partition(":")[2] for one in world.finder.find(spec)]

    assert found(f"{top}/*") == [path]
    assert found(f"{top}/**") == [path, f"{path}/deep"]
    assert found(f"{top}/**/deep") == [f"{path}/deep"]
    assert found(f"{top}/target-????????????") == [path]
    assert found(path) == [path]
    deep.rmdir()


def test_runs_of_ullage_are_found_by_their_whole_name_only(world: CgroupWorld) -> None:
    folder = Path(world.folder, "ullage-r-20261126-000000-abcdef-1")
    folder.mkdir()
    top = world.spec.selector.rpartition("/")[0]
    spec = ServiceSpec(workload_key="w", kind=TargetKind.CGROUP1, selector=f"{top}/*")
    assert world.finder.find(spec) == []
    whole = ServiceSpec(workload_key="w", kind=TargetKind.CGROUP1, selector=f"{top}/{folder.name}")
    assert len(world.finder.find(whole)) == 1
