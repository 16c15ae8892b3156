"""peers.request against worked values."""

from __future__ import annotations

from ullage.core.units import GIB
from ullage.peers.request import RequestPolicy
from ullage.testing.histories import run_history, run_question


def test_the_request_whatever_is_known() -> None:
    for peaks in ([], [5.0 * GIB] * 10):
        answer = RequestPolicy().recommend(
            run_history(peaks), run_question(request_bytes=3 * GIB, default_bytes=GIB)
        )
        assert answer.ladder.limit_bytes == (3 * GIB,)
        assert answer.runs_used == 0


def test_twice_what_failed() -> None:
    question = run_question(request_bytes=3 * GIB, failed_limits_bytes=(3 * GIB, 6 * GIB))
    answer = RequestPolicy().recommend(run_history([]), question)
    assert answer.ladder.limit_bytes == (12 * GIB,)
