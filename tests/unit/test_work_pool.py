"""Work dealt out to forked processes: it all comes back, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ullage.simulation.work_pool import Progress, deal_out
from ullage.testing.sandbox_contract import wait_until

SCRIPT = """
import os, sys, time
from ullage.simulation.work_pool import Progress, deal_out

def work(number):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(120)

deal_out(work, [1, 1], jobs=2, progress=Progress(), on_progress=lambda done: None)
"""


def test_every_batch_comes_back_once_from_other_processes() -> None:
    found, peak_mib = deal_out(
        lambda number: (number, os.getpid()),
        [1] * 9,
        jobs=2,
        progress=Progress(),
        on_progress=lambda done: None,
    )
    assert sorted(number for number, _ in found) == list(range(9))
    assert os.getpid() not in {pid for _, pid in found}
    assert peak_mib > 10


def test_no_work_is_no_result() -> None:
    found, _ = deal_out(
        lambda number: number, [], jobs=2, progress=Progress(), on_progress=lambda done: None
    )
    assert found == []


def test_an_interrupt_stops_work_that_would_go_on_for_ever() -> None:
    progress = Progress()

    def work(number: int) -> None:
        while True:
            progress.add(1)
            time.sleep(0.01)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deal_out(work, [1, 1], jobs=2, progress=progress, on_progress=interrupt)


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
