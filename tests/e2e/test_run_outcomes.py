"""`ullage run`: exit codes, outcomes, the JSON contract, and everything passed through."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import HOG, Cli

pytestmark = pytest.mark.real

KEYS = {
    "workload", "run_id", "exit_code", "outcome", "oom_kills", "raises", "attempts",
    "reserved_byte_seconds", "used_byte_seconds", "recommendation", "control",
}  # fmt: skip
ATTEMPT_KEYS = {
    "limit_bytes", "final_limit_bytes", "peak_bytes", "runtime_s", "outcome", "waits",
    "wait_s_total",
}  # fmt: skip
MIB = 1 << 20


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_the_commands_own_exit_code_is_ours(cli: Cli, code: int) -> None:
    ended = cli.run("--", "sh", "-c", f"exit {code}")
    assert ended.code == code
    assert ended.result["exit_code"] == code
    assert ended.result["outcome"] == ("ok" if code == 0 else "error")


def test_result_file_keeps_its_contract(cli: Cli, cgroup1: str) -> None:
    ended = cli.hog(50, 0.3)
    assert set(ended.result) >= KEYS
    (attempt,) = ended.result["attempts"]
    assert set(attempt) >= ATTEMPT_KEYS
    assert ended.result["control"] == "cgroup1"
    assert ended.result["workload"] == "hog"
    assert 50 * MIB <= attempt["peak_bytes"] <= 75 * MIB
    recommendation = ended.result["recommendation"]
    ladder, probs = recommendation["ladder_bytes"], recommendation["oom_prob"]
    assert ladder == sorted(set(ladder))
    assert len(ladder) == len(probs) > 0
    assert all(0 <= prob <= 1 for prob in probs)
    assert recommendation["reason"]
    used, reserved = ended.result["used_byte_seconds"], ended.result["reserved_byte_seconds"]
    assert 50 * MIB * 0.25 <= used <= reserved
    assert attempt["runtime_s"] >= 0.3


def test_a_signal_is_128_plus_its_number(cli: Cli) -> None:
    ended = cli.run("--", "sh", "-c", "kill -TERM $$")
    assert ended.code == 143
    assert ended.result["outcome"] == "signalled"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-program-at-all"], 127, "not found"),
        (["./no/such/path"], 127, "not found"),
        (["./plain.txt"], 126, "not executable"),
        (["./folder"], 126, "folder"),
        (["./bad-interpreter"], 127, "interpreter"),
        (["./garbage"], 126, "cannot be executed"),
    ],
)
def test_a_command_that_cannot_start(
    cli: Cli, tmp_path: Path, command: list[str], code: int, words: str
) -> None:
    (tmp_path / "plain.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad-interpreter").write_text("#!/no/such/interpreter\n")
    (tmp_path / "garbage").write_bytes(b"\x7fELFgarbage")
    for name in ("bad-interpreter", "garbage"):
        (tmp_path / name).chmod(0o755)
    ended = cli.run("--", *command, cwd=tmp_path)
    assert ended.code == code
    assert ended.err.startswith("ullage: ")
    assert ended.err.count("\n") == 1
    assert words in ended.err
    assert ended.result["outcome"] == "refused"
    assert ended.result["exit_code"] == code


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "512"], "no unit"),
        (["--limit", "0MiB"], "outside"),
        (["--limit", "-5MiB"], "not a quantity"),
        (["--limit", "5XiB"], "unknown unit"),
        (["--limit", "1KiB"], "too small"),
        (["--limit", "900TiB"], "above this host"),
        (["--max-memory", "900TiB"], "above this host"),
        (["--request", "900TiB"], "above this host"),
        (["--request", "1MiB"], "too small"),
        (["--request", "512MiB", "--max-memory", "256MiB"], "above --max-memory"),
        (["--limit", "1GiB", "--observe"], "exclude"),
        (["--limit", "1GiB", "--request", "1GiB"], "leave out"),
        (["--name", "bad name"], "not allowed"),
        (["--name", "x\x1b[31m"], "not allowed"),
        (["--feature", "no-equals-sign"], "NAME=VALUE"),
        (["--retries", "-1"], "retries"),
        (["--json", "/no/such/folder/file"], "missing or not writable"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_bad_options_are_one_clear_line(cli: Cli, options: list[str], words: str) -> None:
    done = cli("run", *options, "--", "true")
    assert done.returncode == 125
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_fixed_limit_is_a_baseline_that_is_killed(
    cli: Cli, no_cgroup_left: Callable[[], list[str]]
) -> None:
    ended = cli.hog(200, options=("--limit", "100MiB"))
    assert ended.code == 137
    assert ended.result["outcome"] == "oom_killed"
    assert ended.result["oom_kills"] == 1
    (attempt,) = ended.result["attempts"]
    assert attempt["limit_bytes"] == attempt["final_limit_bytes"] == 100 * MIB
    assert (attempt["waits"], ended.result["raises"]) == (0, 0)
    assert "OOM" in ended.err


def test_oom_of_a_child_is_told_by_its_parents_exit_code(cli: Cli, cgroup1: str) -> None:
    hog = shlex.join([*cli.python, HOG, "200"])
    ended = cli.run("--limit", "100MiB", "--", "sh", "-c", f"{hog} || exit 1")
    assert (ended.code, ended.result["outcome"]) == (1, "oom_killed")
    ended = cli.run("--limit", "100MiB", "--", "sh", "-c", f"{hog} || exit 0")
    assert (ended.code, ended.result["outcome"]) == (0, "ok")
    assert ended.result["oom_kills"] == 1
    assert "OOM" in ended.err


def test_streams_arguments_and_environment_go_through(cli: Cli) -> None:
    code = (
        "import os, sys; print(sys.stdin.read(), sys.argv[1:], os.environ['COLOUR']); "
        "print('e', file=sys.stderr)"
    )
    cli.env["COLOUR"] = "blue"
    ended = cli.run("--quiet", "--", *cli.python, code, "--name", "x y", "", input="in")
    assert ended.out == "in ['--name', 'x y', ''] blue\n"
    assert ended.err == "e\n"


def test_inherited_descriptors_go_through(cli: Cli) -> None:
    ullage = shlex.join([*cli.command, "run", "--quiet", "--"])
    done = subprocess.run(
        ["bash", "-c", f"{ullage} cat <(echo through)"],
        env=cli.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "through\n")


def test_the_commands_environment_is_untouched(cli: Cli) -> None:
    plain = subprocess.run(["env"], env=cli.env, capture_output=True, text=True).stdout
    ended = cli.run("--quiet", "--", "env")
    added = set(ended.out.splitlines()) - set(plain.splitlines())
    assert {line.split("=")[0] for line in added} <= {"ULLAGE_RUN_ID", "_"}


def test_background_processes_live_on_and_their_cgroup_goes_with_them(
    cli: Cli, tmp_path: Path, no_cgroup_left: Callable[[], list[str]]
) -> None:
    ended = cli.run("--", "sh", "-c", f"sleep 1.5 >/dev/null 2>&1 & echo $! > {tmp_path}/pid")
    assert ended.code == 0
    pid = int((tmp_path / "pid").read_text())
    assert os.path.exists(f"/proc/{pid}"), "the background process was ended"
    assert len(no_cgroup_left()) == 1
    assert "still running" in ended.err


def test_ullage_inside_ullage_works(cli: Cli, cgroup1: str) -> None:
    inner = shlex.join([*cli.command, "run", "--name", "inner", "--json"])
    hog = shlex.join([*cli.python, HOG, "300"])
    file = cli.folder / "inner.json"
    ended = cli.run("--name", "outer", "--request", "64MiB", "--", "sh", "-c",
                    f"{inner} {file} --request 64MiB -- {hog}")  # fmt: skip
    assert (ended.code, ended.result["oom_kills"]) == (0, 0), ended.err
    assert ended.result["attempts"][0]["peak_bytes"] >= 300 * MIB
    assert '"exit_code": 0' in file.read_text()


def test_observe_only_where_no_cgroup_can_be_had(cli: Cli, cgroup1: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to hide the cgroup mount in a mount namespace of its own")
    run = shlex.join([*cli.command, "run", "--json", str(cli.folder / "r.json"), "--name", "hog"])
    hog = shlex.join([sys.executable, "-S", "-c", HOG, "120", "1.0"])
    script = f"umount /sys/fs/cgroup/memory && {run} -- {hog}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=cli.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (cli.folder / "r.json").read_text()
    assert '"control": "observe"' in text
    assert "only observing" in done.stderr
    result = json.loads(text)
    assert result["attempts"][0]["limit_bytes"] is None
    assert 120 * MIB <= result["attempts"][0]["peak_bytes"] <= 150 * MIB
