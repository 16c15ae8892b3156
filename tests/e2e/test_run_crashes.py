"""What happens when somebody ends `ullage run`: signals, Ctrl-C on a terminal, kill -9."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import HOG, Cli
from ullage.testing.sandbox_contract import wait_until

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("cgroup1")]

ROUNDS = 20


def _pid_in(file: Path) -> int:
    assert wait_until(lambda: file.exists() and file.read_text().strip() != "")
    return int(file.read_text())


def _is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except FileNotFoundError:
        return True


def test_a_signal_to_the_supervisor_reaches_the_command_once(cli: Cli, tmp_path: Path) -> None:
    script = (
        f"trap 'echo got >> {tmp_path}/got; exit 5' TERM; echo $$ > {tmp_path}/pid; "
        "while :; do sleep 0.05; done"
    )
    process = cli.start("run", "--json", tmp_path / "r.json", "--", "bash", "-c", script)
    _pid_in(tmp_path / "pid")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 5
    assert (tmp_path / "got").read_text() == "got\n"
    assert '"outcome": "interrupted"' in (tmp_path / "r.json").read_text()


def test_user_signals_are_forwarded_and_end_nothing(cli: Cli, tmp_path: Path) -> None:
    script = f"trap 'exit 9' USR1; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
    process = cli.start("run", "--json", tmp_path / "r.json", "--", "bash", "-c", script)
    _pid_in(tmp_path / "pid")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 9
    assert '"outcome": "error"' in (tmp_path / "r.json").read_text()


def test_ctrl_c_on_a_terminal_ends_the_whole_tree(
    cli: Cli, tmp_path: Path, no_cgroup_left: Callable[[], list[str]]
) -> None:
    """The grandchild has a session of its own and ignores SIGINT: it ends all the same."""
    script = (
        f"setsid sh -c 'trap \"\" INT; echo $$ > {tmp_path}/deep; sleep 300; true' & "
        f"trap 'echo int >> {tmp_path}/got; exit 3' INT; "
        f"echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
    )
    leader, follower = pty.openpty()
    process = cli.start(
        "run", "--json", tmp_path / "r.json", "--", "bash", "-c", script,
        stdin=follower, stdout=follower, stderr=follower,
        preexec_fn=lambda: (os.setsid(), __import__("fcntl").ioctl(0, 0x540E, 0)),
    )  # fmt: skip
    os.close(follower)
    _pid_in(tmp_path / "pid")
    deep = _pid_in(tmp_path / "deep")
    os.write(leader, b"\x03")
    assert process.wait(30) == 3
    os.close(leader)
    assert (tmp_path / "got").read_text() == "int\n", "the signal came twice or never"
    assert wait_until(lambda: _is_gone(deep))
    assert '"outcome": "interrupted"' in (tmp_path / "r.json").read_text()


def test_nohup_stays_nohup(cli: Cli, tmp_path: Path) -> None:
    process = cli.start(
        "run", "--", "bash", "-c", f"echo $$ > {tmp_path}/pid; sleep 0.6",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    _pid_in(tmp_path / "pid")
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0


def test_a_parked_command_is_released_when_the_supervisor_dies(
    cli: Cli, tmp_path: Path, cgroup1: str, no_cgroup_left: Callable[[], list[str]]
) -> None:
    """SIGSTOP first, so that the command is sure to be parked at its limit; then SIGKILL."""
    code = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\n" + (
        "import time; time.sleep(0.5)\n" + HOG
    )
    process = cli.start("run", "--request", "100MiB", "--", *cli.python, code, 400, 60)
    pid = _pid_in(tmp_path / "pid")
    process.send_signal(signal.SIGSTOP)
    control = Path(f"/proc/{pid}/cgroup").read_text()
    assert "/ullage-r-" in control
    (name,) = no_cgroup_left()
    parent = Path(cgroup1)
    oom_control = parent / name / "memory.oom_control"
    assert wait_until(lambda: "under_oom 1" in oom_control.read_text())
    process.kill()
    process.wait()
    killed_s = time.monotonic()
    assert wait_until(lambda: _is_gone(pid)), "the command is parked for ever"
    assert time.monotonic() - killed_s < 1.0


def test_kill_9_at_random_moments_loses_nothing_and_leaves_nothing(
    cli: Cli, tmp_path: Path, no_cgroup_left: Callable[[], list[str]]
) -> None:
    """20 rounds; a run whose command had started must be in the record afterwards."""
    moments = random.Random(20261123)
    started = 0
    for number in range(ROUNDS):
        mark = tmp_path / f"mark-{number}"
        code = f"open({str(mark)!r}, 'w').write(str(__import__('os').getpid()))\n" + HOG
        process = cli.start(
            "run", "--name", f"round-{number}", "--request", "64MiB", "--",
            *cli.python, code, 300, 0.3, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(0.05, 0.6))
        process.kill()
        process.wait()
        started += mark.exists()
    pids = [int(mark.read_text()) for mark in tmp_path.glob("mark-*") if mark.read_text()]
    assert started > 0, "no round got as far as its command; widen the moments"
    assert wait_until(lambda: all(map(_is_gone, pids)))
    assert wait_until(lambda: not no_cgroup_left())
    assert cli("run", "--name", "after", "--", "true").returncode == 0
    listed = cli("get", "runs", "-o", "csv", "--limit", 100).stdout
    for number in range(ROUNDS):
        if (tmp_path / f"mark-{number}").exists():
            assert f"round-{number}," in listed, f"round {number} is lost"
    assert "unknown" in listed
