"""`ullage run` on cgroup v2: killed under a fixed limit, kept alive where it may grow."""

from __future__ import annotations

import sys

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
    assert (fixed.code, fixed.result["outcome"]) == (137, "oom_killed")
    assert fixed.result["control"] == "cgroup2"
    grown = cli.run("--name", "climb", "--request", "128MiB", "--", *COMMAND)
    assert (grown.code, grown.result["oom_kills"]) == (0, 0), grown.err
    assert grown.result["raises"] >= 1
    assert grown.result["attempts"][0]["peak_bytes"] >= 300 * MIB
    third = cli.run("--name", "climb", "--", *COMMAND)
    assert (third.code, third.result["oom_kills"]) == (0, 0), third.err


def test_at_the_ceiling_the_kernel_decides(cli: Cli) -> None:
    ended = cli.run("--request", "64MiB", "--max-memory", "160MiB", "--", *COMMAND)
    assert (ended.code, ended.result["outcome"]) == (137, "oom_killed")


def test_no_cgroup_stays_behind(cli: Cli) -> None:
    import os

    assert PARENT is not None
    cli.run("--", "true")
    assert [name for name in os.listdir(PARENT) if name.startswith("ullage-r-")] == []
