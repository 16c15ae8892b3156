"""What one attempt used: peak, integrals, and a thinned series of samples.

Pure arithmetic over readings that others take.
"""

from __future__ import annotations

from ullage.core.telemetry import MemoryReading, SampleSeries

_MOST_SAMPLES = 2048
_RATE_WINDOW_S = 0.01


class Meter:
    """Accumulates readings in time order. Spans are seconds since the attempt started."""

    def __init__(self) -> None:
        self.samples = SampleSeries()
        self.need_bytes = 0
        self.usage_bytes = 0
        self.peak_need_bytes = 0
        self.used_byte_seconds = 0.0
        self.reserved_byte_seconds = 0.0
        self.rate_bytes_per_s = 0.0
        """How fast need grew over the last 10 ms or more; 0 when it fell."""
        self._rate_mark = (0.0, 0)
        self.peak_usage_bytes = 0
        """The kernel's own maximum of usage, page cache included; 0 where it has none."""
        self._cache_bytes = 0
        self._last_s = 0.0
        self._sample_every_s = 0.0
        self._sampled_s = -1.0

    def add(
        self,
        elapsed_s: float,
        reading: MemoryReading,
        *,
        limit_bytes: int | None,
        has_ended: bool = False,
    ) -> None:
        """Take one reading made `elapsed_s` after the start, under `limit_bytes`.

        has_ended: the command is gone, so what it held until then is the reading before.
        """
        span_s = max(0.0, elapsed_s - self._last_s)
        # Trapezoid for what was used, the step function that it is for the limit.
        until_bytes = max(self.need_bytes, reading.need_bytes) if has_ended else reading.need_bytes
        self.used_byte_seconds += span_s * (self.need_bytes + until_bytes) / 2
        self.reserved_byte_seconds += span_s * (limit_bytes or 0)
        self._update_rate(elapsed_s, reading.need_bytes)
        is_new_peak = reading.need_bytes > self.peak_need_bytes
        self.need_bytes, self.usage_bytes = reading.need_bytes, reading.usage_bytes
        self._note_peak(reading)
        self._last_s = elapsed_s
        if is_new_peak or elapsed_s - self._sampled_s >= self._sample_every_s:
            self._sample(elapsed_s, reading, limit_bytes)

    def _note_peak(self, reading: MemoryReading) -> None:
        """Find the largest need, also between two readings.

        The kernel's maximum of usage in between counts page cache, so
        need >= max(usage) - max(cache before, cache now).

        Worked values: need 400 now, maximum 520, cache 20 before and now -> 500.
        Need 400, maximum 520, cache 500 before -> 400.
        """
        cache_bytes = max(self._cache_bytes, reading.cache_bytes)
        self._cache_bytes = reading.cache_bytes
        self.peak_need_bytes = max(self.peak_need_bytes, reading.need_bytes)
        if reading.recent_peak_usage_bytes is not None:
            between_bytes = reading.recent_peak_usage_bytes - cache_bytes
            self.peak_need_bytes = max(self.peak_need_bytes, between_bytes)
            self.peak_usage_bytes = max(self.peak_usage_bytes, reading.recent_peak_usage_bytes)

    def _update_rate(self, elapsed_s: float, need_bytes: int) -> None:
        """Events can come microseconds apart: a rate over less than 10 ms is noise."""
        marked_s, marked_bytes = self._rate_mark
        if elapsed_s - marked_s >= _RATE_WINDOW_S:
            grown_bytes = need_bytes - marked_bytes
            self.rate_bytes_per_s = max(0.0, grown_bytes / (elapsed_s - marked_s))
            self._rate_mark = (elapsed_s, need_bytes)

    def _sample(self, elapsed_s: float, reading: MemoryReading, limit_bytes: int | None) -> None:
        self._sampled_s = elapsed_s
        self.samples.append(
            round(elapsed_s * 1_000_000)
            / 1000,  # finer is noise, and takes more room than all else
            need_bytes=reading.need_bytes,
            usage_bytes=reading.usage_bytes,
            limit_bytes=limit_bytes,
        )
        if len(self.samples) >= _MOST_SAMPLES:
            self.samples = _halved(self.samples)
            self._sample_every_s = max(0.05, 2 * self._sample_every_s)


def _halved(samples: SampleSeries) -> SampleSeries:
    """Return every second moment, each with the larger need of its pair: peaks stay."""
    kept = SampleSeries()
    for first in range(0, len(samples) - 1, 2):
        best = max(first, first + 1, key=lambda index: samples.need_bytes[index])
        limit_bytes = samples.limit_bytes[best]
        kept.append(
            samples.elapsed_ms[best],
            need_bytes=samples.need_bytes[best],
            usage_bytes=samples.usage_bytes[best],
            limit_bytes=None if limit_bytes < 0 else limit_bytes,
        )
    return kept
