"""peers.ponder against worked values, in MiB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ullage.core.units import MIB
from ullage.peers.ponder import PonderPolicy, correlation, nearby_sigma, steep_line
from ullage.testing.histories import run_history, run_question

LINE = ([1.0, 2, 3, 4, 5], [1000.0, 2000, 3000, 4000, 5000])


def _limit_mib(
    x: Sequence[float], peaks_mib: Sequence[float], asked: float | None, **more: Any
) -> float:
    history = run_history([y * MIB for y in peaks_mib], numbers={"input_bytes": x})
    request = more.pop("request_mib", 10_000)
    question = run_question(
        numbers={} if asked is None else {"input_bytes": asked},
        request_bytes=None if request is None else request * MIB,
        failed_limits_bytes=tuple(int(f * MIB) for f in more.pop("failed_mib", ())),
        **more,
    )
    return PonderPolicy().recommend(history, question).ladder.limit_bytes[0] / MIB


def test_few_runs_and_a_larger_input_seen() -> None:
    assert _limit_mib([1, 9], [500, 700], 9) == 828  # 700 + 128: 9 has been seen
    assert _limit_mib([1, 9], [500, 700], 9.5) == 10_000  # not yet: the request
    assert _limit_mib([1, 2, 3, 4], [500] * 4, 5) == 10_000
    assert _limit_mib([1, 2, 3, 4, 5], [500] * 5, 6) == 628  # five runs, r unknown


def test_inputs_that_do_not_tell() -> None:
    # x = 1..5, peaks 3, 1, 2, 1, 3 hundred: products -2 x 1 + -1 x -1 + 0 + 1 x -1 + 2 x 1 = 0
    assert _limit_mib([1, 2, 3, 4, 5], [300, 100, 200, 100, 300], 1) == 428
    # falling peaks: r = -1
    assert _limit_mib([1, 2, 3, 4, 5], [500, 400, 300, 200, 100], 5) == 628


@pytest.mark.parametrize(("asked", "limit"), [(2.5, 2628), (9, 5128), (0.1, 1128)])
def test_the_line_clamped_to_what_was_seen(asked: float, limit: float) -> None:
    assert _limit_mib(*LINE, asked) == pytest.approx(limit, abs=1e-3)


def test_the_correlation_that_decides() -> None:
    # x -2..2, y -2, 1, 0, -1, 2 (+ mean): sum xy = 4 - 1 + 0 - 1 + 4 = 6, both sums of squares 10
    x = np.array([1.0, 2, 3, 4, 5])
    assert correlation(x, np.array([1.0, 4, 3, 2, 5])) == pytest.approx(0.6)
    # y -1, 1, 0, -1, 1 ... sum xy = 2 - 1 + 0 - 1 + 2 = 2, squares 10 and 4: 2/sqrt(40) = 0.316
    y = [100.0, 300, 200, 100, 300]
    assert correlation(x, np.array(y)) == pytest.approx(0.31623, abs=1e-5)
    # there the line decides, and x = 1 gets less than 300 + 128. With 210 and 290 instead, sum
    # xy is 2 - 1 - 1 + 1.8 = 1.8 and the squares about their mean 3.82: 1.8/sqrt(38.2) = 0.291
    flat = [100.0, 300, 210, 100, 290]
    assert correlation(x, np.array(flat)) < 0.3
    assert _limit_mib(x.tolist(), flat, 1) == 428
    assert _limit_mib(x.tolist(), y, 1) != 428


def test_points_below_the_line_weigh_a_fiftieth() -> None:
    # two runs at each of x = 0 and 1; a line is free at both: each side alone is
    # the e with (y_hi - e) x 1 = (e - y_lo) x 0.02: e = (y_hi + 0.02 y_lo)/1.02
    x, y = np.array([0.0, 0, 1, 1]), np.array([0.0, 102, 100, 202])
    intercept, slope = steep_line(x, y)
    assert intercept == pytest.approx(100)  # (102 + 0)/1.02
    assert slope == pytest.approx(100)  # (202 + 2)/1.02 = 200


def test_the_spread_near_the_asked_input() -> None:
    # weights 1 and 1/3: (300^2 / 3) / (4/3) = 22,500
    sigma = nearby_sigma(np.array([5.0, 7.0]), np.array([0.0, 300.0]), 5.0)
    assert sigma == pytest.approx(150)


def test_two_sigma_where_that_is_more() -> None:
    # x = 0, 0, 0, 1, 1, 1 and at both ends peaks 1000 apart: the line is at
    # (2000 + 0.02 x (1000 + 1000))/1.04 = 1961.54 and 2961.54 (two low ones at each end):
    # errors 38.46 once and -961.54 twice at either end. Distances 0 and 1, the same errors at
    # both: sigma^2 = (38.46^2 + 2 x 961.54^2)/3 = 616,866, sigma 785.41, 2 sigma 1570.8
    x, peaks = [0, 0, 0, 1, 1, 1], [1000, 1000, 2000, 2000, 2000, 3000]
    assert _limit_mib(x, peaks, 0) == pytest.approx(1961.54 + 1570.82, abs=0.05)
    assert _limit_mib(x, peaks, 1) == pytest.approx(2961.54 + 1570.82, abs=0.05)


def test_cap_and_floor() -> None:
    assert _limit_mib(*LINE, 5, request_mib=3000) == 3000
    assert _limit_mib(*LINE, 5, request_mib=None) == pytest.approx(5128, abs=1e-3)
    assert _limit_mib([1, 2], [10, 20], 1) == 256
    assert _limit_mib([1, 2], [10, 20], 1, request_mib=100) == 256


def test_after_an_oom_the_request_then_twice() -> None:
    assert _limit_mib(*LINE, 5, failed_mib=[5128]) == 10_000
    assert _limit_mib(*LINE, 5, failed_mib=[5128, 10_000]) == 20_000
    assert _limit_mib(*LINE, 5, failed_mib=[300], request_mib=200) == 600
    # nobody has asked for anything: the site's default
    default = {"request_mib": None, "default_bytes": 700 * MIB}
    assert _limit_mib(*LINE, 5, failed_mib=[300], **default) == 700


def test_without_an_input_the_largest_seen() -> None:
    assert _limit_mib(*LINE, None) == 5128
    assert _limit_mib([], [], 3) == 10_000
