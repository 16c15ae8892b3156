"""peers.krr against worked values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ullage.core.units import GIB, MIB
from ullage.peers.krr import KrrPolicy
from ullage.testing.histories import run_history, run_question

LAST_KNOWN_AT = datetime(1970, 1, 1, tzinfo=UTC)
NAN = float("nan")


def _limit(
    peaks: Sequence[float],
    *,
    limits: Sequence[float] = (),
    failed: Sequence[float] = (),
    after: timedelta = timedelta(hours=1),
    **asked: Any,
) -> int:
    """Return the limit in bytes; runs are known a minute apart from 1970 on."""
    history = run_history(
        peaks, limit_bytes=np.array(limits, float), failed_bytes=np.array(failed, float)
    )
    question = run_question(asked_at=LAST_KNOWN_AT + after, **asked)
    return KrrPolicy().recommend(history, question).ladder.limit_bytes[0]


def test_fifteen_percent_above_the_largest() -> None:
    # 1.15 x 1000 MiB = 1150 MiB; the limit in force (4 GiB) is 72 % off
    assert _limit([800.0 * MIB, 1000.0 * MIB]) == 1150 * MIB


def test_at_least_100_mib() -> None:
    assert _limit([20.0 * MIB]) == 100 * MIB  # 1.15 x 20 = 23


@pytest.mark.parametrize(
    ("in_force", "limit"),
    [
        (1000, 1000),  # 1150 is 15 % above it: stays
        (958, 1150),  # 1150 / 958 = 1.2004: changes
        (1437, 1437),  # 1150 / 1437 = 0.8003: stays
        (1438, 1150),  # 1150 / 1438 = 0.7997: changes
    ],
)
def test_a_difference_of_up_to_20_percent_changes_nothing(in_force: int, limit: int) -> None:
    peaks, limits = [1000.0 * MIB] * 2, [9999.0 * MIB, in_force * MIB]
    assert _limit(peaks, limits=limits) == limit * MIB


def test_the_request_is_in_force_until_something_else_is() -> None:
    # 1150 MiB is 4 % off the request of 1200 MiB
    assert _limit([1000.0 * MIB], request_bytes=1200 * MIB) == 1200 * MIB


def test_runs_older_than_14_days_do_not_count() -> None:
    peaks, limits = [1000.0 * MIB, 100.0 * MIB], [NAN, 300.0 * MIB]
    # known at 0 s and 60 s, asked 30 s after the 14th day: only the second is left;
    # 1.15 x 100 = 115 MiB against 300 in force
    asked = timedelta(days=14, seconds=30)
    assert _limit(peaks, limits=limits, after=asked) == 115 * MIB
    # none is left: no answer, the limit in force stays
    assert _limit(peaks, limits=limits, after=asked + timedelta(minutes=1)) == 300 * MIB


def test_what_failed_lately_counts_a_quarter_more() -> None:
    # max(1.15 x 1000, 1.25 x 980 = 1225) MiB
    peaks, failed = [1000.0 * MIB, 400.0 * MIB], [980.0 * MIB, NAN]
    assert _limit(peaks, failed=failed) == 1225 * MIB
    assert _limit(peaks, failed=[NAN, NAN]) == 1150 * MIB


def test_after_an_oom() -> None:
    # 1.25 x 1150 = 1437.5 MiB
    assert _limit([1000.0 * MIB], failed_limits_bytes=(1150 * MIB,)) == 1437.5 * MIB
    # the target, 1150, is above 1.25 x 800 = 1000
    assert _limit([1000.0 * MIB], failed_limits_bytes=(800 * MIB,)) == 1150 * MIB
    # no history: 1.25 x the request
    assert _limit([], failed_limits_bytes=(GIB,)) == 1.25 * GIB


def test_without_history_the_request() -> None:
    assert _limit([], request_bytes=7 * MIB) == 7 * MIB
