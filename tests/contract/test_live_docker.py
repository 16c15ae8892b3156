"""Containers of a real dockerd keep the target contract: `make test-docker` has one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from test_controller_on_cgroups import SETTINGS, Driver

from ullage.access import cgroup1, cgroup2
from ullage.access.docker import DockerApi
from ullage.access.docker_reading import ContainerCgroups
from ullage.actuators.live_docker import LiveDockerActuator
from ullage.core.audit import audit
from ullage.core.errors import AdapterError, TransientError
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import ChangeResult, EventKind, ServiceSpec, TargetKind
from ullage.core.units import MIB
from ullage.sources.docker_finder import DockerFinder
from ullage.sources.live_docker import LiveDockerSource
from ullage.testing.docker_world import LABEL, DockerWorld
from ullage.testing.target_contract import TargetContract, change_of

SOCKET = os.environ.get("TEST_DOCKER_SOCKET", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SOCKET, reason="no dockerd of its own: `make test-docker` starts one"),
]


def now() -> datetime:
    return datetime.now(UTC)


def local_cgroups() -> ContainerCgroups:
    trees = [(cgroup1.memory_tree()[0], False), (cgroup2.memory_tree()[0], True)]
    return ContainerCgroups([(tree, is_v2) for tree, is_v2 in trees if tree is not None])


@pytest.fixture(params=["cgroup", "api"])
def world(request: pytest.FixtureRequest) -> Iterator[DockerWorld]:
    made = DockerWorld(SOCKET)
    api = DockerApi(SOCKET, monotonic_s=monotonic)
    cgroups = local_cgroups() if request.param == "cgroup" else ContainerCgroups([])
    lives: dict[str, str] = {}
    made.finder = DockerFinder(api, own_text="", lives=lives)
    made.source = LiveDockerSource(api, cgroups, now=now, lives=lives)
    made.actuator = LiveDockerActuator(
        api, cgroups, selectors=lambda: [made.spec.selector], settings=ServeSettings(), now=now
    )
    yield made
    made.close()


class TestLiveDocker(TargetContract):
    @pytest.fixture
    def world(self, world: DockerWorld) -> DockerWorld:
        return world

    def test_memory_and_swap_move_together(self, world: DockerWorld) -> None:
        target = self.target(world)
        before = world.inspect(target.target_id)["HostConfig"]
        apart_bytes = before["MemorySwap"] - before["Memory"]
        world.actuator.apply(change_of(target.target_id, 200 * MIB, 500 * MIB))
        world.actuator.apply(change_of(target.target_id, 500 * MIB, 400 * MIB, is_cut=True))
        after = world.inspect(target.target_id)["HostConfig"]
        assert (after["Memory"], after["MemorySwap"]) == (400 * MIB, 400 * MIB + apart_bytes)

    def test_a_container_that_begins_anew_is_another_life(self, world: DockerWorld) -> None:
        target = self.target(world)
        world.call("POST", f"/containers/{target.target_id[7:]}/restart?t=0")
        with pytest.raises(AdapterError, match="another life"):
            world.source.read(target)
        (again,) = world.finder.find(world.spec)
        assert (again.target_id, again.instance != target.instance) == (target.target_id, True)
        assert world.source.read(again).limit_bytes == 200 * MIB

    def test_a_container_that_stops_is_gone_and_says_so(self, world: DockerWorld) -> None:
        target = self.target(world)
        world.source.watch([target])
        world.call("POST", f"/containers/{target.target_id[7:]}/stop?t=0")
        self.wait_for(world, target, EventKind.GONE)
        with pytest.raises(AdapterError, match="not run"):
            world.source.read(target)
        change = change_of(target.target_id, 200 * MIB, 300 * MIB)
        assert world.actuator.apply(change).result is ChangeResult.VANISHED

    def test_what_the_daemon_refuses_is_refused(self, world: DockerWorld) -> None:
        target = self.target(world)
        change = change_of(target.target_id, 200 * MIB, MIB, is_cut=True, floor_bytes=1)
        outcome = world.actuator.apply(change)
        assert outcome.result is ChangeResult.REFUSED

    def test_a_container_without_our_label_is_not_touched(self, world: DockerWorld) -> None:
        target_id = world.make(200 * MIB, labels={LABEL: "somebody else's"})
        outcome = world.actuator.apply(change_of(target_id, 200 * MIB, 300 * MIB))
        assert (outcome.result, outcome.words[:9]) == (ChangeResult.REFUSED, "the conta")
        assert world.inspect(target_id)["HostConfig"]["Memory"] == 200 * MIB

    def test_hostile_labels_match_themselves_only(self, world: DockerWorld) -> None:
        hostile = [
            '"}],"x',
            "<script>alert(1)</script>",
            "=cmd|' /C calc'!A0",
            "[red]a[/red]",
            "é*",
        ]
        for value in hostile:
            target_id = world.make(100 * MIB, labels={LABEL: f"{world.mark}{value}"})
            spec = ServiceSpec(
                workload_key="web",
                kind=TargetKind.DOCKER,
                selector=f"{LABEL}={world.mark}{value}",
            )
            assert [one.target_id for one in world.finder.find(spec)] == [target_id]
        assert world.finder.find(world.spec) == []

    def test_our_own_container_is_never_meant(self, world: DockerWorld) -> None:
        target = self.target(world)
        api = DockerApi(SOCKET, monotonic_s=monotonic)
        text = f"12:memory:/docker/{target.target_id[7:]}\n"
        assert DockerFinder(api, own_text=text).find(world.spec) == []


def test_without_a_daemon_it_is_told_and_asked_again_later() -> None:
    clock_s = [100.0]
    api = DockerApi("/run/no-docker-here.sock", monotonic_s=lambda: clock_s[0])
    waits = []
    for _ in range(3):
        with pytest.raises(TransientError, match="is it running") as caught:
            api.memory_bytes()
        waits.append(caught.value.retry_after.total_seconds())
        clock_s[0] += waits[-1]
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.timeout(180)
def test_a_daemon_that_hangs_harms_nobody_and_is_asked_again(world: DockerWorld) -> None:
    target_id = world.make(400 * MIB)
    world.fill(target_id, 60 * MIB)
    driver = Driver(world)
    until(lambda: driver.count("cut") >= 1, driver, 60)
    pid = int(Path(SOCKET).with_name("docker.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        before = driver.controller.counts.ticks
        until(lambda: driver.controller.counts.ticks >= before + 3, driver, 90)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert world.inspect(target_id)["State"]["Running"]
    cuts = driver.count("cut")
    until(lambda: driver.count("cut") > cuts, driver, 90)
    assert world.inspect(target_id)["State"]["OOMKilled"] is False
    assert audit(driver.disk.records, SETTINGS) == []


def until(is_done: Callable[[], bool], driver: Driver, at_most_s: float) -> None:
    """Drive the controller until something is so; AssertionError where that takes too long."""
    deadline_s = time.monotonic() + at_most_s
    while not is_done():
        driver.step()
        assert time.monotonic() < deadline_s, driver.controller.counts
