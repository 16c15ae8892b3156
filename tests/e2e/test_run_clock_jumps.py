"""`ullage run` for real, under a wall clock that jumps while the command runs."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import HOG, Cli
from ullage.core.workload import Run
from ullage.stores.state import SqliteStateStore

JUMPING = """
import os, sys
from datetime import timedelta
from ullage import bootstrap

jump, mark = timedelta(hours=float(sys.argv.pop(1))), sys.argv.pop(1)
real = bootstrap.SystemClock.now
bootstrap.SystemClock.now = lambda self: real(self) + (
    jump if os.path.exists(mark) else timedelta()
)
from ullage.__main__ import main
main()
"""
"""The real command; only what the machine's wall clock says is another, once the job runs."""

JOB = f"import sys; open(sys.argv[3], 'w').close(){HOG}"


def run(cli: Cli, hours: float, seconds: float) -> Run:
    mark = str(cli.folder / "running")
    words = [sys.executable, "-c", JUMPING, str(hours), mark, "run", "--name", "hog", "--quiet"]
    done = subprocess.run(
        [*words, "--", *cli.python, JOB, "30", str(seconds), mark],
        env=cli.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    store = SqliteStateStore.open(Path(cli.env["ULLAGE_STATE_DIR"]) / "state.db")
    found = store.runs()[0]
    store.close()
    return found


@pytest.mark.parametrize("hours", [-1.0, 1.0])
def test_a_jump_during_a_run_reorders_nothing_and_hides_nothing(cli: Cli, hours: float) -> None:
    begun_at = datetime.now(UTC)
    run_ = run(cli, hours, 1.5)
    (attempt,) = run_.attempts
    assert run_.known_at is not None
    assert run_.known_at >= attempt.started_at + attempt.runtime >= run_.started_at >= begun_at
    assert timedelta(seconds=1) < attempt.runtime < timedelta(minutes=1)
    assert (run_.known_at - run_.started_at > timedelta(minutes=30)) == (hours > 0)
    path = Path(cli.env["ULLAGE_STATE_DIR"]) / "state.db"
    store = SqliteStateStore.open(path)
    table = store.workload_samples(
        "hog", since=begun_at - timedelta(days=1), until=begun_at + timedelta(days=1)
    )
    store.close()
    assert len(table) > 3
    assert (table.at_us[1:] >= table.at_us[:-1]).all()
    assert table.at_us[-1] - table.at_us[0] < 60_000_000
    # the clock is right again, and an end that lies an hour ahead is known all the same
    explained = cli("explain", "hog", "--output", "json")
    assert '"runs_used": 1' in explained.stdout, explained.stdout
