"""peers.retry_factor against worked values."""

from __future__ import annotations

import pytest

from ullage.peers.retry_factor import RetryFactorPolicy
from ullage.testing.histories import run_history, run_question


@pytest.mark.parametrize(
    ("factor", "policy_id", "limits"),
    [
        # 1000 x 1.2 = 1200, x 1.2 = 1440, x 1.2 = 1728, x 1.2 = 2073.6 -> 2074
        (1.2, "retry-1.2", [1000, 1200, 1440, 1728, 2074]),
        # 1000, 1500, 2250, 3375, 5062.5 -> 5063
        (1.5, "retry-1.5", [1000, 1500, 2250, 3375, 5063]),
        (2.0, "retry-2", [1000, 2000, 4000, 8000, 16000]),
    ],
)
def test_the_base_times_the_factor_after_each_oom(
    factor: float, policy_id: str, limits: list[int]
) -> None:
    policy = RetryFactorPolicy(factor_ratio=factor)
    assert policy.policy_id == policy_id
    for failures, limit in enumerate(limits):
        question = run_question(request_bytes=1000, failed_limits_bytes=tuple(limits[:failures]))
        assert policy.recommend(run_history([9e9]), question).ladder.limit_bytes == (limit,)


def test_the_base_is_the_default_where_nobody_asked() -> None:
    answer = RetryFactorPolicy(factor_ratio=2.0).recommend(
        run_history([9e9]), run_question(default_bytes=777)
    )
    assert answer.ladder.limit_bytes == (777,)
