"""Live growth of one attempt's limit: raise before tasks have to wait, and when they do.

The rule itself is pure (policies.live); here it meets the ledger, which says how much the
host can still give, and the sandbox. Raises stay inside the envelope that was recorded
before the start, so they need no write of their own before they happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ullage.core.allocation import FLOOR_BYTES
from ullage.core.ports import Booking, Sandbox
from ullage.core.units import format_bytes
from ullage.policies.live import bytes_to_book, grow


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """How one attempt's limit may move.

    limit_bytes: at the start. ceiling_bytes: the highest it may grow to; equal to
    limit_bytes where it may not grow. rungs_bytes: where the decision expects needs to lie.
    has_evidence: the limit rests on history, so it is booked whole.
    """

    limit_bytes: int
    ceiling_bytes: int
    rungs_bytes: tuple[int, ...] = ()
    has_evidence: bool = False

    @property
    def can_grow(self) -> bool:
        """Whether there is anywhere to grow to."""
        return self.ceiling_bytes > self.limit_bytes


PATIENCE_S = 0.25
"""Where `ullage serve` moves the limit, tasks wait for it so long before the run itself helps."""


class Growth:
    """Raises the limit of one live sandbox; keeps count of raises and waits.

    wait_for_memory_s: how long tasks may wait for memory that the host has not got now.
    say: tells the user one line.
    """

    def __init__(
        self,
        envelope: Envelope,
        sandbox: Sandbox,
        booking: Booking,
        *,
        wait_for_memory_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.raises = 0
        self.waits = 0
        self.wait_total_s = 0.0
        self.is_parking = False
        self._envelope = envelope
        self._sandbox = sandbox
        self._booking = booking
        self._wait_for_memory_s = wait_for_memory_s
        self._say = say
        self._waiting_since_s: float | None = None
        self._is_followed = False
        self.limit_bytes = sandbox.set_limit(self._first_limit_bytes())
        self._park(envelope.can_grow)

    def react(
        self,
        now_s: float,
        *,
        need_bytes: int,
        rate_bytes_per_s: float,
        is_waiting: bool,
        clock_s: Callable[[], float],
    ) -> None:
        """Raise the limit if `need_bytes` is near it or tasks wait; else leave it.

        now_s, clock_s: the monotonic clock, at the reading and later.
        """
        if is_waiting and self._waiting_since_s is None:
            self.waits += 1
            self._waiting_since_s = now_s
        if not is_waiting:
            self._end_wait(now_s)
        if self._is_followed and not self._is_left_waiting(now_s):
            return
        wanted_bytes = grow(
            need_bytes,
            self.limit_bytes,
            self._envelope.ceiling_bytes,
            self._envelope.rungs_bytes,
            rate_bytes_per_s=rate_bytes_per_s,
            is_waiting=is_waiting,
        )
        if wanted_bytes is not None and self._raise_to(wanted_bytes, need_bytes):
            self._end_wait(clock_s())
        elif is_waiting:
            self._wait_or_give_up(now_s, need_bytes, has_room=wanted_bytes is not None)

    def follow(self, limit_bytes: int | None, *, is_parked: bool | None = None) -> None:
        """Take over a limit that `ullage serve` has set.

        From the first time on the limit is its business, and this is only the net: it helps
        where tasks have been left waiting for PATIENCE_S. Where tasks do not wait any more
        though this run has asked for it (is_parked), `serve` has ended or let go: from then on
        the limit is this run's business again.
        """
        if limit_bytes is not None and limit_bytes != self.limit_bytes:
            self.limit_bytes = limit_bytes
            self._is_followed = True
        if is_parked is False and self.is_parking:
            self._sandbox.set_parking(True)
            self._is_followed = False

    def keep_booked(self, need_bytes: int) -> None:
        """Renew the booking with the present need, so that others reckon with it."""
        self._booking.book(
            booked_bytes=bytes_to_book(
                need_bytes, self.limit_bytes, has_evidence=self._envelope.has_evidence
            ),
            need_bytes=need_bytes,
        )

    def hurry(self, now_s: float) -> None:
        """Make nobody wait any longer: a task that waits in the kernel handles no signal.

        The limit may go on growing, so that the command can end in good order.
        """
        self._wait_for_memory_s = 0.0
        if self._waiting_since_s is not None:
            self.stop_waiting(now_s)

    def stop_waiting(self, now_s: float) -> None:
        """End the attempt's last wait, and let the kernel's OOM killer decide from here on."""
        self._end_wait(now_s)
        self._park(False)

    def _is_left_waiting(self, now_s: float) -> bool:
        since_s = self._waiting_since_s
        return since_s is not None and now_s - since_s >= PATIENCE_S

    def _first_limit_bytes(self) -> int:
        """Book before the start, so that runs which start together know of each other."""
        limit_bytes = self._envelope.limit_bytes
        booked_bytes = bytes_to_book(0, limit_bytes, has_evidence=self._envelope.has_evidence)
        host_ceiling_bytes = self._booking.book(booked_bytes=booked_bytes, need_bytes=0)
        if self._envelope.can_grow and host_ceiling_bytes >= FLOOR_BYTES:
            return min(limit_bytes, host_ceiling_bytes)
        return limit_bytes

    def _raise_to(self, wanted_bytes: int, need_bytes: int) -> bool:
        booked_bytes = bytes_to_book(
            need_bytes, wanted_bytes, has_evidence=self._envelope.has_evidence
        )
        host_ceiling_bytes = self._booking.book(booked_bytes=booked_bytes, need_bytes=need_bytes)
        target_bytes = min(wanted_bytes, host_ceiling_bytes)
        if target_bytes <= self.limit_bytes:
            return False
        self.limit_bytes = self._sandbox.set_limit(target_bytes)
        self.raises += 1
        self._park(True)
        return True

    def _wait_or_give_up(self, now_s: float, need_bytes: int, *, has_room: bool) -> None:
        """At the ceiling the kernel decides; where only the host is short, wait for others."""
        waited_s = now_s - (self._waiting_since_s if self._waiting_since_s is not None else now_s)
        if has_room and waited_s < self._wait_for_memory_s:
            if waited_s == 0:
                self._say(
                    f"the host has no memory to give beyond {format_bytes(self.limit_bytes)}; "
                    f"the command waits up to {self._wait_for_memory_s:.0f} s for others to finish"
                )
            return
        if self.is_parking:
            why = "the host has no more" if has_room else "this is the ceiling; see --max-memory"
            self._say(
                f"need of {format_bytes(need_bytes)} reached {format_bytes(self.limit_bytes)} and "
                f"{why}: the kernel's OOM killer decides"
            )
        self._park(False)

    def _end_wait(self, now_s: float) -> None:
        if self._waiting_since_s is not None:
            self.wait_total_s += max(0.0, now_s - self._waiting_since_s)
            self._waiting_since_s = None

    def _park(self, is_parking: bool) -> None:
        if is_parking != self.is_parking:
            self._sandbox.set_parking(is_parking)
            self.is_parking = is_parking
