"""simulation.fleet: epochs, what is told in them, and a budget that all workloads share."""

from __future__ import annotations

import numpy as np

from ullage.bootstrap import backtest_policy
from ullage.core.allocation import Prices
from ullage.core.spending import RECENT_RUNS, Spending
from ullage.simulation.backtest import Spent, World
from ullage.simulation.compare import PolicyRun, compare
from ullage.simulation.fleet import epoch_starts, latest, spending_so_far
from ullage.simulation.runs_table import RunsTable
from ullage.simulation.timeline import in_order
from ullage.testing.runs_tables import runs_table

GB = 1e9


def _spent(known_at_s: list[float], row: list[int], failed: list[bool]) -> Spent:
    return Spent(
        known_at_s=np.array(known_at_s, float),
        row=np.array(row, np.int64),
        first_failed=np.array(failed, bool),
        first_oom_prob=np.full(len(row), 0.25),
        spent_prob=np.array(row, float)[:, None] / 10,
    )


def test_the_latest_of_all_shares_in_the_order_of_knowing() -> None:
    nothing = _spent([], [], [])
    found = latest([nothing, _spent([5, 9], [0, 3], [True, False]), _spent([7], [1], [False])])
    assert found.row.tolist() == [0, 1, 3]
    assert found.first_failed.tolist() == [True, False, False]
    assert spending_so_far(found) == Spending(
        runs_count=3,
        failures_count=1,
        expected_count=0.75,
        mean_prob=(float(np.mean([0.0, 0.1, 0.3])),),
    )
    assert spending_so_far(nothing) is None
    assert spending_so_far(None) is None


def test_the_budget_looks_back_so_far_and_no_farther() -> None:
    n = RECENT_RUNS + 7
    found = latest([_spent(list(range(n)), list(range(n)), [False] * n)])
    assert found.row.tolist() == list(range(7, n))


def test_epochs_grow_with_the_runs_so_far() -> None:
    timeline = in_order(runs_table([GB] * 500))
    starts = epoch_starts(timeline, 10)
    position = np.searchsorted(timeline.asked_at_s, starts)
    assert position[:4].tolist() == [0, 10, 20, 30]
    assert np.diff(position)[-1] == int(0.05 * position[-2])
    # runs asked about at one moment are of one epoch
    crowd = in_order(runs_table([GB] * 50, started_at_s=[0.0] * 40 + [1.0] * 10))
    assert epoch_starts(crowd, 10).tolist() == [0.0, 1.0]


def _dear_and_cheap(seed: int) -> RunsTable:
    """Return 400 runs of each of two alike workloads, of which one is a hundred times as large."""
    rng = np.random.default_rng(seed)
    n = 400
    sizes = np.where(np.arange(2 * n) % 2 == 0, 100.0, 1.0)
    return runs_table(
        (sizes * GB * rng.lognormal(0, 0.4, 2 * n)).tolist(),
        workload=(np.arange(2 * n) % 2).tolist(),
    )


def _replay(runs: RunsTable, budget: float, jobs: int = 1) -> PolicyRun:
    world = World(prices=Prices(), failure_budget_ratio=budget)
    policies = compare(
        in_order(runs), ["ullage"], make_policy=backtest_policy, world=world, jobs=jobs
    )
    return next(policies)


def test_failures_are_spent_where_they_save_most_and_the_budget_holds_over_all() -> None:
    shares = []
    for seed in range(3):
        runs = _dear_and_cheap(seed)
        results = _replay(runs, 0.05).results
        warm = results.known_count >= 20
        failed = results.outcomes.ooms_count > 0
        dear = runs.workload[results.row] == 0
        assert failed[warm & dear].mean() > 3 * failed[warm & ~dear].mean()
        shares.append(failed[warm].mean())
    assert 0.7 * 0.05 <= float(np.mean(shares)) <= 1.3 * 0.05


def test_what_all_spend_does_not_depend_on_the_number_of_processes() -> None:
    runs = _dear_and_cheap(5).take(np.arange(300))
    one, two = _replay(runs, 0.05).results, _replay(runs, 0.05, jobs=2).results
    assert (one.first_limit_bytes == two.first_limit_bytes).all()
    assert (one.oom_prob == two.oom_prob).all()
