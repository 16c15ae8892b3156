"""The files of one cgroup v2 directory: what they say, and how a limit is set.

need = memory.current - inactive_file - active_file (Linux,
Documentation/admin-guide/cgroup-v2.rst): anonymous, shared (tmpfs) and kernel memory, of the
cgroups below too. The limit is the lower one of memory.high and memory.max. Where both are
numbers, tasks are slowed down at the first and killed at the second: they move together and
stay as far apart as they were.

memory.max below usage kills at once. So a cut goes by memory.high, memory.reclaim and a
look at what is left and at who had to wait, and only then by memory.max.
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass

from ullage.access.cgroup_changes import CannotCutError
from ullage.access.folders import CgroupTree, Folder, number_after
from ullage.core.live_change import whole_pages_bytes
from ullage.core.units import MAX_BYTES, MIB

_CACHE_KEYS = (b"\ninactive_file ", b"\nactive_file ")
_STEP_BYTES = 32 * MIB
_STALL_RATIO = 0.10
"""A cut is taken back where everybody waited for so much of the probe (S11's own level)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """memory.high and memory.max; None = "max"."""

    high_bytes: int | None
    max_bytes: int | None

    @property
    def limit_bytes(self) -> int | None:
        """Where tasks are held: the lower one."""
        known = [number for number in (self.high_bytes, self.max_bytes) if number is not None]
        return min(known) if known else None

    @property
    def is_throttling(self) -> bool:
        """Whether tasks are slowed down at the limit rather than killed."""
        return self.high_bytes is not None and self.high_bytes == self.limit_bytes

    def moved_to(self, limit_bytes: int) -> Limits:
        """Return the same limits around another number."""
        if self.high_bytes is None or self.max_bytes is None:
            if self.is_throttling:
                return Limits(high_bytes=limit_bytes, max_bytes=None)
            return Limits(high_bytes=None, max_bytes=limit_bytes)
        apart_bytes = self.max_bytes - self.high_bytes
        if apart_bytes > 0:
            return Limits(high_bytes=limit_bytes, max_bytes=limit_bytes + apart_bytes)
        # memory.high above memory.max has no effect, but somebody has set it.
        return Limits(high_bytes=limit_bytes - apart_bytes, max_bytes=limit_bytes)


def need_of(usage_bytes: int, stat: bytes) -> int:
    """Return what cannot be dropped, from memory.current and the text of memory.stat."""
    stat = b"\n" + stat
    return max(0, usage_bytes - sum(number_after(stat, key) for key in _CACHE_KEYS))


def usage_and_need(folder: Folder) -> tuple[int, int]:
    """Return (usage_bytes, need_bytes) now; OSError, ValueError."""
    usage_bytes = int(folder.read("memory.current"))
    return usage_bytes, need_of(usage_bytes, folder.read("memory.stat"))


def swapped_bytes(folder: Folder) -> int:
    """Return what lies in swap: it is needed, though no need shows it."""
    return int(folder.read_if_there("memory.swap.current") or 0)


def limits_of(folder: Folder) -> Limits:
    """Return memory.high and memory.max; OSError, ValueError."""
    return Limits(
        high_bytes=_number(folder.read("memory.high")), max_bytes=_number(folder.read("memory.max"))
    )


def oom_kills(folder: Folder) -> int:
    """Return the OOM kills since the cgroup was made, cgroups below included."""
    return number_after(b"\n" + folder.read("memory.events"), b"\noom_kill ")


def psi_full_avg10_ratio(folder: Folder) -> float | None:
    """Return the share of the last 10 s in which everybody waited for memory; None = no PSI."""
    for line in _pressure(folder).splitlines():
        if line.startswith(b"full "):
            return float(line.split(b"avg10=")[1].split()[0]) / 100
    return None


def raise_limit(folder: Folder, before: Limits, limit_bytes: int) -> None:
    """Raise: memory.max first, so that it is never below memory.high. OSError."""
    wanted = before.moved_to(whole_pages_bytes(limit_bytes))
    if wanted.max_bytes is not None:
        folder.write("memory.max", str(wanted.max_bytes))
    if wanted.high_bytes is not None:
        folder.write("memory.high", str(wanted.high_bytes))


def cut_limit(
    folder: Folder, before: Limits, limit_bytes: int, *, probe_s: float, patience_s: float
) -> None:
    """Lower by memory.high, reclaim, a look, memory.max.

    probe_s: how long tasks are watched under memory.high before memory.max follows.
    patience_s: how long page cache may be dropped; what is gone by then stays gone.
    CannotCutError where more is in use and cannot be reclaimed (in time), or everybody had to
    wait: memory.high is then as it was. OSError.
    """
    wanted = before.moved_to(whole_pages_bytes(limit_bytes))
    target_bytes = wanted.limit_bytes or MAX_BYTES
    # A little below, so that nobody who grows meanwhile is above memory.max when it comes.
    probe_bytes = target_bytes - whole_pages_bytes(target_bytes // 64)
    stall_us, began_s = _full_stall_us(folder), time.monotonic()
    try:
        reclaim(folder, probe_bytes, patience_s=patience_s)
        folder.write("memory.high", str(probe_bytes))
        _look(folder, target_bytes)
        time.sleep(probe_s)
        _look(folder, target_bytes)
        stalled_s = (_full_stall_us(folder) - stall_us) / 1e6
        if stalled_s > _STALL_RATIO * max(probe_s, time.monotonic() - began_s):
            raise CannotCutError(f"everybody waited for memory for {stalled_s * 1000:.0f} ms")
        if wanted.max_bytes is not None:
            folder.write("memory.max", str(wanted.max_bytes))
        folder.write("memory.high", _text(wanted.high_bytes))
    except (CannotCutError, OSError):
        _restore(folder, before)
        raise


def reclaim(folder: Folder, limit_bytes: int, *, patience_s: float = 10.0) -> None:
    """Have the kernel drop what is above `limit_bytes`, as far as it can. OSError.

    In steps: whoever writes waits, and after patience_s what is left is left.
    """
    deadline_s = time.monotonic() + patience_s
    while (excess_bytes := int(folder.read("memory.current")) - limit_bytes) > 0:
        try:
            folder.write("memory.reclaim", str(min(excess_bytes, _STEP_BYTES)))
        except FileNotFoundError:
            return  # before Linux 5.19: memory.high alone has to do
        except OSError as error:
            if error.errno == errno.EAGAIN:  # less than asked could be dropped
                return
            raise
        if time.monotonic() >= deadline_s:
            return


def _look(folder: Folder, limit_bytes: int) -> None:
    usage_bytes, _ = usage_and_need(folder)
    if usage_bytes > limit_bytes:
        raise CannotCutError("more than that is in use and cannot be reclaimed (in time)")


def _restore(folder: Folder, before: Limits) -> None:
    """Put both limits back after a cut that did not go through; a cgroup may be gone by now."""
    try:
        folder.write("memory.max", _text(before.max_bytes))
        folder.write("memory.high", _text(before.high_bytes))
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.ENOENT):
            raise


def _full_stall_us(folder: Folder) -> int:
    for line in _pressure(folder).splitlines():
        if line.startswith(b"full "):
            return number_after(line.replace(b" ", b"\n"), b"\ntotal=")
    return 0


def _pressure(folder: Folder) -> bytes:
    try:
        return folder.read_if_there("memory.pressure")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return b""  # PSI is compiled in and switched off
        raise


def _number(text: bytes) -> int | None:
    text = text.strip()
    return None if text == b"max" else int(text)


def _text(number_bytes: int | None) -> str:
    return "max" if number_bytes is None else str(number_bytes)


def mount(proc: str = "/proc") -> tuple[str, str] | None:
    """Return (root of the mount inside the hierarchy, mount point) from mountinfo(5)."""
    for line in text_of(f"{proc}/self", "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.split(" ", 1)[0] == "cgroup2" and len(fields) > 4:
            return fields[3], fields[4]
    return None


def own_path(proc: str = "/proc") -> str | None:
    """Return the cgroup of this process inside the hierarchy."""
    for line in text_of(f"{proc}/self", "cgroup").splitlines():
        if line.startswith("0::/"):
            return line[3:]
    return None


def text_of(path: str, name: str) -> str:
    """Return what a file says, nothing where it cannot be read."""
    try:
        with open(f"{path}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def memory_tree() -> tuple[CgroupTree | None, str]:
    """Return (the cgroups of the v2 hierarchy, "") or (None, the reason why not)."""
    found = mount()
    if found is None:
        return None, "no cgroup v2 is mounted"
    root, point = found
    if "memory" not in text_of(point, "cgroup.controllers").split():
        return None, "the memory controller is not in cgroup v2 here"
    return CgroupTree(point, own_path, root=root), ""
