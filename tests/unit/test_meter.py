"""The meter: peaks between readings, integrals, and a series that stays short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.control.meter import Meter
from ullage.core.telemetry import MemoryReading


def _reading(need: int, cache: int = 0, peak: int | None = None) -> MemoryReading:
    return MemoryReading(usage_bytes=need + cache, need_bytes=need, recent_peak_usage_bytes=peak)


def test_peak_between_two_readings_is_found_where_cache_is_small() -> None:
    meter = Meter()
    meter.add(0.0, _reading(400, cache=20, peak=520), limit_bytes=None)
    assert meter.peak_need_bytes == 500


def test_page_cache_never_counts_as_peak() -> None:
    meter = Meter()
    meter.add(0.0, _reading(400, cache=500, peak=900), limit_bytes=None)
    meter.add(0.1, _reading(400, cache=100, peak=900), limit_bytes=None)
    assert meter.peak_need_bytes == 400
    meter.add(0.2, _reading(0, cache=100, peak=900), limit_bytes=None)
    assert meter.peak_need_bytes == 800


def test_integrals_are_of_need_and_of_the_limit() -> None:
    meter = Meter()
    meter.add(0.0, _reading(0), limit_bytes=1000)
    meter.add(2.0, _reading(100, cache=300), limit_bytes=1000)
    meter.add(3.0, _reading(100), limit_bytes=2000)
    assert meter.used_byte_seconds == pytest.approx(100 + 100)
    assert meter.reserved_byte_seconds == pytest.approx(2000 + 2000)


def test_the_end_of_the_command_does_not_halve_its_last_span() -> None:
    meter = Meter()
    meter.add(0.0, _reading(100), limit_bytes=None)
    meter.add(1.0, _reading(0), limit_bytes=None, has_ended=True)
    assert meter.used_byte_seconds == pytest.approx(100)


def test_rate_is_of_growth_only() -> None:
    meter = Meter()
    meter.add(1.0, _reading(100), limit_bytes=None)
    meter.add(1.5, _reading(600), limit_bytes=None)
    assert meter.rate_bytes_per_s == pytest.approx(1000)
    meter.add(2.0, _reading(100), limit_bytes=None)
    assert meter.rate_bytes_per_s == 0


def test_events_microseconds_apart_give_no_rate() -> None:
    meter = Meter()
    meter.add(0.001, _reading(10**9), limit_bytes=None)
    assert meter.rate_bytes_per_s == 0


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9000))
def test_series_stays_short_and_keeps_the_peak(needs: list[int]) -> None:
    meter = Meter()
    for index, need in enumerate(needs):
        meter.add(index * 0.05, _reading(need), limit_bytes=None)
    assert len(meter.samples) <= 2048
    assert max(meter.samples.need_bytes) == max(needs) == meter.peak_need_bytes
    elapsed = list(meter.samples.elapsed_ms)
    assert elapsed == sorted(elapsed)
