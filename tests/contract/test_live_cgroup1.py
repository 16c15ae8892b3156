"""Existing cgroups of v1 keep the target contract, and what only v1 does."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ullage.access.cgroup1 import memory_tree
from ullage.actuators.cgroup1 import find_parent
from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import TargetKind
from ullage.sources.cgroup_finder import CgroupFinder
from ullage.sources.live_cgroup1 import LiveCgroup1Source
from ullage.testing.cgroup_world import CgroupWorld
from ullage.testing.target_contract import TargetContract

PARENT, WHY_NOT = find_parent()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PARENT is None, reason=f"no cgroup v1 to write to: {WHY_NOT}"),
]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def world() -> Iterator[CgroupWorld]:
    tree, why_not = memory_tree()
    assert tree is not None, why_not
    assert PARENT is not None
    folder = f"{PARENT}/ullage-test-{uuid.uuid4().hex}"
    os.mkdir(folder)
    made = CgroupWorld(TargetKind.CGROUP1, folder, folder.removeprefix(tree.point))
    made.finder = CgroupFinder(TargetKind.CGROUP1, tree)
    made.source = LiveCgroup1Source(tree, now=now, node_bytes=1 << 34)
    made.actuator = LiveCgroup1Actuator(
        tree, selectors=lambda: [made.spec.selector], settings=ServeSettings(), now=now
    )
    yield made
    made.close()


class TestLiveCgroup1(TargetContract):
    @pytest.fixture
    def world(self, world: CgroupWorld) -> CgroupWorld:
        return world
