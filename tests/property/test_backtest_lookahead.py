"""No policy decides by what is not yet known; the oracle is the floor; live decides the same.

Whatever is not known at a cut is altered (peaks, ends, outcomes, features of later runs,
also of runs that began before the cut and end after it): no decision before the cut moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage.bootstrap import backtest_policy, backtest_policy_ids
from ullage.core.allocation import Bounds
from ullage.core.decide import decide_run
from ullage.core.decision import Recommendation, RunDecision, RunQuestion
from ullage.core.errors import ConfigError
from ullage.core.ports import RunPolicy
from ullage.core.replay import replay_run
from ullage.core.scoring import expert_costs_gbh
from ullage.core.units import GIB
from ullage.core.view import RunHistory, history_of
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload
from ullage.simulation.backtest import (
    RELATED_RUNS,
    Results,
    World,
    backtest_workload,
    rows_by_workload,
)
from ullage.simulation.compare import ORACLE, merged, oracle_workload
from ullage.simulation.fleet import FleetShare, run_epochs
from ullage.simulation.runs_table import RunsTable
from ullage.simulation.timeline import Timeline, in_order
from ullage.testing.runs_tables import runs_table

SLOW = {"sizey": 3, "witt-lwr": 6}
"""Policies that fit models for tenths of a second: fewer examples."""
POLICIES = [name for name in backtest_policy_ids() if name != ORACLE]
GB = 1e9


@st.composite
def tables(draw: st.DrawFn) -> RunsTable:
    """Return runs of two workloads that overlap in time, with and without features."""
    n = draw(st.integers(6, 18))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    follows = draw(st.booleans())
    inputs = rng.uniform(1, 9, n)
    peaks = (inputs if follows else 1) * GB * rng.lognormal(0, draw(st.sampled_from([0.0, 0.3])), n)
    tags = np.array(["a", "b", "c"], object)[rng.integers(0, 3, n)]
    return runs_table(
        peaks.tolist(),
        workload=(rng.random(n) < draw(st.sampled_from([0.0, 0.3]))).astype(int).tolist(),
        started_at_s=np.sort(rng.integers(0, 4 * n, n) * 900.0).tolist(),
        runtime_s=(rng.lognormal(0, 1, n) * 2000).tolist(),
        request_bytes=np.where(rng.random(n) < 0.5, 12 * GB, np.nan).tolist(),
        errors=np.flatnonzero(rng.random(n) < 0.1).tolist(),
        numbers={
            "input_bytes": np.where(rng.random(n) < 0.9, inputs * GB, np.nan).tolist(),
            "late": [np.nan] * n,
        },
        labels={"tag": [str(tag) if rng.random() < 0.9 else None for tag in tags]},
    )


def altered(runs: RunsTable, timeline: Timeline, cut_at_s: float, seed: int) -> RunsTable:
    """Return the table with all changed that is not known at the cut, and nothing else."""
    rng = np.random.default_rng(seed)
    n = len(runs)
    is_open = timeline.known_at_s > cut_at_s
    is_later = timeline.asked_at_s > cut_at_s
    elapsed = np.maximum(cut_at_s - runs.started_at_s, 0)
    return replace(
        runs,
        peak_bytes=np.where(is_open, runs.peak_bytes * rng.uniform(0.01, 40, n), runs.peak_bytes),
        runtime_s=np.where(is_open, elapsed + rng.uniform(1, 9000, n), runs.runtime_s),
        is_error=np.where(is_open, ~runs.is_error, runs.is_error),
        request_bytes=np.where(is_later, rng.uniform(1, 30, n) * GB, runs.request_bytes),
        numbers={
            name: np.where(is_later, rng.uniform(0, 50, n) * GB, x)
            for name, x in runs.numbers.items()
        },
        labels={name: np.where(is_later, "altered", x) for name, x in runs.labels.items()},
    )


def decided(timeline: Timeline, policy: RunPolicy) -> Results:
    """Replay all workloads as a fleet; peers do not look at what it spends."""
    share = FleetShare(timeline, list(rows_by_workload(timeline)), policy, World())
    run_epochs(timeline, lambda epoch: [share.advance(epoch)], least_runs=3)
    return merged(share.results())


def check_no_look_ahead(runs: RunsTable, cut: int, seed: int, make: object) -> None:
    """Fail if a decision up to the cut depends on what was not known at the cut.

    make: timeline -> policy, so that a leak may hold the table itself.
    """
    timeline = in_order(runs)
    cut_at_s = float(timeline.asked_at_s[cut])
    other = in_order(altered(runs, timeline, cut_at_s, seed))
    before = timeline.asked_at_s <= cut_at_s
    first = decided(timeline, make(timeline))  # type: ignore[operator]
    second = decided(other, make(other))  # type: ignore[operator]
    assert (other.asked_at_s == timeline.asked_at_s).all()
    for name in ("first_limit_bytes", "oom_prob", "known_count"):
        one, two = getattr(first, name)[before], getattr(second, name)[before]
        assert np.array_equal(one, two, equal_nan=True), f"{name}: {one} became {two}"


def _made(policy_id: str) -> RunPolicy:
    try:
        return backtest_policy(policy_id)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("policy_id", POLICIES)
def test_no_policy_looks_ahead(policy_id: str) -> None:
    policy = _made(policy_id)

    @settings(
        max_examples=SLOW.get(policy_id, 15),
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(tables(), st.integers(0, 5), st.integers(0, 999))
    def holds(runs: RunsTable, cut: int, seed: int) -> None:
        check_no_look_ahead(runs, cut, seed, lambda timeline: policy)
        check_no_look_ahead(runs, len(runs) - 1 - cut, seed, lambda timeline: policy)

    holds()


@dataclass(frozen=True)
class Leak:
    """A policy that asks a decent one and adds what it sees in the table through the back door."""

    timeline: Timeline
    honest: RunPolicy
    kind: str
    policy_id: str = "leak"
    is_guarded: bool = False

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        answer = self.honest.recommend(history, question, related=related)
        runs, asked_at_s = self.timeline.runs, question.asked_at.timestamp()
        has_begun = self.timeline.asked_at_s <= asked_at_s
        is_open = self.timeline.known_at_s > asked_at_s
        seen = {
            "peaks of runs that go on": runs.peak_bytes[has_begun & is_open].sum(),
            "runtimes of runs that go on": runs.runtime_s[has_begun & is_open].sum(),
            "outcomes of runs that go on": runs.is_error[has_begun & is_open].sum(),
            "inputs of later runs": np.nansum(runs.numbers["input_bytes"][~has_begun]),
            "nothing": 0.0,
        }[self.kind]
        limits = tuple(limit + int(seen) for limit in answer.ladder.limit_bytes)
        return replace(answer, ladder=replace(answer.ladder, limit_bytes=limits))


LEAKING = runs_table(
    [1 * GB, 2 * GB, 3 * GB, 4 * GB],
    started_at_s=[0, 100, 200, 300],
    runtime_s=[50, 1000, 50, 50],
    numbers={"input_bytes": [1, 2, 3, 4]},
)


@pytest.mark.parametrize(
    "kind",
    [
        "peaks of runs that go on",
        "runtimes of runs that go on",
        "outcomes of runs that go on",
        "inputs of later runs",
    ],
)
def test_a_planted_leak_is_caught(kind: str) -> None:
    honest = backtest_policy("max-1.1")
    check_no_look_ahead(LEAKING, 2, 1, lambda timeline: Leak(timeline, honest, "nothing"))
    with pytest.raises(AssertionError, match="first_limit_bytes"):
        check_no_look_ahead(LEAKING, 2, 1, lambda timeline: Leak(timeline, honest, kind))


@pytest.mark.parametrize("policy_id", POLICIES)
@pytest.mark.parametrize("ceiling_bytes", [1 << 50, 8 * GIB])
def test_the_oracle_is_the_floor_everywhere(policy_id: str, ceiling_bytes: int) -> None:
    policy = _made(policy_id)
    world = World(bounds=Bounds(ceiling_bytes=ceiling_bytes), ttf_ratio=0.6)

    @settings(
        max_examples=SLOW.get(policy_id, 15),
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(tables())
    def holds(runs: RunsTable) -> None:
        timeline = in_order(runs)
        for rows in rows_by_workload(timeline):
            floor = oracle_workload(timeline, rows, world)
            got = backtest_workload(timeline, rows, policy, world)
            assert (got.row == floor.row).all()
            assert (got.known_count == floor.known_count).all()
            for name in ("reserved_byte_seconds", "failed_byte_seconds", "ooms_count", "lost_s"):
                mine, least = getattr(got.outcomes, name), getattr(floor.outcomes, name)
                assert (mine >= least - 1e-6 * np.abs(least)).all(), name

    holds()


# -- the live path -------------------------------------------------------------------------


class Witness:
    """Asks a policy, and keeps what it was asked with and what it said."""

    policy_id = "ullage"

    def __init__(self, policy: RunPolicy) -> None:
        self.is_guarded = policy.is_guarded
        self._policy = policy
        self.asked: list[tuple[RunHistory, RunQuestion, Recommendation, RunHistory | None]] = []

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        answer = self._policy.recommend(history, question, related=related)
        self.asked.append((history, question, answer, related))
        return answer


def _ended(decision: RunDecision, limits: list[int], runs: RunsTable, row: int) -> Run:
    """Return the run as a live store would have it, had it been limited like this."""
    at = decision.question.asked_at
    peak, runtime = float(runs.peak_bytes[row]), timedelta(seconds=float(runs.runtime_s[row]))
    attempts = []
    for number, limit in enumerate(limits, 1):
        is_killed = peak > limit
        last = Outcome.ERROR if runs.is_error[row] else Outcome.OK
        attempts.append(
            Attempt(
                number=number,
                started_at=at,
                limit_bytes=limit,
                final_limit_bytes=limit,
                peak_bytes=limit if is_killed else int(peak),
                runtime=runtime,
                outcome=Outcome.OOM_KILLED if is_killed else last,
                exit_code=None,
                oom_kills=int(is_killed),
            )
        )
    run = Run(
        run_id=runs.run_ids[row],
        workload=Workload(key=decision.question.workload_key, key_reason="named by --name"),
        started_at=at,
        known_at=at + runtime,
        features=decision.question.features,
        control=ControlKind.CGROUP1,
        outcome=attempts[-1].outcome,
        exit_code=None,
        attempts=tuple(attempts),
        spent_prob=decision.recommendation.spent_prob,
        first_oom_prob=decision.ladder.oom_prob[0] if decision.recommendation.spent_prob else None,
    )
    return replace(run, expert_costs=expert_costs_gbh(decision, run))


def _told(history: RunHistory) -> dict[str, list[object]]:
    """Return what a history says: columns in which nothing is told yet are as good as none."""
    told = {
        "run_ids": list(history.run_ids),
        "known_at_s": np.round(history.known_at_s, 5).tolist(),
        "peak_bytes": history.peak_bytes.tolist(),
        "is_censored": history.is_censored.tolist(),
        "runtime_s": np.round(history.runtime_s, 5).tolist(),
        "first_failed": history.first_failed.tolist(),
        "ooms_count": history.ooms_count.tolist(),
        "limit_bytes": history.limit_bytes.tolist(),
        "failed_bytes": np.nan_to_num(history.failed_bytes, nan=-1.0).tolist(),
    }
    for kind, named in (
        ("number", history.numbers),
        ("label", history.labels),
        ("cost", history.expert_costs),
    ):
        for name, column in named.items():
            if np.nan_to_num(column).any():
                told[f"{kind} {name}"] = np.nan_to_num(column, nan=-1.0).tolist()
    if np.nan_to_num(history.spent_prob).any():
        told["spent"] = np.nan_to_num(history.spent_prob, nan=-1.0).tolist()
    told["first_oom_prob"] = np.nan_to_num(history.first_oom_prob, nan=-1.0).tolist()
    return told


@settings(max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True)
@given(tables())
def test_live_and_backtest_decide_the_same_for_the_same_history(runs: RunsTable) -> None:
    runs = replace(
        runs,
        workload=np.zeros(len(runs), np.int64),
        peak_bytes=np.floor(runs.peak_bytes),
        runtime_s=np.round(runs.runtime_s, 3),
    )
    timeline, world = in_order(runs), World()
    witness = Witness(backtest_policy("ullage"))
    (rows,) = rows_by_workload(timeline)
    results = backtest_workload(timeline, rows, witness, world)
    first = [each for each in witness.asked if not each[1].failed_limits_bytes]
    assert len(first) == len(rows)
    stored: list[Run] = []
    for position, row in enumerate(rows.tolist()):
        history, question, _, related = first[position]
        live = history_of(stored, at=question.asked_at)
        assert _told(live) == _told(history)
        decision = decide_run(live, question, backtest_policy("ullage"), related=related)
        assert decision.limit_bytes == results.first_limit_bytes[position]
        limits = [decision.limit_bytes]
        while runs.peak_bytes[row] > limits[-1]:
            again = replace(
                question,
                failed_limits_bytes=tuple(limits),
                attempts_left=question.attempts_left - len(limits),
            )
            retry = decide_run(live, again, backtest_policy("ullage"), related=related)
            limits.append(retry.limit_bytes)
        replayed = replay_run(
            limits, peak_bytes=float(runs.peak_bytes[row]), runtime_s=float(runs.runtime_s[row])
        )
        assert replayed.reserved_byte_seconds == pytest.approx(
            results.outcomes.reserved_byte_seconds[position]
        )
        stored.append(_ended(decision, limits, runs, row))


def test_the_latest_runs_of_all_workloads_are_what_a_cold_start_is_told() -> None:
    n = RELATED_RUNS + 50
    runs = runs_table(
        np.arange(1, n + 2) * 1e6,
        workload=[0] * n + [1],
        started_at_s=[*range(n), n - 10],
        runtime_s=[0.5] * (n + 1),
    )
    witness = Witness(backtest_policy("ullage"))
    timeline = in_order(runs)
    backtest_workload(timeline, np.array([n]), witness, World())
    related = witness.asked[0][3]
    assert related is not None
    assert related.run_ids == tuple(f"run-{at}" for at in range(n - 10 - RELATED_RUNS, n - 10))
    assert witness.asked[0][1].asked_at == datetime.fromtimestamp(n - 10, UTC)
    assert witness.asked[0][1].features == Features()
