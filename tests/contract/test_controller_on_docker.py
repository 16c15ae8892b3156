"""The real controller over containers of a real dockerd, which is stopped and started meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_driver import SETTINGS, Driver
from live_worlds import DOCKER_SOCKET, NO_DOCKERD, docker_world

from ullage.access.docker import DockerApi
from ullage.core.audit import audit
from ullage.core.service import EntryKind
from ullage.core.units import MIB
from ullage.testing.docker_world import DockerWorld
from ullage.testing.sandbox_contract import wait_until

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DOCKER_SOCKET, reason=NO_DOCKERD)]
START = os.environ.get("TEST_DOCKER_START", "")
PID_FILE = Path(os.environ.get("TEST_DOCKER_PID", ""))
DIES_OF_OOM = ("/bin/busybox", "sh", "-c", "/bin/sleep 2; exec /bin/busybox tail /dev/zero")
"""Runs for two seconds, then asks for ever more memory (a line without an end)."""
PATIENCE_S = 60.0


@pytest.fixture(params=[True, False], ids=["cgroup", "api"])
def is_local(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(*, is_local: bool) -> Iterator[DockerWorld]:
    with docker_world(is_local=is_local) as made:
        yield made


def drive(driver: Driver, is_done: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> bool:
    """Step until it is done; say whether it was."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        driver.step()
        if is_done():
            return True
    return False


STARTED: list[subprocess.Popen[bytes]] = []
"""Ended by the script that runs the lane, by their PID file."""


def stop_daemon() -> None:
    """End the dockerd of the tests; its containers go on (--live-restore)."""
    pid = int(PID_FILE.read_text())
    os.kill(pid, signal.SIGTERM)

    def has_ended() -> bool:
        for process in STARTED:
            process.poll()
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"  # the first one is a child of the script, which is not waiting for it

    assert wait_until(has_ended, patience_s=PATIENCE_S)


def start_daemon(world: DockerWorld) -> None:
    """Start it again, and wait until it answers."""
    STARTED.append(subprocess.Popen([START], start_new_session=True))

    def answers() -> bool:
        try:
            world.call("GET", "/info")
        except (OSError, AssertionError):
            return False
        return True

    assert wait_until(answers, patience_s=PATIENCE_S)


def oom_count(driver: Driver) -> int:
    return sum(int(one.body["kills"]) for one in driver.told(EntryKind.OOM))


def test_the_daemon_goes_and_comes_back_and_nobody_is_harmed(
    world: DockerWorld, *, is_local: bool
) -> None:
    target_id = world.make(200 * MIB)
    world.fill(target_id, 60 * MIB)
    driver = Driver(world)
    assert drive(driver, lambda: driver.count("cut") >= 1), "no cut while all is well"
    counts = driver.controller.counts
    stop_daemon()
    try:
        changes, failed = driver.count("cut"), counts.rejected_readings["failed"]
        limit_bytes = driver.controller.targets()[0].limit_bytes
        drive(driver, lambda: False, patience_s=3.0)
        assert [one.target.target_id for one in driver.controller.targets()] == [target_id]
        assert driver.count("cut") == changes, "cut without a daemon"
        assert counts.ticks > 0
        if not is_local:
            assert counts.rejected_readings["failed"] > failed
    finally:
        start_daemon(world)
    inspected = world.inspect(target_id)
    assert inspected["State"]["Running"] is True
    assert inspected["HostConfig"]["Memory"] == limit_bytes
    assert drive(driver, lambda: driver.controller.targets()[0].is_listed)
    read_count = driver.controller.targets()[0].read_count
    assert drive(driver, lambda: driver.controller.targets()[0].read_count > read_count)
    assert oom_count(driver) == 0
    # The stream of events is back too: a kill is heard of.
    world.set_limit(target_id, 150 * MIB)
    world.fill(target_id, 300 * MIB)
    assert drive(driver, lambda: oom_count(driver) == 1)
    assert audit(driver.disk.records, SETTINGS) == []


def test_s23_a_container_killed_for_good_is_counted_once(world: DockerWorld) -> None:
    """Its first process is the one that the kernel kills, and nobody starts it again."""
    target_id = world.make(64 * MIB, command=DIES_OF_OOM)
    driver = Driver(world, is_acting=False)
    assert drive(driver, lambda: bool(driver.controller.targets()))
    assert drive(driver, lambda: not driver.controller.targets())
    drive(driver, lambda: False, patience_s=1.0)
    (told,) = driver.told(EntryKind.OOM)
    assert (told.target_id, told.workload_key) == (target_id, "web")
    assert (told.body["kills"], told.body["at_least_bytes"]) == (1, 64 * MIB)
    assert world.inspect(target_id)["State"]["OOMKilled"] is True


def test_s23_each_life_of_a_container_counts_its_own_kills(world: DockerWorld) -> None:
    """The same id, killed and started again by the daemon: as many kills as the daemon tells of."""
    target_id = world.make(64 * MIB, command=DIES_OF_OOM, restart="always")
    driver = Driver(world, is_acting=False)
    assert drive(driver, lambda: len(driver.told(EntryKind.OOM)) >= 3)
    world.call("POST", f"/containers/{target_id[7:]}/stop?t=0")
    drive(driver, lambda: False, patience_s=1.0)
    lives = {one.body["instance"] for one in driver.told(EntryKind.OOM)}
    restarts = world.inspect(target_id)["RestartCount"]
    print(f"\n{oom_count(driver)} kills in {len(lives)} lives, {restarts} restarts")
    assert oom_count(driver) == len(lives)
    assert restarts - 1 <= oom_count(driver) <= restarts + 1


def test_s2_lies_about_use_are_poison_and_nothing_is_cut(
    world: DockerWorld, monkeypatch: pytest.MonkeyPatch, *, is_local: bool
) -> None:
    target_id = world.make(200 * MIB)
    lies = iter([-1, 1 << 60, "12GiB", None, True] * 1000)

    def lie(api: DockerApi, container_id: str) -> dict[str, Any]:
        return {"memory_stats": {"usage": next(lies), "stats": {"total_inactive_file": 0}}}

    monkeypatch.setattr(DockerApi, "stats", lie)
    driver = Driver(world)
    drive(driver, lambda: False, patience_s=2.0)
    counts = driver.controller.counts
    if not is_local:
        assert counts.rejected_readings["poisoned"] > 3
        assert not counts.broken
        assert driver.count("cut") == 0
        assert world.inspect(target_id)["HostConfig"]["Memory"] == 200 * MIB
    else:
        assert not counts.rejected_readings, "its cgroup is read, the API's figures are not asked"


@pytest.mark.timeout(240)
def test_a_daemon_that_hangs_harms_nobody_and_is_asked_again(world: DockerWorld) -> None:
    target_id = world.make(400 * MIB)
    world.fill(target_id, 60 * MIB)
    driver = Driver(world)
    assert drive(driver, lambda: driver.count("cut") >= 1), "no cut while all is well"
    counts, pid = driver.controller.counts, int(PID_FILE.read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        ticks = counts.ticks
        assert drive(driver, lambda: counts.ticks >= ticks + 3), "it holds the loop"
    finally:
        os.kill(pid, signal.SIGCONT)
    cuts = driver.count("cut")
    assert drive(driver, lambda: driver.count("cut") > cuts), "no cut after it answers again"
    state = world.inspect(target_id)["State"]
    assert (state["Running"], state["OOMKilled"]) == (True, False)
    assert audit(driver.disk.records, SETTINGS) == []
