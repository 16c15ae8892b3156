"""Decisions obey their bounds, never look ahead, and scale, whatever goes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.core.allocation import Bounds, Ladder
from ullage.core.decide import decide_run
from ullage.core.decision import Reason, Recommendation, RunQuestion
from ullage.core.units import MIB
from ullage.core.view import RunHistory, history_of
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload
from ullage.policies.runs import UllageRunPolicy
from ullage.testing.histories import ASKED_AT, run_history, run_question

POLICY = UllageRunPolicy()


@dataclass
class Says:
    """A policy that answers anything at all."""

    limits: tuple[float, ...]
    probs: tuple[float, ...]
    policy_id: str = "says"
    is_guarded: bool = True

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        ladder = Ladder(limit_bytes=self.limits, oom_prob=self.probs)  # type: ignore[arg-type]
        return Recommendation(ladder=ladder, reasons=(Reason.LEARNED,), expert="", runs_used=0)


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.integers(0, 2**36))
SANE_LADDERS = st.lists(st.integers(1, 2**45), min_size=1, max_size=6, unique=True).map(
    lambda limits: (tuple(sorted(limits)), tuple(0.5**i for i in range(len(limits))))
)
ANY_LADDERS = st.tuples(
    st.lists(NUMBERS, max_size=4).map(tuple), st.lists(st.floats(), max_size=4).map(tuple)
)
BOUNDS = st.builds(Bounds, floor_bytes=st.integers(1, 2**34), ceiling_bytes=st.integers(1, 2**44))
QUESTIONS = st.builds(
    lambda **fields: run_question(**fields),
    bounds=BOUNDS,
    failed_limits_bytes=st.lists(st.integers(1, 2**44), max_size=3).map(tuple),
    attempts_left=st.integers(0, 4),
    can_grow=st.booleans(),
    request_bytes=st.none() | st.integers(1, 2**44),
    numbers=st.dictionaries(
        st.sampled_from(["input_bytes", "rows"]), st.floats(0, 1e13), max_size=2
    ),
)


@st.composite
def histories(draw: st.DrawFn, max_size: int = 25) -> RunHistory:
    """Draw a history of any kind: censored, failed, with and without features."""
    n = draw(st.integers(0, max_size))
    some = st.lists(st.integers(0, max(n - 1, 0)), max_size=n)
    values = st.floats(0, 1e13) | st.just(float("nan"))
    return run_history(
        draw(st.lists(st.floats(1, 1e13), min_size=n, max_size=n)),
        censored=draw(some),
        first_failed=draw(some),
        runtime_s=draw(st.lists(st.floats(1e-3, 1e6), min_size=n, max_size=n)),
        numbers={"input_bytes": draw(st.lists(values, min_size=n, max_size=n))},
    )


def _check(ladder: Ladder, question: RunQuestion) -> None:
    limits, probs = ladder.limit_bytes, ladder.oom_prob
    ceiling = question.bounds.ceiling_bytes
    floor = min(question.bounds.floor_bytes, ceiling)
    assert len(limits) == len(probs) >= 1
    assert all(isinstance(limit, int) for limit in limits)
    assert list(limits) == sorted(set(limits))
    assert list(probs) == sorted(probs, reverse=True)
    assert all(0 <= prob <= 1 for prob in probs)
    assert floor <= limits[0]
    assert limits[-1] <= ceiling
    assert all(limit % MIB == 0 or limit == ceiling for limit in limits)
    failed = max(question.failed_limits_bytes, default=0)
    assert limits[0] > failed or limits[0] == ceiling
    if not question.can_grow and question.attempts_left == 0:
        assert limits == (ceiling,)


@settings(max_examples=300)
@given(ANY_LADDERS | SANE_LADDERS, QUESTIONS)
def test_bounds_hold_whatever_a_policy_says(
    answer: tuple[tuple[float, ...], tuple[float, ...]], question: RunQuestion
) -> None:
    decision = decide_run(run_history([300 * MIB]), question, Says(*answer))
    _check(decision.ladder, question)


@settings(max_examples=200)
@given(histories(), QUESTIONS, histories(max_size=6))
def test_bounds_hold_for_our_policy_on_any_history(
    history: RunHistory, question: RunQuestion, related: RunHistory
) -> None:
    decision = decide_run(history, question, POLICY, related=related)
    _check(decision.ladder, question)
    assert Reason.MODEL_FALLBACK not in decision.reasons
    assert (
        decision.decision_id == decide_run(history, question, POLICY, related=related).decision_id
    )
    assert set(decision.recommendation.deciding_run_ids) <= set(history.run_ids)


@settings(max_examples=100)
@given(histories(), QUESTIONS)
def test_every_retry_gets_more_until_the_ceiling(
    history: RunHistory, question: RunQuestion
) -> None:
    question = replace(question, failed_limits_bytes=(), attempts_left=5)
    ceiling = question.bounds.ceiling_bytes
    for attempts_left in (5, 4, 3, 2, 1, 0):
        question = replace(question, attempts_left=attempts_left)
        limit = decide_run(history, question, POLICY).limit_bytes
        assert limit == ceiling or limit > max(question.failed_limits_bytes, default=0)
        question = replace(question, failed_limits_bytes=(*question.failed_limits_bytes, limit))


@settings(max_examples=60)
@given(st.integers(1, 30), st.integers(0, 10**6), st.integers(2, 64), st.booleans())
def test_twice_the_bytes_twice_the_limit(n: int, seed: int, factor: int, can_grow: bool) -> None:
    draw = np.random.default_rng(seed)
    x = draw.uniform(1e8, 1e9, n)
    peaks = (4e9 + 20 * x) * draw.uniform(0.9, 1.1, n)

    def limit(scale: float, price_gbh: float) -> float:
        question = run_question(
            numbers={"input_bytes": 5e8}, can_grow=can_grow, ceiling_bytes=1 << 50
        )
        question = replace(question, prices=replace(question.prices, failure_gbh=price_gbh))
        history = run_history((peaks * scale).tolist(), numbers={"input_bytes": x.tolist()})
        return decide_run(history, question, POLICY).limit_bytes / scale

    assert abs(limit(factor, 0.1 * factor) / limit(1, 0.1) - 1) < 2e-3


@settings(max_examples=60)
@given(histories(), st.integers(-(10**6), 10**6))
def test_shifting_all_times_changes_no_limit(history: RunHistory, shift_s: int) -> None:
    question = run_question(numbers={"input_bytes": 1e9})
    shifted = decide_run(
        replace(history, known_at_s=history.known_at_s + shift_s),
        replace(question, asked_at=question.asked_at + timedelta(seconds=shift_s)),
        POLICY,
    )
    assert shifted.ladder == decide_run(history, question, POLICY).ladder


def _run(number: int, *, peak_bytes: int, started_min: int, known_min: int, ok: bool) -> Run:
    outcome = Outcome.OK if ok else Outcome.OOM_KILLED
    started_at = ASKED_AT + timedelta(minutes=started_min)
    attempt = Attempt(
        number=1,
        started_at=started_at,
        limit_bytes=peak_bytes,
        final_limit_bytes=peak_bytes,
        peak_bytes=peak_bytes,
        runtime=timedelta(minutes=max(1, known_min - started_min)),
        outcome=outcome,
        exit_code=0 if ok else 137,
        oom_kills=0 if ok else 1,
    )
    return Run(
        run_id=f"run-{number}",
        workload=Workload(key="w", key_reason="named"),
        started_at=started_at,
        known_at=ASKED_AT + timedelta(minutes=known_min),
        features=Features(numbers={"input_bytes": float(peak_bytes) / 3}),
        control=ControlKind.CGROUP1,
        outcome=outcome,
        exit_code=attempt.exit_code,
        attempts=(attempt,),
        expert_costs={"constant": peak_bytes / 1e9},
        spent_prob=(0.1,) * 50,
    )


RUNS = st.lists(
    st.tuples(
        st.integers(MIB, 2**38), st.integers(-5000, 100), st.integers(1, 3000), st.booleans()
    ),
    max_size=15,
)


@settings(max_examples=100)
@given(RUNS, st.randoms(use_true_random=False))
def test_what_is_not_yet_known_changes_nothing(
    drawn: list[tuple[int, int, int, bool]], random: object
) -> None:
    """Also runs that started before the question and ended after it."""
    runs = [
        _run(i, peak_bytes=peak, started_min=start, known_min=start + span, ok=ok)
        for i, (peak, start, span, ok) in enumerate(drawn)
    ]
    other_future = [
        run
        if run.known_at is not None and run.known_at <= ASKED_AT
        else _run(i, peak_bytes=2**39 + i, started_min=drawn[i][1], known_min=9999, ok=i % 2 == 0)
        for i, run in enumerate(runs)
    ]
    question = run_question(numbers={"input_bytes": 1e9})
    decisions = [
        decide_run(history_of(known, at=ASKED_AT), question, POLICY)
        for known in (runs, other_future)
    ]
    assert decisions[0] == decisions[1]
