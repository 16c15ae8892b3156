"""Samples of this process over its life, and when they are worth a line in the log.

A sample costs some 50 us: one small file of /proc. It is taken every 2 s, and up to four times a
second while the need grows. Between two samples the kernel's own maximum of the resident set
(VmHWM) is watched: when it has risen above both, the need has been that much higher for a
moment. Files, cgroup and pressure are read every 10 s and for each report.

Not here: the thread and the log (`agent`), Beam (`beam_metrics`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ullage_agent.cgroup import MemoryCgroup, find_cgroup
from ullage_agent.process import read_host, read_pressure, read_process

FAST_S, SLOW_S = 0.25, 2.0
"""Seconds between two samples: while the need grows, and at rest."""
SURROUNDINGS_S = 10.0
GROWTH_RATIO = 0.02
"""Of the need between two samples, from which on it grows."""
NEWS_RATIO = 0.10
NEWS_BYTES = 16 << 20
"""A new peak is told once it is a tenth, and 16 MiB, above the one told last: some fifty lines
from 100 MiB to 10 GiB, and the last line before an OOM kill is at most that far below it."""


class Window:
    """The largest need while something went on, for example a bundle."""

    __slots__ = ("peak_bytes", "usage_bytes")

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.usage_bytes = 0


class Sampler:
    """Takes samples when asked, keeps peaks, says what to report and when to ask again."""

    def __init__(
        self, monotonic_s: Callable[[], float], *, report_s: float, proc: str = "/proc"
    ) -> None:
        self._monotonic_s = monotonic_s
        self._report_s = report_s
        self._proc = proc
        self._started_s = monotonic_s()
        self._reported_s = self._started_s
        self._around_s = float("-inf")
        self._sampled_s = float("-inf")
        self._lock = threading.Lock()
        self._windows: list[Window] = []
        self._cgroup: MemoryCgroup | None = None
        self._first_kills: int | None = None
        self._now: dict[str, Any] = {}
        self._around: dict[str, Any] = {}
        self._told_peak_bytes = 0
        self.interval_s = FAST_S
        self.need_peak_bytes = 0
        self.usage_bytes = 0
        self.oom_kills = 0

    def sample(self) -> str | None:
        """Take one sample; return why to report it (start, peak, interval), None where not."""
        at_s = self._monotonic_s()
        if at_s - self._around_s >= SURROUNDINGS_S:
            self._look_around(at_s)
        self._sample_process(at_s)
        if not self._told_peak_bytes:
            return "start"
        told = self._told_peak_bytes
        if self.need_peak_bytes >= max(told * (1 + NEWS_RATIO), told + NEWS_BYTES):
            return "peak"
        return "interval" if at_s - self._reported_s >= self._report_s else None

    def report(self, reason: str) -> dict[str, Any]:
        """Return what is known now, without what is unknown."""
        at_s = self._monotonic_s()
        self._look_around(at_s)
        self._reported_s = at_s
        self._told_peak_bytes = max(self.need_peak_bytes, 1)
        told = {**self._around, **self._now, "reason": reason}
        if self.need_peak_bytes:
            told["need_peak_bytes"] = self.need_peak_bytes
        told["uptime_s"] = round(at_s - self._started_s, 1)
        return told

    def open_window(self) -> Window:
        """Return a window that sees every sample from now on; give it back by `close_window`."""
        window = Window()
        with self._lock:
            self._windows.append(window)
        self._sample_if_old()
        return window

    def close_window(self, window: Window) -> None:
        """Take a last sample into the window, and no more."""
        self._sample_if_old()
        window.peak_bytes = max(window.peak_bytes, self._now.get("need_bytes", 0))
        window.usage_bytes = max(window.usage_bytes, self.usage_bytes)
        with self._lock:
            if window in self._windows:
                self._windows.remove(window)

    def forget_locks(self) -> None:
        """After a fork, in the child: another thread may have held the lock."""
        self._lock = threading.Lock()
        self._windows = []

    def _sample_if_old(self) -> None:
        """Sample for a bundle: thousands of short ones a second share one sample."""
        at_s = self._monotonic_s()
        if at_s - self._sampled_s >= FAST_S / 5:
            self._sample_process(at_s)

    def _sample_process(self, at_s: float) -> None:
        before, found = self._now, read_process(self._proc)
        self._now, self._sampled_s = found, at_s
        need = found.get("need_bytes", 0)
        seen = max(need, _missed_bytes(before, found))
        self.need_peak_bytes = max(self.need_peak_bytes, seen)
        with self._lock:
            for window in self._windows:
                window.peak_bytes = max(window.peak_bytes, seen)
                window.usage_bytes = max(window.usage_bytes, self.usage_bytes)
        grows = need > before.get("need_bytes", 0) * (1 + GROWTH_RATIO)
        self.interval_s = FAST_S if grows else min(self.interval_s * 2, SLOW_S)

    def _look_around(self, at_s: float) -> None:
        """Read the cgroup, the machine and the pressure."""
        self._around_s = at_s
        if self._cgroup is None:
            self._cgroup = find_cgroup(self._proc)
        found: dict[str, Any] = dict(read_host(self._proc))
        pressure = f"{self._proc}/pressure/memory"
        if self._cgroup is not None:
            found.update(self._cgroup.read())
            pressure = self._cgroup.pressure_path or pressure
        found.update(read_pressure(pressure))
        kills = found.get("oom_kills")
        if kills is not None:
            if self._first_kills is None:
                self._first_kills = kills
            self.oom_kills = max(0, kills - self._first_kills)
            found["oom_kills"] = self.oom_kills
        self._around = found
        self.usage_bytes = _worker_usage_bytes(found)


def _missed_bytes(before: dict[str, int], now: dict[str, int]) -> int:
    """Return the need between two samples as the kernel's maximum of the resident set tells it.

    When the maximum has risen, the resident set was that large in between; without the file
    pages, as many as there were at the end of one of the two, the rest was need.
    """
    peak = now.get("rss_peak_bytes", 0)
    if not before or peak <= before.get("rss_peak_bytes", 0):
        return 0
    return max(0, peak - max(now.get("file_bytes", 0), before.get("file_bytes", 0)))


def _worker_usage_bytes(found: dict[str, Any]) -> int:
    """Return what the worker uses: its cgroup where that has a limit, else the whole machine."""
    if "cgroup_limit_bytes" in found and "cgroup_usage_bytes" in found:
        return int(found["cgroup_usage_bytes"])
    if "host_total_bytes" in found and "host_available_bytes" in found:
        return max(0, int(found["host_total_bytes"]) - int(found["host_available_bytes"]))
    return 0
