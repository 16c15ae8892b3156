"""control.signals: nothing that was sent before is missed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal
from ullage.control.signals import SignalQueue
queue = SignalQueue()
for _ in range(300):
    os.kill(os.getpid(), signal.SIGINT)
    assert [one.number for one in queue.rest()] == [signal.SIGINT]
    assert queue.rest() == []
"""


def test_what_was_sent_before_is_there_although_a_thread_brings_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
