"""How much memory a backtest itself holds: for its own report, never for a decision."""

from __future__ import annotations

import re
import resource

_FIELD = re.compile(r"^(Pss|Rss|VmHWM):\s+(\d+) kB", re.MULTILINE)


def peak_memory_mib() -> float:
    """Return the most memory that this process has held, in MiB.

    Pages shared with a parent or child count by their share (PSS), so that processes can
    be added up: PSS now + (peak RSS - RSS now). Where the system does not tell: peak RSS.
    """
    try:
        with open("/proc/self/smaps_rollup", encoding="ascii") as file:
            rolled_up = file.read()
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            status = file.read()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kib = {name: int(value) for name, value in _FIELD.findall(status + "\n" + rolled_up)}
    if not {"Pss", "Rss", "VmHWM"} <= kib.keys():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (kib["Pss"] + max(kib["VmHWM"] - kib["Rss"], 0)) / 1024
