"""The JSON result: its names are a contract, its file is whole or not there."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from record_builders import attempt, decision, run

from ullage.core.units import GIB, MIB
from ullage.core.workload import ControlKind, Outcome
from ullage.outcomes.run_json import refused_result, run_result, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder."""
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


NAMES = [
    "workload",
    "run_id",
    "exit_code",
    "outcome",
    "oom_kills",
    "raises",
    "attempts",
    "reserved_byte_seconds",
    "used_byte_seconds",
    "recommendation",
    "control",
]
ATTEMPT_NAMES = [
    "limit_bytes",
    "final_limit_bytes",
    "peak_bytes",
    "runtime_s",
    "outcome",
    "waits",
    "wait_s_total",
]


def test_the_names_are_the_contract() -> None:
    result = run_result(run(), decision())
    assert list(result) == NAMES
    assert list(result["attempts"][0]) == ATTEMPT_NAMES
    assert list(result["recommendation"]) == ["ladder_bytes", "oom_prob", "reason"]
    assert list(refused_result("x", exit_code=125, reason="no")) == NAMES


def test_the_values() -> None:
    first = attempt(
        outcome=Outcome.OOM_KILLED,
        exit_code=137,
        oom_kills=1,
        raises=2,
        limit_bytes=GIB,
        final_limit_bytes=2 * GIB,
        waits=3,
        wait_total=timedelta(milliseconds=1500),
        reserved_byte_seconds=10.0,
        used_byte_seconds=5.0,
    )
    second = attempt(number=2, reserved_byte_seconds=1.0, used_byte_seconds=0.5)
    result = json.loads(json.dumps(run_result(run(first, second), decision())))
    assert (result["workload"], result["outcome"], result["exit_code"]) == ("daily-orders", "ok", 0)
    assert (result["oom_kills"], result["raises"], result["control"]) == (1, 2, "cgroup1")
    assert (result["reserved_byte_seconds"], result["used_byte_seconds"]) == (11.0, 5.5)
    assert result["attempts"][0] == {
        "limit_bytes": GIB,
        "final_limit_bytes": 2 * GIB,
        "peak_bytes": 1000 * MIB,
        "runtime_s": 20.0,
        "outcome": "oom_killed",
        "waits": 3,
        "wait_s_total": 1.5,
    }
    advice = result["recommendation"]
    assert advice["ladder_bytes"] == [1100 * MIB, 1600 * MIB]
    assert advice["oom_prob"] == [0.018, 0.0]
    assert advice["reason"].endswith(".")


def test_unknown_is_null() -> None:
    observed = attempt(
        limit_bytes=None, final_limit_bytes=None, peak_bytes=None, reserved_byte_seconds=None
    )
    known = attempt()
    result = run_result(run(known, observed, control=ControlKind.OBSERVE), None)
    assert result["reserved_byte_seconds"] is None
    assert result["used_byte_seconds"] is not None
    assert result["recommendation"] is None
    assert result["attempts"][1]["limit_bytes"] is None
    assert result["control"] == "observe"
    broken = run_result(run(attempt(used_byte_seconds=float("nan"))), None)
    assert broken["used_byte_seconds"] is None


def test_a_refusal_says_why() -> None:
    result = refused_result(None, exit_code=127, reason="command not found: x")
    assert (result["outcome"], result["exit_code"], result["attempts"]) == ("refused", 127, [])
    assert result["recommendation"]["reason"] == "command not found: x"
    assert result["control"] is None


def test_writing_replaces_the_file_and_leaves_nothing_else(folder: Path) -> None:
    file = folder / "r.json"
    file.write_text("old")
    write_json(file, run_result(run(), decision()))
    assert json.loads(file.read_text())["workload"] == "daily-orders"
    assert os.listdir(folder) == ["r.json"]


def test_the_mode_is_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "r.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == 0o640


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_json(tmp_path / "link", {"a": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "target").read_text()) == {"a": 1}
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_json(tmp_path / "pipe", {"b": 2})
    reader.join()
    assert json.loads(got[0]) == {"b": 2}
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_failure_keeps_the_old_file_and_leaves_no_draft(folder: Path) -> None:
    file = folder / "r.json"
    file.write_text("old")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(file, {"x": float("nan")})
    (folder / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_json(folder / "folder", {})
    assert file.read_text() == "old"
    assert sorted(os.listdir(folder)) == ["folder", "r.json"]


def test_hostile_names_are_plain_ascii_json(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", refused_result("\udcff\x1b", exit_code=125, reason="é\n"))
    text = (tmp_path / "r.json").read_bytes()
    assert text.isascii()
    assert b"\x1b" not in text
