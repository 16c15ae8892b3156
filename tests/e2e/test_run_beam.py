"""A real Beam pipeline with real SDK workers: killed under a fixed limit, kept by Ullage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from conftest import Cli

pytestmark = [pytest.mark.real, pytest.mark.beam, pytest.mark.usefixtures("cgroup1")]

MIB = 1 << 20
PIPELINE = Path(__file__).with_name("beam_pipeline.py")


@pytest.fixture
def pipeline(tmp_path: Path, cli: Cli) -> list[str]:
    """Return the command: 12 MB of lines, all but a few under one key."""
    pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")
    file = tmp_path / "lines.txt"
    file.write_text(("a" + "x" * 1199 + "\n") * 10_000 + "b\nc\n")
    cli.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return [sys.executable, str(PIPELINE), "--input", str(file)]


def test_a_pipeline_dies_under_a_fixed_limit_and_lives_under_ullage(
    cli: Cli, pipeline: list[str]
) -> None:
    fixed = cli.run("--name", "beam", "--limit", "500MiB", "--", *pipeline)
    assert fixed.code != 0
    assert fixed.result["outcome"] == "oom_killed"
    assert fixed.result["oom_kills"] >= 1
    kept = cli.run("--name", "beam", "--request", "500MiB", "--", *pipeline)
    assert (kept.code, kept.result["oom_kills"]) == (0, 0), kept.err
    assert kept.result["raises"] >= 1
    assert kept.result["attempts"][0]["peak_bytes"] > 500 * MIB
    assert "a: 480000000" in kept.out
