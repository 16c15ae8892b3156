"""core.statistics: quantiles, effective counts, lines, ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.statistics import (
    average_ranks,
    effective_count,
    fit_line,
    rank_correlation,
    weighted_quantile,
)


def test_weighted_quantile_is_one_of_the_values_and_respects_weights() -> None:
    values, weights = np.array([10.0, 30.0, 20.0]), np.array([1.0, 1.0, 8.0])
    assert weighted_quantile(values, weights, 0.05) == 10
    assert weighted_quantile(values, weights, 0.1) == 10
    assert weighted_quantile(values, weights, 0.11) == 20
    assert weighted_quantile(values, weights, 0.9) == 20
    assert weighted_quantile(values, weights, 1.0) == 30


def test_nan_and_weightless_items_do_not_count() -> None:
    values = np.array([np.nan, 5.0, 7.0])
    assert weighted_quantile(values, np.array([9.0, 1.0, 0.0]), 1.0) == 5
    assert np.isnan(weighted_quantile(values, np.array([1.0, 0.0, np.nan]), 0.5))
    assert effective_count(np.array([np.nan, 0.0, -1.0])) == 0
    assert rank_correlation(
        np.array([1.0, 2.0, np.nan, 3.0]), np.array([1.0, 2.0, -9.0, 3.0])
    ) == pytest.approx(1.0)


def test_effective_count() -> None:
    assert effective_count(np.ones(7)) == pytest.approx(7)
    assert effective_count(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_count(np.array([1e-300, 1e-300])) == pytest.approx(2)


@given(st.integers(3, 12), st.integers(0, 10**6), st.booleans())
def test_left_out_predictions_equal_refitting_without_the_point(
    n: int, seed: int, is_weighted: bool
) -> None:
    draw = np.random.default_rng(seed)
    x, y = draw.uniform(0, 10, n), draw.uniform(0, 10, n)
    weights = draw.uniform(0.5, 2, n) if is_weighted else None
    line = fit_line(x, y, weights)
    assert line is not None
    for i in range(n):
        rest = np.arange(n) != i
        without = fit_line(x[rest], y[rest], None if weights is None else weights[rest])
        assert without is not None
        assert line.left_out[i] == pytest.approx(without.at(x[i]), rel=1e-5, abs=1e-5)


def test_a_point_alone_at_its_x_is_predicted_by_the_mean_of_the_others() -> None:
    line = fit_line(np.array([1.0, 1.0, 5.0]), np.array([2.0, 4.0, 100.0]))
    assert line is not None
    assert line.left_out[2] == pytest.approx(3.0)


def test_no_line_through_one_x() -> None:
    assert fit_line(np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0])) is None
    assert fit_line(np.array([2.0]), np.array([1.0])) is None


def test_leverage_grows_outside() -> None:
    line = fit_line(np.arange(5.0), np.arange(5.0))
    assert line is not None
    assert line.leverage(2.0) == pytest.approx(1 / 5)
    assert line.leverage(8.0) == pytest.approx(1 / 5 + 36 / 10)
    assert line.own_leverage.sum() == pytest.approx(2)


def test_ranks_and_rank_correlation() -> None:
    assert average_ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1, 2.5, 4]
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1)
    assert np.isnan(rank_correlation(x, np.ones(4)))
    assert np.isnan(rank_correlation(x[:2], x[:2]))
