"""Who leads: scores alone once they are many, runs that are not scored, and inputs beyond all."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.policies.experts import EXPERTS, evidence_of, read_all
from ullage.policies.leader import (
    _even_upper,
    choose_leader,
    is_scoring_turn,
    settled_experts,
)
from ullage.testing.histories import run_history


def scored_history(
    n: int, *, best: str, every: int = 1, last_gap: int = 0, x_top: float = 100.0
) -> RunHistory:
    """Return n runs of a peak that follows the input; `best` costs half of all others."""
    x = np.linspace(1.0, x_top, n)
    is_scored = np.zeros(n, bool)
    is_scored[: n - last_gap][::every] = True
    costs = {e.name: np.where(is_scored, 0.5 if e.name == best else 1.0, np.nan) for e in EXPERTS}
    draw = np.random.default_rng(1)
    peaks = 1e9 + 1e7 * x * draw.uniform(0.9, 1.1, n)
    return run_history(peaks.tolist(), numbers={"input_bytes": x.tolist()}, expert_costs=costs)


def names_read(history: RunHistory, x_now: float | None = 50.0) -> list[str]:
    numbers = {} if x_now is None else {"input_bytes": x_now}
    seen = evidence_of(history, Features(numbers=numbers))
    return [expert.name for expert in settled_experts(history, seen)]


@pytest.mark.parametrize(
    ("n", "runs_since_scored", "is_turn"),
    [(100, 0, True), (100, 1, True), (256, 0, False), (256, 1, True), (300, 0, False),
     (383, 1, True), (384, 1, False), (384, 2, False), (384, 3, True)],
)  # fmt: skip
def test_long_histories_are_scored_now_and_then(
    n: int, runs_since_scored: int, is_turn: bool
) -> None:
    history = scored_history(n, best="recent", last_gap=runs_since_scored)
    seen = evidence_of(history, Features(numbers={"input_bytes": 5.0}))
    assert is_scoring_turn(history, seen) is is_turn


def test_between_scores_the_leader_and_its_stand_in_are_all_that_is_read() -> None:
    assert names_read(scored_history(300, best="log_log")) == ["constant", "log_log"]
    assert names_read(scored_history(300, best="constant")) == ["constant"]


@pytest.mark.parametrize("best", ["log_log", "similar_runs", "recent"])
def test_reading_the_leader_alone_changes_no_choice(best: str) -> None:
    history = scored_history(300, best=best)
    seen = evidence_of(history, Features(numbers={"input_bytes": 50.0}))
    few = read_all(seen, settled_experts(history, seen))
    every = read_all(seen)
    chosen = choose_leader(history, seen, every).expert.name
    if best in {reading.expert.name for reading in every}:
        assert chosen == best
        assert choose_leader(history, seen, few).expert.name == best


@pytest.mark.parametrize(
    ("history", "x_now"),
    [
        (scored_history(100, best="log_log"), 50.0),  # it is to be scored
        (scored_history(300, best="log_log", last_gap=1), 50.0),  # so is this
        (scored_history(300, best="log_log"), 120.0),  # an input beyond all seen
        (scored_history(300, best="log_log"), None),  # the leader cannot be read
    ],
)
def test_else_all_are_read(history: RunHistory, x_now: float | None) -> None:
    assert names_read(history, x_now) == [expert.name for expert in EXPERTS]


def test_a_score_stands_for_the_runs_since_the_one_before() -> None:
    """An expert that was best in 8 runs scored each is not beaten by one scored run after 4."""
    n = 60
    costs = {"constant": np.full(n, np.nan), "recent": np.full(n, np.nan)}
    costs["constant"][20:28], costs["recent"][20:28] = 1.0, 2.0
    costs["constant"][[40, 50]], costs["recent"][[40, 50]] = 2.0, 1.0
    history = run_history([1e9] * n, expert_costs=costs)
    seen = evidence_of(history, Features())
    readings = [reading for reading in read_all(seen) if reading.expert.name in costs]
    # 8 runs for the constant, 13 + 10 for the recent one.
    assert choose_leader(history, seen, readings).expert.name == "recent"


@pytest.mark.parametrize("n", [2, 3, 20, 21, 22, 41, 64])
def test_even_weights_have_the_quantile_that_counting_gives(n: int) -> None:
    """Each run left out in turn: the rank of the 0.95 quantile of the others, by their sums."""
    residual = np.random.default_rng(n).integers(0, 9, n).astype(float)
    order = np.argsort(residual, kind="stable")
    others = 1.0 - np.eye(n)
    below = np.cumsum(others[:, order], axis=1)
    counted = (below >= 0.95 * below[:, -1:] - 1e-15).argmax(axis=1)
    assert _even_upper(order).tolist() == counted.tolist()
