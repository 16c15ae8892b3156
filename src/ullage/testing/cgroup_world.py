"""A real world for the target contract: cgroups of one version below a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

from ullage.core.service import ServiceSpec, TargetKind, UpdateMode
from ullage.core.service_ports import TargetActuator, TargetFinder, TargetSource
from ullage.testing.sandbox_contract import HOG, wait_until


class CgroupWorld:
    """Implements testing.target_contract.TargetWorld with directories and processes.

    folder: an existing directory of the hierarchy, made for this world. path: what the
    hierarchy calls it. limit_file: memory.limit_in_bytes or memory.max.
    """

    def __init__(self, kind: TargetKind, folder: str, path: str) -> None:
        self.folder = folder
        self.kind = kind
        self.can_park = kind is TargetKind.CGROUP1
        self.limit_file = "memory.limit_in_bytes" if self.can_park else "memory.max"
        self.spec = ServiceSpec(
            workload_key="web",
            kind=kind,
            selector=f"{path}/target-*",
            mode=UpdateMode.IN_PLACE,
        )
        self.finder: TargetFinder
        self.source: TargetSource
        self.actuator: TargetActuator
        self._processes: dict[str, list[subprocess.Popen[str]]] = {}

    def make(self, limit_bytes: int | None) -> str:
        """Make a cgroup with this limit; return its target_id."""
        name = f"target-{uuid.uuid4().hex[:12]}"
        os.mkdir(f"{self.folder}/{name}")
        target_id = f"{self.kind}:{self.spec.selector.rpartition('/')[0]}/{name}"
        if limit_bytes is not None:
            self.set_limit(target_id, limit_bytes)
        return target_id

    def folder_of(self, target_id: str) -> Path:
        """Return the directory of a target."""
        return Path(self.folder, target_id.rpartition("/")[2])

    def start(self, target_id: str, code: str, *args: object) -> subprocess.Popen[str]:
        """Start a Python program inside the target."""
        procs = self.folder_of(target_id) / "cgroup.procs"

        def enter() -> None:
            fd = os.open(procs, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)

        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code, *map(str, args)],
            preexec_fn=enter,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.setdefault(target_id, []).append(process)
        return process

    def fill(self, target_id: str, size_bytes: int) -> None:
        """Have a process inside touch so much, and hold it; returns when that is done.

        Where the limit is lower, at once: the process is killed, or waits.
        """
        process = self.start(target_id, HOG, size_bytes, 600)
        text = (self.folder_of(target_id) / self.limit_file).read_text().strip()
        if text == "max" or int(text) > size_bytes:
            assert process.stdout is not None
            process.stdout.readline()

    def empty(self, target_id: str) -> None:
        """Kill what runs inside."""
        for process in self._processes.pop(target_id, []):
            process.kill()
            process.communicate()

    def set_limit(self, target_id: str, limit_bytes: int) -> None:
        """Write the limit as somebody else would."""
        (self.folder_of(target_id) / self.limit_file).write_text(str(limit_bytes))

    def remove(self, target_id: str) -> None:
        """End what is inside and remove the directory."""
        self.empty(target_id)
        folder = self.folder_of(target_id)
        assert wait_until(lambda: _is_removed(folder)), f"{folder} stays"

    def close(self) -> None:
        """Remove everything that this world has made."""
        self.source.close()
        for target_id in list(self._processes):
            self.empty(target_id)
        for folder in Path(self.folder).iterdir():
            if folder.is_dir():
                assert wait_until(lambda folder=folder: _is_removed(folder))  # type: ignore[misc]
        assert wait_until(lambda: _is_removed(Path(self.folder)))


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
