"""The guards' arithmetic in a replay, and a prior learned from other files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ullage.core.errors import ConfigError
from ullage.core.service import Direction, LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.units import GIB, MIB
from ullage.policies.service_rules import RULES_COUNT
from ullage.simulation.usage_backtest import UsageWorld
from ullage.simulation.usage_guarded import GuardedServicePolicy
from ullage.simulation.usage_prior import prior_of
from ullage.testing.usage import service_question, target_history, usage_trace


@dataclass
class Wishes:
    wanted_bytes: int
    policy_id: str = "wishes"

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        rises = question.limit_bytes is not None and self.wanted_bytes > question.limit_bytes
        return LimitProposal(
            target_id=question.target_id,
            wanted_bytes=self.wanted_bytes,
            direction=Direction.GROW if rises else Direction.CUT,
            reason="wish",
        )


@pytest.mark.parametrize(
    ("wish", "limit", "expected"),
    [
        (1 * GIB, 10 * GIB, 8 * GIB),  # one step is 20 %
        (990 * MIB, 1000 * MIB, None),  # less than 5 %
        (2 * GIB, 1 * GIB, 2 * GIB),  # a growth is not limited
        (850 * MIB, 1000 * MIB, 900 * MIB),  # the live floor: need 772 + 128 MiB
    ],
)
def test_guards_speak_after_the_policy(wish: int, limit: int, expected: int | None) -> None:
    history = target_history([772.0 * MIB] * 100, readings=20_000)
    question = service_question(history, need_bytes=772 * MIB, limit_bytes=limit)
    policy = GuardedServicePolicy(Wishes(wish), policy_id="guarded")
    assert policy.recommend(history, question).wanted_bytes == expected


def test_a_first_limit_passes() -> None:
    history = target_history([772.0 * MIB] * 100)
    policy = GuardedServicePolicy(Wishes(5), policy_id="guarded")
    assert policy.recommend(history, service_question(history)).wanted_bytes == 5


def test_prior_counts_each_file_once() -> None:
    draw = np.random.default_rng(1)
    noisy = usage_trace(draw.lognormal(20, 0.5, 1200).tolist())
    steady = usage_trace([1e9] * 1200)
    world = UsageWorld()
    one = prior_of([[noisy], [steady]], world, provenance="x")
    many = prior_of([[noisy] * 5, [steady]], world, provenance="x")
    np.testing.assert_allclose(one.ooms, many.ooms)
    assert one.reserved.shape == (RULES_COUNT,)
    alone = prior_of([[steady]], world, provenance="x")
    np.testing.assert_allclose(alone.ooms, 0.0)
    assert alone.reserved[0] == pytest.approx(1.0)  # max x 1 of a steady need
    with pytest.raises(ConfigError, match="no prior"):
        prior_of([[]], world, provenance="x")
