"""The memory cgroup of this process, version 1 or 2: what it uses, may use, has used at most.

Found from /proc/self/cgroup and /proc/self/mountinfo. Where there is none, or it cannot be seen
from inside the container, nothing is returned. Never raises.
"""

from __future__ import annotations

import os
import re

from ullage_agent.process import number_of, read_file

_MOST_LEVELS = 32
_OCTAL = re.compile(rb"\\([0-7]{3})")
_FILES = {
    1: {
        "usage": "memory.usage_in_bytes",
        "limit": "memory.limit_in_bytes",
        "peak": "memory.max_usage_in_bytes",
        "kills": "memory.oom_control",
        "pressure": "",
    },
    2: {
        "usage": "memory.current",
        "limit": "memory.max",
        "peak": "memory.peak",
        "kills": "memory.events",
        "pressure": "memory.pressure",
    },
}


class MemoryCgroup:
    """One cgroup: its folder, and where its mount ends."""

    def __init__(self, version: int, folder: str, mount: str) -> None:
        self.version = version
        self.folder = folder
        self._mount = mount
        self._files = _FILES[version]

    @property
    def pressure_path(self) -> str:
        """Return the file of its own pressure, empty where it has none."""
        name = self._files["pressure"]
        path = f"{self.folder}/{name}"
        return path if name and os.path.exists(path) else ""

    def read(self) -> dict[str, int]:
        """Return cgroup_usage_bytes, cgroup_limit_bytes, cgroup_peak_bytes, oom_kills: what it has.

        The limit is the smallest one from here up to the mount: each of them holds. "No limit"
        is "max" (2) or about 2**63 (1): neither is a number of bytes that `number_of` believes.
        """
        found: dict[str, int] = {}
        self._put(found, "cgroup_usage_bytes", "usage")
        self._put(found, "cgroup_peak_bytes", "peak")
        limits = [
            limit
            for folder in self._upwards()
            if (limit := number_of(read_file(f"{folder}/{self._files['limit']}"))) is not None
        ]
        if limits:
            found["cgroup_limit_bytes"] = min(limits)
        kills = re.search(rb"^oom_kill ([0-9]{1,18})$", self._text("kills"), re.MULTILINE)
        if kills:
            found["oom_kills"] = int(kills.group(1))
        return found

    def _put(self, found: dict[str, int], name: str, kind: str) -> None:
        value = number_of(self._text(kind))
        if value is not None:
            found[name] = value

    def _text(self, kind: str) -> bytes:
        return read_file(f"{self.folder}/{self._files[kind]}")

    def _upwards(self) -> list[str]:
        folders = [self.folder]
        while folders[-1] != self._mount and len(folders) < _MOST_LEVELS:
            parent = os.path.dirname(folders[-1])
            if not parent.startswith(self._mount):
                break
            folders.append(parent)
        return folders


def find_cgroup(proc: str = "/proc") -> MemoryCgroup | None:
    """Return the memory cgroup of this process, or None where none can be seen.

    The root cgroup of version 2 counts nothing and is none. Where a host has both versions, the
    one that has the memory controller counts.
    """
    paths = _paths(read_file(f"{proc}/self/cgroup"))
    for version, root, mount in _mounts(read_file(f"{proc}/self/mountinfo")):
        if version not in paths:
            continue
        for folder in _candidates(paths[version], root, mount):
            if os.path.exists(f"{folder}/{_FILES[version]['usage']}"):
                return MemoryCgroup(version, folder, mount)
    return None


def _paths(text: bytes) -> dict[int, str]:
    """Return version -> path from lines like `4:memory:/a` (1) and `0::/a` (2)."""
    found: dict[int, str] = {}
    for line in text.split(b"\n"):
        parts = line.split(b":", 2)
        if len(parts) != 3:
            continue
        path = os.fsdecode(parts[2])
        if b"memory" in parts[1].split(b","):
            found[1] = path
        elif parts[0] == b"0" and not parts[1]:
            found[2] = path
    return found


def _mounts(text: bytes) -> list[tuple[int, str, str]]:
    """Return (version, root of the mount, mount point), version 1 first.

    mountinfo: id parent major:minor ROOT MOUNTPOINT options [optional]... - TYPE source SUPER
    """
    found = []
    for line in text.split(b"\n"):
        left, _, right = line.partition(b" - ")
        before, after = left.split(b" "), right.split(b" ")
        if len(before) < 5 or not after or after[0] not in (b"cgroup", b"cgroup2"):
            continue
        if after[0] == b"cgroup" and b"memory" not in after[-1].split(b","):
            continue
        version = 1 if after[0] == b"cgroup" else 2
        found.append((version, _plain(before[3]), _plain(before[4])))
    return sorted(found)


def _plain(text: bytes) -> str:
    """Return a path of mountinfo with its octal escapes (space, tab, backslash) undone."""
    return os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m.group(1), 8) & 255]), text))


def _candidates(path: str, root: str, mount: str) -> list[str]:
    """Return folders in which `path` may lie below a mount that shows `root` at `mount`.

    Inside a container the mount often shows the container's own cgroup as its root.
    """
    inside = path.strip("/")
    found = []
    if root != "/" and (path == root or path.startswith(root.rstrip("/") + "/")):
        found.append(path[len(root) :].strip("/"))
    found += [inside, ""]
    return [
        f"{mount.rstrip('/')}/{each}" if each else mount
        for each in found
        if ".." not in each.split("/")
    ]
