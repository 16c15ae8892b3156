"""Times of stages joined with a worker's samples: who needed how much, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ullage.core.stages import (
    StageSpan,
    by_run,
    distinct_names,
    grown_bytes,
    hungriest,
    stage_name,
    stage_uses,
)
from ullage.core.telemetry import SampleSeries
from ullage.core.workload import Attempt
from ullage.testing.records import START, one_attempt


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def span(name: str, begin_s: float, end_s: float) -> StageSpan:
    return StageSpan(name=name, started_at=at(begin_s), ended_at=at(end_s))


def series(*points: tuple[float, int]) -> SampleSeries:
    samples = SampleSeries()
    for seconds, need_bytes in points:
        samples.append(
            seconds * 1000, need_bytes=need_bytes, usage_bytes=need_bytes, limit_bytes=None
        )
    return samples


STEP = series((0, 100), (2, 100), (4, 500), (6, 500))


def attempt(peak_bytes: int | None = None, started_s: float = 0) -> Attempt:
    return replace(one_attempt(), started_at=at(started_s), peak_bytes=peak_bytes)


def test_each_stage_has_the_need_of_its_time() -> None:
    early, late = stage_uses(
        "r", [(attempt(), STEP)], [span("B", 2, 5), span("A", 0, 2)], execution_id="e"
    )
    assert (early.name, early.start_bytes, early.peak_bytes) == ("A", 100, 100)
    assert early.used_byte_seconds == 200
    assert (late.name, late.start_bytes, late.peak_bytes) == ("B", 100, 500)
    assert late.used_byte_seconds == 600 + 500
    assert hungriest([early, late]) is late
    assert (grown_bytes(early), grown_bytes(late)) == (0, 400)


def test_a_stage_shorter_than_the_samples_lies_on_the_line_between_them() -> None:
    (use,) = stage_uses("r", [(attempt(), STEP)], [span("A", 2.5, 3.0)], execution_id="e")
    assert (use.start_bytes, use.peak_bytes) == (200, 300)
    assert use.used_byte_seconds == 125


def test_the_peak_between_two_readings_belongs_to_the_largest_sample() -> None:
    uses = stage_uses(
        "r", [(attempt(peak_bytes=640), STEP)], [span("A", 0, 2), span("B", 2, 5)], execution_id="e"
    )
    assert [use.peak_bytes for use in uses] == [100, 640]


def test_spans_of_one_stage_are_one_stage() -> None:
    (use,) = stage_uses(
        "r", [(attempt(), STEP)], [span("A", 0, 1), span("A", 5, 6)], execution_id="e"
    )
    assert (use.started_at, use.ended_at) == (at(0), at(6))
    assert (use.start_bytes, use.peak_bytes, use.used_byte_seconds) == (100, 500, 600)


def test_what_was_not_measured_is_unknown() -> None:
    (use,) = stage_uses("r", [(attempt(), STEP)], [span("A", 7, 9)], execution_id="e")
    assert (use.start_bytes, use.peak_bytes, use.used_byte_seconds) == (None, None, None)
    (none,) = stage_uses("r", [(attempt(), SampleSeries())], [span("A", 0, 1)], execution_id="e")
    assert none.peak_bytes is None
    assert hungriest([use, none]) is None
    assert grown_bytes(use) is None


def test_a_stage_may_reach_over_two_attempts() -> None:
    both = [(attempt(), STEP), (attempt(started_s=10), series((0, 50), (2, 900)))]
    (use,) = stage_uses("r", both, [span("A", 5, 12)], execution_id="e")
    assert (use.start_bytes, use.peak_bytes) == (500, 900)
    assert use.used_byte_seconds == 500 + 950


def test_workers_are_told_apart() -> None:
    uses = [
        *stage_uses("r-1", [(attempt(), STEP)], [span("A", 0, 1)], execution_id="e"),
        *stage_uses("r-2", [(attempt(), STEP)], [span("A", 0, 1)], execution_id="e"),
    ]
    assert list(by_run(uses)) == ["r-1", "r-2"]


def test_a_stage_is_called_by_the_names_in_the_program() -> None:
    names = [
        "flights/Read/SplitAndSize",
        "flights/Read/Process",
        "by tail",
        "Map(<lambda at a/b.py:7>)",
    ]
    assert stage_name(names) == "flights + by tail + Map(<lambda at a/b.py:7>)"
    assert stage_name(["/odd", ""]) == "/odd"
    assert distinct_names(["a", "a", "a (2)", "a"]) == ["a", "a (3)", "a (2)", "a (4)"]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**12)), min_size=1, max_size=20),
    st.lists(st.tuples(st.text(max_size=3), st.floats(-10, 120), st.floats(0, 50)), max_size=8),
)
def test_no_stage_needs_more_than_the_run(
    points: list[tuple[float, int]], spans: list[tuple[str, float, float]]
) -> None:
    points.sort()
    largest = max(need_bytes for _, need_bytes in points)
    uses = stage_uses(
        "r",
        [(attempt(peak_bytes=largest), series(*points))],
        [span(name, begin_s, begin_s + long_s) for name, begin_s, long_s in spans],
        execution_id="e",
    )
    assert len({use.name for use in uses}) == len(uses) == len({name for name, _, _ in spans})
    for use in uses:
        assert use.peak_bytes is None or (use.start_bytes or 0) <= use.peak_bytes <= largest


@given(st.lists(st.sampled_from(["a", "a (2)", "a (3)", "b"]), max_size=9))
def test_distinct_names_are_distinct(names: list[str]) -> None:
    unique = distinct_names(names)
    assert len(set(unique)) == len(unique) == len(names)
