"""How much memory the host can still give: the machine, and every cgroup that encloses us."""

from __future__ import annotations

from ullage.core.errors import PermanentError
from ullage.core.units import KIB


def read_host_memory() -> tuple[int, int]:
    """Return (available_bytes, total_bytes) of the machine (MemAvailable, MemTotal).

    Raises PermanentError where /proc/meminfo cannot be read.
    """
    found: dict[str, int] = {}
    try:
        with open("/proc/meminfo", "rb") as lines:
            for line in lines:
                name, _, rest = line.partition(b":")
                if name in (b"MemAvailable", b"MemTotal"):
                    found[name.decode()] = int(rest.split()[0]) * KIB
                    if len(found) == 2:
                        return found["MemAvailable"], found["MemTotal"]
    except OSError as error:
        raise PermanentError(f"/proc/meminfo cannot be read ({error.strerror})") from error
    raise PermanentError("/proc/meminfo names no MemAvailable; give --max-memory")
