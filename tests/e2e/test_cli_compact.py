"""`ullage compact` and what other commands make of segments, over runs that were really made."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from conftest import Cli


@pytest.fixture
def used(cli: Cli) -> Cli:
    """A state with three runs."""
    for name in ("one", "two", "one"):
        done = cli(
            "run", "--name", name, "--quiet", "--", *cli.python, "import time; time.sleep(.3)"
        )
        assert done.returncode == 0, done.stderr
    return cli


def segments(cli: Cli) -> list[Path]:
    return sorted(Path(cli.env["ULLAGE_STATE_DIR"]).glob("segments/*.parquet"))


def test_the_same_samples_are_exported_before_and_after(used: Cli) -> None:
    before = used("export", "samples")
    count = len(list(csv.DictReader(io.StringIO(before.stdout))))
    assert count > 5
    young = used("compact")
    assert "0 samples of 0 attempts moved" in young.stderr
    dry = used("compact", "--older-than", "0s", "--dry-run")
    assert f"would move {count} samples of 3 attempts" in dry.stderr
    assert segments(used) == []
    done = used("compact", "--older-than", "0s")
    assert done.returncode == 0
    assert done.stdout == ""
    assert re.search(
        rf"{count} samples of 3 attempts moved into 1 segment: .+ -> .+, [\d.]+ bytes a sample; "
        r"state file .+ -> .+; 0 segments given up$",
        done.stderr.strip(),
    )
    assert len(segments(used)) == 1
    assert used("export", "samples").stdout == before.stdout
    assert used("run", "--name", "one", "--quiet", "--", "true").returncode == 0
    assert len(used("export", "samples").stdout) > len(before.stdout)


def test_the_doctor_verifies_segments_and_the_rest_is_still_exported(used: Cli) -> None:
    used("compact", "--older-than", "0s")
    well = used("doctor")
    assert re.search(
        r"^ok    segments: 1 file, \d+ samples, .*; all digests right", well.stdout, re.M
    )
    assert used("run", "--name", "three", "--quiet", "--", "true").returncode == 0
    (segment,) = segments(used)
    segment.write_bytes(segment.read_bytes()[:-1] + b"?")
    sick = used("doctor")
    assert sick.returncode == 1
    assert re.search(r"^FAIL  segments: .*1 of them cannot be read", sick.stdout, re.M)
    assert "ullage compact --forget-damaged" in sick.stdout
    exported = used("export", "samples")
    assert exported.returncode == 0
    assert {row["workload"] for row in csv.DictReader(io.StringIO(exported.stdout))} == {"three"}
    assert "the samples of 3 attempts cannot be read and are left out" in exported.stderr
    assert exported.stderr.count(segment.name) == 1
    assert used("get", "runs").returncode == 0
    assert used("explain", "one").returncode == 0
    forgotten = used("compact", "--forget-damaged")
    assert "1 segment given up with" in forgotten.stderr
    assert used("doctor").returncode == 0
    after = used("export", "samples")
    assert "the samples of 3 attempts were given up by retention" in after.stderr


def test_what_is_kept_comes_from_the_settings_or_the_option(used: Cli, tmp_path: Path) -> None:
    used("compact", "--older-than", "0s")
    config = tmp_path / "config.toml"
    config.write_text("keep_samples_days = 3000\n")
    used.env["ULLAGE_CONFIG"] = str(config)
    assert "0 segments given up" in used("compact").stderr
    assert "1 segment given up" in used("compact", "--keep", "0s", "--dry-run").stderr
    assert len(segments(used)) == 1
    assert "1 segment given up" in used("compact", "--keep", "0s").stderr
    assert segments(used) == []


@pytest.mark.parametrize("option", ["--older-than", "--keep"])
@pytest.mark.parametrize("text", ["", "7", "-1d", "1y", "1d;DROP", "9999999d"])
def test_a_span_that_is_none_is_refused_in_one_line(cli: Cli, option: str, text: str) -> None:
    done = cli("compact", f"{option}={text}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert option in done.stderr


def test_nothing_recorded_is_nothing_to_do(cli: Cli) -> None:
    done = cli("compact")
    assert done.returncode == 0
    assert "nothing to compact" in done.stderr
    assert not Path(cli.env["ULLAGE_STATE_DIR"]).exists()
