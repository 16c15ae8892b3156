"""The twelve bases, by hand; rows rest on what came before them."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.policies.service_bases import BASES, base_rows, peak_grid

STEP_S = 1800.0
NAMES = [name for name, _ in BASES]


def base(peaks: list[float], name: str) -> float:
    """Return what one base says of the interval after `peaks`."""
    rows = base_rows(np.array(peaks), STEP_S, first=len(peaks))
    return float(rows[0, NAMES.index(name)])


@pytest.mark.parametrize(
    ("name", "peaks", "expected"),
    [
        ("max of 5 weeks", [9.0, *[1.0] * 1679], 9.0),
        ("max of 5 weeks", [9.0, *[1.0] * 47], 9.0),
        ("max of a day", [9.0, 8.0, *[1.0] * 47], 8.0),
        ("max of 6 h", [9.0, 8.0, *[1.0] * 11], 8.0),
        ("max of 2 h", [9.0, 8.0, *[1.0] * 3], 8.0),
        ("max of 1 h", [9.0, 8.0, 1.0], 8.0),
        ("latest peak", [9.0, 8.0, 1.0], 1.0),
        # 96 peaks: the 95th smallest, so all but the largest one lie at or below it
        ("p98 of 2 days", [9.0, 8.0, *[1.0] * 94], 8.0),
        # 48 peaks: ceil(0.95 x 48) = the 46th smallest, the third largest
        ("p95 of a day", [9.0, 8.0, 7.0, *[1.0] * 45], 7.0),
        # ten peaks: ceil(9.5) = the tenth
        ("p95 of a day", [9.0, *[1.0] * 9], 9.0),
        # 96 intervals = two days ago: half
        ("max fading by half in 2 days", [10.0, *[1.0] * 96], 5.0),
        # 24 intervals = 12 h ago: half
        ("max fading by half in 12 h", [10.0, *[1.0] * 24], 5.0),
        # asked about interval 48 + 10; a day ago was interval 10, an hour around it 8..12
        ("max at this time of the day", [1.0] * 8 + [7.0] + [1.0] * 49, 7.0),
        ("max at this time of the day", [1.0] * 7 + [7.0] + [1.0] * 50, 1.0),
        # no day before: the largest of what there is
        ("max at this time of the day", [7.0, 1.0, 1.0, 1.0], 7.0),
        ("max at this time of the week", [1.0] * 12 + [7.0] + [1.0] * 333, 7.0),
    ],
)
def test_base_by_hand(name: str, peaks: list[float], expected: float) -> None:
    assert base(peaks, name) == pytest.approx(expected)


def test_no_base_is_below_the_latest_peak() -> None:
    peaks = np.array([1.0] * 60 + [5.0])  # 1 is the 95th percentile of the day
    assert base_rows(peaks, STEP_S, first=61).min() == 5.0


def test_all_rows_at_once_are_the_rows_one_by_one() -> None:
    draw = np.random.default_rng(3)
    peaks = draw.lognormal(10, 1, 1000)
    at_once = base_rows(peaks, STEP_S, first=1)
    for row in (1, 2, 5, 47, 48, 49, 95, 96, 97, 335, 336, 337, 700, 1000):
        alone = base_rows(peaks[:row], STEP_S, first=row)[0]
        np.testing.assert_allclose(at_once[row - 1], alone, rtol=1e-12)


def test_a_row_knows_nothing_of_later_intervals() -> None:
    peaks = np.arange(1.0, 401.0)
    changed = peaks.copy()
    changed[200:] = 1e6
    before = base_rows(peaks, STEP_S, first=1)
    after = base_rows(changed, STEP_S, first=1)
    np.testing.assert_array_equal(before[:200], after[:200])  # rows 1..200 rest on peaks[:200]


def test_holes_hold_the_peak_before_them_and_five_weeks_are_kept() -> None:
    at_s = np.array([0.0, 1.0, 4.0]) * STEP_S
    grid = peak_grid(at_s, np.array([1.0, 2.0, 3.0]), STEP_S)
    assert grid.peaks.tolist() == [1.0, 2.0, 2.0, 2.0, 3.0]
    assert grid.is_seen.tolist() == [True, True, False, False, True]
    assert grid.number.tolist() == [0, 1, 2, 3, 4]
    weeks = np.arange(10 * 336) * STEP_S
    kept = peak_grid(weeks, np.ones(len(weeks)), STEP_S)
    assert len(kept) == 5 * 336


def test_two_starts_in_one_interval_are_one_interval() -> None:
    grid = peak_grid(np.array([0.0, 900.0, 1800.0]), np.array([1.0, 5.0, 2.0]), STEP_S)
    assert grid.peaks.tolist() == [5.0, 2.0]
    assert len(peak_grid(np.zeros(0), np.zeros(0), STEP_S)) == 0
