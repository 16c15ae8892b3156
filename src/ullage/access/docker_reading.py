"""What is known of a container's memory: from its cgroup where it is seen, else from the API.

Docker collects its figures once a second, so one answer of the API takes up to a second. A
daemon on this machine keeps its containers in cgroups that can be read in microseconds: the
API says which process to look at, and a cgroup is believed to be the container's if its name
holds the id.

`usage` in the API's memory_stats is the cgroup's own (page cache included); `stats` in it
is the cgroup's memory.stat, with the names of v1 or v2. DataError for what cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ullage.access import cgroup1, cgroup2
from ullage.access.docker import DockerApi, believed_bytes
from ullage.access.folders import CgroupTree, Folder
from ullage.core.errors import DataError, PermanentError, VanishedError

_CACHE_NAMES = (
    ("total_inactive_file", "total_active_file"),
    ("inactive_file", "active_file"),
)
"""Of v1, which has both kinds of names, then of v2."""
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)


def usage_and_need(stats: dict[str, Any]) -> tuple[int, int]:
    """Return (usage_bytes, need_bytes) of an answer of /stats.

    VanishedError for a container that no longer runs (the API answers with empty figures).
    """
    memory = stats.get("memory_stats")
    if not isinstance(memory, dict):
        raise DataError("docker: the figures of a container have no memory_stats")
    if not memory:
        raise VanishedError("docker: the container does not run any more")
    usage_bytes = believed_bytes(memory.get("usage"), "memory usage")
    stat = memory.get("stats")
    if not isinstance(stat, dict):
        raise DataError("docker: memory_stats without the cgroup's own stats")
    for names in _CACHE_NAMES:
        if names[0] in stat:
            cache_bytes = sum(believed_bytes(stat.get(name), name) for name in names)
            if cache_bytes > 2 * usage_bytes + (1 << 20):
                raise DataError(f"docker: {cache_bytes} bytes of cache in {usage_bytes} used")
            return usage_bytes, max(0, usage_bytes - cache_bytes)
    raise DataError("docker: memory_stats names no file cache, so need is not known")


def limit_of(container: dict[str, Any]) -> int | None:
    """Return the limit in a container's configuration; None where it has none (0)."""
    host = container.get("HostConfig")
    if not isinstance(host, dict):
        raise DataError("docker: a container without HostConfig")
    return believed_bytes(host.get("Memory"), "memory limit") or None


def labels_of(container: dict[str, Any]) -> dict[str, str]:
    """Return the labels in a container's configuration."""
    config = container.get("Config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return {str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {}


def started_at_of(container: dict[str, Any]) -> str:
    """Return the moment of the start, in the API's words: it tells one life from the next.

    VanishedError for a container that does not run.
    """
    state = container.get("State")
    if not isinstance(state, dict):
        raise DataError("docker: a container without State")
    if state.get("Running") is not True:
        raise VanishedError("docker: the container does not run any more")
    started = state.get("StartedAt")
    if not isinstance(started, str) or not started.isprintable() or len(started) > 64:
        raise DataError("docker: a container without a moment of its start")
    return started


def nanoseconds_of(started: str) -> int | None:
    """Return a moment in the API's words (RFC 3339) since the epoch; None where it is none.

    Events count nanoseconds, and a container can die in the second in which it began.

    >>> nanoseconds_of("2026-01-01T00:00:00.000000001Z")
    1767225600000000001
    """
    match = _MOMENT.fullmatch(started)
    if match is None:
        return None
    try:
        whole = datetime.fromisoformat(f"{match[1]}{match[3].replace('Z', '+00:00')}")
    except ValueError:
        return None
    return int(whole.timestamp()) * 10**9 + int((match[2] or "").ljust(9, "0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a container has now. swapped_bytes: needed too, though no need shows it."""

    usage_bytes: int
    need_bytes: int
    swapped_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The cgroup of one life of a container. is_v2: which version's files it has."""

    tree: CgroupTree
    path: str
    inode: str
    is_v2: bool


class ContainerCgroups:
    """Finds and reads the cgroups of containers on this machine. trees: (tree, is it v2)."""

    def __init__(self, trees: Sequence[tuple[CgroupTree, bool]], *, proc: str = "/proc") -> None:
        self._trees = trees
        self._proc = proc

    def place(self, container: dict[str, Any]) -> Place | None:
        """Return where a running container's memory is accounted, None where that is not seen."""
        state, container_id = container.get("State"), container.get("Id")
        pid = state.get("Pid") if isinstance(state, dict) else None
        if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
            return None
        try:
            lines = Path(self._proc, str(pid), "cgroup").read_text(errors="replace").splitlines()
        except OSError:
            return None
        for tree, is_v2 in self._trees:
            path = tree.shown(_path_in(lines, is_v2=is_v2))
            if path is None or str(container_id) not in path.rpartition("/")[2]:
                continue
            try:
                with tree.open(path) as folder:
                    return Place(tree=tree, path=path, inode=folder.instance, is_v2=is_v2)
            except PermanentError:
                continue
        return None

    def read(self, place: Place) -> Held | None:
        """Return what the cgroup says, None where it is gone or another one."""
        try:
            with place.tree.open_to_read(place.path) as folder:
                if folder.instance != place.inode:
                    return None
                return _held2(folder) if place.is_v2 else _held1(folder)
        except (PermanentError, OSError, ValueError):
            return None


def held_by_api(api: DockerApi, container_id: str, container: dict[str, Any]) -> Held:
    """Return what the API says; this takes up to a second."""
    usage_bytes, need_bytes = usage_and_need(api.stats(container_id))
    return Held(
        usage_bytes=usage_bytes,
        need_bytes=need_bytes,
        swapped_bytes=0,
        limit_bytes=limit_of(container),
    )


def _held1(folder: Folder) -> Held:
    usage_bytes, need_bytes = cgroup1.usage_and_need(folder)
    return Held(
        usage_bytes=usage_bytes,
        need_bytes=need_bytes,
        swapped_bytes=cgroup1.swapped_bytes(folder),
        limit_bytes=cgroup1.limit_of(folder),
    )


def _held2(folder: Folder) -> Held:
    usage_bytes, need_bytes = cgroup2.usage_and_need(folder)
    return Held(
        usage_bytes=usage_bytes,
        need_bytes=need_bytes,
        swapped_bytes=cgroup2.swapped_bytes(folder),
        limit_bytes=cgroup2.limits_of(folder).max_bytes,
    )


def _path_in(lines: Sequence[str], *, is_v2: bool) -> str | None:
    """Return the memory cgroup in the lines of /proc/PID/cgroup."""
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number == "0" and not controllers) if is_v2 else "memory" in controllers.split(","):
            return path
    return None
