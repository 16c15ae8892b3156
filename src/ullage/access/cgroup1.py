"""The files of one cgroup v1 memory directory: what they say, and how a limit is set.

need = usage_in_bytes - total_inactive_file - total_active_file (Linux,
Documentation/admin-guide/cgroup-v1/memory.rst): anonymous, shared (tmpfs) and kernel
memory. The `total_` figures include cgroups below. Where the kernel accounts for swap, a
second limit holds for memory and swap together and may never be the lower one: it goes up
first and comes down last, and stays as far above as it was.
"""

from __future__ import annotations

import errno
import time

from ullage.access.folders import CgroupTree, Folder, is_gone, number_after
from ullage.core.live_change import whole_pages_bytes
from ullage.core.units import MIB

UNLIMITED_BYTES = 1 << 60
"""The kernel shows "no limit" as a number near 2^63."""
SWAP_LIMIT = "memory.memsw.limit_in_bytes"
LIMIT = "memory.limit_in_bytes"
_STEP_BYTES = 32 * MIB
_CACHE_KEYS = (b"\ntotal_inactive_file ", b"\ntotal_active_file ")


def need_of(usage_bytes: int, stat: bytes) -> int:
    """Return what cannot be dropped, from usage and the text of memory.stat."""
    return max(0, usage_bytes - sum(number_after(stat, key) for key in _CACHE_KEYS))


def usage_and_need(folder: Folder) -> tuple[int, int]:
    """Return (usage_bytes, need_bytes) now; OSError, ValueError."""
    usage_bytes = int(folder.read("memory.usage_in_bytes"))
    return usage_bytes, need_of(usage_bytes, folder.read("memory.stat"))


def swapped_bytes(folder: Folder) -> int:
    """Return what lies in swap: it is needed, though no need shows it."""
    return number_after(folder.read("memory.stat"), b"\ntotal_swap ")


def limit_of(folder: Folder) -> int | None:
    """Return the limit, None where there is none; OSError, ValueError."""
    limit_bytes = int(folder.read(LIMIT))
    return None if limit_bytes >= UNLIMITED_BYTES else limit_bytes


def waiting_and_kills(folder: Folder) -> tuple[bool, int]:
    """Return (whether tasks wait at the limit now, OOM kills since the cgroup was made)."""
    text = b"\n" + folder.read("memory.oom_control")
    return number_after(text, b"\nunder_oom ") > 0, number_after(text, b"\noom_kill ")


def is_parking(folder: Folder) -> bool:
    """Say whether tasks wait at the limit instead of being killed; OSError."""
    text = b"\n" + folder.read("memory.oom_control")
    return number_after(text, b"\noom_kill_disable ") > 0


def set_limit(folder: Folder, limit_bytes: int) -> int:
    """Set the limit in whole pages and return what the kernel made of it.

    OSError: EBUSY where more is in use and cannot be reclaimed, EINVAL where the kernel
    finds the two limits in the wrong order; the limit is then as it was.
    """
    wanted_bytes = whole_pages_bytes(limit_bytes)
    before_bytes = int(folder.read(LIMIT))
    swap_before = folder.read_if_there(SWAP_LIMIT)
    swap_bytes = int(swap_before) if swap_before else UNLIMITED_BYTES
    wanted_swap_bytes = swap_bytes
    if swap_bytes < UNLIMITED_BYTES:
        wanted_swap_bytes = wanted_bytes + max(0, swap_bytes - before_bytes)
    if wanted_swap_bytes > swap_bytes:
        folder.write(SWAP_LIMIT, str(wanted_swap_bytes))
    try:
        folder.write(LIMIT, str(wanted_bytes))
    except OSError:
        if wanted_swap_bytes > swap_bytes:
            _put_back(folder, swap_bytes)
        raise
    if wanted_swap_bytes < swap_bytes:
        _put_back(folder, wanted_swap_bytes)
    return int(folder.read(LIMIT))


def cut_limit(folder: Folder, limit_bytes: int, *, patience_s: float) -> int:
    """Lower the limit in steps and return what it is then; never below `limit_bytes`.

    To lower a limit into page cache the kernel drops the cache within the write, and whoever
    writes waits. So it goes by steps, and after patience_s it stays where it has got to: what
    is left can be cut next time. OSError: as set_limit; the limit is then as it was before.
    """
    before_bytes, wanted_bytes = int(folder.read(LIMIT)), whole_pages_bytes(limit_bytes)
    began_s = time.monotonic()
    reached_bytes = before_bytes
    next_bytes = min(before_bytes, int(folder.read("memory.usage_in_bytes")))
    try:
        while reached_bytes > wanted_bytes:
            next_bytes = max(wanted_bytes, next_bytes - _STEP_BYTES)
            reached_bytes = set_limit(folder, next_bytes)
            if time.monotonic() - began_s >= patience_s:
                break
    except OSError as error:
        if reached_bytes != before_bytes and not is_gone(error):
            set_limit(folder, before_bytes)
        raise
    return reached_bytes


def set_parking(folder: Folder, is_parking: bool) -> None:
    """True: tasks wait at the limit. False: the kernel's OOM killer decides. OSError."""
    folder.write("memory.oom_control", "1" if is_parking else "0")


def _put_back(folder: Folder, swap_bytes: int) -> None:
    """Lower the second limit where that is possible; too high a one does no harm."""
    try:
        folder.write(SWAP_LIMIT, str(swap_bytes))
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EINVAL):
            raise


def memory_mount(proc: str = "/proc") -> tuple[str, str] | None:
    """Return (root of the mount inside the hierarchy, mount point) from mountinfo(5)."""
    try:
        with open(f"{proc}/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                kind, _, options = after.split(" ", 2)
                if kind == "cgroup" and "memory" in options.strip().split(","):
                    fields = before.split()
                    return fields[3], fields[4]
    except OSError:
        return None  # no /proc: no cgroups either
    return None


def own_path(proc: str = "/proc") -> str | None:
    """Return the memory cgroup of this process inside the hierarchy."""
    try:
        with open(f"{proc}/self/cgroup", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if "memory" in controllers.split(","):
                    return path
    except OSError:
        return None
    return None


def memory_tree() -> tuple[CgroupTree | None, str]:
    """Return (the cgroups of the memory hierarchy, "") or (None, the reason why not)."""
    mount = memory_mount()
    if mount is None:
        return None, "no cgroup v1 memory controller is mounted"
    root, point = mount
    return CgroupTree(point, own_path, root=root), ""
