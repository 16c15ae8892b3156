"""Files of usage: what counts, what is counted out, and one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage.core.errors import ConfigError
from ullage.simulation.usage_file import read_usage


def written(folder: Path, text: str) -> Path:
    path = folder / "usage.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_instances_are_told_apart_and_sorted_by_time(tmp_path: Path) -> None:
    read = read_usage(
        written(
            tmp_path,
            "workload,instance,ts,bytes_used,extra\n"
            "w,b,60,5,x\nw,a,120,3,x\nw,a,60,2.5,x\nv,a,60,1,x\n",
        )
    )
    assert [trace.name for trace in read.traces] == ["v/a", "w/a", "w/b"]
    assert read.traces[1].at_s.tolist() == [60.0, 120.0]
    assert read.traces[1].need_bytes.tolist() == [3, 3]
    assert read.rejected == {}


def test_instance_and_dataset_may_be_missing_and_times_may_be_texts(tmp_path: Path) -> None:
    read = read_usage(
        written(
            tmp_path,
            "workload,ts,bytes_used\nw,2026-01-01 00:01:00,2\nw,2026-01-01 00:00:00,1\n",
        )
    )
    assert [trace.name for trace in read.traces] == ["w"]
    assert read.traces[0].need_bytes.tolist() == [1, 2]
    assert read.traces[0].at_s[1] - read.traces[0].at_s[0] == 60.0


def test_rows_that_cannot_be_meant_are_counted(tmp_path: Path) -> None:
    bad = {
        ",a,60,1": "workload_missing",
        "w,a,soon,1": "ts_unreadable",
        "w,a,nan,1": "ts_unreadable",
        "w,a,-5,1": "ts_out_of_range",
        "w,a,1e15,1": "ts_out_of_range",
        "w,a,60,": "bytes_used_missing",
        "w,a,60,12GiB": "bytes_used_not_a_number",
        "w,a,60,inf": "bytes_used_not_finite",
        "w,a,60,-1": "bytes_used_negative",
        "w,a,60,1e18": "bytes_used_above_1_pib",
    }
    rows = "\n".join([*bad, "w,a,120,7", "w,a,120,9"])
    read = read_usage(written(tmp_path, f"workload,instance,ts,bytes_used\n{rows}\n"))
    assert read.traces[0].need_bytes.tolist() == [9]  # of two at one moment the larger
    expected: dict[str, int] = {"same_moment": 1}
    for reason in bad.values():
        expected[reason] = expected.get(reason, 0) + 1
    assert read.rejected == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workload,ts,bytes\nw,1,2\n", "no column 'bytes_used' .nearest: 'bytes'"),
        ("workload,ts,bytes_used\n", "no sample is left"),
        ("workload,ts,bytes_used\nw,1,-2\n", "bytes_used_negative 1"),
        ("", "it is empty"),
    ],
)
def test_errors_are_one_line_that_names_the_way_out(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read_usage(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    name = "'; DROP TABLE raw; --"
    read = read_usage(written(tmp_path, f'workload,ts,bytes_used\n"{name}",1,2\n'))
    assert [trace.name for trace in read.traces] == [name]


def test_only_the_first_rows(tmp_path: Path) -> None:
    rows = "\n".join(f"w,{at},1" for at in range(10))
    read = read_usage(written(tmp_path, f"workload,ts,bytes_used\n{rows}\n"), limit_rows=4)
    assert len(read.traces[0]) == 4
