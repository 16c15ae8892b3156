"""core.histograms: buckets and decayed percentiles, against hand calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.histograms import Buckets, ExponentialBuckets, LinearBuckets, histogram_quantile

LINEAR = LinearBuckets(width_bytes=100.0)
DOUBLING = ExponentialBuckets(first_bytes=100.0, growth_ratio=2.0)
VPA = ExponentialBuckets(first_bytes=1e7, growth_ratio=1.05)


@pytest.mark.parametrize(
    ("value", "edge"), [(0.0, 100.0), (99.9, 100.0), (100.0, 200.0), (250.0, 300.0)]
)
def test_linear_buckets(value: float, edge: float) -> None:
    assert LINEAR.upper_edge(value) == edge


@pytest.mark.parametrize(
    # widths 100, 200, 400, 800: ends 100, 300, 700, 1500
    ("value", "edge"),
    [(0.0, 100.0), (99.0, 100.0), (100.0, 300.0), (299.0, 300.0), (300.0, 700.0), (701.0, 1500.0)],
)
def test_exponential_buckets(value: float, edge: float) -> None:
    assert DOUBLING.upper_edge(value) == edge


def test_exponential_buckets_of_five_percent() -> None:
    # 1e9 = 2e8 (1.05^n - 1) at 1.05^n = 6, n = 36.7: bucket 36 ends at 2e8 (1.05^37 - 1)
    # 1.05^37 = 6.081407 -> 1.0162814e9
    assert VPA.upper_edge(1e9) == pytest.approx(1.0162814e9, rel=1e-7)


@given(st.sampled_from([LINEAR, DOUBLING, VPA]), st.integers(0, 300), st.floats(0, 2.0**50))
def test_an_upper_edge_is_above_its_value_and_opens_the_next_bucket(
    buckets: LinearBuckets | ExponentialBuckets, index: int, value: float
) -> None:
    edge = buckets.upper_edge(value)
    assert edge > value
    assert buckets.upper_edge(edge) > edge
    assert buckets.upper_edge(math.nextafter(edge, 0)) == edge


@pytest.mark.parametrize(
    # weights 1 (100 bytes, now) and 1/2 (900 bytes, one half-life ago), in sum 1.5:
    # p50 needs 0.75: the first bucket has 1. p66 needs 0.99. p67 needs 1.005: the second.
    ("level", "edge"),
    [(0.5, 200.0), (0.66, 200.0), (0.67, 1000.0), (0.9, 1000.0), (0.0, 200.0), (1.0, 1000.0)],
)
def test_a_sample_loses_half_its_weight_in_a_half_life(level: float, edge: float) -> None:
    values, at_s = np.array([900.0, 100.0]), np.array([1000.0, 1060.0])
    assert histogram_quantile(values, at_s, level, half_life_s=60.0, buckets=LINEAR) == edge


def test_three_samples_by_hand() -> None:
    # ages 0, 1, 2 half-lives: 500 weighs 1, 50 weighs 1/2, 700 weighs 1/4, in sum 1.75.
    # upwards: 50 -> 0.5, 500 -> 1.5, 700 -> 1.75. p85: 1.4875 <= 1.5 -> bucket of 500 ends
    # at 700 (doubling). p86: 1.505 -> bucket of 700 ends at 1500.
    values, at_s = np.array([700.0, 50.0, 500.0]), np.array([0.0, 10.0, 20.0])

    def at(level: float) -> float:
        return histogram_quantile(values, at_s, level, half_life_s=10.0, buckets=DOUBLING)

    assert [at(0.25), at(0.85), at(0.86)] == [100.0, 700.0, 1500.0]


@pytest.mark.parametrize("buckets", [LINEAR, DOUBLING])
def test_times_far_from_zero_or_each_other_do_not_matter(buckets: Buckets) -> None:
    values, at_s = np.array([900.0, 100.0]), np.array([-1e9, 1.7e9])
    assert histogram_quantile(
        values, at_s, 0.99, half_life_s=60.0, buckets=buckets
    ) == buckets.upper_edge(100.0)


def test_no_samples_no_percentile() -> None:
    none = np.zeros(0)
    assert math.isnan(histogram_quantile(none, none, 0.9, half_life_s=60.0, buckets=LINEAR))
