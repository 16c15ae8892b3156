"""Percentiles of a decaying histogram: old samples weigh less, the answer is a bucket's edge.

The histograms of the Kubernetes VPA and of Crane, without their arrays: buckets keep the
order of values, so the bucket in which the cumulated weight reaches the level is the
bucket of the weighted quantile itself, however many buckets there are.
Not here: what is done with the percentile (peers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ullage.core.statistics import weighted_quantile

Floats = NDArray[np.float64]


class Buckets(Protocol):
    """Half-open intervals [lower edge, upper edge) that cover all values from zero on."""

    def upper_edge(self, value_bytes: float) -> float:
        """Return the upper edge of the bucket that holds `value_bytes` (>= 0)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearBuckets:
    """Bucket i is [i x width, (i + 1) x width).

    >>> LinearBuckets(width_bytes=100.0).upper_edge(250.0)
    300.0
    """

    width_bytes: float

    def upper_edge(self, value_bytes: float) -> float:
        """Return the first multiple of the width above `value_bytes`."""
        return (math.floor(value_bytes / self.width_bytes) + 1) * self.width_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialBuckets:
    """Bucket i is first x growth^i wide, so it ends at first x (growth^(i+1) - 1)/(growth - 1).

    growth_ratio: > 1.

    Worked: first 100, growth 2: the buckets end at 100, 300, 700, 1500.

    >>> ExponentialBuckets(first_bytes=100.0, growth_ratio=2.0).upper_edge(300.0)
    700.0
    """

    first_bytes: float
    growth_ratio: float

    def upper_edge(self, value_bytes: float) -> float:
        """Return the lowest end of a bucket above `value_bytes`."""
        step = self.growth_ratio - 1
        index = math.floor(math.log1p(value_bytes * step / self.first_bytes) / math.log1p(step))
        while index > 0 and self._end(index - 1) > value_bytes:  # the logarithm is rounded
            index -= 1
        while self._end(index) <= value_bytes:
            index += 1
        return self._end(index)

    def _end(self, index: int) -> float:
        growth = self.growth_ratio
        return self.first_bytes * (growth ** (index + 1) - 1) / (growth - 1)


def histogram_quantile(
    values_bytes: Floats, at_s: Floats, level: float, *, half_life_s: float, buckets: Buckets
) -> float:
    """Return the upper edge of the bucket where `level` of the decayed weight is reached.

    values_bytes, at_s: float64 of length n, samples >= 0 and when they were taken (any
    order). level: 0..1. A sample taken at t weighs 2^(t/half-life); only ratios of weights
    matter, so times count from the latest one. NaN without samples.

    Worked: 100 bytes now, 900 bytes one half-life ago, buckets 100 wide: weights 1 and 1/2.
    p50: 0.5 x 1.5 = 0.75 <= 1 -> bucket of 100 -> 200. p90: 1.35 > 1 -> bucket of 900 -> 1000.
    """
    if len(values_bytes) == 0:
        return float("nan")
    weights = np.exp2((at_s - at_s.max()) / half_life_s)
    value = weighted_quantile(values_bytes, weights, level)
    return value if math.isnan(value) else buckets.upper_edge(value)
