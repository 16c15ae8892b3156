"""A wall clock that never goes back: for the facts of one run.

Where the machine's wall clock is set back while a run lasts, its attempts and its end would
lie before its start. This clock follows the wall clock forward (also past a sleep of the
machine), and otherwise goes on by the monotonic clock. Not here: clocks that are wrong when a
run starts (`core.view.moment_of_view`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ullage.core.ports import Clock


class ForwardClock:
    """Implements core.ports.Clock over another one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_at, self._last_s = clock.now(), clock.monotonic_s()

    def now(self) -> datetime:
        """Return the wall clock, or what the monotonic clock makes of it if that is later."""
        monotonic_s = self._clock.monotonic_s()
        steady_at = self._last_at + timedelta(seconds=max(0.0, monotonic_s - self._last_s))
        self._last_at, self._last_s = max(self._clock.now(), steady_at), monotonic_s
        return self._last_at

    def monotonic_s(self) -> float:
        """Return the monotonic clock."""
        return self._clock.monotonic_s()
