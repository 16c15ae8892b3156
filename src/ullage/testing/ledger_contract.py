"""What every ledger of bookings must do. Subclass `LedgerContract` and give `open_ledger`.

Owners are real processes, which really die.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

from ullage.core.ports import Booking
from ullage.core.units import GIB, MIB


class Ledger(Protocol):
    """How a run joins."""

    def join(
        self,
        *,
        run_id: str,
        pid: int,
        sentinel_pid: int | None = None,
        parent_run_id: str | None = None,
    ) -> Booking:
        """Enter a run and return its booking."""
        ...


class HostDouble:
    """The host's memory as a test sets it; 1 GiB of its 16 is the reserve."""

    def __init__(self) -> None:
        self.available_bytes = 10 * GIB
        self.total_bytes = 16 * GIB

    def __call__(self) -> tuple[int, int]:
        """Return (available_bytes, total_bytes)."""
        return self.available_bytes, self.total_bytes


OpenLedger = Callable[[Callable[[], tuple[int, int]]], Ledger]


@contextmanager
def sleeping_process() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that does nothing; it is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


class LedgerContract:
    """The suite."""

    @pytest.fixture
    def open_ledger(self) -> OpenLedger:
        """Return what opens the same ledger over a reader of the host's memory."""
        raise NotImplementedError

    @pytest.fixture
    def host(self) -> HostDouble:
        """Return a host with 10 GiB available."""
        return HostDouble()

    @pytest.fixture
    def join(self, open_ledger: OpenLedger, host: HostDouble) -> Callable[..., Booking]:
        """Return what enters a run, each through a ledger of its own, as processes do."""

        def join(
            run_id: str,
            *,
            pid: int | None = None,
            sentinel_pid: int | None = None,
            parent: str | None = None,
        ) -> Booking:
            return open_ledger(host).join(
                run_id=run_id,
                pid=os.getpid() if pid is None else pid,
                sentinel_pid=sentinel_pid,
                parent_run_id=parent,
            )

        return join

    def test_alone_it_may_grow_to_the_budget(self, join: Callable[..., Booking]) -> None:
        """Own need, and what is available but for the reserve."""
        assert join("a").ceiling_bytes(2 * GIB) == 11 * GIB

    def test_the_budget_is_worked_out_anew(
        self, join: Callable[..., Booking], host: HostDouble
    ) -> None:
        """What others outside take is gone at the next question."""
        booking = join("a")
        host.available_bytes = 3 * GIB
        assert booking.ceiling_bytes(2 * GIB) == 4 * GIB
        host.available_bytes = 0
        assert booking.ceiling_bytes(0) == 0

    def test_what_one_has_booked_another_cannot_have(self, join: Callable[..., Booking]) -> None:
        """Only what the one does not need yet: the rest is no longer available anyway."""
        one, other = join("one"), join("other")
        assert one.book(booked_bytes=6 * GIB, need_bytes=GIB) == 10 * GIB
        assert other.ceiling_bytes(0) == 4 * GIB
        assert other.book(booked_bytes=2 * GIB, need_bytes=0) == 4 * GIB
        assert one.ceiling_bytes(GIB) == 8 * GIB

    def test_a_booking_is_cut_to_what_there_is(self, join: Callable[..., Booking]) -> None:
        """The caller sees the ceiling; the rest of the host stays with the others."""
        one, other = join("one"), join("other")
        other.book(booked_bytes=2 * GIB, need_bytes=0)
        assert one.book(booked_bytes=100 * GIB, need_bytes=0) == 7 * GIB
        assert other.ceiling_bytes(0) == 2 * GIB

    def test_a_booking_replaces_the_last_one(self, join: Callable[..., Booking]) -> None:
        """Less is given back, more is taken."""
        one, other = join("one"), join("other")
        one.book(booked_bytes=6 * GIB, need_bytes=0)
        one.book(booked_bytes=512 * MIB, need_bytes=0)
        assert other.ceiling_bytes(0) == 9 * GIB - 512 * MIB

    def test_what_is_released_is_free(self, join: Callable[..., Booking]) -> None:
        """Also twice, and a question afterwards is answered."""
        one, other = join("one"), join("other")
        one.book(booked_bytes=6 * GIB, need_bytes=0)
        one.release()
        one.release()
        assert other.ceiling_bytes(0) == 9 * GIB
        assert one.ceiling_bytes(0) == 9 * GIB

    def test_a_booking_dies_with_its_owner(self, join: Callable[..., Booking]) -> None:
        """Killed, and not even waited for: a zombie books nothing."""
        with sleeping_process() as process:
            join("doomed", pid=process.pid).book(booked_bytes=6 * GIB, need_bytes=0)
            other = join("other")
            assert other.ceiling_bytes(0) == 3 * GIB
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert other.ceiling_bytes(0) == 9 * GIB
            assert other.book(booked_bytes=8 * GIB, need_bytes=0) == 9 * GIB

    def test_the_sentinel_keeps_the_booking(self, join: Callable[..., Booking]) -> None:
        """While the command runs on without its supervisor."""
        with sleeping_process() as sentinel:
            with sleeping_process() as supervisor:
                join("run", pid=supervisor.pid, sentinel_pid=sentinel.pid).book(
                    booked_bytes=6 * GIB, need_bytes=0
                )
            other = join("other")
            assert other.ceiling_bytes(0) == 3 * GIB
        assert other.ceiling_bytes(0) == 9 * GIB

    def test_a_run_inside_a_run_uses_its_booking(self, join: Callable[..., Booking]) -> None:
        """They do not count against each other; others see the outer booking only."""
        outer, inner, stranger = join("outer"), join("inner", parent="outer"), join("stranger")
        outer.book(booked_bytes=8 * GIB, need_bytes=GIB)
        assert inner.ceiling_bytes(0) == 9 * GIB
        inner.book(booked_bytes=6 * GIB, need_bytes=0)
        assert outer.ceiling_bytes(GIB) == 10 * GIB
        assert stranger.ceiling_bytes(0) == 2 * GIB

    def test_an_inner_run_alone_counts_like_any(self, join: Callable[..., Booking]) -> None:
        """Where the outer run has ended, or never was."""
        outer, inner, stranger = join("outer"), join("inner", parent="outer"), join("stranger")
        inner.book(booked_bytes=6 * GIB, need_bytes=0)
        assert stranger.ceiling_bytes(0) == 9 * GIB
        outer.release()
        assert stranger.ceiling_bytes(0) == 3 * GIB
