"""Kernels compiled and plain agree: number by number, and in every decision of a backtest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.core.decision import Recommendation
from ullage.core.kernels import compile_kernels, use_plain_kernels
from ullage.core.replay import climbed, next_limit
from ullage.core.scoring import Outcomes, ladder_costs_gbh
from ullage.core.statistics import effective_count, least_squares, rank_shares
from ullage.core.view import RunHistory
from ullage.policies.distributions import rising, support
from ullage.policies.ladder import cheapest_path, thinned, values_above
from ullage.policies.leader import decayed_cost
from ullage.policies.runs import UllageRunPolicy
from ullage.simulation.backtest import Results, World, backtest_workload
from ullage.simulation.runs_table import RunsTable
from ullage.simulation.timeline import in_order
from ullage.testing.histories import run_history, run_question

numba = pytest.importorskip("numba", reason="numba (the extra `fast`) is not installed")

MIB = float(1 << 20)


@pytest.fixture(scope="module")
def compiled() -> Iterator[Callable[[], None]]:
    """Return what exchanges the kernels for their compiled selves."""
    made: dict[object, Callable[..., object]] = {}

    def compiler(function: FunctionType) -> Callable[..., object]:
        if function.__code__ not in made:
            made[function.__code__] = numba.njit(error_model="numpy")(function)
        return made[function.__code__]

    yield lambda: compile_kernels(compiler)
    use_plain_kernels()


def both(compiled: Callable[[], None], call: Callable[[], object]) -> tuple[object, object]:
    """Return what `call` returns with plain kernels, and with compiled ones."""
    use_plain_kernels()
    plain = call()
    compiled()
    try:
        return plain, call()
    finally:
        use_plain_kernels()


def assert_equal(plain: object, fast: object) -> None:
    """Assert equality but for rounding, through tuples."""
    if isinstance(plain, tuple):
        assert isinstance(fast, tuple)
        for one, other in zip(plain, fast, strict=True):
            assert_equal(one, other)
        return
    np.testing.assert_allclose(
        np.asarray(fast, float), np.asarray(plain, float), rtol=1e-9, atol=1e-9
    )


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_numbers_agree(
    compiled: Callable[[], None], n: int, seed: int, censored_share: float, has_ties: bool
) -> None:
    draw = np.random.default_rng(seed)
    points = np.exp(draw.normal(20, 1, n))
    points = np.ceil(points / (64 * MIB)) * 64 * MIB if has_ties else points
    weights = draw.uniform(1e-12, 1, n)
    is_censored, hours = draw.random(n) < censored_share, draw.uniform(0.01, 9, n)
    order = rising(points, is_censored)
    peak = (points[order], weights[order], is_censored[order], hours[order])
    assert_equal(*both(compiled, lambda: support(*peak)))
    points_bytes, prob, run_hours, _ = support(*peak)
    choice = (points_bytes, prob, run_hours, 64 * MIB, 4e10, 1.0, 0.0)
    assert_equal(*both(compiled, lambda: thinned(*choice)))
    limits, above, hours_above = thinned(*choice)
    prices = np.array([0.0, 0.1, 10.0])
    limit_gb, hours_all = (
        np.repeat(limits[:, None] / 1e9, 3, 1),
        np.repeat(hours_above[:, None], 3, 1),
    )
    ahead = limit_gb * hours_all * 3 + above[:, None] * prices
    assert_equal(*both(compiled, lambda: values_above(limit_gb, hours_all, ahead)))
    total = (ahead + values_above(limit_gb, hours_all, ahead))[:, 1]
    path = (limit_gb[:, 1], hours_all[:, 1], total, 0)
    assert_equal(*both(compiled, lambda: cheapest_path(*path)))
    assert_equal(*both(compiled, lambda: effective_count(weights)))
    assert_equal(*both(compiled, lambda: least_squares(weights, points, hours)))
    assert_equal(*both(compiled, lambda: rank_shares(points, np.argsort(points), hours > 0)))
    costs = np.where(is_censored, np.nan, hours)
    assert_equal(*both(compiled, lambda: decayed_cost(costs, hours, weights)))


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=6, unique=True),
    st.floats(1, 9000),
    st.floats(1.1, 3),
    st.one_of(st.none(), st.integers(1, 6000)),
)
def test_a_climb_goes_by_next_limit(
    compiled: Callable[[], None],
    rungs_mib: list[int],
    peak_mib: float,
    factor: float,
    ceiling_mib: int | None,
) -> None:
    rungs = np.sort(np.array(rungs_mib, float)) * MIB
    peak = peak_mib * MIB
    ceiling = None if ceiling_mib is None else ceiling_mib * int(MIB)
    top = np.inf if ceiling is None else float(ceiling)
    plain, fast = both(compiled, lambda: climbed(rungs, peak, top, factor))
    assert_equal(plain, fast)
    limits = [int(limit) for limit in np.asarray(plain)]
    assert limits[0] == min(rungs[0], top)
    whole = [int(rung) for rung in rungs]
    for failed, limit in pairwise(limits):
        assert peak > failed
        assert limit == next_limit(whole, failed, ceiling_bytes=ceiling, factor=factor)
    assert peak <= limits[-1] or limits[-1] == ceiling
    table, count = rungs[None, :], np.array([len(rungs)])
    assert_equal(*both(compiled, lambda: ladder_costs_gbh(table, count, peak, 60.0, 0.5, 4.0, 0.1)))


def made_up(n: int, seed: int, *, follows: bool, error_share: float) -> RunsTable:
    """Return n runs of one workload, with a step up in the middle."""
    draw = np.random.default_rng(seed)
    x = np.exp(draw.normal(18, 1, n))
    peak = (2e8 + (3 * x if follows else 1e9)) * np.exp(draw.normal(0, 0.2, n))
    peak[n // 2 :] *= draw.choice([1.0, 4.0])
    return RunsTable(
        workload_names=("w",),
        workload=np.zeros(n, np.int64),
        run_ids=tuple(f"r{i}" for i in range(n)),
        started_at_s=np.arange(n) * 60.0,
        peak_bytes=peak,
        runtime_s=draw.uniform(10, 300, n),
        has_runtime=np.ones(n, bool),
        request_bytes=np.full(n, np.nan),
        is_error=draw.random(n) < error_share,
        is_saturated=np.zeros(n, bool),
        numbers={"input_bytes": np.where(draw.random(n) < 0.1, np.nan, x)},
    )


@settings(max_examples=8)
@given(st.integers(5, 90), st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.1]))
def test_decisions_are_equal(
    compiled: Callable[[], None], n: int, seed: int, follows: bool, error_share: float
) -> None:
    timeline = in_order(made_up(n, seed, follows=follows, error_share=error_share))

    def replay() -> Results:
        return backtest_workload(timeline, np.arange(n), UllageRunPolicy(), World())

    plain, fast = both(compiled, replay)
    assert isinstance(plain, Results)
    assert isinstance(fast, Results)
    assert plain.first_limit_bytes.tolist() == fast.first_limit_bytes.tolist()
    assert_equal(plain.oom_prob, fast.oom_prob)
    for each in fields(Outcomes):
        assert_equal(getattr(plain.outcomes, each.name), getattr(fast.outcomes, each.name))


def long_history(n: int, *, last_scored: bool) -> RunHistory:
    draw = np.random.default_rng(7)
    cost = draw.uniform(0.1, 0.2, n)
    cost[-1] = 0.1 if last_scored else np.nan
    return run_history(draw.uniform(1e9, 2e9, n).tolist(), expert_costs={"constant": cost})


def answer(history: RunHistory) -> Recommendation:
    return UllageRunPolicy().recommend(history, run_question())


def test_in_a_long_history_every_second_run_scores_the_experts() -> None:
    assert answer(long_history(255, last_scored=True)).expert_ladders
    assert not answer(long_history(256, last_scored=True)).expert_ladders
    assert answer(long_history(256, last_scored=False)).expert_ladders
    scored, other = (
        answer(long_history(300, last_scored=False)),
        answer(long_history(300, last_scored=True)),
    )
    assert scored.ladder.limit_bytes[0] == pytest.approx(other.ladder.limit_bytes[0], rel=0.02)


def test_a_decision_looks_at_the_latest_window_alone() -> None:
    draw = np.random.default_rng(3)
    peaks = draw.uniform(1e9, 2e9, 900)
    changed = peaks.copy()
    changed[:500] *= 40
    question = run_question()
    before, after = run_history(peaks.tolist()), run_history(changed.tolist())
    recommend = UllageRunPolicy().recommend
    assert recommend(before, question).ladder == recommend(after, question).ladder
