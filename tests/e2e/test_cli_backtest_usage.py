"""`ullage backtest usage`: the real command on a made-up record of running services."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two services over 12 h with a wave of 3 h, a third of one hour, two bad rows."""
    draw = np.random.default_rng(3)
    lines = ["workload,instance,ts,bytes_used"]
    for name, level in (("api", 4e8), ("worker", 2e9)):
        for minute in range(721):
            wave = 1 + 0.3 * np.sin(2 * np.pi * minute / 180) + 0.05 * draw.standard_normal()
            lines.append(f"{name},{name}-0,{60 * minute},{level * wave:.0f}")
    lines += [f"short,s,{60 * minute},1e8" for minute in range(60)]
    lines += ["api,api-0,soon,1", "api,api-0,5,-1"]
    path = tmp_path_factory.mktemp("usage") / "usage.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_all_policies_side_by_side(cli: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = cli("backtest", "usage", str(file), "--json", str(out), "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "2 instances" in done.stderr
    assert "shorter than 10 h 1" in done.stderr
    assert "bytes used negative 1" in done.stderr
    document = json.loads(out.read_text())
    assert document["protocol"] == "D"
    assert document["ours_over_policy"]["ullage"] == 1.0
    cells = {(r["policy"], r["decide_every_s"], r["price_hours"]) for r in document["results"]}
    assert len(cells) == len(document["results"]) == 11 * 2 * 4
    for result in document["results"]:
        assert result["slack_gbh"] > 0
        assert result["ooms_count"] == 0 or result["policy"] != "oracle"
    assert "vpa" in done.stdout


def test_same_command_same_figures_whatever_the_jobs(cli: Cli, file: Path) -> None:
    said = [
        cli("backtest", "usage", str(file), "--policy", "ullage,krr", "--json", "-", "--jobs", jobs)
        for jobs in ("1", "2")
    ]
    assert said[0].stdout == said[1].stdout
    assert json.loads(said[0].stdout)["settings"]["prior"] == "shipped"


def test_a_prior_of_other_files(cli: Cli, file: Path) -> None:
    done = cli(
        "backtest", "usage", str(file), "--policy", "ullage", "--price", "2", "--json", "-",
        "--prior-from", str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["prior"] == "usage.csv"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policy", "vpaa"], "did you mean 'vpa'"),
        (["--price", "2,dear"], "--price: 'dear' is not a number"),
        (["--price", "nan"], "--price: 'nan' is not a number"),
        (["--decide-every", "0"], "--decide-every: '0' is not a number in 1..1440"),
        (["--limit-rows", "100"], "no instance lasts 10 h"),
        (["--json", "missing-folder/x.json"], "missing or not writable"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, file: Path, options: list[str], words: str) -> None:
    done = cli("backtest", "usage", str(file), *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
