"""Files that are broken, hostile, foreign or enormous: counted, told in one line, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

Import = Callable[..., subprocess.CompletedProcess[str]]

HEADER = "task_id\thash\tname\tstatus\texit\tsubmit\trealtime\tpeak_rss\n"
MEMORY_MIB = 400
LINES = 20_000


def _row(number: int, *, name: str = "STEP (a)", peak: str = "2.4 MB") -> str:
    return f"{number}\tab/{number:06x}\t{name}\tCOMPLETED\t0\t2026-02-09 14:44:43.053\t4s\t{peak}\n"


@pytest.fixture
def ullage_import(tmp_path: Path, ullage_bin: list[str]) -> Import:
    """Return what runs `ullage import` with little memory, without a wait for anybody."""

    def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ullage", "import", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=600,
            **options,  # type: ignore[call-overload]
        )

    return run


def _rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def _limited() -> None:
    size = MEMORY_MIB << 20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def test_broken_lines_in_between_are_counted_and_the_rest_comes_in(
    ullage_import: Import, tmp_path: Path
) -> None:
    junk = random.Random(3)
    lines: list[bytes] = [HEADER.encode()]
    broken_count = 0
    for number in range(LINES):
        if number % 100 == 50:
            broken_count += 1
            lines.append(junk.randbytes(40).replace(b"\n", b"").replace(b"\t", b"") + b"\n")
        elif number % 100 == 60:
            broken_count += 1
            lines.append(
                _row(number, peak=junk.choice(["NaN", "-1 MB", "1e9999", "∞", "0"])).encode()
            )
        else:
            lines.append(_row(number, peak=junk.choice(["2.4 MB", "1 GB", "2516582"])).encode())
    (tmp_path / "trace.txt").write_bytes(b"".join(lines))
    done = ullage_import("trace.txt", "-o", "json", "--rejects", "out.csv", cwd=tmp_path)
    (row,) = _rows(done)
    assert row["runs_count"] == row["new_count"] == LINES - broken_count
    assert f"{broken_count:,} rejected" in done.stderr
    assert "wrong_number_of_cells: 200 (first at line 52)" in done.stderr
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert written[0] == "file,line,reason,text"
    assert len(written) >= broken_count + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_lines_with_broken_ones_among_them(ullage_import: Import, tmp_path: Path) -> None:
    """Every line is counted, in 400 MiB of memory. Figures: benchmarks/bench_import.py."""
    file = tmp_path / "trace.txt"
    with file.open("w") as stream:
        stream.write(HEADER)
        for number in range(1_000_000):
            stream.write(
                "half a li\n" if number % 100 == 99 else _row(number, name=f"S{number % 9}")
            )
    done = ullage_import(file, "-o", "json", preexec_fn=_limited)
    assert sum(int(str(row["new_count"])) for row in _rows(done)) == 990_000
    assert "wrong_number_of_cells: 10,000 (first at line 101)" in done.stderr


def test_a_line_without_an_end_is_not_kept_in_memory(ullage_import: Import, tmp_path: Path) -> None:
    file = tmp_path / "trace.txt"
    with file.open("wb") as stream:
        stream.write(HEADER.encode() + _row(1).encode())
        for _ in range(600):
            stream.write(b"x" * (1 << 20))
        stream.write(b"\n" + _row(2).encode())
    done = ullage_import(file, "-o", "json", preexec_fn=_limited)
    (row,) = _rows(done)
    assert row["runs_count"] == 2
    assert "line_too_long: 1 (first at line 3)" in done.stderr


def test_a_bomb_in_a_packed_file_needs_no_memory(ullage_import: Import, tmp_path: Path) -> None:
    file = tmp_path / "trace.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(HEADER.encode() + _row(1).encode())
        for _ in range(600):
            stream.write(b"\0" * (1 << 20))
    assert file.stat().st_size < 5 << 20
    (row,) = _rows(ullage_import(file, "-o", "json", preexec_fn=_limited))
    assert row["runs_count"] == 1


def test_a_packed_file_that_was_cut_gives_what_is_left(
    ullage_import: Import, tmp_path: Path
) -> None:
    text = HEADER + "".join(_row(n, name=f"S{n} ({n})") for n in range(3_000))
    packed = gzip.compress(text.encode())
    file = tmp_path / "trace.gz"
    file.write_bytes(packed[: len(packed) // 2])
    done = ullage_import(file, "-o", "json")
    assert 100 < len(_rows(done)) < 2_900
    assert "packing_broken: 1" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[31mred\x1b[0m\x07",
        "=HYPERLINK(A1)",
        "a" * 5_000,
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "'; DROP TABLE run; --",
        "\u202etxt.exe",
        "ü ö",
        "[bold]x[/bold]",
        "--workload",
    ],
)
def test_hostile_names_reach_no_terminal_and_no_spreadsheet(
    ullage_import: Import, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "trace.txt"
    file.write_text(HEADER + _row(1, name=name) + _row(2, name=name, peak="much"))
    done = ullage_import(file, "-o", "csv", "--rejects", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).replace("\n", "").isprintable()
    key = done.stdout.splitlines()[1].split(",")[0]
    assert 1 <= len(key) <= 128
    assert key[0].isalnum()
    shown = subprocess.run(
        [sys.executable, "-m", "ullage", "explain", key], capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert (shown.stdout + shown.stderr).replace("\n", "").isprintable()


def test_parquet_with_other_columns_is_an_error_that_names_them(
    ullage_import: Import, tmp_path: Path
) -> None:
    file = tmp_path / "x.parquet"
    duckdb.connect().execute(f"COPY (SELECT 1 AS job, 2 AS mem) TO '{file}' (FORMAT parquet)")
    done = ullage_import(file)
    assert done.returncode == 2
    assert "no column 'workload'" in done.stderr
    assert "job, mem" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"PAR1" + os.urandom(300), b"\0" * 4_000, b"hello\n"])
def test_what_is_no_history_is_one_line(
    ullage_import: Import, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    done = ullage_import(file)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    recorded = subprocess.run(
        [sys.executable, "-m", "ullage", "get", "runs", "-o", "json"],
        capture_output=True,
        text=True,
    )
    assert json.loads(recorded.stdout) == []


def test_an_import_that_was_killed_is_finished_by_doing_it_again(
    ullage_import: Import, tmp_path: Path
) -> None:
    file = tmp_path / "trace.txt"
    file.write_text(HEADER + "".join(map(_row, range(40_000))))
    words = [sys.executable, "-m", "ullage", "import", str(file)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=1.2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    (row,) = _rows(ullage_import(file, "-o", "json"))
    assert row["runs_count"] == 40_000
    (row,) = _rows(ullage_import(file, "-o", "json"))
    assert row["new_count"] == 0
    counted = subprocess.run(
        [sys.executable, "-m", "ullage", "get", "workloads", "-o", "json"],
        capture_output=True,
        text=True,
    )
    assert json.loads(counted.stdout)[0]["runs_count"] == 40_000
