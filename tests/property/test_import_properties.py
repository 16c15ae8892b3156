"""Import and export for any runs: out and in again is the same, twice is once, growth is growth."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage.control.importing import ImportPlan, ImportTally, import_rows
from ullage.core.recorded import FoundRun, Naming, ReadOptions, RejectedRow, oom_events
from ullage.core.workload import Run
from ullage.outcomes.exports import RUN_COLUMNS, run_row
from ullage.simulation.recorded_runs import RunsFileReader
from ullage.sources.trace_nextflow import NextflowTraceReader
from ullage.stores.export_files import WRITERS
from ullage.stores.record_json import from_json, to_json
from ullage.stores.state import SqliteStateStore
from ullage.testing import records

LATER = datetime(2300, 1, 1, tzinfo=UTC)
_SOME = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def _has_a_peak(run: Run) -> bool:
    return any(attempt.peak_bytes for attempt in run.attempts)


measured_runs = st.lists(
    records.ended_runs.filter(_has_a_peak), min_size=1, max_size=6, unique_by=lambda r: r.run_id
)


def _take(store: SqliteStateStore, items: Iterable[FoundRun | RejectedRow]) -> ImportTally:
    tally = ImportTally()
    plan = ImportPlan(format_id="test", naming=Naming(), imported_at=LATER, archive=store)
    import_rows(items, plan, tally)
    return tally


def _in_store_order(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.started_at, run.run_id))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@_SOME
@given(runs=measured_runs)
def test_out_and_in_again_is_the_same(form: str, runs: list[Run]) -> None:
    with TemporaryDirectory() as name:
        first = SqliteStateStore.open(Path(name) / "first.db")
        second = SqliteStateStore.open(Path(name) / "second.db")
        first.add_ended(runs, [oom for run in runs for oom in oom_events(run)])
        file = Path(name) / "runs"
        rows = (run_row(run, request_bytes=None, to_json=to_json) for run in first.each_run())
        with file.open("wb") as stream:
            assert WRITERS[form](stream, RUN_COLUMNS, rows) == len(runs)
        reader = RunsFileReader(partial(from_json, Run))
        for new_count in (len(runs), 0):
            items = reader.read(str(file), options=ReadOptions(), tell=lambda *_: None)
            tally = _take(second, items)
            assert tally.rejected_count == 0
            assert (tally.runs_count, tally.new_count) == (len(runs), new_count)
        assert list(second.each_run()) == list(first.each_run()) == _in_store_order(runs)
        assert second.ooms() == first.ooms()
        first.close()
        second.close()


_words = st.text(st.characters(exclude_characters="\t\r\n", codec="utf-8"), max_size=12)
_rows = st.lists(
    st.builds(
        lambda name, hash_, size, code: (
            f"{hash_:06x}\t{name}\tCOMPLETED\t{code}\t{size} MB\t2026-02-09 14:44:43.053\t4s"
        ),
        _words,
        st.integers(0, 5),
        st.integers(-1, 3),
        st.sampled_from(["0", "137", "-", "x"]),
    )
    | _words,
    max_size=12,
)
_HEADER = "hash\tname\tstatus\texit\tpeak_rss\tsubmit\trealtime\n"


@_SOME
@given(rows=_rows, cut=st.integers(0, 12))
def test_a_file_that_grew_brings_what_is_new_and_nothing_twice(rows: list[str], cut: int) -> None:
    reader = NextflowTraceReader()
    with TemporaryDirectory() as name:
        store = SqliteStateStore.open(Path(name) / "state.db")
        whole = SqliteStateStore.open(Path(name) / "whole.db")
        file = Path(name) / "trace"

        def take(lines: list[str], into: SqliteStateStore) -> ImportTally:
            file.write_text(_HEADER + "".join(f"{line}\n" for line in lines), encoding="utf-8")
            items = list(reader.read(str(file), options=ReadOptions(), tell=lambda *_: None))
            tally = _take(into, items)
            assert tally.runs_count + tally.rejected_count == len(items), "every row is counted"
            return tally

        take(rows[:cut], store)
        take(rows, store)
        assert take(rows, store).new_count == 0
        take(rows, whole)
        assert list(store.each_run()) == list(whole.each_run())
        store.close()
        whole.close()


@_SOME
@given(content=st.binary(max_size=2_000))
def test_no_bytes_break_a_reader(content: bytes) -> None:
    from ullage import bootstrap

    heads = [
        b"",
        _HEADER.encode(),
        b"s\th:m:s\tmax_rss\n",
        b"JobID|State|MaxRSS|JobName|Elapsed|ReqMem\n",
        b'{"Event":"SparkListenerApplicationStart","App Name":"a","Timestamp":1}\n',
    ]
    with TemporaryDirectory() as name:
        file = Path(name) / "file"
        for reader in bootstrap.history_readers():
            if reader.format_id == "runs":
                continue  # DuckDB's own reader: tests/robustness/test_import_junk.py
            for head in heads:
                file.write_bytes(head + content or b"?")  # an empty file is an error
                items = reader.read(str(file), options=ReadOptions(), tell=lambda *_: None)
                assert all(isinstance(item, FoundRun | RejectedRow) for item in items)


def test_the_written_csv_is_text_that_any_program_reads() -> None:
    run = records.ended(replace(records.begun_run(), known_at=None))
    stream = io.BytesIO()
    WRITERS["csv"](stream, RUN_COLUMNS, [run_row(run, request_bytes=5, to_json=to_json)])
    header, row = stream.getvalue().decode().splitlines()
    assert header.split(",")[:4] == ["workload", "run_id", "started_at", "input_bytes"]
    assert row.startswith("daily-orders,r-0000000000-000000,2026-11-23 06:00:00")
