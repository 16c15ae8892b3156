"""peers.witt_lr against worked values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from ullage.peers.witt_lr import WittLrPolicy
from ullage.testing.histories import run_history, run_question

NAN = float("nan")


def _limit(x: Sequence[float], peaks: Sequence[float], asked: float | None, **more: object) -> int:
    history = run_history(peaks, numbers={"input_bytes": x})
    numbers = {} if asked is None else {"input_bytes": asked}
    answer = WittLrPolicy().recommend(history, run_question(numbers=numbers, **more))
    return answer.ladder.limit_bytes[0]


def test_a_line_raised_by_the_spread_of_its_relative_errors() -> None:
    # slope (-1 x 100 + 1 x 200)/2 = 50, intercept 200 - 100 = 100: fitted 150, 200, 250,
    # relative errors -1/3, 1/2, -1/5, mean -1/90
    squares = (1 / 9 + 1 / 4 + 1 / 25) / 3
    sigma = math.sqrt(squares - (1 / 90) ** 2)
    assert sigma == pytest.approx(0.36549, abs=1e-5)
    for asked, fitted in ((2, 200), (3, 250), (10, 600)):
        expected = math.ceil(1000 * fitted * (1 + sigma))
        assert _limit([1, 2, 3], [100_000, 300_000, 200_000], asked) == expected


def test_an_exact_line_is_not_raised() -> None:
    assert _limit([1, 2, 3], [1000, 2000, 3000], 7) == pytest.approx(7000, abs=1)


@pytest.mark.parametrize(
    ("x", "asked"), [([5, 5], 9), ([NAN, NAN], 9), ([1, 2], None)]
)  # inputs alike, unknown in the past, unknown now
def test_without_a_line_the_mean(x: list[float], asked: float | None) -> None:
    # mean 200, relative errors -1/2 and 1/2, sigma 1/2
    assert _limit(x, [100, 300], asked) == 300


def test_runs_without_an_input_are_left_out_where_others_have_one() -> None:
    assert _limit([1, NAN, 2], [1000, 9999, 2000], 3) == pytest.approx(3000, abs=1)


def test_a_line_that_falls_below_zero_gives_the_smallest_peak() -> None:
    # 4000 - 1000 x: at 6 it is -2000
    assert _limit([1, 2, 3], [3000, 2000, 1000], 6) == 1000


def test_fitted_values_below_zero_do_not_count_for_the_spread() -> None:
    # x 0, 1, 2, peaks 1, 1, 100: slope 49.5, intercept 34 - 49.5 = -15.5: fitted -15.5, 34, 83.5
    # errors of the last two: 1/34 - 1 = -0.97059 and 100/83.5 - 1 = 0.19760:
    # sigma = half their distance = 0.58410; at 2: 83.5 x 1.58410 = 132.27
    assert _limit([0, 1, 2], [1, 1, 100], 2) == 133


def test_retries_and_the_first_run() -> None:
    assert _limit([1, 2], [100, 200], 2, failed_limits_bytes=(300,)) == 600
    assert _limit([], [], 2, request_bytes=77) == 77
