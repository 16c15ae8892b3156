"""Signals of a supervised run: received without losing one, forwarded at most once each.

The command stays in the supervisor's process group, so that the terminal is untouched: a
Ctrl-C reaches the command from the kernel itself and must not be sent a second time, while
a `kill` of the supervisor alone must be forwarded. Only `sigwaitinfo` tells the two apart
(si_code), so the signals are blocked and a thread waits for them.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from dataclasses import dataclass

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""Signals that ask the whole tree to end."""

_SI_KERNEL = 0x80
"""si_code of a signal that the kernel sent, here: the terminal (Linux, sigaction(2))."""
_RECORD = struct.Struct("=ii")
_MARK = signal.SIGRTMIN
"""Sent to ourselves: the kernel hands out every pending standard signal before it (signal(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSignal:
    """One signal. `is_from_terminal`: the whole foreground group has it already."""

    number: int
    is_from_terminal: bool


class SignalQueue:
    """Blocks the forwarded signals and queues them; `fd` is readable when one is there.

    Signals that were ignored when Ullage started (nohup) stay ignored.
    """

    def __init__(self) -> None:
        taken = {sig for sig in FORWARDED if signal.getsignal(sig) is not signal.SIG_IGN}
        taken.add(_MARK)
        self._old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, taken)
        self.fd, self._write_fd = os.pipe()
        threading.Thread(target=self._wait, args=(taken,), name="signals", daemon=True).start()

    def restore_in_child(self) -> None:
        """Give the command the signal mask that Ullage was started with (after fork)."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old_mask)

    def next(self) -> ReceivedSignal:
        """Return the oldest queued signal; call when `fd` is readable."""
        number, code = _RECORD.unpack(os.read(self.fd, _RECORD.size))
        return ReceivedSignal(number=number, is_from_terminal=code == _SI_KERNEL)

    def rest(self) -> list[ReceivedSignal]:
        """Return all signals that have been sent until now, also those still on their way.

        Ctrl-C reaches the command and us at once; the command may be dead before our
        thread has handed the signal on.
        """
        os.kill(os.getpid(), _MARK)
        received: list[ReceivedSignal] = []
        while (one := self.next()).number != _MARK:
            received.append(one)
        return received

    def _wait(self, taken: set[signal.Signals]) -> None:
        while True:
            received = signal.sigwaitinfo(taken)
            os.write(self._write_fd, _RECORD.pack(received.si_signo, received.si_code))
