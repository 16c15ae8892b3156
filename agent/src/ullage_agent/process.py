"""What this process and its machine say about memory: /proc/self/status, meminfo, pressure.

Every reader returns only what it found: a file that lacks, is cut short or holds nonsense gives
fewer values, never an exception. Bytes are integers. `status` is read and not `smaps_rollup`:
the kernel keeps these counters anyway, while a rollup walks every page table of the process.
"""

from __future__ import annotations

import os
import re

MOST_BYTES = 1 << 60
"""Larger than any memory: kernels write such a number for "no limit"."""
_MOST_TEXT = 1 << 16

_STATUS = {
    b"RssAnon": "anon_bytes",
    b"RssShmem": "shmem_bytes",
    b"RssFile": "file_bytes",
    b"VmRSS": "rss_bytes",
    b"VmHWM": "rss_peak_bytes",
    b"VmSwap": "swap_bytes",
    b"Threads": "threads_count",
}
_MEMINFO = {b"MemTotal": "host_total_bytes", b"MemAvailable": "host_available_bytes"}
_AVERAGE = re.compile(rb"^(some|full) .*?\bavg10=([0-9]{1,3}(?:\.[0-9]{1,4})?)\b", re.MULTILINE)


def read_file(path: str) -> bytes:
    """Return the first 64 KiB of a file, empty where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(descriptor, _MOST_TEXT)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def number_of(text: bytes) -> int | None:
    """Return a decimal count in 0..2**60, else None.

    >>> number_of(b" 42"), number_of(b"-1"), number_of(b"max"), number_of(b"9" * 40)
    (42, None, None, None)
    """
    text = text.strip()
    if not text.isdigit() or len(text) > 19:
        return None
    value = int(text)
    return value if value < MOST_BYTES else None


def read_process(proc: str = "/proc") -> dict[str, int]:
    """Return need_bytes and what it is made of, and threads_count.

    need_bytes: anonymous + shared memory, what the kernel cannot drop. Without RssAnon (kernels
    before 4.5, other systems) there is none.
    """
    found = _named(read_file(f"{proc}/self/status"), _STATUS)
    if "anon_bytes" in found:
        found["need_bytes"] = found["anon_bytes"] + found.get("shmem_bytes", 0)
    return found


def read_host(proc: str = "/proc") -> dict[str, int]:
    """Return host_total_bytes and host_available_bytes: in a container too, the machine's."""
    return _named(read_file(f"{proc}/meminfo"), _MEMINFO)


def read_pressure(path: str = "/proc/pressure/memory") -> dict[str, float]:
    """Return psi_some_avg10 and psi_full_avg10: percent of the last 10 s spent waiting."""
    averages = _AVERAGE.findall(read_file(path))
    return {
        f"psi_{kind.decode()}_avg10": float(value)
        for kind, value in averages
        if float(value) <= 100
    }


def _named(text: bytes, names: dict[bytes, str]) -> dict[str, int]:
    """Return the values of lines like `VmRSS:  123 kB` under our names, kB as bytes."""
    found: dict[str, int] = {}
    for line in text.split(b"\n"):
        key, _, rest = line.partition(b":")
        name = names.get(key)
        if name is None:
            continue
        words = rest.split()
        value = number_of(words[0]) if words else None
        if value is not None:
            found[name] = value * 1024 if words[1:2] == [b"kB"] else value
    return found
