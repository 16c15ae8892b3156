"""The streaming example: a real worker, a real daemon, a real kernel, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "examples" / "streaming" / "run.py"


def left_behind(pid: int) -> list[str]:
    """Return the cgroups that a run of the example made and did not remove."""
    mount = Path("/sys/fs/cgroup/memory")
    return [name for name, _, _ in os.walk(mount) if f"/streaming-{pid}-" in name]


def started(*words: str, temporary: Path) -> subprocess.Popen[str]:
    """Start the example with a folder of its own for temporary files."""
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, str(RUN), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("cgroup1")
def test_the_limit_follows_the_worker_and_nothing_dies(tmp_path: Path) -> None:
    figures, temporary = tmp_path / "figures.json", tmp_path / "temporary"
    process = started("--quick", "--json", str(figures), temporary=temporary)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    seen = json.loads(figures.read_text())
    assert seen["oom_kills_count"] == 0
    assert seen["worker_exit_code"] == 0
    assert seen["is_proven"]
    assert seen["cuts_count"] >= 2
    assert seen["raises_count"] >= 1
    assert seen["lowest_limit_mib"] < 512
    assert "the chain is whole, no rule is broken" in output
    assert left_behind(process.pid) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.real
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("cgroup1")
def test_it_stops_in_good_order_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = started(temporary=tmp_path / "temporary")
    assert process.stdout is not None
    while "limit  1024 MiB" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.strip() == "stopped: the worker, the daemon and the cgroup are gone"
    assert left_behind(process.pid) == []
    assert list((tmp_path / "temporary").iterdir()) == []
