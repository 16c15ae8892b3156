"""peers.dataflow_prime against worked values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ullage.peers.dataflow_prime import DataflowPrimePolicy
from ullage.testing.histories import run_history, run_question

NAN = float("nan")


def _limit(
    ooms: Sequence[int],
    *,
    step: float = 1.5,
    limits: Sequence[float] | None = None,
    failed: Sequence[float] | None = None,
    **asked: Any,
) -> int:
    history = run_history(
        [1.0] * len(ooms),
        ooms_count=np.array(ooms, np.int64),
        limit_bytes=np.array([NAN] * len(ooms) if limits is None else limits, float),
        failed_bytes=np.array([NAN] * len(ooms) if failed is None else failed, float),
    )
    question = run_question(**({"request_bytes": 1000} | asked))
    return DataflowPrimePolicy(step_ratio=step).recommend(history, question).ladder.limit_bytes[0]


def test_ids() -> None:
    ids = [DataflowPrimePolicy(step_ratio=step).policy_id for step in (1.25, 1.5, 2.0)]
    assert ids == ["dataflow-prime-1.25", "dataflow-prime", "dataflow-prime-2"]


@pytest.mark.parametrize(
    ("ooms", "limit"),
    [
        ([], 1000),
        ([1, 0, 2], 1000),  # 3 OOMs: not yet
        ([1, 0, 2, 1], 1500),  # 4
        ([7], 1500),
        ([4, 0, 4], 2250),  # 8: 1000 x 1.5^2
    ],
)
def test_the_pool_is_raised_after_every_four_ooms(ooms: list[int], limit: int) -> None:
    assert _limit(ooms) == limit


@pytest.mark.parametrize(("step", "limit"), [(1.25, 1250), (1.5, 1500), (2.0, 2000)])
def test_steps(step: float, limit: int) -> None:
    assert _limit([4], step=step) == limit


def test_the_first_run_sets_the_pool_and_later_requests_do_not() -> None:
    # 5000 in the first run, 1000 requested now; 4 OOMs since: 5000 x 1.5
    assert _limit([0, 3], limits=[5000.0, NAN]) == 5000
    assert _limit([0, 4], limits=[5000.0, NAN]) == 7500
    # the first recorded run is what counts, whatever a later one had
    assert _limit([0, 0, 0], limits=[NAN, 300.0, 9000.0]) == 300


def test_a_first_run_that_was_killed_tells_where_it_began() -> None:
    # killed at 400, 600 and 900, then 1350: 900 / 1.5^2 = 400
    assert _limit([3], limits=[1350.0], failed=[900.0]) == 400
    # killed once more since then: 4 OOMs, 400 x 1.5 = 600
    assert _limit([3, 1], limits=[1350.0, 600.0], failed=[900.0, 400.0]) == 600


def test_after_an_oom_a_step_above_what_failed() -> None:
    assert _limit([2], failed_limits_bytes=(1000,)) == 1500  # third OOM: the pool has 1000
    assert _limit([2], failed_limits_bytes=(1000, 1500)) == 2250  # fourth: pool 1500 < 2250
    assert _limit([7], failed_limits_bytes=(1000,)) == 2250  # eighth: pool 2250 > 1500


def test_many_ooms_stay_a_number() -> None:
    assert _limit([10**6], step=2.0) > 1000
