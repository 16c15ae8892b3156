"""Segments from inside: columns, batches, the locked engine, the size, the space given back."""

from __future__ import annotations

import sqlite3
from array import array
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.control.meter import Meter
from ullage.core.errors import DataError
from ullage.core.stored_samples import EARLIEST_US, LATEST_US, absolute_us
from ullage.core.telemetry import MemoryReading, SampleSeries
from ullage.stores import compaction, file_space
from ullage.stores.sample_blob import pack_samples, unpack_samples
from ullage.stores.segment_columns import elapsed_bits, elapsed_of, unpack_columns
from ullage.stores.segment_index import Waiting, each_batch
from ullage.stores.segment_parquet import SegmentEngine
from ullage.stores.state import SqliteStateStore
from ullage.testing import records
from ullage.testing.sample_contract import ALL, LATER, compact, facts, record, series_of


@given(series=records.sample_series())
def test_blobs_are_read_alike_by_both_readers(series: SampleSeries) -> None:
    blob = pack_samples(series)
    found = unpack_columns(blob).as_series()
    assert found == unpack_samples(blob) == series
    assert found.elapsed_ms.tobytes() == series.elapsed_ms.tobytes()


@given(blob=st.binary(max_size=40))
def test_damaged_blobs_are_refused_alike_by_both_readers(blob: bytes) -> None:
    said = []
    for read in (unpack_samples, unpack_columns):
        with pytest.raises(DataError) as caught:
            read(blob)
        said.append(str(caught.value))
    assert said[0] == said[1]


@given(
    started_us=st.integers(EARLIEST_US, LATEST_US),
    elapsed_ms=st.lists(st.floats(width=64), min_size=1, max_size=8),
)
def test_elapsed_comes_back_to_the_bit(started_us: int, elapsed_ms: list[float]) -> None:
    started = np.full(len(elapsed_ms), started_us, np.int64)
    exact = np.array(elapsed_ms, np.float64)
    at_us = absolute_us(started, exact)
    assert ((at_us >= EARLIEST_US) & (at_us <= LATEST_US)).all()
    found = elapsed_of(started, at_us, elapsed_bits(started, at_us, exact))
    assert found.tobytes() == exact.tobytes()


@given(elapsed_s=st.floats(0, 1e8))
def test_what_a_run_writes_needs_no_further_bits(elapsed_s: float) -> None:
    """The meter rounds to a microsecond: that is what makes a sample small."""
    meter = Meter()
    meter.add(elapsed_s, MemoryReading(usage_bytes=1, need_bytes=1), limit_bytes=None)
    elapsed_ms = np.array(meter.samples.elapsed_ms)
    started = np.array([1_795_000_000_000_000])
    assert elapsed_bits(started, absolute_us(started, elapsed_ms), elapsed_ms).tolist() == [0]
    assert abs(elapsed_ms[0] - elapsed_s * 1000) <= 0.001


@given(counts=st.lists(st.integers(1, 50), max_size=30), most=st.integers(1, 60))
def test_batches_keep_the_order_and_split_no_attempt(counts: list[int], most: int) -> None:
    found = [
        Waiting(
            run_id=f"r-{number}",
            attempt=1,
            workload_key="w",
            started_us=0,
            samples_count=count,
            packed_bytes=0,
        )
        for number, count in enumerate(counts)
    ]
    batches = list(each_batch(found, most, 9))
    assert [each for batch in batches for each in batch] == found
    for batch in batches:
        assert len(batch) <= 9
        assert len(batch) == 1 or sum(each.samples_count for each in batch) <= most


def test_a_workloads_samples_lie_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four workloads, four segments: a question about one reads one."""
    monkeypatch.setattr(compaction, "SEGMENT_SAMPLES", 50)
    store = SqliteStateStore.open(tmp_path / "state" / "state.db")
    for number in range(20):
        record(store, number, series_of(*range(10)), key=f"w{number % 4}")
    before = facts(store.workload_samples("w2", **ALL))
    assert compact(store).segments_count == 4
    assert facts(store.workload_samples("w2", **ALL)) == before
    assert len(store._segments._open) == 1
    store.close()


def test_the_engine_reaches_its_folder_and_nothing_else(tmp_path: Path) -> None:
    folder, secret = tmp_path / "segments", tmp_path / "secret.csv"
    folder.mkdir()
    secret.write_text("a,b\n1,2\n")
    engine = SegmentEngine(folder)
    ask = engine._connection.execute
    for query in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM read_csv('{folder}/../secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/x.db'",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "INSTALL httpfs",
        "LOAD httpfs",
    ):
        with pytest.raises(duckdb.Error):
            ask(query)
    engine.close()


def test_a_realistic_sample_takes_at_most_eight_bytes(tmp_path: Path) -> None:
    """Need and usage walk in pages, at the pace of a timer; see benchmarks/bench_segments.py."""
    chance = np.random.default_rng(1)
    store = SqliteStateStore.open(tmp_path / "state" / "state.db")
    count = 2_000
    for number in range(30):
        step_us = int(chance.choice([50_000, 1_000_000, 30_000_000]))
        elapsed_us = np.cumsum(np.rint(step_us + chance.exponential(120, count)))
        need = 4096 * (200_000 + np.cumsum(chance.normal(0, 60, count).astype(np.int64)))
        cache = 4096 * (90_000 + np.cumsum(chance.normal(0, 120, count).astype(np.int64)))
        series = SampleSeries(
            elapsed_ms=array("d", (elapsed_us / 1000).tobytes()),
            need_bytes=array("q", need.tobytes()),
            usage_bytes=array("q", (need + cache).tobytes()),
            limit_bytes=array("q", np.full(count, 2 << 30).tobytes()),
        )
        record(store, number, series)
    report = compact(store)
    assert report.moved_samples_count == 30 * count
    assert report.segments_bytes <= 8 * report.moved_samples_count
    store.close()


# -- the space of the state's file ---------------------------------------------------------------


def fill(store: SqliteStateStore) -> None:
    """Record samples that do not pack well: some 4 MB."""
    chance = np.random.default_rng(2)
    for number in range(20):
        series = SampleSeries()
        for column in (series.need_bytes, series.usage_bytes):
            column.frombytes(chance.integers(0, 1 << 62, 12_000).tobytes())
        series.elapsed_ms.frombytes(np.arange(12_000.0).tobytes())
        series.limit_bytes.frombytes(np.full(12_000, -1).tobytes())
        record(store, number, series)


def test_the_states_file_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    store = SqliteStateStore.open(path)
    fill(store)
    report = compact(store)
    assert report.state_before_bytes > 3_000_000
    assert report.state_after_bytes == file_space.size_bytes(path) < 300_000
    assert report.notes == ()
    assert store.integrity() == []
    store.close()


def older_file(path: Path) -> None:
    """Make the file as versions before segments did."""
    store = SqliteStateStore.open(path)
    fill(store)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")


def test_an_older_file_is_rewritten_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    older_file(path)
    store = SqliteStateStore.open(path)
    assert store._connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 0
    assert compact(store).state_after_bytes < 300_000
    assert store._connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    store.close()


def test_an_older_file_with_much_in_it_is_not_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs would have to wait for that too long."""
    path = tmp_path / "state" / "state.db"
    older_file(path)
    monkeypatch.setattr(file_space, "_REWRITE_AT_MOST_BYTES", 0)
    store = SqliteStateStore.open(path)
    report = compact(store)
    assert "are used for new rows" in report.notes[0]
    assert report.state_after_bytes > 3_000_000
    store.close()


def test_whoever_reads_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    store = SqliteStateStore.open(path)
    fill(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM samples").fetchone() == (20,)
        report = compact(store)
        assert report.moved_attempts_count == 20
        assert len(report.notes) == 1
        assert reader.execute("SELECT count(*) FROM samples").fetchone() == (20,)
        reader.execute("COMMIT")
    assert compact(store, LATER + timedelta(days=1)).state_after_bytes < 300_000
    store.close()
