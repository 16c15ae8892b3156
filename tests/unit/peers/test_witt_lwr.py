"""peers.witt_lwr against worked values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from ullage.peers.witt_lwr import (
    WittLwrPolicy,
    _Runs,
    bagged_line,
    least_wasteful_line,
    wasted_byte_seconds,
)
from ullage.testing.histories import run_history, run_question


def _runs(x: Sequence[float], y: Sequence[float], t: float | Sequence[float] = 1.0) -> _Runs:
    n = len(x)
    return _Runs(
        x=np.array(x, float), y=np.array(y, float), t=np.broadcast_to(np.array(t, float), (n,))
    )


def _waste(intercept: float, slope: float, runs: _Runs, least: float) -> float:
    return float(wasted_byte_seconds(np.array([intercept]), np.array([slope]), runs, least)[0])


@pytest.mark.parametrize(
    ("intercept", "slope", "waste"),
    [
        (0, 10, 0),
        (10, 0, 10),  # the second fails at 10: 10 + 20 - 20
        (20, 0, 10),  # 20 - 10
        (0, 5, 10),  # both fail once: 5 is lifted to 10: 10 - 10; 10 (4 - 1) - 20 = 10
        (4, 0, 10),  # lifted to the least, 10
    ],
)
def test_what_a_line_would_have_wasted(intercept: float, slope: float, waste: float) -> None:
    assert _waste(intercept, slope, _runs([1, 2], [10, 20]), 10) == pytest.approx(waste)


def test_doublings_and_runtimes() -> None:
    # 10 fails at 10, 20, 40, 80, then 160 does: 310 - 100 = 210, over 3 s
    assert _waste(10, 0, _runs([1], [100], 3.0), 10) == pytest.approx(630)
    # exactly 2 x 10: one failure, not two
    assert _waste(10, 0, _runs([1], [20]), 10) == pytest.approx(10)


def test_the_best_line_may_be_lifted_to_the_smallest_peak() -> None:
    # through the last two, -60 + 40 x: -20 at 1 is lifted to 10; wastes nothing
    intercept, slope = least_wasteful_line(_runs([1, 2, 3], [10, 20, 60]), 10)
    assert (intercept, slope) == (pytest.approx(-60), pytest.approx(40))


def test_a_rare_and_short_large_run_is_left_to_retries() -> None:
    # flat at 10: the large one wastes 210 x 0.1 = 21; flat at 100: 90 x 10 = 900
    runs = _runs([1] * 11, [10] * 10 + [100], [1.0] * 10 + [0.1])
    assert least_wasteful_line(runs, 10) == (10, 0)
    # long instead, 5 s: 210 x 5 = 1050 against 900
    runs = _runs([1] * 11, [10] * 10 + [100], [1.0] * 10 + [5.0])
    assert least_wasteful_line(runs, 10) == (100, 0)


def test_the_search_finds_what_trying_all_pairs_finds() -> None:
    generator = np.random.default_rng(3)
    x = generator.uniform(1, 10, 30)
    runs = _runs(x, 100 * x + generator.exponential(50, 30))
    least = float(runs.y.min())
    i, j = np.triu_indices(30, 1)
    slopes = (runs.y[j] - runs.y[i]) / (runs.x[j] - runs.x[i])
    best = wasted_byte_seconds(runs.y[i] - slopes * runs.x[i], slopes, runs, least).min()
    assert _waste(*least_wasteful_line(runs, least), runs, least) <= 1.02 * best


def test_the_bagged_line_is_the_mean_of_ten() -> None:
    # an exact line: each sample finds it. One run alone: flat at its peak
    runs = _runs(range(1, 31), [10.0 * x for x in range(1, 31)])
    assert bagged_line(runs.x, runs.y, runs.t) == (pytest.approx(0, abs=1e-9), pytest.approx(10))
    one = _runs([7], [500])
    assert bagged_line(one.x, one.y, one.t) == (500, 0)


def _limit(policy: WittLwrPolicy, count: int, asked: float | None, factor: float = 1000) -> int:
    x = [float(i + 1) for i in range(count)]
    history = run_history([factor * i for i in x], numbers={"input_bytes": x})
    numbers = {} if asked is None else {"input_bytes": asked}
    return policy.recommend(history, run_question(numbers=numbers)).ladder.limit_bytes[0]


def test_the_line_of_the_asked_input_at_least_the_smallest_peak() -> None:
    policy = WittLwrPolicy()
    assert _limit(policy, 30, 7.5) == pytest.approx(7500, abs=2)
    assert _limit(policy, 30, 0.2) == 1000


def test_a_kept_fit_is_only_for_the_same_runs() -> None:
    policy = WittLwrPolicy()
    assert _limit(policy, 30, 5) == pytest.approx(5000, abs=2)
    assert _limit(policy, 30, 5, factor=3000) == pytest.approx(15_000, abs=2)
    for count in (1, 2, 29, 60):
        assert _limit(policy, count, 5) == _limit(WittLwrPolicy(), count, 5)
    assert _limit(policy, 30, None) == _limit(WittLwrPolicy(), 30, None)


def test_a_flat_line_without_an_input_lies_within_the_peaks() -> None:
    assert 1000 <= _limit(WittLwrPolicy(), 30, None) <= 30_000


def test_kept_fits_are_few() -> None:
    policy = WittLwrPolicy()
    history = run_history([100.0, 200.0])
    for number in range(200):
        policy.recommend(history, run_question(workload_key=f"w{number}"))
    assert len(policy._fits) == 64


def test_retries_and_the_first_run() -> None:
    policy, none = WittLwrPolicy(), run_history([])
    asked = run_question(request_bytes=77)
    assert policy.recommend(none, asked).ladder.limit_bytes == (77,)
    failed = run_question(failed_limits_bytes=(100, 200))
    assert policy.recommend(run_history([50.0]), failed).ladder.limit_bytes == (400,)


def test_refits_follow_a_fixed_grid() -> None:
    from ullage.peers.input_size import refit_counts

    assert refit_counts(38, 43) == [38, 40, 42]  # 39.9, 42
    assert refit_counts(1, 5) == [1, 2, 3, 4, 5]
    assert refit_counts(5, 4) == []
    grid = refit_counts(1, 5000)
    assert all(b == max(a + 1, math.ceil(1.05 * a)) for a, b in pairwise(grid))
    assert refit_counts(1, 777) == [g for g in grid if g <= 777]
