"""peers.vpa against worked values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ullage.core.units import GIB, MIB
from ullage.peers.vpa import VpaPolicy
from ullage.testing.histories import run_history, run_question

DAY_S = 86_400.0
NAN = float("nan")


def _end(bucket: int) -> float:
    """Return where a bucket ends: the sum of 1e7 x 1.05^i for i = 0 .. bucket."""
    return math.fsum(1e7 * 1.05**i for i in range(bucket + 1))


def _limit(
    peaks: Sequence[float], *, ages_days: Sequence[float] = (), failed: Any = (), **asked: Any
) -> int:
    question = run_question(**asked)
    now_s = question.asked_at.timestamp()
    ages = np.array(ages_days or [0.0] * len(peaks))
    history = run_history(peaks, failed_bytes=np.array(failed, float))
    object.__setattr__(history, "known_at_s", now_s - ages * DAY_S)
    return VpaPolicy().recommend(history, question).ladder.limit_bytes[0]


def test_one_peak() -> None:
    # 1e9 lies in bucket 36 (ends at 1.05^36 -> 0.9583e9 for 35, 1.01628e9 for 36); x 1.15
    assert _end(35) < 1e9 < _end(36)
    assert _limit([1e9]) == pytest.approx(1.15 * _end(36), abs=2)
    assert _limit([1e9]) == pytest.approx(1.16872e9, rel=1e-5)


def test_at_least_250_mib() -> None:
    # 1e8: 2e8 (1.05^n - 1) = 1e8 at n = 8.31: bucket 8 ends at 1.1027e8; x 1.15 = 121 MiB
    assert _limit([1e8]) == 250 * MIB


def test_the_90th_percentile() -> None:
    # nine peaks of 1e9 and one of 5e9, equally old: nine tenths of the weight at 1e9
    assert _limit([1e9] * 9 + [5e9]) == _limit([1e9])
    # eight and one: 8/9 < 0.9, so 5e9: n = ln 26 / ln 1.05 = 66.8 -> bucket 66
    assert _limit([1e9] * 8 + [5e9]) == pytest.approx(1.15 * _end(66), abs=2)


@pytest.mark.parametrize(
    # one peak of 5e9, one of 1e9 today. The old one weighs 2^-age; p90 is the old one
    # where the new one has less than 0.9 of 1 + 2^-age: 2^-age > 1/9, age < log2(9) = 3.17 d
    ("age_days", "bucket"),
    [(0.0, 66), (3.1, 66), (3.2, 36)],
)
def test_half_the_weight_in_a_day(age_days: float, bucket: int) -> None:
    limit = _limit([5e9, 1e9], ages_days=[age_days, 0.0])
    assert limit == pytest.approx(1.15 * _end(bucket), abs=2)


def test_an_oom_is_a_sample_above_the_limit_that_failed() -> None:
    # one past run: peak 4.1e9, failed at 4e9: max(4e9 + 100 MiB, 4.8e9) = 4.8e9 > its peak
    # 4.8e9: n = ln 25 / ln 1.05 = 65.97 -> bucket 65
    assert _end(64) < 4.8e9 < _end(65)
    assert _limit([4.1e9], failed=[4e9]) == pytest.approx(1.15 * _end(65), abs=2)
    # peak 9e9: above its own OOM sample; n = ln 46 / ln 1.05 = 78.47 -> bucket 78
    assert _limit([9e9], failed=[4e9]) == pytest.approx(1.15 * _end(78), abs=2)
    assert _limit([9e9], failed=[NAN]) == _limit([9e9])


def test_after_an_oom() -> None:
    # 20 peaks of 1e9 and the new sample max(1.2e9 + 100 MiB, 1.44e9): 20/21 > 0.9, so the
    # target does not move, and the bump 1.44e9 is what is given
    assert _limit([1e9] * 20, failed_limits_bytes=(1_200_000_000,)) == 1_440_000_000
    # alone, the sample is the percentile: 300 + 100 MiB = 4.194e8, n = ln 3.097 / ln 1.05
    # = 23.17 -> bucket 23 ends at 2e8 (1.05^24 - 1) = 4.4502e8; x 1.15 = 5.1177e8
    assert _limit([], failed_limits_bytes=(300 * MIB,)) == pytest.approx(1.15 * _end(23), abs=2)
    assert _limit([], failed_limits_bytes=(300 * MIB,)) == pytest.approx(5.1177e8, rel=1e-4)


def test_without_history_the_request() -> None:
    assert _limit([], request_bytes=3 * GIB) == 3 * GIB
