"""Similar runs: closeness by hand, what counts as alike, and experts that follow it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ullage.core.units import MIB
from ullage.core.view import RunHistory
from ullage.core.workload import Features
from ullage.policies.bases import Evidence
from ullage.policies.experts import compared, distribution, evidence_of, read_all
from ullage.policies.similar import (
    CLOSE_GAP,
    MIN_SIMILAR_RUNS,
    SIMILAR_RUNS,
    label_strength,
    similarity_of,
)
from ullage.testing.histories import run_history

PEAKS = [100.0, 200, 300, 400, 500, 600, 700, 800]


def evidence(history: RunHistory, features: Features) -> Evidence:
    return compared(evidence_of(history, features), history, features)


def quantile(history: RunHistory, features: Features, expert: str, level: float = 0.5) -> float:
    seen = evidence(history, features)
    reading = next(reading for reading in read_all(seen) if reading.expert.name == expert)
    known = distribution(seen, reading)
    assert known is not None
    return known.quantile(level)


def test_closeness_falls_with_the_gap_of_ranks() -> None:
    history = run_history(PEAKS, numbers={"rows": [1.0, 2, 3, 4, 5, 6, 7, 8]})
    found = similarity_of(history, Features(numbers={"rows": 3.0}))
    assert found is not None
    assert found.features == ("rows",)
    assert found.closeness.shape == (9, 8)
    # Ranks are (i + 1/2) / 8, the correlation is 1: neighbours are 1/8 apart.
    assert found.closeness[0, 1] == pytest.approx(math.exp(-1 / 8 / CLOSE_GAP), rel=1e-6)
    assert found.closeness[8, 2] == pytest.approx(1.0)
    assert found.closeness[8, 4] == pytest.approx(math.exp(-2 / 8 / CLOSE_GAP), rel=1e-6)
    assert (np.diagonal(found.closeness[:8]) == 0).all()


def test_a_run_is_foretold_by_others_than_itself() -> None:
    history = run_history(PEAKS, numbers={"rows": [1.0] * 4 + [9.0] * 4})
    found = similarity_of(history, Features(numbers={"rows": 9.0}))
    assert found is not None
    told = found.foretell(np.array(PEAKS), np.ones(8, bool))
    assert told[0] == pytest.approx(300, rel=0.01)  # the mean of 200, 300, 400
    assert told[8] == pytest.approx(650, rel=0.01)  # the mean of 500 .. 800
    half = found.foretell(np.ones(8), np.ones(8, bool), shrinkage=4.0)
    assert half[8] == pytest.approx(0.5, rel=0.01)  # four close runs against 4


def test_a_label_is_worth_the_spread_that_it_foretells() -> None:
    values = np.array([1.0, 1.0, 1.0, 5.0, 5.0, 5.0])
    assert label_strength(np.array([7, 7, 7, 9, 9, 9]), values) > 0.9
    assert label_strength(np.array([7, 9, 7, 9, 7, 9]), values) < 0.5
    assert label_strength(np.array([7, 7, 7, 7, 7, 7]), values) == 0.0
    assert label_strength(np.array([1, 2, 3, 4, 5, 6]), values) == 0.0
    assert label_strength(np.array([7, 7, 7, 9, 9, 9]), np.ones(6)) == 0.0


@pytest.mark.parametrize(
    ("numbers", "labels", "peaks"),
    [
        ({}, {}, PEAKS),
        ({"rows": [5.0] * 8}, {}, PEAKS),
        ({}, {"mode": ["full"] * 8}, PEAKS),
        ({"rows": [1.0, 2, 3, 4, 5, 6, 7]}, {}, PEAKS[:7]),
        ({"rows": [1.0, 2, 3, 4, 5, 6, 7, 8]}, {}, [100.0] * 8),
    ],
)
def test_where_no_feature_tells_nothing_is_similar(
    numbers: dict[str, list[float]], labels: dict[str, list[str | None]], peaks: list[float]
) -> None:
    assert len(PEAKS) == MIN_SIMILAR_RUNS
    history = run_history(peaks, numbers=numbers, labels=labels)
    asked = Features(numbers={"rows": 3.0}, labels={"mode": "full"})
    assert similarity_of(history, asked) is None
    names = {reading.expert.name for reading in read_all(evidence(history, asked))}
    assert not any(name.startswith("similar") for name in names)


def test_the_mode_of_a_run_decides_where_peaks_follow_it() -> None:
    modes: list[str | None] = ["small", "full"] * 12
    peaks = [100.0 * MIB, 900.0 * MIB] * 12
    history = run_history(peaks, labels={"mode": modes})
    for mode, expected in (("small", 100 * MIB), ("full", 900 * MIB)):
        features = Features(labels={"mode": mode})
        assert quantile(history, features, "similar_runs", 0.8) == pytest.approx(expected)
        assert quantile(history, features, "similar_mean_similar") == pytest.approx(
            expected, rel=0.05
        )
    assert quantile(history, Features(labels={"mode": "small"}), "constant", 0.8) == 900 * MIB


def test_two_features_together_foretell_what_neither_does() -> None:
    draw = np.random.default_rng(5)
    rows, width = draw.uniform(1, 10, 120), draw.uniform(1, 10, 120)
    history = run_history(
        (MIB * 10 * rows * width).tolist(),
        numbers={"input_bytes": rows.tolist(), "width": width.tolist()},
    )
    asked = Features(numbers={"input_bytes": 9.0, "width": 9.0})
    for expert in ("similar_mean_local", "similar_log_log"):
        assert quantile(history, asked, expert) == pytest.approx(810 * MIB, rel=0.3)
    assert quantile(history, asked, "local_narrow") < 600 * MIB


def test_a_missing_value_is_a_value_of_its_own() -> None:
    rows = [float("nan")] * 6 + [5.0] * 6
    history = run_history([100.0] * 6 + [900.0] * 6, numbers={"rows": rows})
    assert quantile(history, Features(), "similar_runs", 0.7) == 100
    assert quantile(history, Features(numbers={"rows": 5.0}), "similar_runs", 0.7) == 900


def test_only_the_latest_runs_are_compared_and_older_ones_say_nothing() -> None:
    n = SIMILAR_RUNS + 40
    rows = np.arange(n) % 7
    history = run_history((100.0 + rows).tolist(), numbers={"rows": rows.astype(float).tolist()})
    seen = evidence(history, Features(numbers={"rows": 3.0}))
    assert seen.similarity is not None
    assert seen.similarity.closeness.shape == (SIMILAR_RUNS + 1, SIMILAR_RUNS)
    reading = next(r for r in read_all(seen) if r.expert.name == "similar_runs")
    assert (reading.weights[:40] == 0).all()
    assert (reading.weights[40:] > 0).all()
