"""peers.tovar against worked values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ullage.peers.tovar import TovarPolicy, least_wasteful_bytes
from ullage.testing.histories import run_history, run_question


def _limit(peaks: Sequence[float], runtime_s: Any = 10.0, **asked: Any) -> int:
    limits = np.array(asked.pop("limits", [np.nan] * len(peaks)), float)
    history = run_history(peaks, runtime_s=runtime_s, limit_bytes=limits)
    answer = TovarPolicy().recommend(history, run_question(**asked))
    assert answer.ladder.oom_prob == ()
    return answer.ladder.limit_bytes[0]


@pytest.mark.parametrize(
    ("peaks", "runtime_s", "limit"),
    [
        # tau 10, a_max 1000. a=100: 1000 + 1000 x 20/3 = 7667; 200: 2000 + 3333 = 5333;
        # 1000: 10000
        ([100, 200, 1000], [10, 10, 10], 200),
        # the large one runs long: tau 70/3; a=100: 2333 + 1000 x 60/3 = 22333;
        # 200: 4667 + 1000 x 50/3 = 21333; 1000: 23333
        ([100, 200, 1000], [10, 10, 50], 200),
        # longer still: tau 40; 200: 8000 + 1000 x 100/3 = 41333; 1000: 40000
        ([100, 200, 1000], [10, 10, 100], 1000),
        # equal peaks are not above each other: 100: 1000 + 2 x 0 against nothing
        ([100, 100, 100], [10, 10, 10], 100),
        # two of 100, one of 400: tau 10; 100: 1000 + 400 x 10/3 = 2333; 400: 4000
        ([100, 400, 100], [10, 10, 10], 100),
        # a tie: tau 10; 500: 5000 + 1000 x 5 = 10000; 1000: 10000: the larger
        ([500, 1000], [10, 10], 1000),
        ([777], [3], 777),
    ],
)
def test_the_least_wasteful_seen_peak(
    peaks: list[float], runtime_s: list[float], limit: int
) -> None:
    assert _limit(peaks, runtime_s) == limit
    assert _limit(peaks[::-1], runtime_s[::-1]) == limit


def test_agrees_with_the_sum_written_out() -> None:
    generator = np.random.default_rng(1)
    peaks = np.round(generator.lognormal(10, 1, 200), -3) + 1
    runtime_s = generator.exponential(60, 200)
    costs = {
        a: a * runtime_s.mean() + peaks.max() * runtime_s[peaks > a].sum() / 200 for a in peaks
    }
    assert least_wasteful_bytes(peaks, runtime_s) == min(costs, key=lambda a: costs[a])


def test_after_an_oom_the_largest_then_the_node() -> None:
    assert _limit([100, 200, 1000], failed_limits_bytes=(200,)) == 1000
    # the node: 2 x the largest limit ever set, here what has just failed, then again
    assert _limit([100, 200, 1000], failed_limits_bytes=(200, 1000)) == 2000
    assert _limit([100, 200, 1000], failed_limits_bytes=(200, 1000, 2000)) == 4000
    # limits of past runs count for the node: 2 x 3000
    past = {"limits": [np.nan, 3000, 500]}
    assert _limit([100, 200, 1000], failed_limits_bytes=(200, 1000), **past) == 6000
    # the platform's floor failed above all peaks
    assert _limit([100, 200, 1000], failed_limits_bytes=(5000,)) == 10_000


def test_without_history_the_request() -> None:
    assert _limit([], request_bytes=4321) == 4321
    assert _limit([], request_bytes=4321, failed_limits_bytes=(4321,)) == 8642
