"""peers.kruize against worked values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ullage.peers.kruize import KruizePolicy, buffered_bytes
from ullage.testing.histories import run_history, run_question


@pytest.mark.parametrize(
    ("largest", "spike", "limit"),
    [
        (1000.0, 1000.0, 1200.0),  # min(1200, 1000 + 1050)
        (1000.0, 100.0, 1105.0),  # min(1200, 1000 + 105)
        (1000.0, 0.0, 1000.0),
    ],
)
def test_the_lesser_of_two_buffers(largest: float, spike: float, limit: float) -> None:
    assert buffered_bytes(largest, spike_bytes=spike) == limit


def test_on_runs_a_fifth_above_the_largest() -> None:
    history = run_history([500.0, 1000.0, 800.0])
    asked_at = datetime(1970, 1, 1, 1, tzinfo=UTC)
    answer = KruizePolicy().recommend(history, run_question(asked_at=asked_at))
    assert answer.ladder.limit_bytes == (1200,)
    assert answer.runs_used == 3


def test_fifteen_days_count() -> None:
    # known at 0 s and 60 s; asked 30 s after the 15th day, then a minute later
    history = run_history([1000.0, 500.0], limit_bytes=np.array([900.0, 1300.0]))
    asked_at = datetime(1970, 1, 16, 0, 0, 30, tzinfo=UTC)

    def limit(at: datetime) -> int:
        return KruizePolicy().recommend(history, run_question(asked_at=at)).ladder.limit_bytes[0]

    assert limit(asked_at) == 600
    assert limit(asked_at + timedelta(minutes=1)) == 1300  # none left: what is in force


def test_after_an_oom_twice_what_failed() -> None:
    question = run_question(failed_limits_bytes=(1200,))
    assert KruizePolicy().recommend(run_history([1000.0]), question).ladder.limit_bytes == (2400,)


def test_without_history_the_request() -> None:
    answer = KruizePolicy().recommend(run_history([]), run_question(request_bytes=77))
    assert answer.ladder.limit_bytes == (77,)
