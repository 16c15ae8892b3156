"""Nextflow traces: sizes, spans, raw values, cached and failed tasks, custom columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from trace_files import as_run, read_text

from ullage.core.recorded import FoundRun, ReadOptions
from ullage.core.units import GIB, MIB
from ullage.core.workload import Outcome
from ullage.sources.trace_nextflow import NextflowTraceReader

READER = NextflowTraceReader()
FIELDS = {
    "task_id": "1",
    "hash": "d6/4a9080",
    "native_id": "3711",
    "name": "RNASEQ:STAR (sample A)",
    "status": "COMPLETED",
    "exit": "0",
    "submit": "2026-02-09 14:44:43.053",
    "duration": "1h 3m",
    "realtime": "1h 2m 3s",
    "%cpu": "72.6%",
    "peak_rss": "1.2 GB",
}


def _table(*rows: Mapping[str, str]) -> str:
    names = list(rows[0])
    lines = ["\t".join(names), *("\t".join(row[name] for name in names) for row in rows)]
    return "\n".join(lines) + "\n"


def _one(folder: Path, **changes: str) -> FoundRun:
    found, rejected = read_text(READER, folder, _table(FIELDS | changes))
    assert not rejected
    return found[0]


def test_a_default_trace(tmp_path: Path) -> None:
    run = _one(tmp_path)
    assert run.name == "RNASEQ:STAR"
    assert run.line == 2
    assert run.peak_bytes == pytest.approx(1.2 * GIB)
    assert run.runtime_s == 3723
    assert run.started_at is not None
    assert run.started_at.isoformat() == "2026-02-09T14:44:43.053000+00:00"
    assert run.limit_bytes is None
    assert run.outcome is Outcome.OK
    assert run.features.labels == {"tag": "sample A"}


@pytest.mark.parametrize(
    ("size", "expected_bytes"),
    [("6.3 MB", 6.3 * MIB), ("0", 0), ("35.2 KB", 35.2 * 1024), ("1288490188", 1288490188)],
)
def test_sizes_are_powers_of_1024(tmp_path: Path, size: str, expected_bytes: float) -> None:
    assert _one(tmp_path, peak_rss=size).peak_bytes == pytest.approx(expected_bytes)


@pytest.mark.parametrize(
    ("span", "expected_s"),
    [("325ms", 0.325), ("4.9s", 4.9), ("1m 5s", 65), ("2d 1h", 176_400), ("5min", 300)],
)
def test_spans_in_words(tmp_path: Path, span: str, expected_s: float) -> None:
    assert _one(tmp_path, realtime=span).runtime_s == pytest.approx(expected_s)


def test_raw_values_are_bytes_and_milliseconds(tmp_path: Path) -> None:
    run = _one(
        tmp_path,
        realtime="3723000",
        peak_rss="1288490188",
        memory="2147483648",
        submit="1770648283053",
        start="1770648290000",
        cpus="4",
    )
    assert run.runtime_s == 3723
    assert run.limit_bytes == 2 * GIB
    assert run.started_at is not None
    assert run.started_at.timestamp() == 1770648290
    assert run.features.numbers == {"threads_count": 4}


def test_times_have_the_zone_that_is_told(tmp_path: Path) -> None:
    options = ReadOptions(zone=ZoneInfo("Europe/Berlin"))
    found, _ = read_text(READER, tmp_path, _table(FIELDS), options=options)
    assert found[0].started_at is not None
    assert found[0].started_at.hour == 13


def test_the_zone_does_not_make_another_run(tmp_path: Path) -> None:
    plain, _ = read_text(READER, tmp_path, _table(FIELDS))
    options = ReadOptions(zone=ZoneInfo("Asia/Tokyo"))
    zoned, _ = read_text(READER, tmp_path, _table(FIELDS), options=options)
    assert plain[0].identity == zoned[0].identity


def test_the_process_column_wins_over_the_name(tmp_path: Path) -> None:
    run = _one(tmp_path, process="STAR", tag="B", name="whatever (1)")
    assert run.name == "STAR"
    assert run.features.labels == {"tag": "B"}


def test_an_index_is_no_feature(tmp_path: Path) -> None:
    assert _one(tmp_path, name="blast (17)").features.labels == {}


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        ("COMPLETED", "0", Outcome.OK),
        ("FAILED", "1", Outcome.ERROR),
        ("FAILED", "137", Outcome.OOM_KILLED),
        ("FAILED", "-", Outcome.ERROR),
        ("ABORTED", "2147483647", Outcome.INTERRUPTED),
    ],
)
def test_how_a_task_ended(tmp_path: Path, status: str, code: str, outcome: Outcome) -> None:
    run = _one(tmp_path, status=status, exit=code)
    assert run.outcome is outcome
    assert run.exit_code == (int(code) if code in ("0", "1", "137") else None)


def test_a_task_killed_at_its_limit_needed_at_least_that(tmp_path: Path) -> None:
    run = as_run(_one(tmp_path, status="FAILED", exit="137", memory="8 GB"))
    assert run.attempts[0].peak_bytes == 8 * GIB
    assert run.attempts[0].oom_kills == 1
    assert run.attempts[0].final_limit_bytes == 8 * GIB


def test_what_is_no_run_is_rejected_with_its_reason(tmp_path: Path) -> None:
    rows = [
        FIELDS,
        FIELDS | {"status": "CACHED"},
        FIELDS | {"status": "RUNNING"},
        FIELDS | {"peak_rss": "much"},
        FIELDS | {"peak_rss": "-1 GB"},
        FIELDS | {"realtime": "soon"},
        FIELDS | {"submit": "yesterday"},
    ]
    found, rejected = read_text(READER, tmp_path, _table(*rows) + "\thalf\n")
    assert len(found) == 1
    assert [(each.line, each.reason) for each in rejected] == [
        (3, "taken_from_the_cache"),
        (4, "not_ended"),
        (5, "size_unreadable"),
        (6, "size_unreadable"),
        (7, "span_unreadable"),
        (8, "time_unreadable"),
        (9, "wrong_number_of_cells"),
    ]


def test_traces_that_were_put_together_keep_one_header(tmp_path: Path) -> None:
    text = _table(FIELDS) + _table(FIELDS | {"hash": "aa/000000"})
    found, rejected = read_text(READER, tmp_path, text.replace("\n", "\r\n"))
    assert len(found) == 2
    assert not rejected


def test_an_old_trace_has_rss_and_walltime(tmp_path: Path) -> None:
    row = {k: v for k, v in FIELDS.items() if k not in ("peak_rss", "realtime")}
    found, _ = read_text(READER, tmp_path, _table(row | {"walltime": "5s", "rss": "29.8 MB"}))
    assert found[0].peak_bytes == pytest.approx(29.8 * MIB)
    assert found[0].runtime_s == 5
