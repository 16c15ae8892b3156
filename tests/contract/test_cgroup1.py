"""cgroup v1 keeps the sandbox contract, and what only v1 does."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from ullage.actuators.cgroup1 import Cgroup1Sandbox, enclosing_room_bytes, find_parent
from ullage.core.errors import PermanentError
from ullage.core.ports import MemorySource, Sandbox
from ullage.core.units import MIB
from ullage.sources.cgroup1 import Cgroup1Source
from ullage.testing.sandbox_contract import HOG, SandboxContract, wait_until

PARENT, WHY_NOT = find_parent()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PARENT is None, reason=f"no cgroup v1 to write to: {WHY_NOT}"),
]


class TestCgroup1(SandboxContract):
    @pytest.fixture
    def make_target(
        self,
    ) -> Iterator[Callable[[], tuple[Sandbox, Callable[[], MemorySource]]]]:
        made: list[Cgroup1Sandbox] = []
        sources: list[Cgroup1Source] = []

        def make() -> tuple[Sandbox, Callable[[], MemorySource]]:
            assert PARENT is not None
            sandbox = Cgroup1Sandbox(PARENT, f"ullage-test-{uuid.uuid4().hex}")
            sandbox.create()
            made.append(sandbox)

            def open_source() -> MemorySource:
                source = Cgroup1Source(sandbox.path)
                sources.append(source)
                return source

            return sandbox, open_source

        yield make
        for source in sources:
            source.close()
        for sandbox in made:
            for pid in sandbox.member_pids():
                os.kill(pid, 9)
            assert wait_until(sandbox.remove)

    def test_cut_below_what_is_in_use_is_refused(
        self, target: tuple[Sandbox, MemorySource]
    ) -> None:
        sandbox, _ = target
        process = self.start(sandbox, HOG, 64 * MIB, 60)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(PermanentError, match="more than that is in use"):
            sandbox.set_limit(20 * MIB)
        process.kill()
        process.communicate()

    def test_room_of_enclosing_cgroups_is_the_least(
        self, target: tuple[Sandbox, MemorySource]
    ) -> None:
        sandbox, _ = target
        before = enclosing_room_bytes(sandbox.path)
        sandbox.set_limit(50 * MIB)
        assert enclosing_room_bytes(sandbox.path) == min(50 * MIB, before or 50 * MIB)


def test_a_cgroup_that_is_not_there_cannot_be_read() -> None:
    with pytest.raises(PermanentError, match="cannot be read"):
        Cgroup1Source("/sys/fs/cgroup/memory/ullage-never-made")


def test_making_the_same_cgroup_twice_is_refused() -> None:
    assert PARENT is not None
    first = Cgroup1Sandbox(PARENT, f"ullage-test-{uuid.uuid4().hex}")
    first.create()
    try:
        with pytest.raises(PermanentError, match="cannot be made"):
            Cgroup1Sandbox(PARENT, os.path.basename(first.path)).create()
    finally:
        assert first.remove()
