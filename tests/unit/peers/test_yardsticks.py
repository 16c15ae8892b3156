"""peers.yardsticks against worked values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ullage.peers.yardsticks import YardstickPolicy, last_1_3, max_1_1, p95_1_2
from ullage.testing.histories import run_history, run_question

ALL = (max_1_1, p95_1_2, last_1_3)
Make = Callable[[], YardstickPolicy]


def _limit(make: Make, peaks: Sequence[float], **asked: object) -> int:
    return make().recommend(run_history(peaks), run_question(**asked)).ladder.limit_bytes[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (max_1_1, 3300),  # 1.1 x 3000 (in floats 3300.0000000000005: 3301 without care)
        (p95_1_2, 3600),  # rank 0.95 x 3 = 2.85 -> the third of 1000, 2000, 3000; x 1.2
        (last_1_3, 2600),  # the last is 2000; x 1.3
    ],
)
def test_a_margin_on_one_number_of_the_past(make: Make, limit: int) -> None:
    assert _limit(make, [1000.0, 3000.0, 2000.0]) in (limit, limit + 1)


def test_the_95th_percentile_leaves_the_top_twentieth_out() -> None:
    # peaks 100, 200 .. 2000: 0.95 x 20 = 19 -> the 19th, 1900; x 1.2 = 2280
    assert _limit(p95_1_2, [100.0 * i for i in range(20, 0, -1)]) == 2280


@pytest.mark.parametrize("make", ALL)
def test_twice_what_failed(make: Make) -> None:
    assert _limit(make, [100.0], failed_limits_bytes=(110, 220)) == 440


@pytest.mark.parametrize("make", ALL)
def test_without_history_the_request(make: Make) -> None:
    assert _limit(make, [], request_bytes=321) == 321


@pytest.mark.parametrize("make", ALL)
def test_a_censored_peak_counts_as_it_is(make: Make) -> None:
    cut = run_history([1000.0, 1000.0], censored=[1])
    plain = run_history([1000.0, 1000.0])
    question = run_question()
    assert make().recommend(cut, question) == make().recommend(plain, question)
