"""Who knows what when: starts, ends, rows without times, and the field's own protocol."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ullage.core.units import GIB
from ullage.simulation.runs_file import read_runs
from ullage.simulation.timeline import (
    DEFAULT_BYTES,
    SIZEY_MIN_RUNS,
    Timeline,
    as_sizey,
    in_order,
)
from ullage.testing.runs_tables import NAN, runs_table

DATA = Path(os.environ.get("ULLAGE_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")


def _knows(timeline: Timeline, row: int) -> set[int]:
    """Return the rows that are known when `row` is asked about."""
    return set(np.flatnonzero(timeline.known_at_s <= timeline.asked_at_s[row]).tolist())


def test_a_run_is_known_at_its_end_and_not_before() -> None:
    runs = runs_table([1e9] * 3, started_at_s=[100, 105, 110], runtime_s=[10, 20, 5])
    timeline = in_order(runs)
    assert timeline.asked_at_s.tolist() == [100, 105, 110]
    assert timeline.known_at_s.tolist() == [110, 125, 115]
    assert _knows(timeline, 1) == set()
    assert _knows(timeline, 2) == {0}


def test_no_run_is_known_at_its_own_start_however_short() -> None:
    start = 1.7e9
    runs = runs_table([1e9] * 2, started_at_s=[start, start], runtime_s=[1e-9, 1e-9])
    assert start + 1e-9 == start
    timeline = in_order(runs)
    assert (timeline.known_at_s > timeline.asked_at_s).all()
    assert _knows(timeline, 0) == _knows(timeline, 1) == set()


def test_a_single_run_without_runtime_takes_its_second_and_keeps_its_start() -> None:
    runs = runs_table(
        [1e9] * 3,
        started_at_s=[100, 100.5, 102],
        runtime_s=[1.0, 50, 5],
        has_runtime=[False, True, True],
    )
    timeline = in_order(runs)
    assert timeline.known_at_s.tolist() == [101, 150.5, 107]
    assert _knows(timeline, 2) == {0}


def test_in_a_file_without_runtimes_a_run_is_known_from_the_next_row_on() -> None:
    runs = runs_table([1e9] * 4, started_at_s=[5, 5, 4, 9], has_runtime=[False] * 4)
    timeline = in_order(runs)
    assert [_knows(timeline, row) for row in range(4)] == [set(), {0}, {0, 1}, {0, 1, 2}]


def test_rows_without_a_start_come_after_the_row_before_and_are_known_from_the_next_on() -> None:
    runs = runs_table(
        [1e9] * 6,
        started_at_s=[1e9, NAN, NAN, 1e9, 1e9 + 50, NAN],
        runtime_s=[100, 100, 100, 100, 100, 100],
    )
    timeline = in_order(runs)
    assert _knows(timeline, 1) == set()
    assert _knows(timeline, 2) == {1}
    assert _knows(timeline, 3) == {1, 2}, "it starts with the row before the gap, and is after it"
    assert _knows(timeline, 4) == {1, 2}
    assert _knows(timeline, 5) == {1, 2}
    assert (timeline.known_at_s > timeline.asked_at_s).all()
    assert abs(timeline.asked_at_s[3] - 1e9) < 1e-4
    assert abs(timeline.known_at_s[3] - 1e9 - 100) < 1e-4


def test_a_first_row_without_a_start_is_known_to_the_first_with_one() -> None:
    timeline = in_order(runs_table([1e9] * 2, started_at_s=[NAN, 7e8], runtime_s=[9, 9]))
    assert _knows(timeline, 1) == {0}


def test_a_row_that_starts_earlier_than_the_one_before_is_asked_at_its_own_start() -> None:
    runs = runs_table([1e9] * 3, started_at_s=[100, NAN, 50], runtime_s=[10, 10, 10])
    timeline = in_order(runs)
    assert timeline.asked_at_s[2] == 50
    assert _knows(timeline, 2) == set()


def test_defaults_are_twice_the_median_of_what_is_known_by_then() -> None:
    peaks = [1e9, 3e9, 10e9, 2e9, 5e9]
    runs = runs_table(peaks, started_at_s=[0, 10, 20, 30, 40], runtime_s=[5, 5, 100, 5, 5])
    assert in_order(runs).default_bytes.tolist() == [
        DEFAULT_BYTES,
        2e9,
        4e9,
        4e9,
        4e9,
    ]
    assert DEFAULT_BYTES == 4 * GIB


def test_the_latest_known_rows_come_oldest_first_and_hold_no_later_one() -> None:
    runs = runs_table([1e9] * 4, started_at_s=[0, 1, 2, 30], runtime_s=[20, 5, 100, 1])
    timeline = in_order(runs)
    assert timeline.latest_known(3, 10).tolist() == [1, 0]
    assert timeline.latest_known(3, 1).tolist() == [0]
    assert timeline.latest_known(0, 10).tolist() == []


def _of_types(sizes: list[int]) -> list[int]:
    return [number for number, size in enumerate(sizes) for _ in range(size)]


def test_sizey_leaves_out_small_types_and_those_with_a_run_without_time() -> None:
    sizes = [SIZEY_MIN_RUNS, SIZEY_MIN_RUNS - 1, 40]
    workload = _of_types(sizes)
    has_runtime = np.ones(len(workload), bool)
    has_runtime[-1] = False
    runs = runs_table([1e9] * len(workload), workload=workload, has_runtime=has_runtime.tolist())
    timeline = as_sizey(runs, seed=1)
    assert set(timeline.runs.workload.tolist()) == {0}
    assert (~timeline.is_scored).sum() == int(0.3 * SIZEY_MIN_RUNS) == 10
    assert not timeline.is_scored[:10].any()


def test_sizey_tells_each_run_of_a_type_before_the_next() -> None:
    runs = runs_table(np.arange(1, 41) * 1e9, workload=[0] * 40)
    timeline = as_sizey(runs, seed=1)
    assert _knows(timeline, 39) == set(range(39))
    assert sorted(timeline.runs.run_ids) == sorted(runs.run_ids)


def test_a_seed_is_a_permutation_and_another_is_another() -> None:
    runs = runs_table([1e9] * 50, workload=[0] * 50)
    assert as_sizey(runs, seed=3).runs.run_ids == as_sizey(runs, seed=3).runs.run_ids
    assert as_sizey(runs, seed=3).runs.run_ids != as_sizey(runs, seed=4).runs.run_ids


def test_nothing_is_left_where_no_type_is_large_enough() -> None:
    assert len(as_sizey(runs_table([1e9] * 5), seed=1).runs) == 0


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded runs: {DATA} is absent")
def test_the_published_benchmark_has_its_95_types_and_9495_online_runs() -> None:
    read = read_runs(DATA / "runs_sizey.parquet", features="all")
    timeline = as_sizey(read.runs, seed=1996)
    assert len(set(timeline.runs.workload.tolist())) == 95
    assert timeline.is_scored.sum() == 9495
    assert "input_bytes" in read.runs.numbers
    assert "input_bytes" not in read_runs(DATA / "runs_sizey.parquet").runs.numbers
