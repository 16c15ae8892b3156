"""Faults in the middle of the real daemon's work (serve_faults): nobody dies, the record holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serve_faults import CRASH_POINTS, POISONS
from serve_rig import Rig, rig_at, wait
from test_serve_daemon import cut, ended, fetch, free_port, proven

pytestmark = pytest.mark.real


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rig_at(tmp_path) as made:
        yield made


def holds(rig: Rig) -> object:
    return rig.targets()[0]["holds"] if rig.targets() else []


def counted(rig: Rig, name: str, label: str = "") -> int:
    counts = rig.status().get("counts", {})
    assert isinstance(counts, dict)
    return int(counts.get(name, {}).get(label, 0))


def unharmed(rig: Rig) -> None:
    """The process is there, nothing was killed, nobody waits."""
    rig.take(61)
    assert rig.control == {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 0}


# -- a death at each named point -------------------------------------------------------------------


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_between_deciding_recording_and_doing(rig: Rig, point: str) -> None:
    rig.take(60)
    rig.mark.touch()
    rig.serve(fault=point)
    assert rig.daemons[0].wait(timeout=60) == -signal.SIGKILL, rig.log()
    wait(lambda: rig.control["oom_kill_disable"] == 0, "nobody gave the killer back")
    unharmed(rig)
    rig.mark.unlink()
    rig.serve()
    wait(lambda: rig.limit_mib < 400, f"no cuts after it: {rig.status()}")
    assert ended(rig, 1) == 0
    unharmed(rig)
    proven(rig)
    rows = json.loads(rig.cli("get", "decisions", "-o", "json").stdout)
    assert rows
    assert all(row["outcome"] != "open" for row in rows)


# -- between decide and apply ----------------------------------------------------------------------


def test_an_edit_between_deciding_and_doing_wins(rig: Rig) -> None:
    rig.take(60)
    rig.mark.write_text(str(rig.folder))
    rig.serve(fault="edit")
    wait(lambda: holds(rig) == ["s8_hands_off"], f"{rig.status()}")
    assert rig.limit_mib == 700
    assert ended(rig) == 0
    unharmed(rig)
    proven(rig)


def test_a_target_that_ends_between_listing_and_doing(rig: Rig) -> None:
    rig.take(60)
    rig.mark.write_text(str(rig.folder))
    rig.serve(fault="vanish")
    wait(lambda: not rig.folder.exists(), "no cut was tried")
    wait(lambda: rig.status().get("unmatched") == ["web"], f"{rig.status()}")
    rig.kill_hog()
    assert ended(rig) == 0
    assert "Traceback" not in rig.log()
    proven(rig)


# -- nonsense comes in -----------------------------------------------------------------------------


def test_poisoned_readings_end_cuts_and_nothing_else(rig: Rig) -> None:
    rig.take(60)
    rig.serve(fault="poison")
    wait(lambda: cut(rig), "no cuts")
    for number in range(len(POISONS)):
        before = counted(rig, "rejected_readings", "poisoned")
        _replace(rig.mark, str(number))
        wait(lambda: counted(rig, "rejected_readings", "poisoned") > before + 3, f"{number}")  # noqa: B023
    held = rig.limit_mib
    rig.mark.unlink()
    wait(lambda: holds(rig) == ["s2_poisoned"], f"{rig.status()}")
    rig.take(int(rig.limit_mib) + 60)
    assert rig.limit_mib > held, "growth goes on, cuts do not"
    assert rig.control["oom_kill"] == 0
    assert ended(rig) == 0
    proven(rig)


def _replace(file: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_by_an_hour(rig: Rig, hours: int) -> None:
    rig.take(60)
    rig.serve(fault="clock")
    wait(lambda: cut(rig), "no cuts")
    _replace(rig.mark, str(hours))
    wait(lambda: counted(rig, "clock_jumps") == 1, "it does not notice")
    rig.take(int(rig.limit_mib) + 60)
    assert rig.control["oom_kill"] == 0
    wait(lambda: holds(rig) != ["s20_clock_jump"], f"no decisions after it: {rig.status()}")
    rig.mark.unlink()
    wait(lambda: counted(rig, "clock_jumps") == 2, "it does not notice the way back")
    assert ended(rig) == 0
    unharmed(rig)
    proven(rig)


# -- nobody listens --------------------------------------------------------------------------------


def test_sinks_that_are_down_or_never_answer_hold_nothing_up(rig: Rig) -> None:
    """One port refuses; behind the other somebody takes the call and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        secret = rig.home / "secret"
        secret.write_text("s" * 32)
        secret.chmod(0o600)
        rig.configure(
            extra=f"""
[serve.notices.alertmanager]
url = "http://127.0.0.1:{silent.getsockname()[1]}"
[serve.notices.webhook]
url = "http://127.0.0.1:{free_port()}/hook"
secret_file = "{secret}"
[[serve.workload]]
name = "nobody"
kind = "cgroup1"
selector = "/no/such"
"""
        )
        rig.take(60)
        rig.serve()
        wait(lambda: cut(rig), f"no cuts: {rig.log()}")
        rig.take(int(rig.limit_mib) + 60)
        assert rig.control["oom_kill"] == 0
        assert ended(rig) == 0
    unharmed(rig)
    proven(rig)


# -- the store -------------------------------------------------------------------------------------


@pytest.fixture
def breakable(tmp_path: Path) -> Iterator[Path]:
    """Yield an ext4 of our own, in a file, that goes read-only at its first error."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4")
    image, folder = tmp_path / "image", tmp_path / "breakable"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if not _mounted(image, folder):
        pytest.skip("no loop device to mount it by")
    try:
        if not _trigger(folder).exists():
            pytest.skip("this kernel cannot be asked for an error of one file system")
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mounted(image: Path, folder: Path) -> bool:
    command = ["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _trigger(folder: Path) -> Path:
    """Return the file by which the kernel is asked for an error of this very file system."""
    device = folder.stat().st_dev
    name = os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").rpartition("/")[2]
    assert name.startswith("loop"), "never another file system than our own"
    return Path("/sys/fs/ext4", name, "trigger_fs_error")


def test_a_store_that_becomes_read_only_while_it_runs(rig: Rig, breakable: Path) -> None:
    """S18, as when a disk fails: red, no cut, growth within its envelope; mended, all goes on."""
    port = free_port()
    rig.configure(listen=f"127.0.0.1:{port}")
    rig.state = breakable / "state"
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    _trigger(breakable).write_text("test of ullage")
    wait(lambda: fetch(f"http://127.0.0.1:{port}/readyz")[0] == 503, "readiness stays green")
    held = rig.limit_mib
    rig.take(int(held) + 40)
    assert rig.limit_mib > held
    assert rig.control["oom_kill"] == 0
    assert ended(rig) == 0
    unharmed(rig)
    subprocess.run(["umount", str(breakable)], check=True)
    image = breakable.parent / "image"
    assert subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True).returncode < 4
    assert _mounted(image, breakable)
    proven(rig)
    rig.serve()
    high = rig.limit_mib
    wait(lambda: rig.limit_mib < high, f"no cuts when it is mended: {rig.log(1)}")
    assert ended(rig, 1) == 0
    proven(rig)


def test_a_start_on_a_read_only_store_is_refused_in_a_line(rig: Rig, breakable: Path) -> None:
    rig.state = breakable / "state"
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    assert ended(rig) == 0
    held = rig.limit_mib
    _trigger(breakable).write_text("test of ullage")
    code = rig.serve().wait(timeout=60)
    assert code == 1, rig.log(1)
    assert "Traceback" not in rig.log(1)
    assert str(rig.state) in rig.log(1)
    assert rig.limit_mib == held
    unharmed(rig)


def _flip(database: Path, wal: Path, old: Path) -> None:
    """Flip a bit in each page but the first."""
    content = bytearray(database.read_bytes())
    for at in range(4096 + 100, len(content), 4096):
        content[at] ^= 0x10
    database.write_bytes(content)


def _truncate(database: Path, wal: Path, old: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def _old_copy(database: Path, wal: Path, old: Path) -> None:
    shutil.copy(old, database)
    wal.unlink(missing_ok=True)


def _no_wal(database: Path, wal: Path, old: Path) -> None:
    wal.unlink()


@pytest.mark.parametrize("damage", [_flip, _truncate, _old_copy, _no_wal])
def test_a_store_damaged_between_two_tenures_harms_nobody(
    rig: Rig, damage: Callable[[Path, Path, Path], None]
) -> None:
    """Either it starts and its record holds, or it says in a line what is wrong; never a kill."""
    database, wal, old = rig.state / "state.db", rig.state / "state.db-wal", rig.home / "old.db"
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    assert ended(rig) == 0
    shutil.copy(database, old)
    rig.serve()
    held = rig.limit_mib
    wait(lambda: rig.limit_mib < held, "no more cuts")
    rig.daemons[-1].kill()
    rig.daemons[-1].wait()
    wait(lambda: rig.control["oom_kill_disable"] == 0, "nobody gave the killer back")
    damage(database, wal, old)
    verified = rig.cli("audit", "verify")
    assert "Traceback" not in verified.stderr
    held = rig.limit_mib
    daemon = rig.serve()
    wait(
        lambda: daemon.poll() is not None or rig.status().get("pid") == daemon.pid,
        f"neither serves nor refuses: {rig.log(2)}",
    )
    if daemon.poll() is None:
        rig.take(int(rig.limit_mib) + 40)
        assert ended(rig, 2) == 0
        if damage in (_old_copy, _no_wal):
            proven(rig)
    else:
        assert daemon.returncode == 1, rig.log(2)
        assert f"{database} is damaged" in rig.log(2)
        assert rig.limit_mib == held
    assert "Traceback" not in rig.log(2)
    assert verified.returncode in (0, 1, 2, 3)
    rig.take(61)
    assert rig.control == {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 0}


def test_a_log_deleted_while_it_runs(rig: Rig) -> None:
    """What was in it is lost with it, whoever deletes it; no process is."""
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    (rig.state / "state.db-wal").unlink()
    rig.take(int(rig.limit_mib) + 60)
    assert rig.control["oom_kill"] == 0
    assert ended(rig) == 0
    unharmed(rig)
    with sqlite3.connect(rig.state / "state.db") as database:
        [(said,)] = database.execute("PRAGMA integrity_check").fetchall()
    database.close()
    assert said == "ok"
    proven(rig)
