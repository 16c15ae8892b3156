"""A real world for the target contract: containers of a dockerd that tests have for themselves."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ullage.core.service import ServiceSpec, TargetKind, UpdateMode
from ullage.core.service_ports import TargetActuator, TargetFinder, TargetSource
from ullage.testing.sandbox_contract import HOG

IMAGE = "ullage-test"
LABEL = "ullage.workload"


class DockerWorld:
    """Implements testing.target_contract.TargetWorld; `fill` runs a host's process inside."""

    can_park = False

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self.mark = uuid.uuid4().hex[:12]
        self.spec = ServiceSpec(
            workload_key="web",
            kind=TargetKind.DOCKER,
            selector=f"{LABEL}={self.mark}",
            mode=UpdateMode.IN_PLACE,
        )
        self.finder: TargetFinder
        self.source: TargetSource
        self.actuator: TargetActuator
        self._made: list[str] = []
        self._processes: dict[str, list[subprocess.Popen[str]]] = {}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the daemon's answer; AssertionError for a refusal, OSError where it is down."""
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        text = None if body is None else json.dumps(body)
        try:
            connection.sock.connect(self.socket_path)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status < 300, (response.status, answer)
        return json.loads(answer) if answer.strip() else None

    def make(
        self,
        limit_bytes: int | None,
        labels: dict[str, str] | None = None,
        *,
        command: Sequence[str] = ("/bin/sleep", "1000"),
        restart: str = "no",
    ) -> str:
        """Start a container with this limit; return its target_id. restart: always, no."""
        host = {"NetworkMode": "none", "Memory": limit_bytes or 0}
        body = {
            "Image": IMAGE,
            "Cmd": list(command),
            "Labels": {LABEL: self.mark} if labels is None else labels,
            "HostConfig": {**host, "RestartPolicy": {"Name": restart}},
        }
        container_id = self.call("POST", "/containers/create", body)["Id"]
        self._made.append(container_id)
        self.call("POST", f"/containers/{container_id}/start")
        return f"docker:{container_id}"

    def inspect(self, target_id: str) -> Any:
        """Return what the daemon says of a container."""
        return self.call("GET", f"/containers/{target_id.partition(':')[2]}/json")

    def fill(self, target_id: str, size_bytes: int) -> None:
        """Have a process in the container's cgroup touch so much."""
        state = self.inspect(target_id)
        procs = _memory_folder(state["State"]["Pid"]) / "cgroup.procs"

        def enter() -> None:
            fd = os.open(procs, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)

        process = subprocess.Popen(
            [sys.executable, "-S", "-c", HOG, str(size_bytes), "600"],
            preexec_fn=enter,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.setdefault(target_id, []).append(process)
        assert process.stdout is not None
        process.stdout.readline()

    def empty(self, target_id: str) -> None:
        """Kill what `fill` has started."""
        for process in self._processes.pop(target_id, []):
            process.kill()
            process.communicate()

    def set_limit(self, target_id: str, limit_bytes: int) -> None:
        """Update the container as somebody else would."""
        limits = {"Memory": limit_bytes, "MemorySwap": 2 * limit_bytes}
        self.call("POST", f"/containers/{target_id.partition(':')[2]}/update", limits)

    def remove(self, target_id: str) -> None:
        """Remove the container, running or not."""
        self.empty(target_id)
        container_id = target_id.partition(":")[2]
        self._made.remove(container_id)
        self.call("DELETE", f"/containers/{container_id}?force=true")

    def close(self) -> None:
        """Remove every container that this world has made."""
        self.source.close()
        for container_id in list(self._made):
            self.remove(f"docker:{container_id}")


def _memory_folder(pid: int) -> Path:
    """Return the memory cgroup of a process."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path(f"/sys/fs/cgroup/memory{path}")
    return Path(f"/sys/fs/cgroup{path}")
