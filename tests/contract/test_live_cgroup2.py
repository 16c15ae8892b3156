"""Existing cgroups of v2 keep the target contract, and what only v2 does: `make test-cgroup2`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from live_worlds import PARENTS, cgroup_world, now, tree_of

from ullage.access.cgroup2 import own_path
from ullage.access.folders import Folder
from ullage.actuators.live_cgroup2 import LiveCgroup2Actuator
from ullage.core.errors import PermanentError, VanishedError
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeResult, EventKind, TargetKind
from ullage.core.units import MIB
from ullage.testing.cgroup_world import CgroupWorld
from ullage.testing.sandbox_contract import COPY, wait_until
from ullage.testing.target_contract import TargetContract, change_of

PARENT, WHY_NOT = PARENTS[TargetKind.CGROUP2]
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PARENT is None, reason=f"no cgroup v2 to write to: {WHY_NOT}"),
]
NO_FLOOR = ServeSettings(live_floor_ratio=0.0, live_floor_room_bytes=-1000 * MIB)
"""For tests of what the steps of a cut themselves refuse."""


@pytest.fixture
def world() -> Iterator[CgroupWorld]:
    with cgroup_world(TargetKind.CGROUP2) as made:
        yield made


def limits(world: CgroupWorld, target_id: str) -> tuple[str, str]:
    folder = world.folder_of(target_id)
    return (folder / "memory.high").read_text().strip(), (folder / "memory.max").read_text().strip()


class TestLiveCgroup2(TargetContract):
    @pytest.fixture
    def world(self, world: CgroupWorld) -> CgroupWorld:
        return world

    def test_a_cut_below_what_is_in_use_is_taken_back_and_kills_nobody(
        self, world: CgroupWorld
    ) -> None:
        target = self.target(world)
        world.fill(target.target_id, 100 * MIB)
        actuator = LiveCgroup2Actuator(
            tree_of(TargetKind.CGROUP2),
            selectors=lambda: [world.spec.selector],
            settings=NO_FLOOR,
            now=now,
            probe=timedelta(milliseconds=20),
        )
        outcome = actuator.apply(change_of(target.target_id, 200 * MIB, 20 * MIB, is_cut=True))
        assert (outcome.result, outcome.limit_bytes) == (ChangeResult.REFUSED, 200 * MIB)
        assert "in use" in outcome.words
        assert limits(world, target.target_id) == ("max", str(200 * MIB))
        assert world.source.read(target).oom_kills == 0

    def test_a_cut_into_page_cache_drops_it(self, world: CgroupWorld, tmp_path: Path) -> None:
        target = self.target(world)
        world.start(target.target_id, COPY, tmp_path / "copy", 100).communicate()
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
        assert limits(world, target.target_id) == ("max", str(60 * MIB))

    def test_high_and_max_move_together_and_stay_as_far_apart(self, world: CgroupWorld) -> None:
        """As `ullage run` sets them: tasks are slowed down at the first, killed at the second."""
        target = self.target(world, 250 * MIB)
        (world.folder_of(target.target_id) / "memory.high").write_text(str(200 * MIB))
        assert self.limit_of(world, target) == 200 * MIB
        for old, new in ((200, 300), (300, 240)):
            change = change_of(target.target_id, old * MIB, new * MIB, is_cut=new < old)
            assert world.actuator.apply(change).result is ChangeResult.APPLIED
            assert limits(world, target.target_id) == (str(new * MIB), str((new + 50) * MIB))

    def test_tasks_that_are_slowed_down_wake_the_loop(self, world: CgroupWorld) -> None:
        target = self.target(world)
        (world.folder_of(target.target_id) / "memory.high").write_text(str(60 * MIB))
        world.source.watch([target])
        world.fill(target.target_id, 64 * MIB)
        self.wait_for(world, target, EventKind.PRESSURE)
        assert world.source.read(target).is_waiting

    def test_pressure_is_a_share_or_unknown(self, world: CgroupWorld) -> None:
        ratio = world.source.read(self.target(world)).psi_full_avg10_ratio
        assert ratio is None or 0.0 <= ratio <= 1.0

    @pytest.mark.parametrize("name", ["memory.current", "memory.stat", "memory.max"])
    def test_a_cgroup_removed_during_apply_has_vanished(
        self, world: CgroupWorld, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        target = self.target(world)
        read = Folder.read

        def late(folder: Folder, file: str) -> bytes:
            text = read(folder, file)
            if file == name and world.folder_of(target.target_id).exists():
                world.remove(target.target_id)
            return text

        monkeypatch.setattr(Folder, "read", late)
        outcome = world.actuator.apply(change_of(target.target_id, 200 * MIB, 160 * MIB))
        assert outcome.result is ChangeResult.VANISHED

    def test_a_cgroup_made_anew_is_another_life(self, world: CgroupWorld) -> None:
        target = self.target(world)
        world.remove(target.target_id)
        os.mkdir(world.folder_of(target.target_id))
        with pytest.raises(VanishedError, match="another one"):
            world.source.read(target)


def test_what_must_not_be_managed_is_refused(world: CgroupWorld) -> None:
    tree = tree_of(TargetKind.CGROUP2)
    own = tree.shown(own_path())
    for path in ["/", "", "relative", "/a/../b", "//", "/a\n/b"]:
        with pytest.raises(PermanentError):
            tree.open(path)
    if own not in (None, "/"):
        with pytest.raises(PermanentError):
            tree.open(own)
        assert own not in tree.find("/**")
