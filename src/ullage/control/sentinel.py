"""A small process that outlives the supervisor and leaves nothing parked or behind.

It is forked before the heavy imports and waits on a pipe. While the supervisor lives it
only keeps a list of what to undo. When the pipe closes (the supervisor ended, was killed,
or crashed) it undoes: it gives the OOM killer back and lifts throttling at once, and then
waits until each guarded directory is empty and removes it. The command itself runs on under
its last limit.

Nothing but the standard library's smallest modules may be imported here.
"""

from __future__ import annotations

import os
import signal
import time

_SEPARATOR = "\0"
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.0


class Sentinel:
    """The supervisor's end of the pipe."""

    def __init__(self, pid: int, write_fd: int) -> None:
        self.pid = pid
        self._fd = write_fd

    def guard(self, path: str, release_writes: tuple[tuple[str, str], ...]) -> None:
        """Undo `release_writes` (file, text) and remove `path` when the supervisor is dead."""
        fields = ["guard", path]
        for file, text in release_writes:
            fields += [file, text]
        self._send(fields)

    def release_later(self, file: str, text: str) -> None:
        """Write `text` into `file` when the supervisor is dead; nothing is removed. See `drop`."""
        self._send(["release", file, text])

    def drop(self, path: str) -> None:
        """Forget a guarded path, or a file: the supervisor has undone it itself."""
        self._send(["drop", path])

    def close(self) -> None:
        """Close the pipe: the sentinel takes over what is still guarded, then ends."""
        os.close(self._fd)

    def _send(self, fields: list[str]) -> None:
        os.write(self._fd, os.fsencode(_SEPARATOR.join(fields)) + b"\n")


def start_sentinel() -> Sentinel:
    """Fork the sentinel and return the supervisor's end. Call before threads and imports."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write_fd)
            _detach(keep_fd=read_fd)
            _serve(read_fd)
        finally:
            os._exit(0)
    os.close(read_fd)
    return Sentinel(pid, write_fd)


def _detach(*, keep_fd: int) -> None:
    """Leave the terminal, the process group and every inherited descriptor."""
    os.setsid()  # Ctrl-C and a closing terminal are for the command, not for us
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    null_fd = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # else a reader of the command's output would wait for us
        os.dup2(null_fd, fd)
    os.closerange(3, keep_fd)
    os.closerange(keep_fd + 1, max(keep_fd + 1, null_fd) + 256)
    os.chdir("/")


def _serve(read_fd: int) -> None:
    guarded: dict[str, list[str]] = {}
    released: dict[str, list[str]] = {}
    rest = b""
    while chunk := os.read(read_fd, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            verb, path, *writes = os.fsdecode(line).split(_SEPARATOR)
            if verb == "guard":
                guarded[path] = writes
            elif verb == "release":
                released[path] = [path, *writes]
            else:
                guarded.pop(path, None)
                released.pop(path, None)
    _release(released)
    _release(guarded)
    _remove_when_empty(set(guarded))


def _release(guarded: dict[str, list[str]]) -> None:
    for writes in guarded.values():
        for file, text in zip(writes[::2], writes[1::2], strict=True):
            _write_if_there(file, text)


def _write_if_there(file: str, text: str) -> None:
    try:
        fd = os.open(file, os.O_WRONLY)
    except OSError:
        return  # never made, or removed already: nobody is parked in it
    try:
        os.write(fd, text.encode())
    except OSError:
        return  # going away under us: same
    finally:
        os.close(fd)


def _remove_when_empty(paths: set[str]) -> None:
    wait_s = _FIRST_WAIT_S
    while paths:
        for path in list(paths):
            try:
                os.rmdir(path)
                paths.discard(path)
            except FileNotFoundError:
                paths.discard(path)
            except OSError:
                continue  # still occupied
        if paths:
            time.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 1.5)
