"""What every store must do with samples that leave its live record.

Subclass `SampleArchiveContract` and give `make_store`: where samples lie makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage.core.ports import RunArchive, RunReader, SampleArchive, StateStore
from ullage.core.stored_samples import CompactionOrder, CompactionReport, SampleTable
from ullage.core.telemetry import SampleSeries
from ullage.testing import records
from ullage.testing.records import START, begun_run, ended, one_attempt

ALL = {"since": START - timedelta(days=900), "until": START + timedelta(days=900)}
LATER = START + timedelta(days=1_000)

_MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_numbers = count(10**6)


class SampleStore(StateStore, RunReader, RunArchive, SampleArchive, Protocol):
    """All that one store does."""


MakeStore = Callable[[], SampleStore]


def series_of(*elapsed_ms: float, need_bytes: int = 4096) -> SampleSeries:
    """Return samples at these moments, each of another size; the second has no limit."""
    series = SampleSeries()
    for number, each in enumerate(elapsed_ms):
        need = need_bytes * (number + 1)
        limit = None if number == 1 else 9 * need
        series.append(each, need_bytes=need, usage_bytes=2 * need, limit_bytes=limit)
    return series


def record(
    store: SampleStore,
    number: int,
    *series: SampleSeries,
    key: str = "daily-orders",
    started_at: datetime | None = None,
) -> str:
    """Record an ended run with one attempt for each of `series`, a minute apart."""
    at = started_at or START + timedelta(minutes=number)
    run = begun_run(number, key=key, started_at=at)
    tried = tuple(
        one_attempt(each, started_at=at + timedelta(minutes=each - 1))
        for each in range(1, len(series) + 1)
    )
    store.begin_run(run, None, owner="me")
    for attempt, samples in zip(tried, series, strict=True):
        store.add_attempt(run.run_id, attempt, samples)
    store.end_run(ended(run, *tried), [])
    return run.run_id


def compact(store: SampleStore, at: datetime = LATER, **changes: object) -> CompactionReport:
    """Compact all that has ended."""
    order = replace(CompactionOrder(at=at, older_than=timedelta()), **changes)  # type: ignore[arg-type]
    return store.compact(order, tell=lambda done, total: None)


def facts(table: SampleTable) -> list[tuple[object, ...]]:
    """Return a table row by row."""
    return [
        (table.run_ids[row], int(table.attempt[row]), *rest)
        for row, *rest in zip(
            table.row.tolist(),
            table.at_us.tolist(),
            table.elapsed_ms.tolist(),
            table.need_bytes.tolist(),
            table.usage_bytes.tolist(),
            table.limit_bytes.tolist(),
            strict=True,
        )
    ]


class SampleArchiveContract:
    """The suite."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return what opens the same store, empty at first, as often as it is called."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, make_store: MakeStore) -> Iterator[SampleStore]:
        """Return the store, opened once."""
        store = make_store()
        yield store
        store.close()

    @pytest.fixture(params=["state", "segments", "both"])
    def settle(self, request: pytest.FixtureRequest) -> Callable[[SampleStore, bool], None]:
        """Return what is called half-way and at the end, so that samples lie here or there."""

        def settle(store: SampleStore, is_end: bool) -> None:
            if request.param == "segments" or (request.param == "both" and not is_end):
                compact(store)

        return settle

    def test_answers_do_not_depend_on_where_samples_lie(
        self,
        store: SampleStore,
        make_store: MakeStore,
        settle: Callable[[SampleStore, bool], None],
    ) -> None:
        """By attempt, by workload, over a span: in the state, in segments, in both."""
        one = record(store, 1, series_of(0.0, 50.125, 100.0 / 3), series_of(0.5))
        other = record(store, 3, series_of(1.0, 2.0), key="other")
        settle(store, False)
        two = record(store, 2, series_of(0.0, 60_000.0))
        zero = record(store, 0, series_of(), series_of(7.0))
        settle(store, True)
        first_us = int(START.timestamp()) * 1_000_000
        minute_us = 60_000_000
        expected = [
            (zero, 2, first_us + minute_us + 7_000, 7.0, 4096, 8192, 36_864),
            (one, 1, first_us + minute_us, 0.0, 4096, 8192, 36_864),
            (one, 1, first_us + minute_us + 50_125, 50.125, 8192, 16_384, -1),
            (one, 1, first_us + minute_us + 33_333, 100.0 / 3, 12_288, 24_576, 110_592),
            (one, 2, first_us + 2 * minute_us + 500, 0.5, 4096, 8192, 36_864),
            (two, 1, first_us + 2 * minute_us, 0.0, 4096, 8192, 36_864),
            (two, 1, first_us + 3 * minute_us, 60_000.0, 8192, 16_384, -1),
        ]
        for reader in (store, make_store()):
            assert facts(reader.workload_samples("daily-orders", **ALL)) == expected
            from_two = reader.workload_samples(
                "daily-orders",
                since=START + timedelta(minutes=2),
                until=START + timedelta(minutes=3),
            )
            assert facts(from_two) == expected[4:6]
            assert len(reader.workload_samples("other", **ALL)) == 2
            assert facts(reader.workload_samples("neither", **ALL)) == []
            assert reader.samples(one, 1) == series_of(0.0, 50.125, 100.0 / 3)
            assert reader.samples(one, 2) == series_of(0.5)
            assert reader.samples(other, 1) == series_of(1.0, 2.0)
            assert reader.samples(zero, 1) == reader.samples(two, 2) == SampleSeries()
            report = reader.segments_report()
            assert report.samples_count + report.waiting_samples_count == 9
            assert report.faults == ()
            if reader is not store:
                reader.close()

    @_MANY
    @given(series=st.lists(records.sample_series(), min_size=1, max_size=4))
    def test_any_samples_come_back_to_the_bit(
        self, store: SampleStore, series: list[SampleSeries]
    ) -> None:
        """Also what no machine would measure, in the order in which it went in."""
        number = next(_numbers)
        run_id = record(store, number, *series, key=f"w-{number}", started_at=START)
        before = facts(store.workload_samples(f"w-{number}", **_EVER))
        assert len(before) == sum(map(len, series))
        moved = compact(store)
        assert moved.moved_samples_count == len(before)
        for attempt, samples in enumerate(series, 1):
            found = store.samples(run_id, attempt)
            assert found.elapsed_ms.tobytes() == samples.elapsed_ms.tobytes()
            assert found == samples
        assert facts(store.workload_samples(f"w-{number}", **_EVER)) == before

    def test_what_is_no_number_comes_back_too(self, store: SampleStore) -> None:
        """To the bit: a not-a-number, infinities, the negative zero."""
        series = series_of(float("nan"), float("inf"), -float("inf"), -0.0)
        run_id = record(store, 1, series)
        compact(store)
        assert store.samples(run_id, 1).elapsed_ms.tobytes() == series.elapsed_ms.tobytes()

    def test_samples_that_are_said_again_outrank_a_segment(self, store: SampleStore) -> None:
        """The last word counts, before and after it is moved too; nothing is told twice."""
        run_id = record(store, 1, series_of(1.0, 2.0, 3.0), series_of(5.0))
        record(store, 2, series_of(9.0))
        compact(store)
        at = START + timedelta(minutes=1)
        store.add_attempt(run_id, one_attempt(1, started_at=at), series_of(4.0))
        for _ in range(2):
            assert store.samples(run_id, 1) == series_of(4.0)
            table = store.workload_samples("daily-orders", **ALL)
            assert table.elapsed_ms.tolist() == [4.0, 5.0, 9.0]
            compact(store)

    def test_the_last_word_may_be_that_there_are_none(self, store: SampleStore) -> None:
        """Older samples in a segment do not come up again."""
        run_id = record(store, 1, series_of(1.0), series_of())
        compact(store)
        store.add_attempt(run_id, one_attempt(1), series_of())
        for _ in range(2):
            assert store.samples(run_id, 1) == store.samples(run_id, 2) == SampleSeries()
            assert facts(store.workload_samples("daily-orders", **ALL)) == []
            compact(store)

    def test_only_runs_that_ended_long_enough_ago_are_moved(self, store: SampleStore) -> None:
        """Not one that goes on, not one that has just ended."""
        record(store, 1, series_of(1.0))
        going = begun_run(2)
        store.begin_run(going, None, owner="me")
        store.add_attempt(going.run_id, one_attempt(), series_of(2.0))
        end_at = START + timedelta(minutes=1, seconds=20)
        day = timedelta(days=1)
        early = compact(store, end_at + day - timedelta(seconds=1), older_than=day)
        assert early.moved_samples_count == 0
        assert compact(store, end_at + day, older_than=day).moved_samples_count == 1
        assert compact(store).moved_samples_count == 0
        assert store.samples(going.run_id, 1) == series_of(2.0)

    def test_a_dry_run_changes_nothing_and_tells_the_same(self, store: SampleStore) -> None:
        """What would be moved is what is moved."""
        record(store, 1, series_of(1.0, 2.0), series_of(3.0))
        told = compact(store, is_dry=True)
        assert store.segments_report().waiting_samples_count == 3
        done = compact(store)
        assert (told.moved_samples_count, told.moved_attempts_count) == (3, 2)
        assert (done.moved_samples_count, done.moved_attempts_count) == (3, 2)
        assert told.packed_bytes == done.packed_bytes > 0
        assert done.segments_bytes == store.segments_report().segments_bytes > 0

    def test_old_segments_are_given_up_whole_and_that_is_told(self, store: SampleStore) -> None:
        """Their samples read as empty; runs, attempts and counts stay."""
        old = record(store, 1, series_of(1.0, 2.0), started_at=START - timedelta(days=500))
        new = record(store, 2, series_of(3.0))
        compact(store)
        keep = timedelta(days=400)
        told = compact(store, keep=keep, is_dry=True)
        done = compact(store, keep=keep)
        for report in (told, done):
            assert (report.dropped_segments_count, report.dropped_samples_count) == (1, 2)
        assert compact(store, keep=keep).dropped_segments_count == 0
        assert store.samples(old, 1) == SampleSeries()
        assert store.samples(new, 1) == series_of(3.0)
        table = store.workload_samples("daily-orders", **ALL)
        assert table.elapsed_ms.tolist() == [3.0]
        assert (table.dropped_count, table.unread_count) == (1, 0)
        assert store.dropped_attempts_count() == store.dropped_attempts_count("daily-orders") == 1
        assert store.dropped_attempts_count("other") == 0
        assert store.dropped_attempts_count(since=START) == 0
        assert store.segments_report().dropped_samples_count == 2
        assert [run.run_id for run in store.runs()] == [new, old]
        assert all(run.attempts for run in store.runs())

    def test_a_clock_that_is_years_ahead_gives_nothing_up(self, store: SampleStore) -> None:
        """Age counts from the newest recorded end."""
        run_id = record(store, 1, series_of(1.0))
        compact(store)
        ahead = START + timedelta(days=36_500)
        assert compact(store, ahead, keep=timedelta(days=400)).dropped_segments_count == 0
        assert store.samples(run_id, 1) == series_of(1.0)

    def test_a_segment_holds_one_month(self, store: SampleStore) -> None:
        """So that what is kept for some time goes in time, and a month's question reads little."""
        for month in (1, 2, 3):
            at = datetime(2026, month, 15, tzinfo=START.tzinfo)
            record(store, month, series_of(1.0), started_at=at)
        assert compact(store).segments_count == 3

    def test_rows_of_a_table_fit_its_attempts(self, store: SampleStore) -> None:
        """Parallel arrays of the promised types, empty ones too."""
        record(store, 1, series_of(1.0, 2.0))
        for key, length in (("daily-orders", 2), ("neither", 0)):
            table = store.workload_samples(key, **ALL)
            columns = (table.row, table.at_us, table.need_bytes, table.usage_bytes)
            assert [len(column) for column in columns] == [length] * 4
            assert all(column.dtype == np.int64 for column in (*columns, table.limit_bytes))
            assert table.elapsed_ms.dtype == np.float64
            assert len(table.run_ids) == len(table.attempt) == min(1, length)


_EVER = {
    "since": datetime(1, 1, 1, tzinfo=START.tzinfo),
    "until": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=START.tzinfo),
}
