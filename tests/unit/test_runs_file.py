"""Runs files: what is read, what is rejected and counted, what is a feature; hostile ones too."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from ullage.core.errors import ConfigError
from ullage.simulation.runs_file import RunsFile, read_runs


def _csv(folder: Path, rows: Sequence[Mapping[str, Any]], *, name: str = "runs.csv") -> Path:
    """Write rows (of any columns) as a CSV."""
    import csv

    columns = list(dict.fromkeys(column for row in rows for column in row))
    file = folder / name
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return file


def _parquet(folder: Path, sql: str, *, name: str = "runs.parquet") -> Path:
    file = folder / name
    duckdb.sql(f"COPY ({sql}) TO '{file}' (FORMAT parquet)")
    return file


def _left_out(read: RunsFile) -> dict[str, str | None]:
    return {note.name: note.left_out for note in read.features}


def test_a_csv_with_the_two_needed_columns_is_enough(tmp_path: Path) -> None:
    read = read_runs(_csv(tmp_path, [{"workload": "a", "peak_bytes": 5}] * 2))
    assert read.runs.workload_names == ("a",)
    assert read.runs.peak_bytes.tolist() == [5, 5]
    assert read.runs.run_ids == ("row 1", "row 2")
    assert read.runs.runtime_s.tolist() == [3600, 3600]
    assert not read.runs.has_runtime.any()
    assert read.replaced == {"runtime_unknown": 2}
    assert read.rejected == {}


def _full_row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": "d",
        "workload": f"w{number % 2}",
        "run_id": f"r{number}",
        "execution_id": "e",
        "order": number,
        "started_at": 1.7e9 + number,
        "input_bytes": 1000 + number % 3,
        "input_kind": "apriori_files",
        "cpus": 2,
        "attempt": 1,
        "params": json.dumps({"tag": number % 2, "n": number % 4, "x_posthoc": 1.5}),
        "peak_bytes": 1e9 + number,
        "requested_bytes": 4e9,
        "runtime_s": 10.0,
        "machine": "m",
        "outcome": "COMPLETED:0",
    } | changes


def test_csv_and_parquet_and_gzip_are_read_alike(tmp_path: Path) -> None:
    csv = _csv(tmp_path, [_full_row(number) for number in range(8)])
    parquet = _parquet(
        tmp_path, f"SELECT * FROM read_csv('{csv}', types = {{'params': 'VARCHAR'}})"
    )
    packed = tmp_path / "no-ending"
    packed.write_bytes(gzip.compress(csv.read_bytes()))
    first, *others = (read_runs(file) for file in (csv, parquet, packed))
    for other in others:
        assert other.runs.workload_names == first.runs.workload_names == ("w0", "w1")
        assert other.runs.run_ids == first.runs.run_ids
        assert set(other.runs.numbers) == set(first.runs.numbers)
        for name in ("peak_bytes", "runtime_s", "started_at_s", "request_bytes", "workload"):
            assert (getattr(other.runs, name) == getattr(first.runs, name)).all()
        assert other.sha256 != first.sha256
        assert _left_out(other) == _left_out(first)


def test_rows_come_in_their_order_and_a_limit_takes_the_first(tmp_path: Path) -> None:
    rows = [_full_row(number, order=9 - number) for number in range(10)]
    file = _csv(tmp_path, [*rows, _full_row(10, order="")])
    assert read_runs(file).runs.run_ids == tuple(f"r{n}" for n in (*range(9, -1, -1), 10))
    assert read_runs(file, limit_rows=3).runs.run_ids == ("r9", "r8", "r7")


def test_bad_rows_are_counted_by_reason_and_left_out(tmp_path: Path) -> None:
    peaks = ["", "nan", "inf", "-inf", "-5", "0", "4GiB", "1e30", "7"]
    file = _csv(tmp_path, [{"workload": "a", "peak_bytes": peak} for peak in peaks])
    file.write_text(file.read_text() + ",8\n  ,8\na,1,2,3\na\n")
    read = read_runs(file)
    assert read.runs.peak_bytes.tolist() == [7]
    assert read.rejected == {
        "peak_missing": 1,
        "peak_not_finite": 3,
        "peak_not_above_zero": 2,
        "peak_not_a_number": 1,
        "peak_above_1_pib": 1,
        "workload_missing": 2,
        "unreadable_line": 2,
    }


def test_one_row_is_one_run_and_of_several_attempts_the_last_stays(tmp_path: Path) -> None:
    rows = [
        _full_row(1),
        _full_row(1, attempt=2, peak_bytes=2e9),
        _full_row(1, workload="other"),
        _full_row(1, execution_id="f"),
        _full_row(1, dataset="d2"),
        _full_row(1, run_id=""),
        _full_row(1, run_id=""),
    ]
    read = read_runs(_csv(tmp_path, rows))
    assert read.rejected == {"duplicate_key": 1}
    assert len(read.runs) == 6
    assert 2e9 in read.runs.peak_bytes


def test_without_executions_only_a_true_copy_is_a_copy(tmp_path: Path) -> None:
    rows = [{"workload": "a", "run_id": 1, "peak_bytes": peak} for peak in (5, 6, 5)]
    assert read_runs(_csv(tmp_path, rows)).rejected == {"duplicate_key": 1}


def test_a_bad_row_does_not_make_a_good_one_a_copy(tmp_path: Path) -> None:
    read = read_runs(_csv(tmp_path, [_full_row(1, peak_bytes=""), _full_row(1)]))
    assert read.rejected == {"peak_missing": 1}
    assert len(read.runs) == 1


def test_runtimes_that_cannot_be_are_a_second_and_counted(tmp_path: Path) -> None:
    runtimes = [5, 0, "", -3, "nan", 1e300]
    rows = [_full_row(number, runtime_s=t) for number, t in enumerate(runtimes)]
    read = read_runs(_csv(tmp_path, rows))
    assert read.runs.runtime_s.tolist() == [5, 1, 1, 1, 1, 1]
    assert read.runs.has_runtime.tolist() == [True] + [False] * 5
    assert read.replaced == {"runtime_zero": 1, "runtime_missing": 2, "runtime_nonsense": 2}


def test_starts_are_epoch_seconds_or_times_and_else_unknown(tmp_path: Path) -> None:
    starts = [1.7e9, "2023-11-14T22:13:20Z", "2023-11-14 22:13:20", 1.7e12, "soon", "", -1]
    rows = [_full_row(number, started_at=at) for number, at in enumerate(starts)]
    read = read_runs(_csv(tmp_path, rows))
    assert read.runs.started_at_s[:3].tolist() == [1.7e9] * 3
    assert np.isnan(read.runs.started_at_s[3:]).all()
    assert read.replaced == {"started_at_unreadable": 3}
    file = _parquet(
        tmp_path, "SELECT 'a' workload, 1 peak_bytes, TIMESTAMP '2023-11-14 22:13:20' started_at"
    )
    assert read_runs(file).runs.started_at_s.tolist() == [1.7e9]


@pytest.mark.parametrize(
    ("outcome", "is_error"),
    [
        ("COMPLETED:0", False),
        ("completed", False),
        ("ok", False),
        ("exit:0", False),
        ("", False),
        ("exit:1", True),
        ("FAILED:1", True),
        ("error", True),
        ("oom_killed", True),
    ],
)
def test_outcomes(tmp_path: Path, outcome: str, is_error: bool) -> None:
    read = read_runs(_csv(tmp_path, [_full_row(1, outcome=outcome)]))
    assert read.runs.is_error.tolist() == [is_error]


def test_a_peak_near_its_recorded_limit_is_saturated(tmp_path: Path) -> None:
    limits = [
        {"peak_bytes": 98},
        {"peak_bytes": 97},
        {"peak_bytes": 97, "params": '{"cgroup_limit": 90}'},
        {"peak_bytes": 98, "params": '{"cgroup_limit": 900}'},
        {"peak_bytes": 98, "requested_bytes": ""},
    ]
    rows = [_full_row(n, **({"requested_bytes": 100} | row)) for n, row in enumerate(limits)]
    read = read_runs(_csv(tmp_path, rows))
    assert read.runs.is_saturated.tolist() == [True, False, True, False, False]
    rows = [
        _full_row(n, **row, limit_bytes=99, requested_bytes=1e9) for n, row in enumerate(limits[:2])
    ]
    read = read_runs(_csv(tmp_path, rows))
    assert read.runs.is_saturated.tolist() == [True, False]


def test_several_data_sets_keep_their_workloads_apart(tmp_path: Path) -> None:
    rows = [_full_row(n, workload="w", dataset=d) for n, d in enumerate(["a", "b", "a", ""])]
    runs = read_runs(_csv(tmp_path, rows)).runs
    assert runs.workload_names == ("a/w", "b/w", "w")
    assert runs.workload.tolist() == [0, 1, 0, 2]


def test_what_was_measured_later_is_no_feature_before_the_start(tmp_path: Path) -> None:
    rows = [
        _full_row(n, realtime=3, peak_rss=7, task_id=n * 7 % 5, shard=n % 3, noted=n % 2)
        for n in range(30)
    ]
    rows[3]["input_kind"] = "rchar_posthoc"
    file = _csv(tmp_path, rows)
    read = read_runs(file)
    assert set(read.runs.numbers) == {"input_bytes", "cpus", "attempt", "n", "shard", "noted"}
    assert set(read.runs.labels) == {"tag"}
    assert np.isnan(read.runs.numbers["input_bytes"]).nonzero()[0].tolist() == [3]
    why = _left_out(read)
    assert all(why[name] for name in ("machine", "x_posthoc", "realtime", "peak_rss", "task_id"))
    every = read_runs(file, features="all")
    assert {"x_posthoc", "realtime"} <= set(every.runs.numbers)
    assert "machine" in every.runs.labels
    assert "peak_rss" not in every.runs.numbers, "that would be the answer itself"
    assert every.runs.numbers["input_bytes"][3] == 1000


def test_text_is_a_label_and_a_number_a_number_whatever_it_looks_like(tmp_path: Path) -> None:
    params = [
        {"tag": 7, "code": "007", "scale": 1.5, "flag": True, "mixed": 1, "list": [1]},
        {"tag": 7, "code": "007", "scale": 2, "flag": True, "mixed": "a", "list": [1]},
        {"tag": 8, "code": "008", "scale": None, "flag": False, "mixed": "a"},
    ]
    rows = [
        _full_row(n, workload="w", params=json.dumps(each), team="red", size=n % 2)
        for n, each in enumerate(params)
    ]
    read = read_runs(_csv(tmp_path, rows))
    assert {"scale", "size"} < set(read.runs.numbers)
    assert set(read.runs.labels) == {"tag", "code", "flag", "mixed", "team"}
    assert read.runs.labels["tag"].tolist() == ["7", "7", "8"]
    assert read.runs.labels["code"].tolist() == ["007", "007", "008"]
    assert read.runs.numbers["scale"][:2].tolist() == [1.5, 2]
    assert np.isnan(read.runs.numbers["scale"][2])
    assert "lists or objects" in str(_left_out(read)["list"])


def test_counters_and_names_that_never_come_again_are_no_features(tmp_path: Path) -> None:
    rows = [
        _full_row(n, workload="w", ticket=5 + 3 * n, note=f"run {n}", day=n // 2) for n in range(30)
    ]
    why = _left_out(read_runs(_csv(tmp_path, rows)))
    assert "counter" in str(why["ticket"])
    assert "never comes again" in str(why["note"])
    assert why["day"] is None


def test_params_that_are_no_objects_are_no_features(tmp_path: Path) -> None:
    texts = ["", "{", "[1]", "3", "null", '{"a": 1}', '{"a": 1, "b\\u0000/~\\"\'c": 2}']
    rows = [_full_row(n, workload="w", params=text) for n, text in enumerate(texts)]
    numbers = read_runs(_csv(tmp_path, rows)).runs.numbers
    assert numbers["a"][5:].tolist() == [1, 1]
    assert np.isnan(numbers["a"][:5]).all()


def test_params_may_be_a_struct_of_parquet(tmp_path: Path) -> None:
    sql = "SELECT 'a' workload, 1 peak_bytes, {'k': 1.5, 't': 'x'} params FROM range(2)"
    runs = read_runs(_parquet(tmp_path, sql)).runs
    assert runs.numbers["k"].tolist() == [1.5, 1.5]
    assert runs.labels["t"].tolist() == ["x", "x"]


def test_columns_may_have_any_name_and_those_of_our_own_tables(tmp_path: Path) -> None:
    odd = ["pos", "code", "line", "reason", "rowid", 'a"b', "x'; DROP TABLE raw; --", "\x1b[31m"]
    rows = [_full_row(n, **dict.fromkeys(odd, n % 2)) for n in range(4)]
    read = read_runs(_csv(tmp_path, rows))
    assert set(odd) - {"\x1b[31m"} <= set(read.runs.numbers)
    assert read.runs.run_ids == ("r0", "r1", "r2", "r3")


@pytest.mark.parametrize("name", ["a*.csv", "a[1]?.csv", "a'b\".csv", "a\nb.csv", "s3:x", "-"])
def test_a_file_may_have_any_name_and_no_other_is_read(tmp_path: Path, name: str) -> None:
    _csv(tmp_path, [{"workload": "other", "peak_bytes": 1}], name="a1.csv")
    read = read_runs(_csv(tmp_path, [{"workload": "mine", "peak_bytes": 1}], name=name))
    assert read.runs.workload_names == ("mine",)


def test_names_with_control_characters_stay_what_they_are(tmp_path: Path) -> None:
    file = _csv(tmp_path, [{"workload": "a\x1b[2J\n\u202e", "peak_bytes": 1}])
    assert read_runs(file).runs.workload_names == ("a\x1b[2J\n\u202e",)


def test_a_line_that_is_not_utf8_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"workload,peak_bytes\na,1\n\xff\xfe,2\nb,3\n")
    read = read_runs(file)
    assert read.runs.workload_names == ("a", "b")
    assert read.rejected == {"unreadable_line": 1}


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"workload{delimiter}peak_bytes\na,b{delimiter}1\n")
    assert read_runs(file).runs.workload_names == ("a,b",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"workload,peak\na,1\n", "nearest: 'peak'"),
        (b"job,peak_bytes\na,1\n", "no column 'workload'"),
        (b"workload,peak_bytes\na,4GiB\nb,2 GiB\n", "without a unit"),
        (b"workload,peak_bytes\n", "no rows"),
        (b"workload,peak_bytes\na,-1\n", "peak_not_above_zero 1"),
        (b"PAR1" + bytes(400), "cannot be read"),
        (bytes(range(256)) * 40, "cannot be read|no column"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "bad"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as error:
        read_runs(file)
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()
    assert "/dev/fd" not in str(error.value)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "absent", "nul\0l"):
        with pytest.raises(ConfigError, match="cannot read"):
            read_runs(tmp_path / name)


def test_columns_of_nonsense_types_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="peak_bytes holds BOOLEAN"):
        read_runs(_parquet(tmp_path, "SELECT 'a' workload, true peak_bytes"))


def test_no_connection_reaches_another_file(tmp_path: Path) -> None:
    from ullage.simulation.runs_source import open_runs

    other = _csv(tmp_path, [{"workload": "other", "peak_bytes": 1}], name="other.csv")
    with open_runs(_csv(tmp_path, [{"workload": "a", "peak_bytes": 1}])) as raw:
        for sql in (
            f"SELECT * FROM read_csv('{other}')",
            f"COPY raw TO '{tmp_path / 'out.csv'}'",
            f"ATTACH '{tmp_path / 'out.db'}'",
            "INSTALL httpfs",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                raw.connection.execute(sql)
    assert not (tmp_path / "out.csv").exists()


def test_thousands_of_workloads_with_one_run_each(tmp_path: Path) -> None:
    sql = (
        "SELECT 'w' || i AS workload, i + 1 AS peak_bytes, 'n' || i AS note FROM range(50000) t(i)"
    )
    runs = read_runs(_parquet(tmp_path, sql)).runs
    assert len(runs.workload_names) == len(runs) == 50_000
    assert runs.workload.tolist() == list(range(50_000))
    assert runs.labels == {}


def test_a_flood_of_params_keys_is_cut(tmp_path: Path) -> None:
    rows = [
        _full_row(n, params=json.dumps({"kept": n % 3} | {f"k{n}_{i}": 1 for i in range(50)}))
        for n in range(20)
    ]
    numbers = read_runs(_csv(tmp_path, rows)).runs.numbers
    assert "kept" in numbers
    assert len(numbers) < 250
