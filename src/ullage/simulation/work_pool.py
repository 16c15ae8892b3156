"""Work done by forked processes; nothing is copied to them, all is inherited.

What comes back is in no particular order of time. Not here: what the work is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

from ullage.core.errors import PermanentError
from ullage.simulation.memory_use import peak_memory_mib

M = TypeVar("M")
T = TypeVar("T")

_POLL_S = 0.25
_PR_SET_PDEATHSIG = 1
_CONTEXT = multiprocessing.get_context("fork")


class Progress:
    """A count that worker processes raise and the parent reads; it can tell them to stop."""

    def __init__(self) -> None:
        self._done = _CONTEXT.Value("q", 0)
        self._is_stopped = _CONTEXT.Value("b", 0)

    def add(self, count: int) -> None:
        """Count `count` more; raise InterruptedError where the parent has stopped the work."""
        with self._done.get_lock():
            self._done.value += count
        if self._is_stopped.value:
            raise InterruptedError

    def stop(self) -> None:
        """Make every later `add` raise."""
        self._is_stopped.value = 1

    @property
    def done_count(self) -> int:
        """What was counted so far."""
        return int(self._done.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply(Generic[T]):
    """What one message led to, and the most memory that the process has held."""

    found: T | None = None
    error: BaseException | None = None
    peak_mib: float


class WorkPool(Generic[M, T]):
    """One forked process for each of `works`; each keeps what its work keeps between messages.

    works: called with a message each, in their process. on_progress: told what `progress`
    counts, a few times a second, while the parent waits. A context manager: leaving it
    ends all processes.
    """

    def __init__(
        self,
        works: Sequence[Callable[[M], T]],
        *,
        progress: Progress,
        on_progress: Callable[[int], None],
    ) -> None:
        self._progress, self._on_progress = progress, on_progress
        self._peak_mib = [0.0] * len(works)
        self._ends: list[Connection] = []
        self._processes = []
        parent_pid = os.getpid()
        for work in works:
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(
                target=_serve, args=(theirs, [*self._ends, ours], work, parent_pid), daemon=True
            )
            process.start()
            theirs.close()
            self._ends.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join()

    @property
    def peak_mib(self) -> float:
        """MiB that all processes held at most, this one included."""
        return sum(self._peak_mib) + peak_memory_mib()

    def ask_all(self, message: M) -> list[T]:
        """Return what each work answers to `message`, in the order of the works.

        Raises what a work raises; PermanentError where a process dies.
        """
        for at in range(len(self._ends)):
            self._send(at, message)
        found = dict(self._replies(len(self._ends)))
        return [found[at] for at in range(len(self._ends))]

    def deal(self, messages: Iterable[M]) -> list[T]:
        """Return what the works answer, each message to whichever is free, in any order.

        Raises as ask_all.
        """
        left = deque(messages)
        total = len(left)
        for at in range(min(len(self._ends), total)):
            self._send(at, left.popleft())
        found: list[T] = []
        for at, reply in self._replies(total):
            found.append(reply)
            if left:
                self._send(at, left.popleft())
        return found

    def _send(self, at: int, message: M) -> None:
        try:
            self._ends[at].send(message)
        except OSError as error:
            raise self._died(at) from error

    def _replies(self, count: int) -> Iterable[tuple[int, T]]:
        """Yield `count` answers as they come, each with the number of its work."""
        while count:
            for end in wait(self._ends, timeout=_POLL_S):
                at = self._ends.index(end)  # type: ignore[arg-type]
                yield at, self._receive(at)
                count -= 1
            self._on_progress(self._progress.done_count)

    def _receive(self, at: int) -> T:
        try:
            reply: _Reply[T] = self._ends[at].recv()
        except (EOFError, OSError) as error:
            raise self._died(at) from error
        self._peak_mib[at] = max(self._peak_mib[at], reply.peak_mib)
        if reply.error is not None:
            raise reply.error
        return reply.found  # type: ignore[return-value]

    def _died(self, at: int) -> PermanentError:
        self._processes[at].join(1.0)
        return PermanentError(
            f"a worker process died (exit code {self._processes[at].exitcode}), perhaps for want "
            "of memory: try fewer --jobs, or --limit-rows"
        )


def _serve(
    end: Connection, foreign: Sequence[Connection], work: Callable[[M], T], parent_pid: int
) -> None:
    """Answer messages until the parent closes its end of the pipe.

    foreign: ends of pipes that are the parent's, inherited by the fork.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    _end_with_parent(parent_pid)
    for other in foreign:
        other.close()
    while True:
        try:
            message = end.recv()
        except EOFError:
            return
        try:
            reply = _Reply(found=work(message), peak_mib=peak_memory_mib())
        except InterruptedError:
            return
        except Exception as error:  # the parent raises it
            reply = _Reply(error=error, peak_mib=peak_memory_mib())
        try:
            end.send(reply)
        except OSError:
            return


def _end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to end this process with its parent, whatever it is doing then.

    Where it cannot (no Linux), it ends when it looks for the next message.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
