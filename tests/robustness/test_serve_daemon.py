"""The real daemon with a real process in a real cgroup: what it does, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_rig import Rig, rig_at, wait

pytestmark = pytest.mark.real


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rig_at(tmp_path) as made:
        yield made


def ended(rig: Rig, number: int = 0) -> int:
    """Stop a daemon in good order; return its exit code."""
    rig.daemons[number].send_signal(signal.SIGTERM)
    return rig.daemons[number].wait(timeout=30)


def proven(rig: Rig) -> None:
    done = rig.cli("audit", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def cut(rig: Rig) -> bool:
    return rig.limit_mib < 500


def test_it_cuts_what_is_not_needed_and_grows_what_is(rig: Rig) -> None:
    rig.take(60)
    rig.serve()
    wait(lambda: rig.limit_mib < 200, f"no cuts: {rig.status()}")
    rig.take(int(rig.limit_mib) + 100)
    assert rig.control["oom_kill"] == 0
    assert rig.limit_mib > 160
    assert ended(rig) == 0
    assert rig.control["oom_kill_disable"] == 0, "parked tasks get their OOM killer back"
    limit = rig.limit_mib
    proven(rig)
    rows = json.loads(rig.cli("get", "decisions", "-o", "json").stdout)
    assert {"cut", "grow"} <= {row["direction"] for row in rows}
    assert all(row["outcome"] != "open" for row in rows)
    described = rig.cli("describe", "web")
    assert "before Ullage 512 MiB" in described.stdout, described.stderr
    assert rig.limit_mib == limit


def test_observing_changes_nothing(rig: Rig) -> None:
    rig.take(60)
    rig.serve("--observe")
    wait(lambda: _tick(rig) and _holds(rig) == ["s21_observe"], "it wants no cut")
    assert rig.limit_mib == 512
    assert rig.control["oom_kill_disable"] == 0
    top = rig.cli("top", "--once", "-o", "json")
    [row] = json.loads(top.stdout)
    assert (row["workload"], row["mode"]) == ("web", "in_place")
    assert row["need_bytes"] > 60 << 20
    assert ended(rig) == 0


def _tick(rig: Rig) -> int:
    number = rig.status().get("tick_number", 0)
    assert isinstance(number, int)
    return number


STORM_ROUNDS = int(os.environ.get("ULLAGE_STORM_ROUNDS", "5"))


@pytest.mark.timeout(120 + 30 * STORM_ROUNDS)
def test_a_storm_of_kills(rig: Rig) -> None:
    """kill -9 at any moment, again and again: the record holds, nobody waits for ever, no kill."""
    rig.take(60)
    for number in range(STORM_ROUNDS):
        rig.serve()
        wait(lambda: rig.status().get("pid") == rig.daemons[-1].pid, rig.log(number))
        wait(lambda: _tick(rig) > 8 + 7 * (number % 5), "no passes")  # noqa: B023
        rig.take(60 + 20 * (number % 2))
        rig.daemons[-1].kill()
        rig.daemons[-1].wait()
        wait(lambda: rig.control["oom_kill_disable"] == 0, "nobody gave the killer back")
    rig.serve()
    wait(lambda: cut(rig), "no cuts after the storm")
    assert ended(rig, STORM_ROUNDS) == 0
    assert rig.control["oom_kill"] == 0
    proven(rig)


def test_the_second_takes_over_when_the_first_dies(rig: Rig) -> None:
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    rig.serve()
    wait(lambda: "serving" in rig.log(1), "the second does not start")
    assert rig.status()["pid"] == rig.daemons[0].pid
    rig.daemons[0].kill()
    wait(lambda: rig.status()["pid"] == rig.daemons[1].pid, "no takeover", seconds=20)
    assert rig.status()["token"] == 2
    assert "holding the lease, token 2" in rig.log(1)
    assert ended(rig, 1) == 0
    assert "no daemon serves" in rig.cli("top", "--once").stderr
    proven(rig)


def test_a_paused_one_that_wakes_up_writes_nothing(rig: Rig) -> None:
    """S9: the lease ends by its age; the zombie finds a higher token and stands by."""
    rig.configure(lease="2s")
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    rig.serve()
    rig.daemons[0].send_signal(signal.SIGSTOP)
    wait(lambda: rig.status()["pid"] == rig.daemons[1].pid, "no takeover", seconds=20)
    rig.daemons[0].send_signal(signal.SIGCONT)
    wait(lambda: "the lease is lost" in rig.log(0), "the zombie does not notice")
    token = rig.status()["token"]
    rig.take(int(rig.limit_mib) + 60)
    assert rig.control["oom_kill"] == 0
    assert rig.status()["token"] == token
    for number in (0, 1):
        assert ended(rig, number) == 0
    proven(rig)


def test_a_vanishing_cgroup_is_let_go(rig: Rig) -> None:
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    rig.kill_hog()
    wait(lambda: rig.status()["targets"] == [], "it is still there")
    assert rig.status()["unmatched"] == ["web"]
    assert ended(rig) == 0
    proven(rig)


def test_somebody_elses_edit_wins(rig: Rig) -> None:
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    rig.set_limit(700)
    wait(lambda: _holds(rig) == ["s8_hands_off"], f"{rig.status()}")
    assert rig.limit_mib == 700
    assert ended(rig) == 0
    proven(rig)


def _holds(rig: Rig) -> object:
    targets = rig.status()["targets"]
    assert isinstance(targets, list)
    return targets[0]["holds"] if targets else []


def test_freeze_undo_and_uninstall(rig: Rig) -> None:
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    assert rig.cli("freeze", "web", "--why", "deploy").returncode == 0
    wait(lambda: _holds(rig) == ["frozen"], f"{rig.status()}")
    held = rig.limit_mib
    done = rig.cli("undo", "--to", "1h", "web")
    assert done.returncode == 0, done.stderr
    assert "-> 512 MiB" in done.stdout
    assert rig.limit_mib == 512 > held
    assert rig.cli("unfreeze", "web").returncode == 0
    wait(lambda: cut(rig), "no cuts after unfreezing")
    assert ended(rig) == 0
    # no daemon any more: the command takes the lease and makes the pass itself
    done = rig.cli("uninstall", "--restore")
    assert done.returncode == 0, done.stderr
    assert rig.limit_mib == 512
    assert rig.control["oom_kill_disable"] == 0
    assert rig.cli("unfreeze", "web").returncode == 1
    proven(rig)


def test_settings_are_read_again_on_hup(rig: Rig) -> None:
    rig.serve()
    wait(lambda: _tick(rig) > 2, "it does not go round")
    (rig.home / "config.toml").write_text("[serve]\nnonsense = 1\n")
    rig.daemons[0].send_signal(signal.SIGHUP)
    wait(lambda: "nonsense" in rig.log(), "bad settings are not told")
    assert len(rig.status()["targets"]) == 1  # type: ignore[arg-type]
    rig.configure(extra='[[serve.workload]]\nname = "no"\nkind = "cgroup1"\nselector = "/no"\n')
    rig.daemons[0].send_signal(signal.SIGHUP)
    wait(lambda: rig.status()["unmatched"] == ["no"], f"{rig.status()}")
    assert "restart" not in rig.log()
    rig.configure(act=False)
    rig.daemons[0].send_signal(signal.SIGHUP)
    wait(lambda: "restart for serve.act" in rig.log(), "a key that waits is not told")
    assert ended(rig) == 0


def fetch(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 8 MiB in memory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "ullage-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_a_full_disk_stops_cuts_and_rescue_goes_on(rig: Rig, small: Path) -> None:
    """S18: readiness red, no cut, growth within its envelope; then all is well again."""
    port = free_port()
    rig.configure(listen=f"127.0.0.1:{port}")
    rig.state = small / "state"
    rig.take(60)
    rig.serve()
    page = f"http://127.0.0.1:{port}"
    wait(lambda: cut(rig), "no cuts")
    assert fetch(f"{page}/readyz")[0] == 200
    found = os.statvfs(small)
    filler = small / "filler"
    with filler.open("wb") as file:
        file.write(b"\1" * (found.f_bavail * found.f_frsize))
    wait(lambda: fetch(f"{page}/readyz")[0] == 503, "readiness stays green")
    held = rig.limit_mib
    rig.take(int(held) + 40)
    assert rig.control["oom_kill"] == 0, "growth inside the envelope goes on"
    assert rig.limit_mib > held
    assert "ullage_store_up 0.0" in fetch(f"{page}/metrics")[1]
    filler.unlink()
    wait(lambda: fetch(f"{page}/readyz")[0] == 200, rig.log())
    assert "the store cannot be written" in rig.log()
    assert "the store can be written again" in rig.log()
    assert ended(rig) == 0
    proven(rig)


def test_a_corrupted_store_stops_cuts_and_kills_nobody(rig: Rig) -> None:
    port = free_port()
    rig.configure(listen=f"127.0.0.1:{port}")
    rig.take(60)
    rig.serve()
    wait(lambda: cut(rig), "no cuts")
    database = rig.state / "state.db"
    with sqlite3.connect(database) as other:
        other.execute("UPDATE service_journal SET entry_json = '{'")
        other.execute("UPDATE service_state SET state_json = '{'")
    other.close()
    wait(lambda: fetch(f"http://127.0.0.1:{port}/readyz")[0] == 503, "readiness stays green")
    held = rig.limit_mib
    rig.take(int(held) + 30)
    assert rig.control["oom_kill"] == 0
    assert ended(rig) == 0
    assert rig.control["oom_kill_disable"] == 0
    assert rig.cli("audit", "verify").returncode in (1, 3)


def test_the_metrics_port_shows_three_pages_to_known_hosts(rig: Rig) -> None:
    port = free_port()
    rig.configure(listen=f"127.0.0.1:{port}")
    rig.take(60)
    rig.serve()
    page = f"http://127.0.0.1:{port}"
    wait(lambda: _tick(rig) > 2, "it does not go round")
    assert fetch(f"{page}/healthz") == (200, "ok\n")
    assert fetch(f"{page}/readyz") == (200, "ready, acting\n")
    code, text = fetch(f"{page}/metrics")
    assert code == 200
    assert f'ullage_workload_memory_limit_bytes{{target="{rig.target_id}",workload="web"}}' in text
    assert fetch(f"{page}/")[0] == 404
    assert fetch(f"{page}/metrics", Host="evil.example")[0] == 421
    assert ended(rig) == 0


def test_two_on_one_port_is_a_clear_error(rig: Rig) -> None:
    port = free_port()
    rig.configure(listen=f"127.0.0.1:{port}")
    rig.serve()
    wait(lambda: _tick(rig) > 2, "it does not go round")
    assert rig.serve().wait(timeout=30) == 2
    assert "cannot listen on" in rig.log(1)
    assert ended(rig) == 0


def test_config_check_says_whom_the_settings_mean(rig: Rig) -> None:
    extra = (
        '[[serve.workload]]\nname = "no"\nkind = "cgroup1"\nselector = "/no/*"\n'
        f'[[serve.workload]]\nname = "too"\nkind = "cgroup1"\nselector = "{rig.selector[:-1]}?"\n'
    )
    rig.configure(extra=extra)
    done = rig.cli("config", "check", "--strict")
    assert done.returncode == 3
    assert "(in_place), 1 live target\n" in done.stdout
    assert "'no': its selector matches nothing now" in done.stderr
    assert "selected by 'web' and 'too': neither may act on it" in done.stderr
    rig.configure()
    assert rig.cli("config", "check", "--strict").returncode == 0
