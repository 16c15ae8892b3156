"""The workers of one execution of a pipeline: each one is a command under `ullage run`.

Limit, growth, record, history and clean-up are `ullage run`'s; here is only who starts
them, who notices that one has died, and what is said then. Knows nothing of Beam.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ullage.core.errors import UllageError
from ullage.core.units import format_bytes

_END_GRACE_S = 60.0
"""How long a worker that was let go may take to end before it is told to."""
_TERM_GRACE_S = 5.0
"""How long it may take then before its whole tree is killed."""
_BETWEEN_S = 0.5
_KILL_GRACE_S = 15.0


class WorkerDiedError(UllageError):
    """A worker ended before its pipeline did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnd:
    """How one worker ended. `result` is what its `ullage run` wrote with --json, {} if nothing."""

    name: str
    exit_code: int
    result: Mapping[str, Any]

    @property
    def run_id(self) -> str | None:
        """The worker's run in the record, None where it was never begun."""
        return self.result.get("run_id")

    @property
    def oom_kills(self) -> int:
        """OOM kills of this worker."""
        return int(self.result.get("oom_kills", 0))


class Crew:
    """Starts workers and ends them. `close` removes what it made; use it as a context.

    workload_key: whose runs they are. run_words: what follows `python -m ullage`.
    """

    def __init__(self, workload_key: str, run_words: Sequence[str]) -> None:
        self.workload_key = workload_key
        self.ends: list[WorkerEnd] = []
        self.is_failing = False
        """Once set, workers are ended at once and not waited for."""
        self._run_words = tuple(run_words)
        self._folder = Path(tempfile.mkdtemp(prefix="ullage-beam-"))
        self._live: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: set[str] = set()
        self._lock = threading.Lock()
        self._has_died = threading.Event()
        self._died: WorkerEnd | None = None
        self._watchers: list[threading.Thread] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.is_failing = self.is_failing or kind is not None
        self.close()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str]) -> None:
        """Start `command` as a worker. If it ends before it is let go, that is its death."""
        words = [sys.executable, "-P", "-m", "ullage", *self._run_words]
        words += ["--json", str(self._folder / f"{name}.json"), "--", *command]
        process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL)
        with self._lock:
            self._live[name] = process
        watcher = threading.Thread(
            target=self._watch, args=(name, process), name=f"watch {name}", daemon=True
        )
        self._watchers.append(watcher)
        watcher.start()

    @property
    def names(self) -> tuple[str, ...]:
        """All workers that were started."""
        return tuple(self._live)

    def let_go(self, name: str) -> None:
        """Say that a worker is expected to end now."""
        with self._lock:
            self._leaving.add(name)

    def end(self, name: str) -> None:
        """Wait for a worker that was let go; tell it to end, then kill its tree, if it does not.

        A worker of a crew that is failing is told at once. Its run is recorded in any case.
        """
        self.let_go(name)
        process = self._live.get(name)
        if process is None:
            return
        if not self.is_failing and _has_ended(process, _END_GRACE_S):
            return
        # Three are an order to kill the tree; at once, two would count as one.
        for grace_s in (_TERM_GRACE_S, _BETWEEN_S, _KILL_GRACE_S):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            if _has_ended(process, grace_s):
                return
        process.kill()  # its sentinel gives the cgroup back
        process.wait()

    def death(self, *, wait_s: float = 0.0) -> WorkerEnd | None:
        """Return the first worker that died, waiting up to `wait_s` for one."""
        self._has_died.wait(wait_s)
        return self._died

    def close(self) -> None:
        """End all workers, and remove the folder of their results."""
        for name in tuple(self._live):
            self.let_go(name)
        with ThreadPoolExecutor(max(1, len(self._live))) as pool:
            list(pool.map(self.end, tuple(self._live)))
        for watcher in self._watchers:
            watcher.join(_KILL_GRACE_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        exit_code = process.wait()
        end = WorkerEnd(name=name, exit_code=exit_code, result=self._result(name))
        with self._lock:
            is_early = name not in self._leaving
            self.ends.append(end)
            if is_early and self._died is None:
                self._died = end
        if is_early:
            self._has_died.set()

    def _result(self, name: str) -> Mapping[str, Any]:
        try:
            found = json.loads((self._folder / f"{name}.json").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@contextmanager
def sigterm_ends_workers() -> Iterator[None]:
    """Let a SIGTERM end the program by way of its `finally` blocks, so that workers end too.

    Only where nobody handles it otherwise, and where signals can be handled (main thread).
    """
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit_on_signal(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def death_in_words(end: WorkerEnd, *, workload_key: str, stage: str | None = None) -> str:
    """Return in one line which worker died, of what, and what to do about it."""
    where = f" in stage {stage[:100]!a}" if stage else ""
    who = f"{end.name} of {workload_key}"
    attempts = end.result.get("attempts") or [{}]
    limit_bytes, peak_bytes = attempts[-1].get("final_limit_bytes"), attempts[-1].get("peak_bytes")
    if end.oom_kills:
        return (
            f"{who} was OOM-killed at its limit of {format_bytes(limit_bytes)}{where} "
            f"(it needed at least {format_bytes(peak_bytes)}): leave out --ullage_worker_limit and "
            "it grows, raise --ullage_max_memory, or see `ullage describe "
            f"{workload_key}` for the stage that needs the memory"
        )
    if end.result.get("outcome") == "refused":
        reason = (end.result.get("recommendation") or {}).get("reason", "see the line above")
        return f"{who} was not started: {reason}"
    if not end.result:
        return (
            f"{who} ended with {_code(end.exit_code)}{where} without a result: see the line above"
        )
    return (
        f"{who} ended with {_code(end.exit_code)}{where}, not for want of memory (peak "
        f"{format_bytes(peak_bytes)}, limit {format_bytes(limit_bytes)}): its last words are above"
    )


def worker_command(module: str, *words: str) -> list[str]:
    """Return the command that runs `module` where it finds what the program itself finds.

    Only the worker gets that path, not the `ullage run` around it: a program's folder may
    hold a file of any name.
    """
    found = [] if sys.flags.safe_path else [os.path.abspath(sys.path[0] or ".")]
    path = os.pathsep.join([*found, *filter(None, [os.environ.get("PYTHONPATH")])])
    return ["env", f"PYTHONPATH={path}", sys.executable, "-m", module, *words]


def _code(exit_code: int) -> str:
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def _has_ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while process.poll() is None:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True
