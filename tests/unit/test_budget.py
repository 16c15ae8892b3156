"""policies.budget: the failure budget is spent, over decisions, and corrected by outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.core.spending import Spending, spending_of
from ullage.policies.budget import (
    FAILURE_GRID_GBH,
    OWN_RUNS,
    calibration,
    choose_price,
    own_spending,
    target_share,
)
from ullage.testing.histories import run_history

FLAT = tuple([0.01] * len(FAILURE_GRID_GBH))
NOTHING = Spending()


def test_the_grid_is_fixed_because_stored_curves_rest_on_it() -> None:
    assert len(FAILURE_GRID_GBH) == 50
    assert FAILURE_GRID_GBH[0] == 0
    assert FAILURE_GRID_GBH[1] == pytest.approx(1e-9)
    assert FAILURE_GRID_GBH[-1] == pytest.approx(1e7)
    assert (np.diff(FAILURE_GRID_GBH) > 0).all()


def test_the_smallest_price_that_meets_the_target() -> None:
    curve = np.array([0.5, 0.1, 0.03, 0.01, 0.0])
    assert choose_price(curve, NOTHING, 0.02) == 3
    assert choose_price(curve, NOTHING, 0.03) == 2
    assert choose_price(curve, NOTHING, 0.6) == 0
    assert choose_price(np.array([0.5, 0.4]), NOTHING, 0.02) == 1


def test_a_dear_decision_may_fail_more_where_others_fail_less() -> None:
    """No clamp per decision: 10 % here, 0.5 % in seven others, is 1.7 % of all."""
    here = np.array([0.5, 0.1, 0.0])
    others = Spending(runs_count=7, mean_prob=(0.005, 0.005, 0.005))
    assert choose_price(here, NOTHING, 0.02) == 2
    assert choose_price(here, others, 0.02) == 1


def test_curves_over_another_grid_say_nothing() -> None:
    others = Spending(runs_count=700, mean_prob=(0.0, 0.0))
    assert choose_price(np.array([0.5, 0.1, 0.0]), others, 0.02) == 2


@pytest.mark.parametrize(
    ("runs", "failures", "target"),
    [(0, 0, 0.02), (25, 0, 0.04), (80, 1, 0.035), (25, 1, 0.01), (400, 0, 0.04), (1000, 22, 0.016)],
)
def test_the_target_follows_what_was_spent(runs: int, failures: int, target: float) -> None:
    spending = Spending(runs_count=runs, failures_count=failures)
    assert target_share(spending, 0.02) == pytest.approx(target)


def test_spending_is_the_mean_of_curves_and_the_count_of_failures() -> None:
    curves = np.array([[0.5, 0.1], [0.3, 0.0]])
    spending = spending_of(curves, np.array([0.1, 0.3]), np.array([True, False]))
    assert (spending.runs_count, spending.failures_count) == (2, 1)
    assert spending.mean_prob == pytest.approx((0.4, 0.05))
    assert spending.expected_count == pytest.approx(0.4)
    assert spending_of(np.zeros((0, 2)), np.zeros(0), np.zeros(0, bool)) == NOTHING


@pytest.mark.parametrize(
    ("failures", "expected", "ratio"),
    [(0, 0.0, 1.0), (25, 10.0, 2.0), (1, 19.0, 0.5), (0, 95.0, 0.5), (400, 0.0, 8.0)],
)
def test_chances_are_believed_as_far_as_they_came_true(
    failures: int, expected: float, ratio: float
) -> None:
    spending = Spending(runs_count=900, failures_count=failures, expected_count=expected)
    assert calibration(spending) == ratio


def test_where_twice_as_many_fail_as_announced_the_price_is_that_of_half_the_target() -> None:
    curve = np.array([0.5, 0.03, 0.015, 0.01])
    off = Spending(
        runs_count=900, failures_count=25, expected_count=10.0, mean_prob=tuple(curve.tolist())
    )
    assert choose_price(curve, NOTHING, 0.02) == 2
    assert choose_price(curve, off, 0.02) == 3


def test_only_the_latest_runs_under_the_budget_count() -> None:
    curves = ((),) * 10 + (FLAT,) * 25
    chances = (None,) * 10 + (0.01,) * 25
    mixed = own_spending(
        run_history([1.0] * 35, first_failed=range(10), spent_prob=curves, first_oom_prob=chances)
    )
    assert (mixed.runs_count, mixed.failures_count) == (25, 0)
    older = tuple([0.5] * len(FAILURE_GRID_GBH))
    many = run_history(
        [1.0] * (OWN_RUNS + 5),
        first_failed=range(5),
        spent_prob=(older,) * 5 + (FLAT,) * OWN_RUNS,
        first_oom_prob=(0.01,) * (OWN_RUNS + 5),
    )
    assert own_spending(many).failures_count == 0
    assert own_spending(many).mean_prob == pytest.approx(FLAT)


def test_curves_of_a_foreign_grid_are_no_spending() -> None:
    history = run_history([1.0] * 3, spent_prob=((0.1, 0.2),) * 3, first_oom_prob=(0.1,) * 3)
    assert own_spending(history) == NOTHING
