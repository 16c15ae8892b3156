"""`ullage run` on real memory: growth, page cache, retries, learning from one run to the next."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import HOG, Cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("cgroup1")]

MIB = 1 << 20
FILL_CACHE_THEN_ALLOCATE = """
import mmap, sys
path, cache, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "wb", buffering=0) as file:
    for _ in range(cache):
        file.write(bytes(1 << 20))
block = mmap.mmap(-1, size << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, size << 20, 4096):
    block[page] = 1
"""
COPY = """
import sys
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in range(int(sys.argv[2])):
        file.write(bytes(1 << 20))
"""
FAST_HOG = """
import ctypes, mmap, sys
size = int(sys.argv[1]) << 20
block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(block)), 1, size)
"""


def test_an_allocator_at_full_speed_is_never_killed(
    cli: Cli, no_cgroup_left: Callable[[], list[str]]
) -> None:
    ended = cli.run("--request", "200MiB", "--", *cli.python[:1], "-c", FAST_HOG, 1600)
    assert (ended.code, ended.result["oom_kills"]) == (0, 0), ended.err
    assert ended.result["raises"] >= 1
    (attempt,) = ended.result["attempts"]
    assert attempt["limit_bytes"] == 200 * MIB
    assert attempt["final_limit_bytes"] >= attempt["peak_bytes"] >= 1600 * MIB


def test_growth_stops_at_the_ceiling(cli: Cli) -> None:
    ended = cli.hog(400, options=("--request", "100MiB", "--max-memory", "300MiB"))
    assert (ended.code, ended.result["outcome"]) == (137, "oom_killed")
    (attempt,) = ended.result["attempts"]
    assert attempt["final_limit_bytes"] == 300 * MIB
    assert "ceiling" in ended.err


def test_a_file_copy_of_five_times_the_limit_raises_nothing(cli: Cli, tmp_path: Path) -> None:
    ended = cli.run("--request", "100MiB", "--", *cli.python, COPY, tmp_path / "copy", 500)
    assert (ended.code, ended.result["raises"], ended.result["oom_kills"]) == (0, 0, 0)
    assert ended.result["attempts"][0]["peak_bytes"] < 50 * MIB


def test_a_tmpfs_writer_is_need(cli: Cli, tmp_path: Path) -> None:
    file = Path("/dev/shm") / f"ullage-test-{tmp_path.name}"
    try:
        ended = cli.run("--request", "100MiB", "--", *cli.python, COPY, file, 250)
        assert (ended.code, ended.result["oom_kills"]) == (0, 0)
        assert ended.result["attempts"][0]["peak_bytes"] >= 250 * MIB
        assert ended.result["raises"] >= 1
    finally:
        file.unlink(missing_ok=True)


def test_an_allocator_after_a_cache_fill_is_not_killed(cli: Cli, tmp_path: Path) -> None:
    ended = cli.run(
        "--request", "200MiB", "--",
        *cli.python, FILL_CACHE_THEN_ALLOCATE, tmp_path / "fill", 400, 600,
    )  # fmt: skip
    assert (ended.code, ended.result["oom_kills"]) == (0, 0), ended.err
    assert ended.result["attempts"][0]["peak_bytes"] >= 600 * MIB


def test_retries_climb_and_never_get_less_than_what_failed(cli: Cli) -> None:
    ended = cli.hog(500, options=("--growth", "off", "--retries", "8", "--request", "100MiB"))
    assert (ended.code, ended.result["outcome"]) == (0, "ok"), ended.err
    limits = [attempt["limit_bytes"] for attempt in ended.result["attempts"]]
    assert limits[0] == 100 * MIB
    assert len(limits) >= 2
    assert all(later > earlier for earlier, later in itertools.pairwise(limits))
    assert [a["outcome"] for a in ended.result["attempts"]] == ["oom_killed"] * (
        len(limits) - 1
    ) + ["ok"]
    assert ended.result["oom_kills"] == len(limits) - 1


def test_no_retry_and_no_growth_is_the_ceiling_at_once(cli: Cli) -> None:
    options = ("--growth", "off", "--request", "100MiB", "--max-memory", "700MiB")
    ended = cli.hog(300, options=options)
    assert (ended.code, ended.result["oom_kills"]) == (0, 0)
    assert ended.result["attempts"][0]["limit_bytes"] == 700 * MIB


def test_an_error_without_an_oom_is_not_tried_again(cli: Cli) -> None:
    ended = cli.run("--retries", "3", "--", "sh", "-c", "exit 7")
    assert (ended.code, len(ended.result["attempts"])) == (7, 1)


def test_without_retries_nothing_runs_twice(cli: Cli, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/ran; exec {cli.python[0]} -S -c '{HOG}' 300"
    cli.run("--growth", "off", "--max-memory", "100MiB", "--", "sh", "-c", script)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_after_six_runs_a_new_size_gets_its_own_limit(cli: Cli, tmp_path: Path) -> None:
    """Need is 40 MiB + 3 x input: learned from six sizes, asked for a seventh."""
    code = (
        "import sys, os; "
        "size = 40 + 3 * os.path.getsize(sys.argv[2]) // (1 << 20); "
        "sys.argv[1:] = [str(size), '0.1']\n" + HOG
    )
    options = ("--name", "scaled", "--growth", "off", "--retries", "5")
    for mib in (20, 60, 35, 90, 50, 75, 66):
        file = tmp_path / f"input-{mib}.bin"
        with file.open("wb") as handle:
            handle.truncate(mib * MIB)
        ended = cli.run(*options, "--", *cli.python, code, "--input", file)
        assert ended.code == 0, ended.err
    assert len(ended.result["attempts"]) == 1
    (attempt,) = ended.result["attempts"]
    ratio = attempt["limit_bytes"] / attempt["peak_bytes"]
    assert 0.97 <= ratio <= 1.15, f"limit / peak = {ratio:.3f}"
    explained = cli("explain", "scaled", "--feature", "input_bytes=50MiB")
    assert explained.returncode == 0, explained.stderr
    assert re.search(r"r-[0-9a-z]{10}-[0-9a-f]{6}", explained.stdout)


def test_a_workload_is_recognised_without_a_name(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("print('done')\n")
    keys = set()
    for date in ("2026-11-22", "2026-11-23"):
        ended = cli.run("--", *cli.python[:1], script, "--date", date, "--out", f"/tmp/x-{date}")
        keys.add(ended.result["workload"])
    other = tmp_path / "other.py"
    other.write_text("print('done')\n")
    keys_of_other = cli.run("--", *cli.python[:1], other).result["workload"]
    assert len(keys) == 1
    assert keys_of_other not in keys
    (key,) = keys
    assert key in cli("get", "workloads").stdout
    assert key in cli("explain", key).stdout


def test_runs_side_by_side_all_survive_and_are_all_recorded(cli: Cli) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda number=number: codes.append(
                cli("run", "--name", f"w{number}", "--", *cli.python, HOG, 150, 0.2).returncode
            )
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0, 0]
    listed = cli("get", "runs", "-o", "csv").stdout
    assert all(f"w{number}" in listed for number in range(4))
