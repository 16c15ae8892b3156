"""policies.distributions and policies.experts: what past peaks say about the next one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.units import MIB
from ullage.core.workload import Features
from ullage.policies.distributions import PeakDistribution, given_above, peak_distribution
from ullage.policies.experts import choose_feature, compared, distribution, evidence_of, read_all
from ullage.testing.histories import run_history


def _distribution(peaks: list[float], censored: list[int] | None = None) -> PeakDistribution:
    history = run_history(peaks, censored=censored or [])
    known = peak_distribution(
        history.peak_bytes,
        np.ones(len(peaks)),
        is_censored=history.is_censored,
        runtime_s=history.runtime_s,
    )
    assert known is not None
    return known


@pytest.mark.parametrize("n", [1, 4, 40])
def test_the_tail_above_the_largest_peak_holds_one_observation(n: int) -> None:
    peaks = np.linspace(100, 200, n).tolist()
    known = _distribution(peaks)
    above, _ = known.above(np.array([max(peaks)]))
    assert above[0] == pytest.approx(1 / (n + 1))
    assert known.prob.sum() == pytest.approx(1)
    assert known.points_bytes[-1] >= 2 * max(peaks)


def test_tail_atoms_of_one_peak() -> None:
    known = _distribution([100.0])
    assert known.points_bytes == pytest.approx([100, 105.25, 115, 130, 160, 200])
    assert known.prob * 2 == pytest.approx([1, 0.45, 0.28, 0.15, 0.08, 0.04])


def test_close_peaks_have_a_closer_tail_than_scattered_ones() -> None:
    close = _distribution([999.0, 1000, 1001, 1002, 1003, 1000])
    wide = _distribution([100.0, 300, 500, 700, 900, 1003])
    assert close.quantile(0.98) < wide.quantile(0.98)


def test_a_heavy_top_decile_stretches_the_tail() -> None:
    light = _distribution([100.0] * 36 + [101, 101, 101, 1000])
    heavy = _distribution([100.0] * 36 + [400, 500, 700, 1000])
    assert heavy.quantile(0.999) > 1000
    assert light.quantile(0.5) == heavy.quantile(0.5) == 100


def test_a_censored_peak_gives_its_mass_to_what_lies_above_it() -> None:
    # Kaplan-Meier by hand: 100 takes 1/5 (with a tail worth one), the censored 150
    # leaves the remaining 4/5 to 200, 300 and the tail: one third each.
    known = _distribution([100.0, 150, 200, 300], censored=[1])
    above, _ = known.above(np.array([100.0, 150, 200, 300]))
    assert above == pytest.approx([4 / 5, 4 / 5, 8 / 15, 4 / 15])
    assert 150 not in known.points_bytes


def test_a_censored_largest_peak_is_exceeded() -> None:
    known = _distribution([100.0, 110, 120, 400], censored=[3])
    above, _ = known.above(np.array([400.0]))
    assert above[0] == pytest.approx(2 / 5)


def test_only_censored_peaks_put_all_mass_above_them() -> None:
    known = _distribution([400.0, 300], censored=[0, 1])
    assert known.above(np.array([400.0]))[0][0] == pytest.approx(1)
    assert known.quantile(0.5) >= 1.15 * 400


_PEAKS = st.lists(st.floats(1e7, 1e11), min_size=1, max_size=20)


@given(_PEAKS, st.floats(1e7, 1e11), st.data())
def test_a_censored_peak_never_lowers_the_forecast(
    peaks: list[float], censored_peak: float, data: st.DataObject
) -> None:
    flags = data.draw(st.lists(st.booleans(), min_size=len(peaks), max_size=len(peaks)))
    before_censored = [i for i, flag in enumerate(flags) if flag]
    before = _distribution(peaks, before_censored)
    after = _distribution([*peaks, censored_peak], [*before_censored, len(peaks)])
    limits = np.sort(np.concatenate((before.points_bytes, after.points_bytes, peaks)))
    limits = np.concatenate((limits, limits * 0.999))
    assert (after.above(limits)[0] >= before.above(limits)[0] - 1e-9).all()


@given(st.integers(3, 15), st.integers(0, 10**6), st.floats(1e7, 1e10), st.floats(0.1, 2.0))
def test_a_censored_peak_lowers_no_experts_forecast(
    n: int, seed: int, censored_peak: float, at: float
) -> None:
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.1, 1.0, n) * 1e9
    peaks = 1e8 + 3 * x * draw.uniform(0.9, 1.1, n)
    without = run_history(peaks.tolist(), numbers={"input_bytes": x.tolist()})
    with_it = run_history(
        [*peaks, censored_peak], censored=[n], numbers={"input_bytes": [*x, at * 1e9]}
    )
    asked = Features(numbers={"input_bytes": 5e8})
    before = compared(evidence_of(without, asked), without, asked)
    after = compared(evidence_of(with_it, asked), with_it, asked)
    readings = {reading.expert.name: reading for reading in read_all(after)}
    for reading in read_all(before):
        old = distribution(before, reading)
        new = distribution(after, readings[reading.expert.name])
        assert old is not None
        assert new is not None
        limits = old.points_bytes * (1 - 1e-6)
        assert (new.above(limits)[0] >= old.above(limits)[0] - 1e-6).all(), reading.expert.name


def test_line_experts_follow_the_input_and_the_constant_does_not() -> None:
    x = np.linspace(1e8, 1e9, 12)
    history = run_history((1e8 + 2 * x).tolist(), numbers={"input_bytes": x.tolist()})
    seen = evidence_of(history, Features(numbers={"input_bytes": 2e9}))
    quantiles = {}
    for reading in read_all(seen):
        known = distribution(seen, reading)
        assert known is not None
        quantiles[reading.expert.name] = known.quantile(0.5)
    assert quantiles["least_squares"] == pytest.approx(4.1e9, rel=0.01)
    assert quantiles["relative_least_squares"] == pytest.approx(4.1e9, rel=0.01)
    assert quantiles["constant"] < 1.5e9
    assert quantiles["local"] < 2.2e9
    assert quantiles["log_log"] == pytest.approx(4.1e9, rel=0.15)


def test_local_experts_weigh_similar_inputs() -> None:
    x = [1e6] * 20 + [1e9] * 20
    peaks = [100.0 * MIB] * 20 + [900.0 * MIB] * 20
    history = run_history(peaks, numbers={"input_bytes": x})
    for x_now, expected in ((1e6, 100 * MIB), (1e9, 900 * MIB)):
        seen = evidence_of(history, Features(numbers={"input_bytes": x_now}))
        reading = next(r for r in read_all(seen) if r.expert.name == "local_narrow")
        known = distribution(seen, reading)
        assert known is not None
        assert known.quantile(0.5) == expected


def test_the_recent_expert_forgets() -> None:
    history = run_history([1000.0] * 40 + [200.0] * 30)
    seen = evidence_of(history, Features())
    quantile = {
        reading.expert.name: known.quantile(0.8)
        for reading in read_all(seen)
        if (known := distribution(seen, reading)) is not None
    }
    assert quantile["recent"] == 200
    assert quantile["constant"] == 1000


def test_far_from_the_inputs_seen_the_forecast_is_wider() -> None:
    draw = np.random.default_rng(3)
    x = np.linspace(1e8, 2e8, 10)
    peaks = 1e8 + 2 * x + draw.normal(0, 1e7, 10)
    history = run_history(peaks.tolist(), numbers={"input_bytes": x.tolist()})

    def width(x_now: float) -> float:
        seen = evidence_of(history, Features(numbers={"input_bytes": x_now}))
        reading = next(r for r in read_all(seen) if r.expert.name == "least_squares")
        points = reading.points()
        return float(points.max() - points.min())

    assert width(1e9) > 2 * width(1.5e8)


@pytest.mark.parametrize(
    ("numbers", "asked"),
    [
        ({}, {"input_bytes": 5.0}),
        ({"input_bytes": [1.0, 2, 3, 4]}, {}),
        ({"input_bytes": [2.0, 2, 2, 2]}, {"input_bytes": 2.0}),
        ({"input_bytes": [1.0, 2, np.nan, np.nan]}, {"input_bytes": 2.0}),
        ({"input_bytes": [1.0, 2, 3, 4]}, {"input_bytes": float("nan")}),
    ],
)
def test_without_a_usable_feature_its_experts_drop_out(
    numbers: dict[str, list[float]], asked: dict[str, float]
) -> None:
    history = run_history([100.0, 200, 300, 400], numbers=numbers)
    seen = evidence_of(history, Features(numbers=asked))
    names = [reading.expert.name for reading in read_all(seen)]
    assert names == ["constant", "recent"]


def test_the_feature_that_follows_the_peaks_is_chosen_and_input_bytes_wins_ties() -> None:
    peaks = [100.0, 200, 300, 400, 500]
    rising, mixed = [1.0, 2, 3, 4, 5], [3.0, 1, 4, 1, 5]
    asked = {"input_bytes": 1.0, "a_rows": 1.0}
    tie = run_history(peaks, numbers={"input_bytes": rising, "a_rows": rising})
    assert choose_feature(tie, asked) == "input_bytes"
    other = run_history(peaks, numbers={"input_bytes": mixed, "a_rows": rising})
    assert choose_feature(other, asked) == "a_rows"
    assert choose_feature(other, {"input_bytes": 1.0}) == "input_bytes"


def test_after_a_failure_all_mass_lies_above_the_failed_limit() -> None:
    known = given_above(_distribution([100.0, 200, 300]), 250)
    assert known.points_bytes[0] > 250
    assert known.prob.sum() == pytest.approx(1)
    beyond = given_above(known, 10_000)
    assert beyond.points_bytes[0] > 10_000
    assert beyond.prob.sum() == pytest.approx(1)
    assert beyond.run_hours.sum() > 0
