"""One small file per running service, in the state directory: what `serve` may look at.

Files and not rows: `ullage serve` lists them at every pass without a lock on the store of the runs,
and a file that is damaged harms nobody but itself. They appear whole or not at all. They need
not survive a reboot: no cgroup does.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ullage.core.errors import PermanentError
from ullage.core.ids import check_name, is_run_id
from ullage.core.service_registry import RegisteredService
from ullage.core.units import MAX_BYTES
from ullage.core.workload import ControlKind

_MOST_BYTES = 16_384


class ServiceFiles:
    """Implements core.service_registry.ServiceRegistry in a folder that it makes (0700)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, service: RegisteredService) -> None:
        """Write the file of the service's run. PermanentError where that cannot be done."""
        text = json.dumps(
            {
                "run_id": service.run_id,
                "workload_key": service.workload_key,
                "kind": str(service.kind),
                "folder": service.folder,
                "owner": service.owner,
                "started_at": service.started_at.isoformat(),
                "max_bytes": service.max_bytes,
            }
        )
        file = self._file(service.run_id)
        new = file.with_suffix(f".{os.getpid()}.new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as stream:
                stream.write(text)
            new.replace(file)
        except OSError as error:
            raise PermanentError(
                f"the service cannot be registered in {self._folder}: {error.strerror}"
            ) from error

    def drop(self, run_id: str) -> None:
        """Remove the file of a run; whoever cannot be forgotten is found to be gone."""
        with suppress(OSError):
            self._file(run_id).unlink(missing_ok=True)

    def all(self) -> list[RegisteredService]:
        """Return the registered services, by run; what cannot be read is left out."""
        found = [_service(file) for file in sorted(self._folder.glob("*.json"))]
        return [service for service in found if service is not None]

    def _file(self, run_id: str) -> Path:
        if not is_run_id(run_id):
            raise PermanentError(f"{run_id[:40]!a} is no run")
        return self._folder / f"{run_id}.json"


def _text(file: Path) -> str:
    """Return what a regular file says, its first 16 KiB; OSError for a link or a device."""
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.read(fd, _MOST_BYTES).decode()
    finally:
        os.close(fd)


def _service(file: Path) -> RegisteredService | None:
    """Return what a file says, None unless every word of it can be meant."""
    try:
        words = json.loads(_text(file))
        started_at = datetime.fromisoformat(words["started_at"])
        max_bytes = words.get("max_bytes")
        service = RegisteredService(
            run_id=words["run_id"],
            workload_key=check_name(words["workload_key"]),
            kind=ControlKind(words["kind"]),
            folder=words["folder"],
            owner=str(words["owner"])[:200],
            started_at=started_at,
            max_bytes=max_bytes,
        )
        is_sound = (
            is_run_id(service.run_id)
            and file.stem == service.run_id
            and service.folder.startswith("/")
            and started_at.tzinfo is not None
            and (max_bytes is None or (type(max_bytes) is int and 0 < max_bytes <= MAX_BYTES))
        )
    except Exception:  # whatever a damaged file can raise, it is left out
        return None
    return service if is_sound else None
