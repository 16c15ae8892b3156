"""The loop's newest picture as a file beside the state, for `ullage top` and scripts.

Replaced as a whole at each pass by whoever holds the lease; not synced: after a crash it is
old, and says so by its moment. Readable by the state's owner only.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from ullage.core.errors import DataError
from ullage.core.serve_status import Alert, ServeStatus, StatusSink
from ullage.stores.record_json import from_json, to_json

FILE_NAME = "serve-status.json"
_log = logging.getLogger("ullage.serve")


class StatusFile(StatusSink):
    """Writes the picture of a loop that holds the lease."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE_NAME
        self._new = folder / f"{FILE_NAME}.{os.getpid()}"
        self._is_failing = False

    def show(self, status: ServeStatus, alerts: tuple[Alert, ...]) -> None:
        """Replace the file; where that fails `top` shows an old picture, and its age."""
        if not status.is_leader:
            return
        try:
            fd = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="ascii") as file:
                file.write(to_json(status))
            os.replace(self._new, self._file)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                _log.warning("%s cannot be written: %s", self._file, error.strerror)
            self._is_failing = True
            with suppress(OSError):
                os.unlink(self._new)

    def close(self) -> None:
        """Take our picture away: who has ended in good order serves nobody any more."""
        with suppress(DataError, OSError):
            shown = read_status(self._file.parent)
            if shown is not None and shown.pid == os.getpid():
                os.unlink(self._file)


def read_status(folder: Path) -> ServeStatus | None:
    """Return the newest picture, None where there is none. DataError if it is damaged."""
    try:
        text = (folder / FILE_NAME).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / FILE_NAME} cannot be read") from error
    return from_json(ServeStatus, text)
