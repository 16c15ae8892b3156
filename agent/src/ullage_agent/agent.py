"""The agent of this process: one daemon thread, the log line, start, fork and exit.

Everything that runs inside somebody else's worker catches everything: an agent that fails falls
silent. A child made by fork has no agent: its memory is its own, and threads do not survive a
fork; the parent's cgroup still counts it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time

from ullage_agent import beam_metrics
from ullage_agent.sampler import Sampler

REPORT_S = 300.0
LEAST_REPORT_S, MOST_REPORT_S = 1.0, 86_400.0
EXIT_WAIT_S = 1.0
"""Seconds that the last report may hold up the end of the process."""
MOST_FAULTS = 20
"""Samples in a row that may fail before the agent gives up."""

LOGGER = logging.getLogger("ullage_agent")


class Agent:
    """The thread and its sampler."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self._pid = os.getpid()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ullage-agent", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where no thread can be had."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Say whether the thread lives in this very process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def close(self) -> None:
        """Have the thread report for the last time, and wait a little for it."""
        if self._pid == os.getpid():
            self._end.set()
            self._thread.join(EXIT_WAIT_S)

    def tell(self, reason: str) -> None:
        """Write one line to the log."""
        told = {**self.sampler.report(reason), "pid": self._pid}
        LOGGER.info("ullage_agent %s", json.dumps(told, separators=(",", ":")))
        if reason in ("start", "peak") and self.sampler.need_peak_bytes:
            beam_metrics.tell_peak(self.sampler.need_peak_bytes)

    def _run(self) -> None:
        faults = 0
        while faults < MOST_FAULTS:
            try:
                beam_metrics.install(self.sampler)
                reason = self.sampler.sample()
                if reason is not None:
                    self.tell(reason)
                faults = 0
            except BaseException:  # a handler of the log may raise anything at all
                faults += 1
            if self._end.wait(self.sampler.interval_s):
                break
        if self._end.is_set():
            try:
                self.sampler.sample()
                self.tell("exit")
            except BaseException:
                return  # the process ends: there is nobody left to tell


_agent: Agent | None = globals().get("_agent")
"""The one agent of this process; a module that is loaded again keeps it."""
_starting = threading.Lock()


def start() -> bool:
    """Start the agent of this process, once; say whether it runs."""
    global _agent
    with _starting:
        if _agent is not None:
            return _agent.is_running
        if LOGGER.level == logging.NOTSET and not LOGGER.isEnabledFor(logging.INFO):
            LOGGER.setLevel(logging.INFO)
        agent = Agent(Sampler(time.monotonic, report_s=_report_s()))
        _agent = agent
        beam_metrics.install(agent.sampler)
        agent.start()
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        return True


def _report_s() -> float:
    """Return seconds between two reports: ULLAGE_AGENT_REPORT_S, where it is a sensible number."""
    try:
        given = float(os.environ.get("ULLAGE_AGENT_REPORT_S", ""))
    except ValueError:
        return REPORT_S
    return given if LEAST_REPORT_S <= given <= MOST_REPORT_S else REPORT_S


def _at_exit() -> None:
    try:
        if _agent is not None:
            _agent.close()
    except Exception:
        return


def _after_fork() -> None:
    """In the child: no thread of ours, no lock that somebody held, no metrics."""
    global _starting
    try:
        _starting = threading.Lock()
        if _agent is not None:
            _agent.sampler.forget_locks()
        beam_metrics.forget()
    except Exception:
        return
