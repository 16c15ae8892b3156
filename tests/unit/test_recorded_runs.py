"""Runs files as history: the same rows as a backtest scores, and how each run ended."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from trace_files import as_run, read_text

from ullage.core.errors import ConfigError
from ullage.core.workload import Outcome, Run
from ullage.simulation.recorded_runs import RunsFileReader, outcome_of, unquoted
from ullage.simulation.runs_file import read_runs
from ullage.stores.record_json import from_json

READER = RunsFileReader(partial(from_json, Run))
HEADER = "dataset,workload,run_id,execution_id,started_at,input_bytes,params,peak_bytes,"
HEADER += "requested_bytes,limit_bytes,runtime_s,outcome\n"


def test_a_row_with_everything(tmp_path: Path) -> None:
    row = 'd,etl,7,e,1770000000,5,"{""rows"": 3, ""mode"": ""full""}",1000,2000,3000,60,ok\n'
    found, rejected = read_text(READER, tmp_path, HEADER + row)
    assert not rejected
    run = as_run(found[0])
    assert run.workload.key == "etl"
    assert run.started_at.timestamp() == 1770000000
    assert run.features.numbers == {"input_bytes": 5, "rows": 3}
    assert run.attempts[0].peak_bytes == 1000
    assert run.attempts[0].limit_bytes == 3000
    assert run.attempts[0].runtime.total_seconds() == 60


def test_it_takes_the_rows_that_a_backtest_scores_and_rejects_the_others(tmp_path: Path) -> None:
    text = HEADER + "".join(
        [
            "d,etl,1,e,1,,,1000,,,60,ok\n",
            "d,etl,1,e,1,,,1000,,,60,ok\n",
            "d,,2,e,1,,,1000,,,60,ok\n",
            "d,etl,3,e,1,,,-5,,,60,ok\n",
            "d,etl,4,e,1,,,NaN,,,60,ok\n",
            "d,etl,5,e,1,,,,,,60,ok\n",
            "half\n",
            "d,etl,6,e,2,,,1100,,,60,error\n",
        ]
    )
    found, rejected = read_text(READER, tmp_path, text)
    scored = read_runs(tmp_path / "trace")
    assert [each.peak_bytes for each in found] == scored.runs.peak_bytes.tolist()
    counted: dict[str, int] = {}
    for each in rejected:
        counted[each.reason] = counted.get(each.reason, 0) + 1
    assert counted == dict(scored.rejected)
    assert {each.reason: each.line for each in rejected} == {
        "unreadable_line": 8,
        "duplicate_key": 2,
        "workload_missing": 3,
        "peak_not_above_zero": 4,
        "peak_not_finite": 5,
        "peak_missing": 6,
    }


def test_rows_without_an_id_are_runs_of_their_own_and_stay_the_same(tmp_path: Path) -> None:
    text = "workload,peak_bytes\na,5\na,5\na,6\n"
    ids = [as_run(each).run_id for each in read_text(READER, tmp_path, text)[0]]
    assert len(set(ids)) == 3
    grown = [as_run(each).run_id for each in read_text(READER, tmp_path, text + "a,5\n")[0]]
    assert grown[:3] == ids
    assert grown[3] not in ids


def test_without_a_start_the_order_of_the_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("workload,peak_bytes\n" + "".join(f"a,{n}\n" for n in range(1, 9)))
    os.utime(file, (1770000000, 1770000000))
    found = list(READER.read(str(file), options=None, tell=lambda *_: None))  # type: ignore[arg-type]
    starts = [each.started_at for each in found]  # type: ignore[union-attr]
    assert starts == sorted(set(starts))
    assert starts[-1].timestamp() <= 1770000000
    assert all(each.is_start_guessed for each in found)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (Outcome.OK, None)),
        ("ok", (Outcome.OK, None)),
        ("COMPLETED:0", (Outcome.OK, 0)),
        ("exit:0", (Outcome.OK, 0)),
        ("FAILED:1", (Outcome.ERROR, 1)),
        ("exit:137", (Outcome.OOM_KILLED, 137)),
        ("OUT_OF_MEMORY", (Outcome.OOM_KILLED, None)),
        ("oom_killed", (Outcome.OOM_KILLED, None)),
        ("interrupted", (Outcome.INTERRUPTED, None)),
        ("CANCELLED by 1000", (Outcome.INTERRUPTED, None)),
        ("whatever", (Outcome.ERROR, None)),
    ],
)
def test_how_a_run_ended(text: str, expected: tuple[Outcome, int | None]) -> None:
    assert outcome_of(text) == expected


def test_a_formula_is_a_name_without_the_quote_before_it(tmp_path: Path) -> None:
    assert unquoted("'=1+1") == "=1+1"
    found, _ = read_text(READER, tmp_path, "workload,peak_bytes\n\"'=cmd|'/C calc'!A0\",5\n")
    assert found[0].name == "=cmd|'/C calc'!A0"
    assert as_run(found[0]).workload.key.startswith("cmd-")


@pytest.mark.parametrize(
    "record", ["{}", "null", "[1]", '{"run_id": 5}', "x" * 5_000, '{"run_id":"r","attempts":1}']
)
def test_a_record_that_is_none_is_not_believed(tmp_path: Path, record: str) -> None:
    cell = record.replace('"', '""')
    text = f'workload,run_id,peak_bytes,peak_record_json\na,r,5,"{cell}"\n'
    found, _ = read_text(READER, tmp_path, text)
    assert found[0].recorded is None
    assert as_run(found[0]).attempts[0].peak_bytes == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workload,peak\na,5\n", "no column 'peak_bytes'"),
        ("workload,peak_bytes\na,4GiB\n", "plain bytes"),
        ("workload,peak_bytes\n", "no rows"),
    ],
)
def test_a_file_that_cannot_be_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_text(READER, tmp_path, text)
