"""Work dealt out to forked processes: it all comes back, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ullage.core.errors import DataError, PermanentError
from ullage.simulation.work_pool import Progress, WorkPool
from ullage.testing.sandbox_contract import wait_until

SCRIPT = """
import os, sys, time
from ullage.simulation.work_pool import Progress, WorkPool

def work(number):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(120)

with WorkPool([work, work], progress=Progress(), on_progress=lambda done: None) as pool:
    pool.deal([0, 1])
"""


def _pool(
    works: Sequence[Callable[[Any], Any]], progress: Progress | None = None
) -> WorkPool[Any, Any]:
    return WorkPool(works, progress=progress or Progress(), on_progress=lambda done: None)


def test_every_message_is_answered_once_by_other_processes() -> None:
    with _pool([lambda number: (number, os.getpid())] * 2) as pool:
        found = pool.deal(range(9))
        assert pool.peak_mib > 10
    assert sorted(number for number, _ in found) == list(range(9))
    assert os.getpid() not in {pid for _, pid in found}


def test_each_work_keeps_what_it_learned_between_messages() -> None:
    class Sum:
        def __init__(self, first: int) -> None:
            self.total = first

        def __call__(self, number: int) -> int:
            self.total += number
            return self.total

    with _pool([Sum(0), Sum(100)]) as pool:
        assert pool.ask_all(1) == [1, 101]
        assert pool.ask_all(2) == [3, 103]


def test_no_work_is_no_result() -> None:
    with _pool([]) as pool:
        assert pool.deal([]) == []
        assert pool.ask_all(1) == []


def test_what_a_work_raises_is_raised_here() -> None:
    def work(number: int) -> int:
        raise DataError(f"not {number}")

    with _pool([work]) as pool, pytest.raises(DataError, match="not 3"):
        pool.ask_all(3)


def test_a_worker_that_dies_is_an_error_that_names_the_way_out() -> None:
    with _pool([lambda number: os._exit(9)]) as pool, pytest.raises(PermanentError, match="--jobs"):
        pool.ask_all(1)


def test_an_interrupt_stops_work_that_would_go_on_for_ever() -> None:
    progress = Progress()

    def work(number: int) -> None:
        while True:
            progress.add(1)
            time.sleep(0.01)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        WorkPool([work, work], progress=progress, on_progress=interrupt) as pool,
    ):
        pool.deal([1, 1])


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_parent_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)])
    assert wait_until(lambda: len(list(folder.iterdir())) == 2)
    workers = [int(file.name) for file in folder.iterdir()]
    assert all(map(_is_running, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not any(map(_is_running, workers)))
