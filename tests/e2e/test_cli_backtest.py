"""`ullage backtest`: the real command on made-up files, and on runs that were really made."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Cli

FIGURES = {
    "runs_scored",
    "oom_run_share",
    "ooms_per_run",
    "attempts_per_run",
    "waste_gbh",
    "waste_over_used",
    "reserved_over_used",
    "lost_hours",
    "cost_usd",
}
COLUMNS = (
    *("workload", "run_id", "execution_id", "started_at", "input_bytes", "input_kind", "params"),
    *("peak_bytes", "requested_bytes", "runtime_s", "machine", "outcome"),
)
MEASURED = ("decision_ms_p50", "decision_ms_p99", "seconds", "peak_rss_mib")
"""All that may differ between two runs of the same command."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 runs of four workloads whose peak follows the input; two bad rows."""
    rng = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("backtest") / "runs.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            [
                "workload",
                "run_id",
                "execution_id",
                "started_at",
                "input_bytes",
                "input_kind",
                "params",
                "peak_bytes",
                "requested_bytes",
                "runtime_s",
                "machine",
                "outcome",
            ]
        )
        for number in range(120):
            size = rng.uniform(1e9, 9e9)
            writer.writerow(
                (
                    f"w\x1b[31m{number % 4}",
                    number,
                    "e",
                    1.7e9 + number * 300,
                    round(size),
                    "apriori_files",
                    json.dumps({"tag": f"s{number % 7}", "io_posthoc": 1}),
                    round((1 + number % 4) * 2e8 + size * rng.lognormal(-1, 0.05)),
                    round(16e9),
                    round(rng.lognormal(6, 1), 1),
                    "node-1",
                    "COMPLETED:0",
                )
            )
        writer.writerow(("w", 999, "e", 1.8e9, 1, "", "", "-5", "", 1, "", ""))
        writer.writerow(("w", 998, "e", 1.8e9, 1, "", "", "4GiB", "", 1, "", ""))
    return path


def _document(cli: Cli, *words: object) -> dict[str, Any]:
    out = cli.folder / f"out-{len(list(cli.folder.iterdir()))}.json"
    done = cli("backtest", *words, "--json", out)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())  # type: ignore[no-any-return]


def _same(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without what may differ between two runs."""
    results = [
        {name: value for name, value in result.items() if name not in MEASURED}
        for result in document["results"]
    ]
    return {**document, "results": results}


def test_the_document_is_the_contract(cli: Cli, file: Path) -> None:
    document = _document(cli, "runs", file, "--policy", "ullage,tovar,oracle")
    assert set(document) == {"file", "sha256", "protocol", "settings", "rejected", "results"}
    assert (document["file"], document["protocol"]) == (str(file), "order")
    assert document["rejected"] == {"peak_not_above_zero": 1, "peak_not_a_number": 1}
    assert [result["policy"] for result in document["results"]] == ["ullage", "tovar", "oracle"]
    for result in document["results"]:
        assert set(result) == FIGURES | {
            "policy",
            "warm",
            "saturated_excluded",
            "per_workload_geomean_reserved_over_used",
            *MEASURED,
        }
        assert set(result["warm"]) == set(result["saturated_excluded"]) == FIGURES
        assert result["runs_scored"] == 120
        assert result["warm"]["runs_scored"] < 120
        assert result["reserved_over_used"] == pytest.approx(1 + result["waste_over_used"])
        assert result["peak_rss_mib"] > 10
    ullage, tovar, oracle = document["results"]
    assert oracle["waste_gbh"] < ullage["waste_gbh"] < tovar["waste_gbh"]
    used = {
        note["name"] for note in document["settings"]["features_report"] if not note["left_out"]
    }
    assert used == {"input_bytes", "tag"}


def test_the_same_bytes_whatever_the_number_of_processes(cli: Cli, file: Path) -> None:
    words = ("runs", file, "--policy", "ullage,witt-lr", "--protocol", "sizey", "--seed", 3)
    file_of_34 = cli.folder / "more.csv"
    head, *rows = file.read_text().splitlines()
    rows = [row.replace("31m2", "31m0").replace("31m3", "31m1") for row in rows]
    file_of_34.write_text("\n".join([head, *rows]) + "\n")
    words = (words[0], file_of_34, *words[2:])
    one, two = (_document(cli, *words, "--jobs", jobs) for jobs in (1, 2))
    assert json.dumps(_same(one), sort_keys=True) == json.dumps(_same(two), sort_keys=True)
    other = _document(cli, *words[:-1], 4)
    assert other["results"][0]["waste_gbh"] != one["results"][0]["waste_gbh"]
    assert one["results"][0]["runs_scored"] == 2 * (60 - 18)


def test_the_table_goes_to_stdout_and_the_words_to_stderr(cli: Cli, file: Path) -> None:
    done = cli("backtest", "runs", file, "--policy", "oracle,request", "--limit-rows", 40)
    heading, *rows = done.stdout.splitlines()
    assert heading.split()[:2] == ["POLICY", "RUNS"]
    assert [row.split()[:2] for row in rows] == [["oracle", "40"], ["request", "40"]]
    assert "io_posthoc (params key io_posthoc): measured during or after the run" in done.stderr
    assert "machine" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert all(line.startswith("ullage: ") for line in done.stderr.splitlines())


def test_the_page_holds_every_policy_and_is_the_same_twice(cli: Cli, file: Path) -> None:
    pages = []
    for jobs in (1, 2):
        page, figures = cli.folder / f"page-{jobs}.html", cli.folder / f"page-{jobs}.json"
        words = ("--html", page, "--json", figures, "--jobs", jobs)
        done = cli("backtest", "runs", file, "--policy", "ullage,tovar,oracle", *words)
        assert done.returncode == 0, done.stderr
        pages.append(page.read_text("utf-8"))
    digest = json.loads(figures.read_text())["sha256"]
    assert digest in pages[0]
    for name in ("ullage", "tovar", "oracle"):
        assert f"<td>{name}</td>" in pages[0]
    assert 'class="curve"' in pages[0]
    assert f"ullage backtest runs {file}" in pages[0]
    assert "\x1b" not in pages[0]
    speed = re.compile(r'<td class="figure">[^<]*</td></tr>')
    assert speed.sub("", pages[0]) == speed.sub("", pages[1])


def test_a_node_bounds_every_policy(cli: Cli, file: Path) -> None:
    words = ("runs", file, "--policy", "oracle,max-1.1", "--node-bytes", "1GiB")
    done = cli("backtest", *words)
    assert "need more than the node has" in done.stderr
    document = _document(cli, *words)
    assert document["settings"]["node_bytes"] == 2**30
    assert all(result["oom_run_share"] > 0 for result in document["results"])


def test_a_dearer_failure_makes_fewer_of_them(cli: Cli, file: Path) -> None:
    shares = [
        _document(cli, "runs", file, "--rho", rho)["results"][0]["oom_run_share"]
        for rho in (0.5, 50)
    ]
    assert shares[0] > shares[1]


def test_json_on_stdout_stands_there_alone(cli: Cli, file: Path) -> None:
    done = cli("backtest", "runs", file, "--json", "-")
    assert done.returncode == 0
    assert json.loads(done.stdout)["results"][0]["policy"] == "ullage"
    assert not Path("-").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--policy", "tovr"), "did you mean 'tovar'"),
        (("--policy", "ulage"), "did you mean 'ullage'"),
        (("--policy", "ks-plus"), "cannot be replayed on runs"),
        (("--policy", "ullage,,tovar"), "one comma"),
        (("--preset", "batch", "--rho", 2), "exclude each other"),
        (("--preset", "bathc"), "unknown preset"),
        (("--failure-budget", 0.7), "outside"),
        (("--ttf", 0), "outside"),
        (("--node-bytes", "64"), "no unit"),
        (("--json", "no/such/folder.json"), "missing or not writable"),
        (("--html", "."), "is a folder"),
        (("--protocol", "sizey"), "no task type"),
    ],
)
def test_options_that_cannot_be_end_in_one_line(
    cli: Cli, file: Path, words: tuple[object, ...], told: str
) -> None:
    done = cli("backtest", "runs", file, *words)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert told in last
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("content", ["", "workload,peak\na,1\n", "workload,peak_bytes\na,4GiB\n"])
def test_files_that_cannot_be_end_in_one_line(cli: Cli, content: str) -> None:
    file = cli.folder / "bad\x1b[2J.csv"
    file.write_text(content)
    done = cli("backtest", "runs", file)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


def test_a_person_sees_a_bar_with_the_time_left(cli: Cli, file: Path) -> None:
    leader, follower = pty.openpty()
    words = [*cli.command, "backtest", "runs", str(file), "--policy", "ullage,ponder"]
    try:
        env = {**cli.env, "TERM": "xterm", "COLUMNS": "120"}
        done = subprocess.run(words, env=env, stdout=subprocess.DEVNULL, stderr=follower)
        os.set_blocking(leader, False)
        shown = os.read(leader, 1 << 20).decode(errors="replace")
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 0
    assert "240/240" in shown.replace(" ", "")
    assert "left" in shown


def test_own_runs_teach_where_there_are_none(cli: Cli) -> None:
    done = cli("backtest", "own")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "ullage run --name" in done.stderr


def test_own_runs_are_told_in_ooms_gib_hours_and_usd(cli: Cli) -> None:
    for size in (10, 20, 30):
        program = f"block = bytearray({size} << 20); block[::4096] = b'x' * len(block[::4096])"
        done = cli("run", "--name", "hog", "--request", "1GiB", "--", sys.executable, "-c", program)
        assert done.returncode == 0, done.stderr
    done = cli("backtest", "own", "--policy", "ullage,request,oracle")
    assert done.returncode == 0, done.stderr
    heading, *rows = done.stdout.splitlines()
    assert " ".join(heading.split()) == (
        "POLICY RUNS OOM KILLS RESERVED GIB HOURS WASTE GIB HOURS COST USD"
    )
    assert [row.split()[0] for row in rows][-3:] == ["ullage", "request", "oracle"]
    assert "USD per GiB-hour" in done.stderr
    document = _document(cli, "own", "--policy", "request,oracle")
    request, oracle = document["results"]
    assert (request["runs_scored"], request["ooms_count"]) == (3, 0)
    assert request["reserved_gib_hours"] > oracle["reserved_gib_hours"] > 0
    assert document["file"] == "own"
