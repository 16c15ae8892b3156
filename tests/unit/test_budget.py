"""policies.budget: the failure budget is spent, over decisions, and corrected by outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.policies.budget import (
    FAILURE_GRID_GBH,
    RECENT_DECISIONS,
    choose_price,
    recent_curves,
    target_share,
)
from ullage.testing.histories import run_history

FLAT = tuple([0.01] * len(FAILURE_GRID_GBH))


def test_the_grid_is_fixed_because_stored_curves_rest_on_it() -> None:
    assert len(FAILURE_GRID_GBH) == 50
    assert FAILURE_GRID_GBH[0] == 0
    assert FAILURE_GRID_GBH[1] == pytest.approx(1e-9)
    assert FAILURE_GRID_GBH[-1] == pytest.approx(1e7)
    assert (np.diff(FAILURE_GRID_GBH) > 0).all()


def test_the_smallest_price_that_meets_the_target() -> None:
    curve = np.array([0.5, 0.1, 0.03, 0.01, 0.0])
    assert choose_price(curve, np.zeros((0, 5)), 0.02) == 3
    assert choose_price(curve, np.zeros((0, 5)), 0.03) == 2
    assert choose_price(curve, np.zeros((0, 5)), 0.6) == 0
    assert choose_price(np.array([0.5, 0.4]), np.zeros((0, 2)), 0.02) == 1


def test_a_dear_decision_may_fail_more_where_others_fail_less() -> None:
    """No clamp per decision: 10 % here, 0.5 % in seven others, is 1.7 % of all."""
    here = np.array([0.5, 0.1, 0.0])
    assert choose_price(here, np.zeros((0, 3)), 0.02) == 2
    assert choose_price(here, np.full((7, 3), 0.005), 0.02) == 1


@pytest.mark.parametrize(
    ("runs", "failures", "target"),
    [(0, 0, 0.02), (25, 0, 0.04), (75, 1, 0.04), (25, 1, 0.005), (400, 0, 0.08)],
)
def test_the_target_follows_what_was_spent(runs: int, failures: int, target: float) -> None:
    history = run_history([1.0] * runs, first_failed=range(failures))
    assert target_share(history, 0.02) == pytest.approx(target)


def test_only_runs_under_the_budget_count_where_it_is_recorded() -> None:
    curves = ((),) * 10 + (FLAT,) * 25
    history = run_history([1.0] * 35, first_failed=range(10), spent_prob=curves)
    assert target_share(history, 0.02) == pytest.approx(0.04)


def test_the_latest_whole_curves_are_pooled() -> None:
    history = run_history([1.0] * 3, spent_prob=(FLAT, (), (0.1, 0.2)))
    assert recent_curves(history).tolist() == [list(FLAT)]
    older = tuple([0.5] * len(FAILURE_GRID_GBH))
    many = run_history(
        [1.0] * (RECENT_DECISIONS + 5), spent_prob=(older,) * 5 + (FLAT,) * RECENT_DECISIONS
    )
    assert recent_curves(many).tolist() == [list(FLAT)] * RECENT_DECISIONS
