"""`ullage import` and `ullage export` as they are typed: a workload starts warm, twice is once."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from conftest import Cli

DATA_SETTING = "ULLAGE_DATA_DIR"
DATA = os.environ.get(DATA_SETTING)
TRACE = """task_id\thash\tname\tstatus\texit\tsubmit\trealtime\tpeak_rss\tmemory
1\tab/000001\tSTAR (a)\tCOMPLETED\t0\t2026-02-09 14:44:43.053\t4s\t1.2 GB\t2 GB
2\tab/000002\tSTAR (b)\tCOMPLETED\t0\t2026-02-10 14:44:43.053\t5s\t1.3 GB\t2 GB
3\tab/000003\tSTAR (c)\tCOMPLETED\t0\t2026-02-11 14:44:43.053\t5s\t1.25 GB\t2 GB
4\tab/000004\tFASTQC (c)\tFAILED\t137\t2026-02-11 14:44:43.053\t5s\t0.5 GB\t1 GB
5\tab/000005\tFASTQC (d)\tCACHED\t0\t2026-02-11 14:44:43.053\t5s\t0.5 GB\t1 GB
"""
BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\n{seconds:.4f}\t0:00:14\t{mib}\t9999.0\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.txt"
    file.write_text(TRACE)
    return file


def _json(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def test_data_on_stdout_words_on_stderr(cli: Cli, trace: Path) -> None:
    done = cli("import", trace)
    assert done.returncode == 0
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["WORKLOAD", "RUNS", "NEW"],
        ["STAR", "3", "3"],
        ["FASTQC", "1", "1"],
    ]
    assert done.stderr.splitlines() == [
        "ullage: nextflow: 4 runs of 2 workloads, 4 new, 0 recorded before",
        "ullage: 1 rejected:",
        "ullage:   taken_from_the_cache: 1 (first at line 6)",
    ]


def test_twice_is_once_and_a_grown_file_brings_what_is_new(cli: Cli, trace: Path) -> None:
    cli("import", trace)
    with trace.open("a") as stream:
        stream.write(TRACE.splitlines()[1].replace("000001", "000009") + "\n")
    moved = trace.rename(trace.with_name("moved"))
    new = {row["workload"]: row["new_count"] for row in _json(cli("import", moved, "-o", "json"))}
    assert new == {"STAR": 1, "FASTQC": 0}


def test_explain_and_run_use_what_was_imported(cli: Cli, trace: Path) -> None:
    cli("import", trace)
    told = cli("explain", "STAR").stdout
    assert "3 past runs" in told
    ran = cli.run("--name", "STAR", "--", *cli.python, "pass")
    assert ran.code == 0
    decision = _json(cli("export", "decisions", "-f", "json"))[0]
    assert decision["runs_used_count"] == 3
    assert decision["expert"] != "no_evidence"


def test_a_command_that_has_no_name_starts_warm(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "etl.py").write_text("pass\n")
    python = cli.python[0]
    for number in (1, 2, 3):
        folder = tmp_path / "benchmarks" / "etl"
        folder.mkdir(parents=True, exist_ok=True)
        text = BENCHMARK.format(seconds=number, mib=100 + number)
        (folder / f"{number}.tsv").write_text(text)
    files = sorted((tmp_path / "benchmarks" / "etl").iterdir())
    command = f"{python} etl.py --day 2026-11-01"
    (row,) = _json(cli("import", *files, "--command", command, "-o", "json", cwd=tmp_path))
    assert (row["runs_count"], str(row["workload"])[:6]) == (3, "w-etl-")
    cli.run("--", python, "etl.py", "--day", "2026-11-24", cwd=tmp_path)
    decision = _json(cli("export", "decisions", "-f", "json"))[0]
    assert decision["workload"] == row["workload"]
    assert decision["runs_used_count"] == 3


def test_an_oom_kill_elsewhere_is_a_lower_bound_here(cli: Cli, trace: Path) -> None:
    cli("import", trace)
    (oom,) = _json(cli("get", "ooms", "-o", "json"))
    assert oom["workload"] == "FASTQC"
    assert oom["at_least_bytes"] == oom["limit_bytes"] == 1 << 30
    told = cli("describe", "FASTQC").stdout
    assert "at least 1.00 GiB in 1 cut short" in told
    assert "unknown: no run was limited and measured all the time" in told


def test_one_name_of_many_as_another_workload(cli: Cli, trace: Path) -> None:
    (row,) = _json(cli("import", trace, "--only", "STAR", "--workload", "align", "-o", "json"))
    assert (row["workload"], row["runs_count"]) == ("align", 3)
    pooled = cli("import", trace, "--workload", "all")
    assert "2 names in the file became one workload" in pooled.stderr


def test_a_dry_run_records_nothing(cli: Cli, trace: Path) -> None:
    done = cli("import", trace, "--dry-run", "-o", "json")
    assert [row["new_count"] for row in _json(done)] == [3, 1]
    assert "dry run" in done.stderr
    assert not (cli.folder / "state").exists()
    twice = _json(cli("import", trace, trace, "--dry-run", "-o", "json"))
    assert [(row["runs_count"], row["new_count"]) for row in twice] == [(6, 3), (2, 1)]
    cli("import", trace)
    assert [r["new_count"] for r in _json(cli("import", trace, "--dry-run", "-o", "json"))] == [
        0,
        0,
    ]


def test_rejects_are_written_out(cli: Cli, trace: Path) -> None:
    trace.write_text(TRACE + "=cmd|half\n")
    cli("import", trace, "--rejects", cli.folder / "out.csv")
    rows = list(csv.DictReader((cli.folder / "out.csv").read_text().splitlines()))
    assert [(row["line"], row["reason"]) for row in rows] == [
        ("6", "taken_from_the_cache"),
        ("7", "wrong_number_of_cells"),
    ]
    assert rows[1]["text"] == "'=cmd|half"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["x.txt"], 2, "of no known format"),
        (["x.txt"], 2, "nextflow, runs, slurm, snakemake, spark"),
        (["x.txt", "--format", "slurm"], 1, "no run was found"),
        (["trace.txt", "--workload", "a b"], 2, "--workload 'a b' is not allowed"),
        (["trace.txt", "--workload", "a", "--command", "b"], 2, "exclude each other"),
        (["trace.txt", "--command", "'"], 2, "--command"),
        (["trace.txt", "--timezone", "Mars/Base"], 2, "--timezone 'Mars/Base' is unknown"),
        (["trace.txt", "--only", "NONE"], 1, "no run of that name among 4 others"),
        (["trace.txt", "--rejects", "no/such/out.csv"], 2, "cannot be written"),
        (["missing"], 2, "cannot read"),
        (["trace.txt", "x.txt"], 2, "of no known format"),
    ],
)
def test_errors_name_the_way_out(
    cli: Cli, trace: Path, words: list[str], code: int, told: str
) -> None:
    (cli.folder / "x.txt").write_text("once upon a time\n")
    done = cli("import", *words, cwd=cli.folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert cli("get", "runs", "-o", "json").stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["big.txt", "[red]{0}{task.x}.txt"])
def test_a_person_sees_progress(cli: Cli, tmp_path: Path, name: str) -> None:
    file = tmp_path / "folder" / name
    file.parent.mkdir()
    rows = "".join(
        TRACE.splitlines()[1].replace("000001", f"{n:06d}") + "\n" for n in range(40_000)
    )
    file.write_text(TRACE.splitlines()[0] + "\n" + rows)
    leader, follower = pty.openpty()
    process = cli.start("import", file, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    seen = b""
    try:
        while chunk := os.read(leader, 65_536):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    os.close(leader)
    assert process.wait(timeout=60) == 0
    assert b"%" in seen
    assert name.encode() in seen


# -- export ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_out_and_in_again(cli: Cli, trace: Path, tmp_path: Path, form: str) -> None:
    cli("import", trace)
    cli.run("--name", "own", "--feature", "mode==1+1", "--", *cli.python, "pass")
    file = tmp_path / f"runs.{form}"
    done = cli("export", "runs", "--output", file)
    assert (done.returncode, done.stdout) == (0, "")
    assert "5 runs written" in done.stderr
    (tmp_path / "elsewhere").mkdir()
    other = Cli(tmp_path / "elsewhere")
    assert other("import", file).returncode == 0
    for what in ("workloads", "runs", "ooms"):
        words = ("get", what, "-o", "json")
        assert other(*words).stdout == cli(*words).stdout
    again = _json(other("import", file, "-o", "json"))
    assert {row["new_count"] for row in again} == {0}


def test_a_backtest_reads_what_was_exported(cli: Cli, trace: Path, tmp_path: Path) -> None:
    cli("import", trace)
    for name in ("runs.csv", "runs.parquet"):
        cli("export", "runs", "--output", tmp_path / name)
        done = cli("backtest", "runs", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "4 runs of 2 workloads" in done.stderr
        assert "peak_record_json" in done.stderr, "the record is told to be no feature"


def test_every_kind_in_every_format(cli: Cli, tmp_path: Path) -> None:
    cli.run("--name", "own", "--", *cli.python, "import time; time.sleep(0.2)")
    for what in ("runs", "samples", "decisions"):
        rows = _json(cli("export", what, "--format", "json"))
        assert rows
        as_csv = cli("export", what).stdout
        shown = list(csv.DictReader(io.StringIO(as_csv, newline="")))
        assert len(shown) == len(rows)
        assert list(shown[0]) == list(rows[0])
        packed = cli("export", what, "--output", tmp_path / f"{what}.parquet")
        assert packed.returncode == 0
        assert (tmp_path / f"{what}.parquet").read_bytes()[:4] == b"PAR1"


def test_only_one_workload_and_only_from_then_on(cli: Cli, trace: Path) -> None:
    cli("import", trace)
    star = _json(cli("export", "runs", "-f", "json", "--workload", "STAR"))
    assert [row["workload"] for row in star] == ["STAR"] * 3
    late = _json(cli("export", "runs", "-f", "json", "--since", "2026-02-11"))
    assert {str(row["started_at"])[:10] for row in late} == {"2026-02-11"}
    assert _json(cli("export", "runs", "-f", "json", "--since", "5m")) == []


def test_nothing_recorded_is_an_empty_table(cli: Cli) -> None:
    done = cli("export", "samples")
    assert done.returncode == 0
    assert (
        done.stdout == "workload,run_id,attempt,at,elapsed_ms,need_bytes,usage_bytes,limit_bytes\n"
    )
    assert _json(cli("export", "runs", "-f", "json")) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["runs", "--since", "soon"], "--since 'soon'"),
        (["runs", "--output", "no/such/file"], "--output 'no/such/file' cannot be written"),
        (["runs", "--output", "."], "is a folder"),
        (["runs", "--workload", "STARR"], "did you mean STAR"),
    ],
)
def test_export_errors_name_the_way_out(cli: Cli, trace: Path, words: list[str], told: str) -> None:
    cli("import", trace)
    done = cli("export", *words, cwd=cli.folder)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert told in done.stderr


def test_parquet_is_not_for_a_terminal(cli: Cli) -> None:
    leader, follower = pty.openpty()
    done = cli.start("export", "runs", "-f", "parquet", stdout=follower, stderr=subprocess.PIPE)
    _, told = done.communicate(timeout=60)
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2
    assert "--output FILE" in told


def test_a_reader_that_has_enough_is_no_error(cli: Cli, trace: Path) -> None:
    cli("import", trace)
    words = " ".join([*cli.command, "export", "runs"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} | head -c 1"],
        env=cli.env,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "w"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not DATA, reason=f"set {DATA_SETTING} to a folder of runs_*.parquet (not in this repository)"
)
def test_recorded_runs_of_other_sites(cli: Cli, tmp_path: Path) -> None:
    assert DATA is not None
    for file in sorted(Path(DATA).glob("runs_*.parquet")):
        folder = tmp_path / file.stem
        folder.mkdir()
        one, two = Cli(folder), Cli(folder / "again")
        two.folder.mkdir()
        rows = _json(one("import", file, "-o", "json"))
        assert rows
        exported = folder / "runs.parquet"
        assert one("export", "runs", "--output", exported).returncode == 0
        back = _json(two("import", exported, "-o", "json"))
        assert back == rows, file.name
