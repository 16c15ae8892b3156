"""Batches of work dealt out to forked processes; nothing is copied to them, all is inherited.

What comes back is in no particular order. Not here: what the work is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from ullage.core.errors import PermanentError
from ullage.simulation.memory_use import peak_memory_mib

T = TypeVar("T")

_POLL_S = 0.25
_PR_SET_PDEATHSIG = 1


class Progress:
    """A count that worker processes raise and the parent reads; it can tell them to stop."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._done = context.Value("q", 0)
        self._is_stopped = context.Value("b", 0)

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
class _Done(Generic[T]):
    """What one batch gave, by which process, and the memory that this one has held."""

    found: T
    pid: int
    peak_mib: float


_work: Callable[[int], object] | None = None
"""The work of this worker process."""


def deal_out(
    work: Callable[[int], T],
    sizes: Sequence[int],
    *,
    jobs: int,
    progress: Progress,
    on_progress: Callable[[int], None],
) -> tuple[list[T], float]:
    """Return ([work(0), ..., work(len(sizes) - 1)] in any order, MiB that all processes held).

    sizes: how much each batch counts. on_progress: told what is done, a few times a second;
    `progress` may be raised within a batch. Raises PermanentError where a process dies.
    """
    workers = ProcessPoolExecutor(
        max_workers=max(1, min(jobs, len(sizes))),
        mp_context=multiprocessing.get_context("fork"),
        initializer=_inherit,
        initargs=(work, os.getpid()),
    )
    try:
        futures: dict[Future[_Done[T]], int] = {
            workers.submit(_run_inherited, at): size for at, size in enumerate(sizes)
        }
        return _gathered(futures, progress, on_progress)
    except BrokenProcessPool as error:
        raise PermanentError(
            "a worker process died, perhaps for want of memory: try fewer --jobs, or --limit-rows"
        ) from error
    except BaseException:
        progress.stop()
        raise
    finally:
        workers.shutdown(wait=True, cancel_futures=True)


def _gathered(
    futures: dict[Future[_Done[T]], int], progress: Progress, on_progress: Callable[[int], None]
) -> tuple[list[T], float]:
    found: list[T] = []
    peak_mib: dict[int, float] = {}
    waiting, done_count, total = set(futures), 0, sum(futures.values())
    while waiting:
        done, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            batch = future.result()
            found.append(batch.found)
            peak_mib[batch.pid] = max(peak_mib.get(batch.pid, 0.0), batch.peak_mib)
            done_count += futures[future]
        on_progress(max(done_count, min(progress.done_count, total)))
    return found, sum(peak_mib.values()) + peak_memory_mib()


def _inherit(work: Callable[[int], object], parent_pid: int) -> None:
    """Start a worker: an interrupt at the terminal is the parent's to handle."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(parent_pid)
    _work = work


def _end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to end this process with its parent: each holds the others' pipes open.

    Where it cannot (no Linux), an orphan of a killed parent would wait for work for ever.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def _run_inherited(number: int) -> _Done[T]:
    assert _work is not None
    found: T = _work(number)  # type: ignore[assignment]
    return _Done(found=found, pid=os.getpid(), peak_mib=peak_memory_mib())
