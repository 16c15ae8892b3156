"""Runs the real `ullage` command in its own state, and looks at what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ullage.testing.sandbox_contract import wait_until

HOG = """
import mmap, sys, time
size, seconds = int(float(sys.argv[1]) * (1 << 20)), float(sys.argv[2]) if len(sys.argv) > 2 else 0
block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, size, 4096):
    block[page] = 1
time.sleep(seconds)
"""
"""Touches argv[1] MiB at full speed, then sleeps argv[2] seconds."""


@dataclass(frozen=True)
class Ended:
    """How one `ullage run` ended."""

    code: int
    out: str
    err: str
    result: dict[str, Any]


class Cli:
    """`ullage` with a private state directory and ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "ULLAGE_STATE_DIR": str(folder / "state"),
            "ULLAGE_LEDGER": str(folder / "ledger.db"),
        }
        self.env.pop("ULLAGE_RUN_ID", None)
        self.command = [sys.executable, "-m", "ullage"]
        self.python = [sys.executable, "-S", "-c"]
        self._count = 0

    def __call__(self, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run any `ullage` command to its end."""
        words = [*self.command, *map(str, args)]
        chosen = {"timeout": 120, **options}
        return subprocess.run(words, env=self.env, capture_output=True, text=True, **chosen)

    def run(self, *args: object, **options: Any) -> Ended:
        """Run `ullage run ARGS` with --json and read the result."""
        self._count += 1
        file = self.folder / f"result-{self._count}.json"
        done = self("run", "--json", file, *args, **options)
        result = json.loads(file.read_text()) if file.exists() else {}
        return Ended(done.returncode, done.stdout, done.stderr, result)

    def hog(self, mib: float, seconds: float = 0, options: tuple[object, ...] = ()) -> Ended:
        """Run a program that needs `mib` MiB under `ullage run OPTIONS`."""
        return self.run("--name", "hog", *options, "--", *self.python, HOG, mib, seconds)

    def start(self, *args: object, **options: Any) -> subprocess.Popen[str]:
        """Start `ullage ARGS` and go on."""
        words = [*self.command, *map(str, args)]
        return subprocess.Popen(words, env=self.env, text=True, **options)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def no_cgroup_left(cgroup1: str) -> Iterator[Callable[[], list[str]]]:
    """Return a lister of ullage cgroups that were not there before; at the end there are none."""

    def listed() -> set[str]:
        return {name for name in os.listdir(cgroup1) if name.startswith("ullage-r-")}

    before = listed()

    def new() -> list[str]:
        return sorted(listed() - before)

    yield new
    assert wait_until(lambda: not new()), f"cgroups left behind: {new()}"
