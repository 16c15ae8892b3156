"""peers.witt_percentile against worked values."""

from __future__ import annotations

import pytest

from ullage.peers.witt_percentile import WittPercentilePolicy
from ullage.testing.histories import run_history, run_question


def _limit(peaks: list[float], **asked: object) -> int:
    answer = WittPercentilePolicy().recommend(run_history(peaks), run_question(**asked))
    return answer.ladder.limit_bytes[0]


@pytest.mark.parametrize(
    ("peaks", "limit"),
    [
        ([300, 100, 200], 290),  # rank 0.95 x 2 = 1.9: 200 + 0.9 x 100
        ([1000 * i for i in range(21)], 19_000),  # rank 0.95 x 20 = 19
        ([500], 500),
        ([100, 101], 101),  # 100.95, in whole bytes upwards
    ],
)
def test_the_95th_percentile(peaks: list[float], limit: int) -> None:
    assert _limit(peaks) == limit


def test_retries_and_the_first_run() -> None:
    assert _limit([100, 200, 300], failed_limits_bytes=(290,)) == 580
    assert _limit([100, 200, 300], failed_limits_bytes=(290, 580)) == 1160
    assert _limit([], request_bytes=77) == 77
