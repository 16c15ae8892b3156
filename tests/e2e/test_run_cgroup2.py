"""`ullage run` on cgroup v2: killed under a fixed limit, kept alive where it may grow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Cli
from ullage.actuators.cgroup2 import find_parent

PARENT, WHY_NOT = find_parent()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PARENT is None, reason=f"no cgroup v2 to write to: {WHY_NOT}"),
]
MIB = 1 << 20
CLIMB = """
import mmap, time
held = []
for step in range(30):
    block = mmap.mmap(-1, 10 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, 10 << 20, 4096):
        block[page] = 1
    held.append(block)
    time.sleep(0.02)
print("done")
"""
COMMAND = (sys.executable, "-S", "-c", CLIMB)


def test_a_fixed_limit_kills_and_growth_does_not(cli: Cli) -> None:
    fixed = cli.run("--name", "climb", "--limit", "128MiB", "--", *COMMAND)
    assert fixed.code == 137, fixed.err
    assert fixed.result["outcome"] == "oom_killed"
    assert fixed.result["control"] == "cgroup2"
    grown = cli.run("--name", "climb", "--request", "128MiB", "--", *COMMAND)
    assert (grown.code, grown.result["oom_kills"]) == (0, 0), grown.err
    assert grown.result["raises"] >= 1
    assert grown.result["attempts"][0]["peak_bytes"] >= 300 * MIB
    third = cli.run("--name", "climb", "--", *COMMAND)
    assert (third.code, third.result["oom_kills"]) == (0, 0), third.err


def test_at_the_ceiling_the_kernel_decides(cli: Cli) -> None:
    ended = cli.run("--request", "64MiB", "--max-memory", "160MiB", "--", *COMMAND)
    assert ended.code == 137, ended.err
    assert ended.result["outcome"] == "oom_killed"


def test_no_cgroup_stays_behind(cli: Cli) -> None:
    assert PARENT is not None
    cli.run("--", "true")
    assert [name for name in os.listdir(PARENT) if name.startswith("ullage-r-")] == []


IN_A_CONTAINER = """
exec unshare --mount --pid --fork --mount-proc -- /bin/sh -c '
    echo 0 > "$1/cgroup.procs" && exec unshare --cgroup -- /bin/sh -c "$0" "$@"' '
    umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
    mount -o "remount,bind,$1" /sys/fs/cgroup && shift && exec "$@"' "$@"
"""
"""Runs a command as the first process of namespaces of its own, in the cgroup $1, which is all that
it sees of /sys/fs/cgroup ($2: rw or ro): what a container engine does."""


@pytest.fixture
def new_box() -> Iterator[Callable[[], Path]]:
    """Return a maker of cgroups with 400 MiB, as each container has one; skip without root."""
    if os.geteuid() != 0:
        pytest.skip("namespaces as a container has them need root")
    assert PARENT is not None
    Path(PARENT, "cgroup.subtree_control").write_text("+memory")
    made: list[Path] = []

    def make() -> Path:
        folder = Path(str(PARENT), f"ullage-test-box-{os.getpid()}-{len(made)}")
        folder.mkdir()
        made.append(folder)
        (folder / "memory.max").write_text(str(400 * MIB))
        return folder

    yield make
    for box in made:  # nobody is left inside; Ullage's own leaf and what it divided go, from below
        for inner, _, _ in os.walk(box, topdown=False):
            os.rmdir(inner)


def boxed(cli: Cli, box: Path, options: str) -> None:
    """Have `cli` start every command inside of the container."""
    cli.command = ["/bin/sh", "-c", IN_A_CONTAINER, "box", str(box), options, *cli.command]


def test_in_a_container_with_its_cgroup_writable_limits_work_within_its_own(
    cli: Cli, new_box: Callable[[], Path]
) -> None:
    ullage = cli.command
    boxed(cli, new_box(), "rw")
    grown = cli.run("--name", "climb", "--request", "128MiB", "--", *COMMAND)
    assert grown.code == 0, grown.err
    assert grown.result["oom_kills"] == 0
    assert grown.result["control"] == "cgroup2"
    assert grown.result["attempts"][0]["final_limit_bytes"] <= 400 * MIB
    cli.command = ullage
    boxed(cli, new_box(), "rw")
    fixed = cli.run("--name", "climb", "--limit", "128MiB", "--", *COMMAND)
    assert fixed.code == 137, fixed.err
    assert fixed.result["outcome"] == "oom_killed"


def test_in_a_container_with_its_cgroup_read_only_it_observes_and_says_why(
    cli: Cli, new_box: Callable[[], Path]
) -> None:
    boxed(cli, new_box(), "ro")
    seen = cli.run("--name", "climb", "--", *COMMAND)
    assert seen.code == 0, seen.err
    assert seen.result["control"] == "observe"
    assert "only observing: " in seen.err
    assert "Traceback" not in seen.err
    advice = cli("doctor")
    assert "observe-only: " in advice.stdout
