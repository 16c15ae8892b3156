"""cgroup v2 keeps the sandbox contract, and what only v2 does: `make test-cgroup2` has a kernel."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ullage.actuators.cgroup2 import Cgroup2Sandbox, enclosing_room_bytes, find_parent
from ullage.core.errors import PermanentError
from ullage.core.ports import MemorySource, Sandbox
from ullage.core.units import MIB
from ullage.sources.cgroup2 import Cgroup2Source
from ullage.testing.sandbox_contract import COPY, HOG, SandboxContract, wait_until

PARENT, WHY_NOT = find_parent()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PARENT is None, reason=f"no cgroup v2 to write to: {WHY_NOT}"),
]
Target = tuple[Sandbox, MemorySource]


class TestCgroup2(SandboxContract):
    @pytest.fixture
    def make_target(
        self,
    ) -> Iterator[Callable[[], tuple[Sandbox, Callable[[], MemorySource]]]]:
        made: list[Cgroup2Sandbox] = []
        sources: list[Cgroup2Source] = []

        def make() -> tuple[Sandbox, Callable[[], MemorySource]]:
            assert PARENT is not None
            sandbox = Cgroup2Sandbox(PARENT, f"ullage-test-{uuid.uuid4().hex}")
            sandbox.create()
            made.append(sandbox)

            def open_source() -> MemorySource:
                source = Cgroup2Source(sandbox.path)
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

    def test_cut_below_what_is_in_use_is_refused_and_kills_nobody(self, target: Target) -> None:
        sandbox, source = target
        sandbox.set_limit(200 * MIB)
        process = self.start(sandbox, HOG, 64 * MIB, 60)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(PermanentError, match="more than that is in use"):
            sandbox.set_limit(20 * MIB)
        assert process.poll() is None
        assert source.pressure().oom_kills == 0
        assert Path(sandbox.path, "memory.max").read_text().strip() == str(200 * MIB)
        assert Path(sandbox.path, "memory.high").read_text().strip() == "max"
        process.kill()
        process.communicate()

    def test_a_cut_into_page_cache_drops_it(self, target: Target, tmp_path: Path) -> None:
        sandbox, source = target
        sandbox.set_limit(200 * MIB)
        self.start(sandbox, COPY, tmp_path / "copy", 60).communicate()
        if source.read().usage_bytes < 40 * MIB:
            pytest.skip("the temporary folder's file system keeps no page cache of this cgroup")
        assert sandbox.set_limit(20 * MIB) == 20 * MIB
        assert source.read().usage_bytes <= 20 * MIB
        assert source.pressure().oom_kills == 0

    def test_while_tasks_wait_a_backstop_stands_above_them(self, target: Target) -> None:
        sandbox, _ = target
        sandbox.set_limit(100 * MIB)
        sandbox.set_parking(True)
        assert Path(sandbox.path, "memory.high").read_text().strip() == str(100 * MIB)
        assert Path(sandbox.path, "memory.max").read_text().strip() == str(125 * MIB)
        sandbox.set_parking(False)
        assert Path(sandbox.path, "memory.max").read_text().strip() == str(100 * MIB)

    def test_room_of_enclosing_cgroups_is_the_least(self, target: Target) -> None:
        sandbox, _ = target
        before = enclosing_room_bytes(sandbox.path)
        sandbox.set_limit(50 * MIB)
        assert enclosing_room_bytes(sandbox.path) == min(50 * MIB, before or 50 * MIB)


def test_a_cgroup_that_is_not_there_cannot_be_read() -> None:
    with pytest.raises(PermanentError, match="cannot be read"):
        Cgroup2Source("/sys/fs/cgroup/ullage-never-made")
