"""What every peer keeps to: an answer for any history, above what failed, always the same."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage.core.allocation import Bounds
from ullage.core.decide import answer_run
from ullage.core.decision import RunQuestion
from ullage.core.units import MAX_BYTES
from ullage.core.view import RunHistory
from ullage.peers import registry
from ullage.peers.registry import PEER_IDS, make_peer
from ullage.testing.histories import ASKED_AT, run_history, run_question

EXISTING = [name for name in PEER_IDS if find_spec(f"ullage.peers.{registry._PLACES[name][0]}")]
SLOW_TO_FIT = {"sizey": 5, "witt-lwr": 25}
"""Peers that fit models: fewer examples."""

BYTES = st.floats(1, 2.0**44)
BYTES_OR_NONE = st.just(float("nan")) | BYTES
FEATURE = st.just(float("nan")) | st.floats(0, 1e15) | st.sampled_from([0.0, 1.0, 1e-300])


@st.composite
def histories(draw: st.DrawFn) -> RunHistory:
    n = draw(st.integers(0, 30))

    def column(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=n, max_size=n))

    are_recorded = draw(st.booleans())
    before_s = sorted(column(st.floats(0, 60 * 86_400.0)), reverse=True)
    history = run_history(
        column(BYTES),
        censored=draw(st.lists(st.integers(0, 30), max_size=5)),
        runtime_s=column(st.floats(1e-3, 1e7)),
        numbers={"input_bytes": column(FEATURE), "rows": column(FEATURE)},
        limit_bytes=np.array(column(BYTES_OR_NONE) if are_recorded else [], float),
        failed_bytes=np.array(column(BYTES_OR_NONE) if are_recorded else [], float),
        ooms_count=np.array(column(st.integers(0, 9)) if are_recorded else [], np.int64),
    )
    history.known_at_s[:] = ASKED_AT.timestamp() - np.array(before_s, float)
    return history


QUESTIONS = st.builds(
    run_question,
    asked_at=st.timedeltas(timedelta(0), timedelta(days=30)).map(lambda late: ASKED_AT + late),
    ceiling_bytes=st.just(MAX_BYTES),
    request_bytes=st.none() | st.integers(1, 2**44),
    default_bytes=st.none() | st.integers(1, 2**44),
    failed_limits_bytes=st.lists(st.integers(1, 2**48), max_size=4).map(
        lambda failed: tuple(sorted(failed))
    ),
    numbers=st.dictionaries(
        st.sampled_from(["input_bytes", "rows", "new"]), st.floats(0, 1e15), max_size=2
    ),
)


@pytest.mark.parametrize("policy_id", EXISTING)
def test_every_peer_answers_above_what_failed_and_always_the_same(policy_id: str) -> None:
    if policy_id == "sizey":
        pytest.importorskip("sklearn", reason="sizey fits models: install ullage[benchmarks]")
    policy = make_peer(policy_id)

    @settings(
        max_examples=SLOW_TO_FIT.get(policy_id, 60),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(histories(), QUESTIONS)
    def keeps_to_it(history: RunHistory, question: RunQuestion) -> None:
        answer, ladder, _ = answer_run(history, question, policy)
        assert all(type(limit) is int and limit > 0 for limit in answer.ladder.limit_bytes)
        assert len(ladder.limit_bytes) == 1
        assert ladder.limit_bytes[0] > max(question.failed_limits_bytes, default=0)
        assert answer == policy.recommend(history, question)
        assert answer == make_peer(policy_id).recommend(history, question)

    keeps_to_it()


@pytest.mark.parametrize("policy_id", EXISTING)
def test_every_peer_starts_a_new_workload_where_the_user_said(policy_id: str) -> None:
    if policy_id == "sizey":
        pytest.importorskip("sklearn", reason="sizey fits models: install ullage[benchmarks]")
    policy, none = make_peer(policy_id), run_history([])
    request = 3 * 2**30 + 1
    for asked, limit in (
        ({"request_bytes": request, "default_bytes": 2**30}, request),
        ({"default_bytes": 5 * 2**30}, 5 * 2**30),
        ({}, 4 * 2**30),
    ):
        question = run_question(bounds=Bounds(ceiling_bytes=2**40), **asked)
        assert policy.recommend(none, question).ladder.limit_bytes == (limit,)
