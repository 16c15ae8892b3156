"""What the files named on a command line tell before the run."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.errors import ConfigError
from ullage.core.workload import Features
from ullage.sources.inputs import measure_inputs, merge_features, parse_feature


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in {"a.csv": 100, "b.csv": 200, "out.csv": 50, "job.py": 7, "c.yaml": 9}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "d.bin").write_bytes(b"x" * 1000)
    (tmp_path / "in" / "deep" / "e.bin").write_bytes(b"x" * 2000)
    return tmp_path


def measured(line: str, folder: Path, **options: object) -> Features:
    return measure_inputs(shlex.split(line), str(folder), **options)  # type: ignore[arg-type]


SIZES = [
    ("python3 job.py --input a.csv", 100, 1),
    ("python3 job.py --input=a.csv --output out.csv", 100, 1),
    ("python3 job.py --input a.csv b.csv", 100, 1),
    ("python3 job.py a.csv b.csv", 300, 2),
    ("python3 job.py a.csv a.csv ./a.csv", 100, 1),
    ("python3 job.py a.csv,b.csv", 300, 2),
    ("python3 job.py 'a*.csv'", 100, 1),
    ("python3 job.py --data in", 3000, 2),
    ("python3 job.py 'in/**'", 3000, 2),
    ("python3 job.py --config c.yaml a.csv", 100, 1),
    ("python3 job.py --verbose a.csv", 100, 1),
    ("sort -o out.csv a.csv", 100, 1),
    ("cp a.csv in", 100, 1),
    ("dd if=b.csv of=out.csv bs=1M", 200, 1),
    ("bash -c 'cat a.csv | sort > out.csv'", 100, 1),
    ("bash -c 'sort < b.csv > out.csv'", 200, 1),
    ("env A=1 nice -n 5 python3 job.py -i in/d.bin", 1000, 1),
]


@pytest.mark.parametrize(("line", "size", "count"), SIZES)
def test_sizes_of_the_inputs(folder: Path, line: str, size: int, count: int) -> None:
    numbers = measured(line, folder).numbers
    assert (numbers["input_bytes"], numbers["input_files_count"]) == (size, count)


@pytest.mark.parametrize(
    "line",
    [
        "python3 job.py",
        "true",
        "python3 job.py missing.csv",
        "tool --output out.csv",
        "x /dev/null",
    ],
)
def test_without_inputs_the_feature_is_absent_not_zero(folder: Path, line: str) -> None:
    features = measured(line, folder)
    assert "input_bytes" not in features.numbers
    assert "input_files_count" not in features.numbers


def test_addresses_of_local_files(folder: Path) -> None:
    (folder / "a b.csv").write_bytes(b"x" * 11)
    line = f"tool 'file://{folder}/a%20b.csv' gs://bucket/a.csv"
    assert measured(line, folder).numbers["input_bytes"] == 11


def test_pipes_sockets_and_devices_are_no_inputs(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)
        try:
            listener.bind("sock")
        finally:
            os.chdir(here)
        line = "tool pipe sock /dev/zero a.csv --input pipe"
        assert measured(line, folder).numbers["input_bytes"] == 100


def test_the_search_is_bounded_and_says_so(folder: Path) -> None:
    many = folder / "many"
    many.mkdir()
    for number in range(30):
        (many / str(number)).write_bytes(b"x")
    features = measured("tool --input many", folder, max_entries=10)
    assert features.numbers["input_files_count"] == 9, "the folder is an entry too"
    assert "cut after 10 entries" in features.sources["input_bytes"]
    assert "cut" not in measured("tool --input many", folder).sources["input_bytes"]


def test_more_arguments_than_are_looked_at_are_said(folder: Path) -> None:
    features = measure_inputs(["tool", "a.csv", *["x.csv"] * 20_000], str(folder))
    assert features.numbers["input_bytes"] == 100
    assert "at least" in features.sources["input_bytes"]


def test_a_search_without_time_ends_at_once(folder: Path) -> None:
    many = folder / "many"
    many.mkdir()
    for number in range(200):
        (many / str(number)).write_bytes(b"x")
    features = measured("tool --input many", folder, max_s=-1.0)
    assert features.numbers["input_files_count"] < 200
    assert "at least" in features.sources["input_bytes"]


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "in" / "again").symlink_to(folder / "in")
    (folder / "loop").symlink_to(folder / "loop")
    assert measured("tool in loop", folder).numbers["input_bytes"] == 3000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folders_are_said(folder: Path) -> None:
    (folder / "in").chmod(0)
    try:
        features = measured("tool --input in", folder)
    finally:
        (folder / "in").chmod(0o755)
    assert "input_bytes" not in features.numbers
    assert "1 unreadable" in features.sources["input_bytes"]


def test_a_broken_link_inside_a_folder_is_unreadable_but_no_error(folder: Path) -> None:
    (folder / "in" / "gone").symlink_to("nowhere")
    features = measured("tool 'in/*'", folder)
    assert features.numbers["input_bytes"] == 3000
    assert "1 unreadable" in features.sources["input_bytes"]


def test_a_file_on_standard_input_counts(folder: Path) -> None:
    with open(folder / "b.csv", "rb") as stream:
        features = measured("sort", folder, stdin_fd=stream.fileno())
    assert features.numbers["input_bytes"] == 200
    assert "standard input" in features.sources["input_bytes"]
    read_end, write_end = os.pipe()
    try:
        assert "input_bytes" not in measured("sort", folder, stdin_fd=read_end).numbers
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize(
    ("line", "threads"),
    [
        ("tool --threads 4", 4),
        ("make -j8", 8),
        ("tool --num-threads=2", 2),
        ("env OMP_NUM_THREADS=3 tool", 3),
        ("tool --threads many", None),
        ("sort -t , a.csv", None),
        ("tool", None),
    ],
)
def test_threads(folder: Path, line: str, threads: int | None) -> None:
    assert measured(line, folder).numbers.get("threads_count") == threads


def test_threads_of_the_environment_are_asked_for(folder: Path) -> None:
    environ = {"OMP_NUM_THREADS": "6"}
    assert measured("tool", folder, environ=environ).numbers["threads_count"] == 6
    assert measured("tool -j 2", folder, environ=environ).numbers["threads_count"] == 2


def test_numbers_among_the_arguments_are_features(folder: Path) -> None:
    numbers = measured(
        "python3 job.py 300 --rows 1e6 --mem-size=4GiB --day 20261123 --seed 7 20261123", folder
    ).numbers
    assert numbers == {"arg_1": 300, "arg_rows": 1e6, "arg_mem_size": 4 * 2**30}


def test_sources_name_the_argument_and_no_secret(folder: Path) -> None:
    sources = measured("tool --input a.csv --secret-key 12345", folder).sources
    assert sources["input_bytes"] == "--input a.csv: 1 file"
    assert "12345" not in " ".join(sources.values())


@given(st.lists(st.text(max_size=20), max_size=6))
def test_no_command_line_breaks_it(argv: list[str]) -> None:
    features = measure_inputs(argv, "/nonexistent")
    assert all(value == value for value in features.numbers.values())
    " ".join(features.sources.values()).encode("utf-8")


def test_hostile_words_are_survived(folder: Path) -> None:
    argv = ["tool", "x" * 1_000_000, "a\0b", "\udcff", "[" * 300, "~nobody-there/x", "**/" * 50]
    measure_inputs(argv, str(folder), max_entries=100)


@pytest.mark.parametrize(
    ("text", "number"),
    [("rows=1e6", 1e6), ("size=4GiB", 4 * 2**30), ("x=-2.5", -2.5), ("n=007", 7.0)],
)
def test_a_feature_with_a_number(text: str, number: float) -> None:
    features = parse_feature(text)
    assert list(features.numbers.values()) == [number]
    assert not features.labels


@pytest.mark.parametrize("text", ["mode=full", "v=1_000", "a=b=c", "region=eu-west1"])
def test_a_feature_with_a_label(text: str) -> None:
    features = parse_feature(text)
    assert list(features.labels.values()) == [text.partition("=")[2]]
    assert not features.numbers


@pytest.mark.parametrize(
    "text", ["", "rows", "=1", "rows=", "a b=1", "x=nan", "x=inf", "x=1e999", "x=a\x1bb", "../x=1"]
)
def test_a_feature_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_feature(text)


def test_a_secret_given_as_a_feature_is_masked() -> None:
    assert "hunter2" not in str(parse_feature("db_password=hunter2"))


def test_given_features_outrank_measured_ones() -> None:
    base = Features(numbers={"input_bytes": 1.0, "rows": 2.0}, sources={"rows": "seen"})
    merged = merge_features(base, [parse_feature("rows=big"), parse_feature("input_bytes=1KiB")])
    assert merged.numbers == {"input_bytes": 1024.0}
    assert merged.labels == {"rows": "big"}
    assert merged.sources["rows"] == "--feature rows"
