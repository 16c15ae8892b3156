"""The solved ladder against brute force: all subsets, and every doubling rule."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.core.allocation import Bounds, Prices
from ullage.core.replay import GB_HOUR, replay_run
from ullage.core.units import GIB, MIB
from ullage.policies.distributions import PeakDistribution
from ullage.policies.ladder import candidates_of, ladder_of, solve


@st.composite
def peak_distributions(draw: st.DrawFn, max_size: int = 8) -> PeakDistribution:
    """Draw a distribution with few points, uneven chances and runtimes."""
    mib = draw(st.lists(st.integers(1, 4000), min_size=1, max_size=max_size, unique=True))
    n = len(mib)
    odds = np.array(draw(st.lists(st.integers(1, 50), min_size=n, max_size=n)), float)
    hours = np.array(draw(st.lists(st.floats(0.01, 9), min_size=n, max_size=n)))
    prob = odds / odds.sum()
    points = np.sort(np.array(mib, float)) * MIB - 0.3 * MIB
    return PeakDistribution(points, prob, prob * hours, np.arange(n))


PRICES = st.builds(
    Prices,
    rho=st.floats(0.1, 30),
    failure_gbh=st.floats(0, 5),
    ttf_ratio=st.floats(0, 1),
)


def expected_cost_gbh(
    rungs: tuple[int, ...], peak: PeakDistribution, prices: Prices, **world: float
) -> float:
    """Return the expected cost by replaying every point: not the recursion's own arithmetic."""
    total = 0.0
    for point, prob, hours in zip(peak.points_bytes, peak.prob, peak.run_hours, strict=True):
        runtime_s = hours / prob * 3600
        run = replay_run(
            rungs,
            peak_bytes=point,
            runtime_s=runtime_s,
            ttf_ratio=prices.ttf_ratio,
            **world,  # type: ignore[arg-type]
        )
        held = run.reserved_byte_seconds - run.failed_byte_seconds
        lost = prices.rho * run.failed_byte_seconds
        total += prob * ((held + lost) / GB_HOUR + (prices.failure_gbh or 0) * run.ooms_count)
    return total


def solved(peak: PeakDistribution, bounds: Bounds, prices: Prices) -> tuple[int, ...]:
    """Return the solved ladder's limits."""
    choice = candidates_of(peak, bounds)
    solution = solve([choice], np.array([prices.failure_gbh or 0.0]), prices)
    return ladder_of(choice, solution.path(0), peak).limit_bytes


@settings(max_examples=150)
@given(peak_distributions(), PRICES, st.integers(1, 4500))
def test_no_subset_of_the_candidates_is_cheaper(
    peak: PeakDistribution, prices: Prices, ceiling_mib: int
) -> None:
    bounds = Bounds(floor_bytes=MIB, ceiling_bytes=ceiling_mib * MIB)
    limits = [int(limit) for limit in candidates_of(peak, bounds).limit_bytes]
    world = {"ceiling_bytes": limits[-1]}
    cost = expected_cost_gbh(solved(peak, bounds, prices), peak, prices, **world)
    best = min(
        expected_cost_gbh((*subset, limits[-1]), peak, prices, **world)
        for size in range(len(limits))
        for subset in combinations(limits[:-1], size)
    )
    assert cost == pytest.approx(best, rel=1e-9)


@settings(max_examples=150)
@given(peak_distributions(max_size=20), PRICES, st.integers(64, 5000), st.integers(1, 400))
def test_never_dearer_than_one_limit_and_doubling(
    peak: PeakDistribution, prices: Prices, ceiling_mib: int, floor_mib: int
) -> None:
    """On the same support, floor and cap, whatever limit the doubling starts from."""
    bounds = Bounds(floor_bytes=min(floor_mib, ceiling_mib) * MIB, ceiling_bytes=ceiling_mib * MIB)
    world = {"ceiling_bytes": bounds.ceiling_bytes}
    cost = expected_cost_gbh(solved(peak, bounds, prices), peak, prices, **world)
    starts = {int(limit) for limit in candidates_of(peak, bounds).limit_bytes}
    starts |= {bounds.floor_bytes, bounds.ceiling_bytes}
    starts |= {(a + b) // 2 // MIB * MIB for a in starts for b in starts}
    for start in starts:
        if start < bounds.floor_bytes:
            continue
        doubling = expected_cost_gbh((start,), peak, prices, factor=2.0, **world)
        assert cost <= doubling * (1 + 1e-9)


@settings(max_examples=100)
@given(peak_distributions(max_size=30), PRICES, st.integers(1, 6000), st.integers(1, 500))
def test_ladders_are_well_formed(
    peak: PeakDistribution, prices: Prices, ceiling_mib: int, floor_mib: int
) -> None:
    bounds = Bounds(floor_bytes=floor_mib * MIB, ceiling_bytes=ceiling_mib * MIB)
    choice = candidates_of(peak, bounds)
    ladder = ladder_of(choice, solve([choice], np.array([0.0]), prices).path(0), peak)
    limits, probs = ladder.limit_bytes, ladder.oom_prob
    assert list(limits) == sorted(set(limits))
    assert list(probs) == sorted(probs, reverse=True)
    assert all(limit % MIB == 0 for limit in limits)
    assert limits[0] >= min(bounds.floor_bytes, bounds.ceiling_bytes)
    assert limits[-1] <= bounds.ceiling_bytes
    if max(peak.points_bytes) > bounds.ceiling_bytes:
        assert limits[-1] == bounds.ceiling_bytes
    assert limits[-1] < 4 * GIB + bounds.floor_bytes
