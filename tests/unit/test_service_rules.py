"""What rules would have cost: by hand, and as sums that go on from where they were."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.policies.service_bases import peak_grid
from ullage.policies.service_prior import PROVENANCE, shipped_prior
from ullage.policies.service_rules import (
    MARGINS,
    RULES_COUNT,
    RulePrior,
    no_scores,
    rule_words,
    scored,
)

STEP_S = 1800.0
LATEST = 5 * len(MARGINS)
"""The rule `latest peak x 1`; the one with margin 1.2 is three further on."""


def grid(peaks: list[float], first: int = 0):  # type: ignore[no-untyped-def]
    at_s = STEP_S * (first + np.arange(len(peaks)))
    return peak_grid(at_s, np.array(peaks), STEP_S)


def test_worked_example_of_the_module() -> None:
    scores = scored(no_scores(), grid([100.0, 110.0]))
    costs = scores.costs(price_hours=2.0, ref=110.0, prior=None)
    assert scores.reserved[LATEST] == pytest.approx(58.0)  # (100 + 132) / 2 x 0.5 h
    assert scores.ooms[LATEST] == 1.0
    assert costs[LATEST] == pytest.approx(58 / 0.5 + 2 * 110 * 1 / 0.5)
    assert scores.reserved[LATEST + 3] == pytest.approx(60.0)
    assert costs[LATEST + 3] == pytest.approx(120.0)


def test_the_dearer_an_oom_the_wider_the_cheapest_rule() -> None:
    draw = np.random.default_rng(1)
    scores = scored(no_scores(), grid(draw.lognormal(5, 0.2, 400).tolist()))
    cheapest = [
        int(np.argmin(scores.costs(price_hours=price, ref=300.0, prior=None)))
        for price in (0.01, 1.0, 100.0)
    ]
    held = [float(scores.reserved[rule]) for rule in cheapest]
    failed = [float(scores.ooms[rule]) for rule in cheapest]
    assert held == sorted(held)
    assert held[0] < held[-1]
    assert failed == sorted(failed, reverse=True)


def test_an_interval_counts_half_after_a_week() -> None:
    one = scored(no_scores(), grid([100.0, 110.0]))
    week = scored(no_scores(), grid([100.0, 110.0, *[110.0] * 336]))
    assert one.ooms[LATEST] == 1.0
    assert week.ooms[LATEST] == pytest.approx(0.5)


def test_nothing_new_changes_nothing_and_a_hole_is_not_scored() -> None:
    some = grid([100.0, 110.0, 120.0])
    scores = scored(no_scores(), some)
    assert scored(scores, some) is scores
    assert scored(no_scores(), grid([])).hours == 0.0
    holed = peak_grid(np.array([0.0, 5.0]) * STEP_S, np.array([100.0, 90.0]), STEP_S)
    assert scored(no_scores(), holed).hours == pytest.approx(0.5)


def test_sums_that_go_on_are_the_sums_from_scratch() -> None:
    draw = np.random.default_rng(5)
    peaks = draw.lognormal(5, 0.5, 600).tolist()
    scratch = scored(no_scores(), grid(peaks))
    running = no_scores()
    for upto in (1, 2, 3, 40, 41, 100, 350, 599, 600):
        running = scored(running, grid(peaks[:upto]))
    np.testing.assert_allclose(running.reserved, scratch.reserved, rtol=1e-9)
    np.testing.assert_allclose(running.ooms, scratch.ooms, rtol=1e-9, atol=1e-12)
    assert running.hours == pytest.approx(scratch.hours)
    assert running.number == scratch.number


def test_no_rule_is_charged_below_the_floor() -> None:
    scores = scored(no_scores(), grid([100.0, 110.0]), floor=200.0)
    assert scores.ooms.max() == 0.0
    np.testing.assert_allclose(scores.reserved, 100.0)  # 200 for half an hour


def test_prior_counts_as_its_hours() -> None:
    prior = RulePrior(
        reserved=np.full(RULES_COUNT, 0.5), ooms=np.full(RULES_COUNT, 0.1), hours=6.0, provenance=""
    )
    alone = no_scores().costs(price_hours=10.0, ref=200.0, prior=prior)
    assert alone[0] == pytest.approx(0.5 * 200 + 10 * 200 * 0.1)
    assert np.isnan(no_scores().costs(price_hours=10.0, ref=200.0, prior=None)).all()


def test_shipped_prior_says_where_it_comes_from() -> None:
    prior = shipped_prior()
    assert prior.reserved.shape == prior.ooms.shape == (RULES_COUNT,)
    assert "instances" in PROVENANCE
    assert prior.provenance == PROVENANCE
    # more margin holds more and fails less, whatever the base
    assert (np.diff(prior.reserved.reshape(-1, len(MARGINS)), axis=1) >= 0).all()
    assert (np.diff(prior.ooms.reshape(-1, len(MARGINS)), axis=1) <= 0).all()


def test_rules_have_words() -> None:
    assert len({rule_words(rule) for rule in range(RULES_COUNT)}) == RULES_COUNT == 72
