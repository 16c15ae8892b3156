"""The price book and the arithmetic on it, against figures worked by hand."""

from __future__ import annotations

import pytest

from ullage.core.prices import (
    COMPUTE_ENGINE,
    DATAFLOW,
    DEFAULT_MEMORY_PRICE,
    MemoryPrice,
    format_gib_hours,
    format_usd,
    format_usd_of_run,
    gib_hours,
    memory_cost_usd,
)
from ullage.core.units import GIB


def test_eight_gib_for_half_an_hour() -> None:
    byte_seconds = 8 * GIB * 1800
    assert gib_hours(byte_seconds) == 4.0
    assert memory_cost_usd(byte_seconds) == pytest.approx(0.014228)
    own = MemoryPrice(gib_hour_usd=0.01, name="own")
    assert memory_cost_usd(byte_seconds, own) == pytest.approx(0.04)


def test_the_default_is_the_lowest_custom_price_but_one_and_says_what_it_is() -> None:
    custom = [price.custom_gib_hour_usd for price in COMPUTE_ENGINE.values()]
    assert DEFAULT_MEMORY_PRICE.gib_hour_usd < sorted(custom)[1]
    for part in ("0.003557", "Dataflow memory", "us-central1", "2026-11-23"):
        assert part in DEFAULT_MEMORY_PRICE.in_words()


@pytest.mark.parametrize("price", COMPUTE_ENGINE.values(), ids=str)
def test_custom_shapes_cost_five_percent_more(price: object) -> None:
    assert price.custom_gib_hour_usd / price.gib_hour_usd == pytest.approx(1.05, abs=0.001)  # type: ignore[attr-defined]
    assert price.custom_vcpu_hour_usd / price.vcpu_hour_usd == pytest.approx(1.05, abs=0.001)  # type: ignore[attr-defined]


def test_memory_is_a_fifth_of_a_classic_worker() -> None:
    memory = 4 * DATAFLOW.memory_gib_hour_usd
    assert memory / (memory + DATAFLOW.batch_vcpu_hour_usd) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 USD"),
        (1234.5, "1,234.50 USD"),
        (0.5, "0.5 USD"),
        (0.0142, "0.0142 USD"),
        (-0.25, "-0.25 USD"),
        (1e-12, "less than 0.000000001 USD"),
    ],
)
def test_amounts_for_people(amount: float, text: str) -> None:
    assert format_usd(amount) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [(3.2, "3.20 GiB-hours"), (1500, "1,500 GiB-hours"), (0.005, "18.0 GiB-seconds")],
)
def test_memory_time_for_people(hours: float, text: str) -> None:
    assert format_gib_hours(hours * GIB * 3600) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.25, "0.25 USD"),
        (0.000016, "0.016 USD per 1,000 such runs"),
        (1e-7, "less than 0.01 USD per 1,000 such runs"),
        (0, "0 USD"),
    ],
)
def test_cheap_runs_are_priced_by_the_thousand(amount: float, text: str) -> None:
    assert format_usd_of_run(amount) == text
