"""Makes the real worlds of live cgroups that several test modules use."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

from ullage.access import cgroup1, cgroup2
from ullage.access.docker import DockerApi
from ullage.access.docker_reading import ContainerCgroups
from ullage.access.folders import CgroupTree
from ullage.actuators.cgroup1 import find_parent as find_parent1
from ullage.actuators.cgroup2 import Cgroup2Sandbox
from ullage.actuators.cgroup2 import find_parent as find_parent2
from ullage.actuators.live_cgroup1 import LiveCgroup1Actuator
from ullage.actuators.live_cgroup2 import LiveCgroup2Actuator
from ullage.actuators.live_docker import LiveDockerActuator
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import TargetKind
from ullage.sources.cgroup_finder import CgroupFinder
from ullage.sources.docker_finder import DockerFinder
from ullage.sources.live_cgroup1 import LiveCgroup1Source
from ullage.sources.live_cgroup2 import LiveCgroup2Source
from ullage.sources.live_docker import LiveDockerSource
from ullage.testing.cgroup_world import CgroupWorld
from ullage.testing.docker_world import DockerWorld

DOCKER_SOCKET = os.environ.get("TEST_DOCKER_SOCKET", "")
NO_DOCKERD = "no dockerd of its own: `make test-docker` starts one"
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


@contextmanager
def docker_world(*, is_local: bool) -> Iterator[DockerWorld]:
    """Yield a world of containers, with all adapters; nothing of it stays.

    is_local: read from the containers' cgroups, else by the API alone.
    """
    world = DockerWorld(DOCKER_SOCKET)
    api = DockerApi(DOCKER_SOCKET, monotonic_s=monotonic)
    trees = [(cgroup1.memory_tree()[0], False), (cgroup2.memory_tree()[0], True)]
    seen = [(tree, is_v2) for tree, is_v2 in trees if tree is not None]
    cgroups = ContainerCgroups(seen if is_local else [])
    lives: dict[str, str] = {}
    world.finder = DockerFinder(api, own_text="", lives=lives)
    world.source = LiveDockerSource(api, cgroups, now=now, lives=lives)
    world.actuator = LiveDockerActuator(
        api, cgroups, selectors=lambda: [world.spec.selector], settings=ServeSettings(), now=now
    )
    try:
        yield world
    finally:
        world.close()
