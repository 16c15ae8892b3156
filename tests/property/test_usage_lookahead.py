"""No look-ahead in the replay of usage: what is not known yet changes no decision."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.core.service import LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.service_ports import ServicePolicy
from ullage.peers.services import SERVICE_PEER_IDS, make_service_peer
from ullage.policies.services import UllageServicePolicy
from ullage.simulation.usage_backtest import UsageWorld, decision_moments, replay_usage
from ullage.testing.usage import usage_trace


class Listening:
    """Writes down what a policy answers, and when."""

    def __init__(self, policy: ServicePolicy) -> None:
        self.policy_id, self._policy = policy.policy_id, policy
        self.answers: list[tuple[float, int | None]] = []

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        answer = self._policy.recommend(history, question)
        self.answers.append((question.asked_at.timestamp(), answer.wanted_bytes))
        return answer


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["ullage", *SERVICE_PEER_IDS]),
    st.sampled_from([0.5, 50.0]),
)
def test_a_decision_rests_on_what_was_known(seed: int, policy_id: str, price: float) -> None:
    draw = np.random.default_rng(seed)
    need = draw.lognormal(20, 0.3, 12 * 60 + 1)
    cut = 30 * int(draw.integers(8, 22)) + 1  # the sample after one at a moment of a decision
    changed = need.copy()
    changed[cut:] = draw.lognormal(21, 1.0, len(need) - cut)
    answers = []
    for needs in (need, changed):
        policy: ServicePolicy = UllageServicePolicy(price_hours=price)
        if policy_id != "ullage":
            policy = make_service_peer(policy_id)
        listening = Listening(policy)
        replay_usage(usage_trace(needs.tolist()), listening, UsageWorld())
        answers.append(listening.answers)
    before = [answer for answer in answers[0] if answer[0] < cut * 60.0]
    assert before[-1][0] == (cut - 1) * 60.0
    assert answers[1][: len(before)] == before


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1e9))
def test_shifting_a_trace_shifts_its_decisions(seed: int, shift_s: float) -> None:
    need = np.random.default_rng(seed).lognormal(20, 0.3, 601).tolist()
    shift_s = round(shift_s)
    here, there = usage_trace(need), usage_trace(need, began_s=shift_s)
    world = UsageWorld()
    assert (decision_moments(there, world) - shift_s == decision_moments(here, world)).all()
    ours = [replay_usage(each, UllageServicePolicy(), world) for each in (here, there)]
    assert ours[0] == ours[1]
