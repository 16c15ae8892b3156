"""peers.first_limit: what all peers share, against worked values."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.core.decision import Reason
from ullage.core.units import GIB, MAX_BYTES
from ullage.peers.first_limit import (
    first_limit_bytes,
    node_bytes,
    raised_bytes,
    single,
)
from ullage.testing.histories import run_history, run_question


def test_first_limit_is_the_request_else_the_default_else_4_gib() -> None:
    assert first_limit_bytes(run_question(request_bytes=7, default_bytes=9)) == 7
    assert first_limit_bytes(run_question(request_bytes=0, default_bytes=9)) == 9
    assert first_limit_bytes(run_question(default_bytes=9)) == 9
    assert first_limit_bytes(run_question()) == 4 * GIB


def test_the_node_is_twice_the_largest_limit_ever_set() -> None:
    # 2 x max(1, 3, and 2 that failed now) GiB = 6 GiB
    history = run_history(
        [1.0, 1.0, 1.0],
        limit_bytes=np.array([np.nan, GIB, GIB], float),
        failed_bytes=np.array([np.nan, np.nan, 3 * GIB], float),
    )
    assert node_bytes(history, run_question(failed_limits_bytes=(2 * GIB,))) == 6 * GIB
    # the failed attempt of this run counts too: 2 x 5 GiB
    assert node_bytes(history, run_question(failed_limits_bytes=(5 * GIB,))) == 10 * GIB
    # nothing was ever set: 2 x the request
    assert node_bytes(run_history([1.0]), run_question(request_bytes=100)) == 200


def test_a_raise_is_above_what_failed() -> None:
    assert raised_bytes(run_question(failed_limits_bytes=(100, 40)), 1.25) == 125
    assert raised_bytes(run_question(failed_limits_bytes=(101,)), 1.2) == 122  # 121.2 up
    assert raised_bytes(run_question(failed_limits_bytes=(1,)), 1.0) == 2


@pytest.mark.parametrize(
    ("asked", "given"), [(10.2, 11), (0.0, 1), (2.0**60, MAX_BYTES), (float("inf"), MAX_BYTES)]
)
def test_an_answer_is_one_rung_in_whole_bytes(asked: float, given: int) -> None:
    answer = single(asked, policy_id="krr", runs_used=3)
    assert answer.ladder.limit_bytes == (given,)
    assert answer.ladder.oom_prob == ()
    assert (answer.expert, answer.runs_used, answer.reasons) == ("krr", 3, (Reason.PEER,))
