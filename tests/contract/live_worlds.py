"""Makes the real worlds of live cgroups that several test modules use."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ullage.access import cgroup1, cgroup2
from ullage.access.folders import CgroupTree
from ullage.actuators.cgroup1 import find_parent as find_parent1
from ullage.actuators.cgroup2 import Cgroup2Sandbox
from ullage.actuators.cgroup2 import find_parent as find_parent2
from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator
from ullage.actuators.live_cgroup2 import LiveCgroup2Actuator
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import TargetKind
from ullage.sources.cgroup_finder import CgroupFinder
from ullage.sources.live_cgroup1 import LiveCgroup1Source
from ullage.sources.live_cgroup2 import LiveCgroup2Source
from ullage.testing.cgroup_world import CgroupWorld

PARENTS = {TargetKind.CGROUP1: find_parent1(), TargetKind.CGROUP2: find_parent2()}


def now() -> datetime:
    return datetime.now(UTC)


def tree_of(kind: TargetKind) -> CgroupTree:
    tree, why_not = (cgroup1 if kind is TargetKind.CGROUP1 else cgroup2).memory_tree()
    assert tree is not None, why_not
    return tree


@contextmanager
def cgroup_world(kind: TargetKind) -> Iterator[CgroupWorld]:
    """Yield a world of its own folder, with all adapters; nothing of it stays."""
    parent, why_not = PARENTS[kind]
    assert parent is not None, why_not
    tree = tree_of(kind)
    name = f"ullage-test-{uuid.uuid4().hex}"
    folder = f"{parent}/{name}"
    if kind is TargetKind.CGROUP2:
        Cgroup2Sandbox(parent, name).create()
        with open(f"{folder}/cgroup.subtree_control", "w") as control:
            control.write("+memory")
    else:
        os.mkdir(folder)
    world = CgroupWorld(kind, folder, folder.removeprefix(tree.point))
    world.finder = CgroupFinder(kind, tree)
    first = kind is TargetKind.CGROUP1
    world.source = (LiveCgroup1Source if first else LiveCgroup2Source)(
        tree, now=now, node_bytes=1 << 34
    )
    world.actuator = (LiveCgroup1Actuator if first else LiveCgroup2Actuator)(
        tree, selectors=lambda: [world.spec.selector], settings=ServeSettings(), now=now
    )
    try:
        yield world
    finally:
        world.close()
