"""policies.ladder: candidates, the solved recursion, cutting to the attempts left."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.core.allocation import Bounds, Ladder, Prices
from ullage.core.units import GIB, MIB
from ullage.policies.distributions import PeakDistribution
from ullage.policies.ladder import (
    MAX_CANDIDATES,
    candidates_of,
    cut_to_attempts,
    ladder_of,
    solve,
)

WIDE = Bounds(floor_bytes=MIB, ceiling_bytes=1024 * GIB)


def _peak(points: list[float], prob: list[float] | None = None) -> PeakDistribution:
    n = len(points)
    mass = np.full(n, 1 / n) if prob is None else np.array(prob)
    return PeakDistribution(np.array(points, float), mass, mass.copy(), np.arange(n))


def _ladder(peak: PeakDistribution, prices: Prices, bounds: Bounds = WIDE) -> Ladder:
    choice = candidates_of(peak, bounds)
    price = np.array([prices.failure_gbh or 0.0])
    return ladder_of(choice, solve([choice], price, prices).path(0), peak)


def test_candidates_are_whole_mib_within_bounds() -> None:
    bounds = Bounds(floor_bytes=64 * MIB, ceiling_bytes=1000 * MIB)
    choice = candidates_of(_peak([1.0, 70.5 * MIB, 71 * MIB, 5 * GIB]), bounds)
    assert (choice.limit_bytes / MIB).tolist() == [64, 71, 1000]
    assert choice.prob_above == pytest.approx([0.75, 0.25, 0.25])


def test_thinning_keeps_the_top_and_the_bottom() -> None:
    points = (np.arange(1, 1001) * MIB).astype(float).tolist()
    choice = candidates_of(_peak(points), WIDE)
    limits = choice.limit_bytes / MIB
    assert len(choice) <= MAX_CANDIDATES
    assert limits[0] == 1
    assert limits[-20:].tolist() == list(range(981, 1001))
    assert choice.prob_above[0] == pytest.approx(0.999)


def test_the_worked_example() -> None:
    peak = _peak([1e9, 2e9])
    cheap = _ladder(peak, Prices(rho=0.5))
    assert [round(limit / 1e9) for limit in cheap.limit_bytes] == [1, 2]
    dear = _ladder(peak, Prices(rho=4.0))
    assert [round(limit / 1e9) for limit in dear.limit_bytes] == [2]
    assert cheap.oom_prob == pytest.approx((0.5, 0.0))


def test_a_dearer_failure_never_makes_the_first_rung_riskier() -> None:
    draw = np.random.default_rng(0)
    peak = _peak(np.sort(draw.lognormal(20, 1, 60)).tolist())
    choice = candidates_of(peak, WIDE)
    prices = np.concatenate(([0.0], np.logspace(-6, 4, 40)))
    prob = solve([choice], prices, Prices()).prob_first
    assert (np.diff(prob) <= 1e-12).all()
    assert prob[-1] == 0


def test_problems_solved_together_equal_problems_solved_alone() -> None:
    draw = np.random.default_rng(1)
    peaks = [_peak(np.sort(draw.lognormal(20, 1, n)).tolist()) for n in (1, 3, 40)]
    choices = [candidates_of(peak, WIDE) for peak in peaks]
    together = solve(choices, np.full(3, 0.01), Prices(rho=2.0))
    for row, (choice, peak) in enumerate(zip(choices, peaks, strict=True)):
        alone = solve([choice], np.array([0.01]), Prices(rho=2.0))
        assert ladder_of(choice, together.path(row), peak) == ladder_of(choice, alone.path(0), peak)


def test_a_ceiling_below_the_peaks_is_the_only_rung() -> None:
    bounds = Bounds(ceiling_bytes=100 * MIB + 5)
    ladder = _ladder(_peak([1e9, 2e9]), Prices(), bounds)
    assert ladder.limit_bytes == (100 * MIB + 5,)
    assert ladder.oom_prob == (1.0,)


def test_the_ladder_reaches_the_highest_candidate() -> None:
    ladder = _ladder(_peak([1e9, 2e9, 3e9], [0.9, 0.09, 0.01]), Prices(rho=1.0))
    assert ladder.limit_bytes[-1] >= 3e9
    assert ladder.oom_prob[-1] == 0


def test_the_last_possible_attempt_gets_the_ceiling() -> None:
    ladder = Ladder(limit_bytes=(1 * GIB, 2 * GIB, 3 * GIB), oom_prob=(0.3, 0.2, 0.1))
    bounds = Bounds(ceiling_bytes=8 * GIB)
    assert cut_to_attempts(ladder, bounds, 3) == ladder
    assert cut_to_attempts(ladder, bounds, 1).limit_bytes == (1 * GIB, 8 * GIB)
    assert cut_to_attempts(ladder, bounds, 2).limit_bytes == (1 * GIB, 2 * GIB, 8 * GIB)
    assert cut_to_attempts(ladder, bounds, 1).oom_prob == (0.3, 0.1)


def test_where_a_raise_is_due_early_a_limit_serves_less() -> None:
    choice = candidates_of(_peak([900 * MIB, 1800 * MIB]), WIDE, full_ratio=0.9)
    assert (choice.limit_bytes / MIB).tolist() == [1000, 2000]
    assert choice.prob_above == pytest.approx([0.5, 0.0])
