"""A store that cannot be used is refused in one line with a way out, and left as it is."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage.core.errors import ConfigError, PermanentError, TransientError, UllageError
from ullage.core.telemetry import SampleSeries
from ullage.stores.schema.migrations import SCHEMA_VERSION
from ullage.stores.state import SqliteStateStore
from ullage.testing.records import START, begun_run, ended, one_attempt, one_decision, one_oom

RUNS = 60


def fill(path: Path, runs: int = RUNS) -> None:
    """Record whole runs of a few workloads, and close the store."""
    store = SqliteStateStore.open(path)
    samples = SampleSeries()
    for index in range(50):
        samples.append(index * 50.1, need_bytes=index, usage_bytes=index, limit_bytes=None)
    for number in range(runs):
        decision = one_decision(f"d-{number}")
        run = begun_run(number, key=f"w-{number % 5}", decision_id=decision.decision_id)
        store.begin_run(run, decision, owner="me")
        store.add_attempt(run.run_id, one_attempt(), samples)
        store.end_run(ended(run), [one_oom(run)])
    store.close()


def use(path: Path) -> None:
    """Do everything that a store is for."""
    store = SqliteStateStore.open(path)
    try:
        runs = store.runs()
        store.workloads()
        store.ooms()
        store.counts()
        for run in runs[:20]:
            store.samples(run.run_id, 1)
            store.decision(run.decision_id or "")
        run = begun_run(10**6, decision_id="d-new")
        store.begin_run(run, one_decision("d-new"), owner="me")
        store.add_attempt(run.run_id, one_attempt(), SampleSeries())
        store.end_run(ended(run), [])
        store.close_orphans(lambda _: False, at=START)
    finally:
        store.integrity()
        store.close()


def check_line(error: BaseException, path: Path) -> None:
    assert str(path.parent) in str(error)
    assert "\n" not in str(error)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_are_found_or_harmless(path: Path, seed: int) -> None:
    fill(path)
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 10, 300])):
        at = chance.randrange(len(content))
        content[at] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    lines: list[str] = []
    try:
        use(path)
    except UllageError as error:
        lines.append(str(error))
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("kept", [1, 50, 99, 100, 4095, 4096, 5000, 8192, 40960])
def test_a_truncated_file_is_refused_or_read(path: Path, kept: int) -> None:
    fill(path)
    os.truncate(path, kept)
    with pytest.raises(PermanentError, match="ULLAGE_STATE_DIR") as caught:
        use(path)
    check_line(caught.value, path)
    assert path.stat().st_size >= kept


def test_an_emptied_file_does_not_cost_its_log(path: Path) -> None:
    fill(path)
    writer = SqliteStateStore.open(path)
    writer.begin_run(begun_run(999), None, owner="me")
    log = Path(f"{path}-wal").read_bytes()
    assert log
    copy = path.parent.parent / "copy" / "state.db"
    copy.parent.mkdir()
    copy.touch()
    Path(f"{copy}-wal").write_bytes(log)
    writer.close()
    for read_only in (False, True):
        with pytest.raises(PermanentError, match="damaged") as caught:
            SqliteStateStore.open(copy, read_only=read_only)
        check_line(caught.value, copy)
    assert Path(f"{copy}-wal").read_bytes() == log


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"x"])
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(PermanentError, match=r"move it .*to start anew") as caught:
            SqliteStateStore.open(path, read_only=read_only)
        check_line(caught.value, path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(ConfigError, match="another program") as caught:
            SqliteStateStore.open(path, read_only=read_only)
        check_line(caught.value, path)
    assert path.read_bytes() == before


def test_a_newer_store_is_left_alone(path: Path) -> None:
    fill(path, runs=1)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(ConfigError, match=r"newer Ullage \(schema \d.*upgrade") as caught:
            SqliteStateStore.open(path, read_only=read_only)
        check_line(caught.value, path)
    assert path.read_bytes() == before


def test_a_file_that_was_only_just_made_is_finished(path: Path) -> None:
    """As after a crash between making the file and making its tables."""
    path.parent.mkdir()
    path.touch()
    store = SqliteStateStore.open(path, read_only=True)
    assert store.runs() == []
    store.close()


def test_nothing_to_read_is_said(path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is recorded") as caught:
        SqliteStateStore.open(path, read_only=True)
    check_line(caught.value, path)
    assert not path.parent.exists()


def test_a_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a regular file"):
        SqliteStateStore.open(path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(ConfigError, match="ULLAGE_STATE_DIR"):
        SqliteStateStore.open(tmp_path / "state" / "state.db")


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE run SET owner = 'locker'")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locked(path: Path) -> Iterator[Path]:
    fill(path, runs=2)
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    yield path
    process.communicate()


def test_a_store_that_another_process_writes_to_can_be_read_and_waits(locked: Path) -> None:
    store = SqliteStateStore.open(locked, busy_timeout_s=0.05)
    assert len(store.runs()) == 2
    with pytest.raises(TransientError, match="another process holds the store") as caught:
        store.begin_run(begun_run(7), None, owner="me")
    check_line(caught.value, locked)
    assert len(store.runs()) == 2
    store.close()


def test_a_store_that_is_free_again_is_written_to(path: Path) -> None:
    fill(path, runs=1)
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    store = SqliteStateStore.open(path, busy_timeout_s=0.05)
    with pytest.raises(TransientError):
        store.begin_run(begun_run(7), None, owner="me")
    process.communicate()
    store.begin_run(begun_run(7), None, owner="me")
    assert len(store.runs()) == 2
    store.close()
