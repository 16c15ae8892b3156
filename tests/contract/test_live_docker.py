"""Containers of a real dockerd keep the target contract: `make test-docker` has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

import pytest
from live_worlds import DOCKER_SOCKET, NO_DOCKERD, docker_world

from ullage.access.docker import DockerApi
from ullage.core.errors import AdapterError, TransientError
from ullage.core.service import ChangeResult, EventKind, ServiceSpec, TargetKind
from ullage.core.units import MIB
from ullage.sources.docker_finder import DockerFinder
from ullage.testing.docker_world import LABEL, DockerWorld
from ullage.testing.target_contract import TargetContract, change_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DOCKER_SOCKET, reason=NO_DOCKERD)]


@pytest.fixture(params=["cgroup", "api"])
def world(request: pytest.FixtureRequest) -> Iterator[DockerWorld]:
    with docker_world(is_local=request.param == "cgroup") as made:
        yield made


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

    @pytest.mark.parametrize(
        "text",
        ["a\nb", "\r\t", "\x1b[31mred\x07", "\u202eabc", "\x7f", "<b>&amp;", "x" * (1 << 20)],
        ids=["newline", "tab", "escape", "bidi", "delete", "markup", "megabyte"],
    )
    def test_hostile_text_in_labels_harms_nobody(self, world: DockerWorld, text: str) -> None:
        """Beside ours it is nothing to us; in the place of ours it is somebody else's."""
        target_id = world.make(100 * MIB, labels={LABEL: world.mark, "note": text, text: "x"})
        world.make(100 * MIB, labels={LABEL: f"{world.mark}{text}"})
        (found,) = world.finder.find(world.spec)
        assert found.target_id == target_id
        assert found.workload_key == "web"
        assert world.source.read(found).limit_bytes == 100 * MIB
        assert world.actuator.apply(change_of(target_id, 100 * MIB, 200 * MIB)).result is (
            ChangeResult.APPLIED
        )

    def test_a_container_removed_before_the_update_has_vanished(
        self, world: DockerWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between our look and our order."""
        target = self.target(world)
        update = DockerApi.update

        def late(api: DockerApi, container_id: str, limits: Mapping[str, int]) -> None:
            world.remove(target.target_id)
            update(api, container_id, limits)

        monkeypatch.setattr(DockerApi, "update", late)
        change = change_of(target.target_id, 200 * MIB, 300 * MIB)
        assert world.actuator.apply(change).result is ChangeResult.VANISHED

    def test_a_container_removed_after_the_listing_is_not_found(
        self, world: DockerWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept, target_id = world.make(100 * MIB), world.make(100 * MIB)
        look = DockerApi.container

        def late(api: DockerApi, container_id: str) -> dict[str, Any]:
            if target_id.endswith(container_id):
                world.remove(target_id)
            return look(api, container_id)

        monkeypatch.setattr(DockerApi, "container", late)
        assert [one.target_id for one in world.finder.find(world.spec)] == [kept]

    def test_memory_and_swap_in_disorder_are_refused_by_the_daemon(
        self, world: DockerWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second limit below the first is EINVAL for the kernel, and the daemon knows it."""
        target = self.target(world)
        monkeypatch.setattr(
            "ullage.actuators.live_docker._new_swap_bytes", lambda *limits: 250 * MIB
        )
        outcome = world.actuator.apply(change_of(target.target_id, 200 * MIB, 300 * MIB))
        assert outcome.result is ChangeResult.REFUSED
        assert "memoryswap" in outcome.words.lower()
        assert world.inspect(target.target_id)["HostConfig"]["Memory"] == 200 * MIB
        assert world.source.read(target).limit_bytes == 200 * MIB

    def test_our_own_container_is_never_meant(self, world: DockerWorld) -> None:
        target = self.target(world)
        api = DockerApi(DOCKER_SOCKET, monotonic_s=monotonic)
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
