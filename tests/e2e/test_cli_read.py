"""`ullage get`, `describe` and `explain` over runs that were really made."""

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

JOB = """
import sys
block = bytearray(len(open(sys.argv[2], 'rb').read()) * 20)
block[::4096] = b'x' * len(block[::4096])
sys.exit(int(sys.argv[4]))
"""
"""job.py --input FILE --code N: needs twenty times the size of its input."""

SIZES = (200_000, 400_000, 800_000, 1_600_000)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A state with four runs of one workload, and a failed one of another."""
    folder = tmp_path_factory.mktemp("read")
    cli = Cli(folder)
    (folder / "job.py").write_text(JOB)
    for number, size in enumerate(SIZES):
        (folder / f"orders-{number}.csv").write_bytes(b"x" * size)
        assert _job(cli, f"orders-{number}.csv").returncode == 0
    assert _job(cli, "orders-0.csv", "--name", "other", code=3).returncode == 3
    return cli


def _job(cli: Cli, file: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    python = cli.python[0]
    words = ["run", *options, "--", python, "job.py", "--input", file, "--code", str(code)]
    return cli(*words, cwd=cli.folder)


def _key(cli: Cli) -> str:
    rows = json.loads(cli("get", "workloads", "-o", "json").stdout)
    return next(str(row["workload"]) for row in rows if row["workload"] != "other")


def test_runs_on_other_inputs_are_one_workload(used: Cli) -> None:
    rows = json.loads(used("get", "workloads", "-o", "json").stdout)
    assert {row["workload"]: row["runs_count"] for row in rows} == {_key(used): 4, "other": 1}
    assert _key(used).startswith("w-job-")
    assert rows[0]["workload"] == "other"
    assert rows[0]["last_outcome"] == "error"


def test_runs_are_listed_newest_first_with_their_inputs(used: Cli) -> None:
    rows = json.loads(used("get", "runs", _key(used), "-o", "json").stdout)
    assert [row["input_bytes"] for row in rows] == list(reversed(SIZES))
    assert all(row["outcome"] == "ok" and row["peak_bytes"] > 0 for row in rows)
    assert len(json.loads(used("get", "runs", "-o", "json", "--limit", "2").stdout)) == 2


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "csv"])
def test_data_goes_to_stdout_and_only_data(used: Cli, form: str) -> None:
    done = used("get", "runs", "-o", form)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "other" in done.stdout
    assert "\x1b" not in done.stdout
    if form == "csv":
        assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 5


def test_a_terminal_gets_a_table(used: Cli) -> None:
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            [*used.command, "get", "workloads"],
            env={**used.env, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "120"},
            stdout=follower,
            stderr=subprocess.PIPE,
            check=True,
        )
        os.close(follower)
        text = os.read(leader, 65536).decode()
    finally:
        os.close(leader)
    assert done.stderr == b""
    assert "WORKLOAD" in text
    assert "─" in text
    assert "\x1b[3" not in text, "NO_COLOR asks for no colour"


def test_no_oom_is_told_in_words(used: Cli) -> None:
    done = used("get", "ooms")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no OOM kills" in done.stderr


def test_describe(used: Cli) -> None:
    text = used("describe", _key(used)).stdout
    for words in ("script 'job.py'", "4 (4 ok)", "input_bytes", "ullage explain", "RUN ID"):
        assert words in text
    found = json.loads(used("describe", _key(used), "-o", "json").stdout)
    assert found["runs_count"] == 4
    assert found["features"]["input_bytes"].startswith("--input orders-3.csv")


def test_explain_says_why_with_runs_rungs_and_cost(used: Cli) -> None:
    key = _key(used)
    text = used("explain", key).stdout
    assert text.startswith(f"{key}: ")
    assert "learned from 4 past runs" in text
    assert "decided by  r-" in text
    assert "chance of being raised beyond it" in text
    assert "USD per GiB-hour" in text
    found = json.loads(
        used("explain", key, "--retries", "1", "--growth", "off", "-o", "json").stdout
    )
    assert len(found["ladder_bytes"]) == len(found["oom_prob"]) >= 1
    known = {row["run_id"] for row in json.loads(used("get", "runs", "-o", "json").stdout)}
    assert {run["run_id"] for run in found["deciding_runs"]} <= known
    assert found["can_grow"] is False


def test_explain_follows_the_feature_given(used: Cli) -> None:
    def limit(size: str) -> int:
        words = ["explain", _key(used), "--feature", f"input_bytes={size}", "-o", "json"]
        return int(json.loads(used(*words).stdout)["ladder_bytes"][0])

    assert limit("20MiB") > limit("1MiB")


def test_a_wrong_feature_is_refused_in_one_line(used: Cli) -> None:
    done = used("explain", _key(used), "--feature", "rows")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "NAME=VALUE" in done.stderr


@pytest.mark.parametrize("command", [["describe"], ["explain"], ["get", "runs"]])
def test_an_unknown_workload_names_the_nearest(used: Cli, command: list[str]) -> None:
    done = used(*command, "othr")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean other?" in done.stderr
    hostile = used(*command, "\x1b[31m[bold]")
    assert hostile.returncode == 1
    assert "\x1b" not in hostile.stderr


def test_reading_changes_nothing_and_makes_no_state(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    cli = Cli(folder)
    for words in (["get", "workloads"], ["get", "runs"], ["describe", "x"], ["explain", "x"]):
        done = cli(*words)
        assert "ullage run" in done.stderr
        assert done.stdout == ""
    assert os.listdir(folder) == []


def test_a_broken_setting_is_one_line_and_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("roh = 4\n")
    cli = Cli(tmp_path)
    cli.env["ULLAGE_CONFIG"] = str(file)
    done = cli("get", "runs")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'rho'" in done.stderr


def test_lists_load_neither_numpy_nor_rich_for_files(used: Cli) -> None:
    code = (
        "import sys; from ullage.cli.app import app\n"
        "try: app(['get', 'runs', '-o', 'json'])\n"
        "finally: print(sorted({'rich', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    words = [used.command[0], "-c", code]
    done = subprocess.run(words, env=used.env, capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")
