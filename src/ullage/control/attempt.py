"""One attempt: start the command in its sandbox, watch it, let its limit grow, end it whole."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ullage.control.growth import Envelope, Growth
from ullage.control.launch import shell_exit_code, start_command
from ullage.control.meter import Meter
from ullage.control.signals import ENDING, ReceivedSignal, SignalQueue
from ullage.core.errors import PermanentError
from ullage.core.ports import Booking, Clock, MemorySource, Sandbox
from ullage.core.telemetry import PressureState, SampleSeries
from ullage.core.workload import Attempt, ControlKind, Outcome

_REBOOK_EVERY_S = 1.0
_SETTLE_S = 0.1
"""How long what a command started may take to end after it, before it counts as left running:
Python's multiprocessing leaves a tracker that ends by itself."""
_KILL_TREE_AT_SIGNAL = 3
"""The third Ctrl-C kills the whole tree: whoever presses it three times means it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """How closely an attempt is watched. Spans in seconds."""

    poll_s: float = 0.05
    observe_poll_s: float = 0.2
    """Reading a process tree costs milliseconds, a cgroup microseconds."""
    fast_poll_s: float = 0.005
    fast_above_ratio: float = 0.8
    """Need / limit above which the fast period holds."""
    fast_above_bytes_per_s: float = 20e6
    """Growth of need above which the fast period holds."""
    calm_poll_s: float = 0.2
    calm_after_s: float = 2.0
    """A young run is read often: its figures rest on few readings."""
    calm_below_ratio: float = 0.45
    """Usage / limit below which the calm period may hold: under the lowest warning level."""
    calm_below_bytes_per_s: float = 1e6
    wait_for_memory_s: float = 60.0
    end_tree_grace_s: float = 5.0
    """After an interruption, what is left of the tree gets this long before SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlan:
    """What to run and how its limit may move; envelope None = measure only.

    is_shared: `ullage serve` may move the limit too.
    """

    number: int
    argv: Sequence[str]
    env: Mapping[str, str]
    envelope: Envelope | None
    is_shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The ports of one attempt. `open_source` is called with the command's process id."""

    sandbox: Sandbox
    open_source: Callable[[int], MemorySource]
    booking: Booking


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """An ended attempt, its samples, and how many processes it left running."""

    attempt: Attempt
    samples: SampleSeries
    left_running_count: int
    is_interrupted: bool


class AttemptWatch:
    """Runs one attempt from start to end. Use once."""

    def __init__(
        self,
        plan: AttemptPlan,
        target: Target,
        *,
        clock: Clock,
        signals: SignalQueue,
        settings: WatchSettings,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._target = target
        self._clock = clock
        self._signals = signals
        self._settings = settings
        self._say = say
        self._meter = Meter()
        self._growth: Growth | None = None
        self._source: MemorySource | None = None
        self._pressure = PressureState(is_waiting=False, oom_kills=0)
        self._endings = 0
        self._first_limit_bytes: int | None = None

    def run(self) -> AttemptEnd:
        """Start the command, watch it to its end, and return what happened.

        Raises CommandNotStartedError, or PermanentError where the sandbox refuses, before
        the command has run; afterwards the attempt always ends with a record.
        """
        if self._plan.envelope is not None:
            self._growth = Growth(
                self._plan.envelope,
                self._target.sandbox,
                self._target.booking,
                wait_for_memory_s=self._settings.wait_for_memory_s,
                say=self._say,
            )
            self._first_limit_bytes = self._growth.limit_bytes
        started_at, self._started_s = self._clock.now(), self._clock.monotonic_s()
        process = start_command(self._plan.argv, env=self._plan.env, in_child=self._in_child)
        self._open_source(process.pid)
        returncode = self._watch(process)
        runtime_s = self._clock.monotonic_s() - self._started_s
        self._read(is_last=True)
        left_count = self._end_tree()
        attempt = Attempt(
            number=self._plan.number,
            started_at=started_at,
            limit_bytes=self._first_limit_bytes,
            final_limit_bytes=self._limit_bytes,
            peak_bytes=self._peak_bytes(),
            runtime=timedelta(seconds=runtime_s),
            outcome=self._outcome(returncode),
            exit_code=shell_exit_code(returncode),
            oom_kills=self._pressure.oom_kills,
            raises=self._growth.raises if self._growth else 0,
            waits=self._growth.waits if self._growth else 0,
            wait_total=timedelta(seconds=self._growth.wait_total_s if self._growth else 0.0),
            reserved_byte_seconds=self._meter.reserved_byte_seconds if self._growth else None,
            used_byte_seconds=self._meter.used_byte_seconds,
        )
        if self._source is not None:
            self._source.close()
        return AttemptEnd(
            attempt=attempt,
            samples=self._meter.samples,
            left_running_count=left_count,
            is_interrupted=self._endings > 0,
        )

    @property
    def _limit_bytes(self) -> int | None:
        return self._growth.limit_bytes if self._growth else None

    def _in_child(self) -> None:
        self._target.sandbox.enter()
        self._signals.restore_in_child()

    def _open_source(self, pid: int) -> None:
        try:
            self._source = self._target.open_source(pid)
            if self._growth is not None and self._growth.is_parking:
                self._source.expect_limit(self._growth.limit_bytes)
        except PermanentError as error:
            self._lose_target(error)

    def _watch(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the command's end; read and react on every event and on the timer."""
        pid_fd = os.pidfd_open(process.pid)
        poll = select.poll()
        wake_fds = set(self._source.wake_fds() if self._source else ())
        for fd in (pid_fd, self._signals.fd, *wake_fds):
            poll.register(fd, select.POLLIN)
        rebook_s = self._started_s + _REBOOK_EVERY_S
        try:
            while True:
                ready = [fd for fd, _ in poll.poll(self._period_ms())]
                if self._signals.fd in ready:  # first: it may be why the command has ended
                    self._on_signal(process, self._signals.next())
                if pid_fd in ready:
                    for received in self._signals.rest():
                        self._on_signal(process, received)
                    return process.wait()
                for fd in wake_fds.intersection(ready):
                    os.read(fd, 4096)
                self._read()
                now_s = self._clock.monotonic_s()
                if self._growth is not None and now_s >= rebook_s:
                    self._growth.keep_booked(self._meter.need_bytes)
                    rebook_s = now_s + _REBOOK_EVERY_S
        finally:
            os.close(pid_fd)

    def _period_ms(self) -> float:
        """Return the wait until the next reading: short while need is near or still moving."""
        if self._target.sandbox.kind is ControlKind.OBSERVE:
            return self._settings.observe_poll_s * 1000
        limit_bytes = self._limit_bytes
        is_urgent = self._meter.rate_bytes_per_s > self._settings.fast_above_bytes_per_s or (
            limit_bytes is not None
            and self._plan.envelope is not None
            and self._plan.envelope.can_grow
            and self._meter.need_bytes > self._settings.fast_above_ratio * limit_bytes
        )
        if is_urgent:
            return self._settings.fast_poll_s * 1000
        # Far below the limit, at rest and with little cache, the levels wake us in time.
        is_calm = (
            limit_bytes is not None
            and self._clock.monotonic_s() - self._started_s > self._settings.calm_after_s
            and self._meter.rate_bytes_per_s < self._settings.calm_below_bytes_per_s
            and self._meter.usage_bytes < self._settings.calm_below_ratio * limit_bytes
        )
        return (self._settings.calm_poll_s if is_calm else self._settings.poll_s) * 1000

    def _read(self, *, is_last: bool = False) -> None:
        """Read the target once; raise its limit if that is due."""
        if self._source is None:
            return
        try:
            now_s = self._clock.monotonic_s()
            if self._plan.is_shared and self._growth is not None:
                sandbox = self._target.sandbox
                self._growth.follow(sandbox.current_limit_bytes(), is_parked=sandbox.is_parked())
            reading = self._source.read()
            self._pressure = self._source.pressure()
            self._meter.add(
                now_s - self._started_s,
                reading,
                limit_bytes=self._limit_bytes,
                has_ended=is_last,
            )
            if self._growth is None:
                return
            limit_bytes = self._growth.limit_bytes
            if is_last:
                self._growth.stop_waiting(now_s)
            else:
                self._growth.react(
                    now_s,
                    need_bytes=reading.need_bytes,
                    rate_bytes_per_s=self._meter.rate_bytes_per_s,
                    is_waiting=self._pressure.is_waiting and self._growth.is_parking,
                    clock_s=self._clock.monotonic_s,
                )
            if self._growth.limit_bytes != limit_bytes:
                self._source.expect_limit(self._growth.limit_bytes)
        except PermanentError as error:
            self._lose_target(error)

    def _lose_target(self, error: PermanentError) -> None:
        """Go on without control: the command is worth more than our figures."""
        self._say(f"memory control is lost, the command runs on without it: {error}")
        if self._source is not None:
            self._source.close()
        self._source = None

    def _on_signal(self, process: subprocess.Popen[bytes], received: ReceivedSignal) -> None:
        if received.number in ENDING:
            self._endings += 1
            if self._growth is not None:
                self._growth.hurry(self._clock.monotonic_s())
        if self._endings >= _KILL_TREE_AT_SIGNAL:
            self._signal_members(signal.SIGKILL)
            process.kill()
        elif not received.is_from_terminal:
            process.send_signal(received.number)

    def _end_tree(self) -> int:
        """Return how many processes are left; after an interruption, end them first."""
        members = self._target.sandbox.member_pids()
        if members and self._endings == 0:
            members = self._settled_members()
        if not members or self._endings == 0:
            return len(members)
        self._signal_members(signal.SIGTERM)
        deadline_s = self._clock.monotonic_s() + self._settings.end_tree_grace_s
        while self._target.sandbox.member_pids() and self._clock.monotonic_s() < deadline_s:
            select.select([], [], [], 0.02)
        self.kill_members()
        return len(self._target.sandbox.member_pids())

    def _settled_members(self) -> list[int]:
        """Return who is left after a moment: a program's own last processes are just ending."""
        deadline_s = self._clock.monotonic_s() + _SETTLE_S
        while (members := self._target.sandbox.member_pids()) and (
            self._clock.monotonic_s() < deadline_s
        ):
            select.select([], [], [], 0.01)
        return members

    def kill_members(self) -> None:
        """Kill what is left inside the sandbox and wait until it is gone (at most 2 s)."""
        deadline_s = self._clock.monotonic_s() + 2.0
        while self._target.sandbox.member_pids() and self._clock.monotonic_s() < deadline_s:
            self._signal_members(signal.SIGKILL)
            select.select([], [], [], 0.01)

    def _signal_members(self, number: signal.Signals) -> None:
        for pid in self._target.sandbox.member_pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # ended by itself

    def _peak_bytes(self) -> int | None:
        if not len(self._meter.samples):
            return None
        peak_bytes = self._meter.peak_need_bytes
        limit_bytes = self._limit_bytes
        hit_limit = self._pressure.oom_kills > 0 and limit_bytes is not None
        if hit_limit and limit_bytes and self._meter.peak_usage_bytes >= 0.95 * limit_bytes:
            # Killed at the limit: the need was at least that, however the readings fell.
            return max(peak_bytes, limit_bytes)
        return peak_bytes

    def _outcome(self, returncode: int) -> Outcome:
        if self._endings:
            return Outcome.INTERRUPTED
        if returncode == 0:
            return Outcome.OK
        if self._pressure.oom_kills:
            return Outcome.OOM_KILLED
        return Outcome.SIGNALLED if returncode < 0 else Outcome.ERROR
