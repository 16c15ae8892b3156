"""The state store on small and read-only file systems, really mounted (root only)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage.core.errors import ConfigError, PermanentError
from ullage.core.telemetry import SampleSeries
from ullage.stores.ledger import HostLedger
from ullage.stores.state import SqliteStateStore
from ullage.testing.ledger_contract import HostDouble
from ullage.testing.records import begun_run, ended, one_attempt


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """Yield an empty file system of 4 MiB in memory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "ullage-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def leave_bytes(folder: Path, free_bytes: int) -> Path:
    """Fill the file system but for `free_bytes`."""
    found = os.statvfs(folder)
    filler = folder / "filler"
    with open(filler, "wb") as file:
        file.write(b"\1" * (found.f_bavail * found.f_frsize - free_bytes))
    return filler


def record(store: SqliteStateStore, number: int) -> None:
    run = begun_run(number)
    store.begin_run(run, None, owner="me")
    store.add_attempt(run.run_id, one_attempt(), SampleSeries())
    store.end_run(ended(run), [])


def test_a_full_disk_loses_nothing_that_was_acknowledged(mount: Path) -> None:
    path = mount / "state.db"
    store = SqliteStateStore.open(path)
    record(store, 0)
    filler = leave_bytes(mount, 256 << 10)
    acknowledged: list[int] = []

    def record_on() -> None:
        while True:
            record(store, len(acknowledged) + 1)
            acknowledged.append(len(acknowledged) + 1)

    with pytest.raises(PermanentError, match=r"disk is full.*ULLAGE_STATE_DIR"):
        record_on()
    number = len(acknowledged)
    assert number > 0
    found = {run.run_id for run in store.runs() if run.outcome is not None}
    assert found == {begun_run(each).run_id for each in range(number + 1)}
    store.close()
    again = SqliteStateStore.open(path)
    assert {run.run_id for run in again.runs() if run.outcome is not None} == found
    filler.unlink()
    record(again, number + 2)
    assert again.integrity() == []
    again.close()


def test_a_disk_that_is_full_from_the_start(mount: Path) -> None:
    leave_bytes(mount, 0)
    with pytest.raises(PermanentError, match="disk is full"):
        SqliteStateStore.open(mount / "state" / "state.db")
    with pytest.raises(PermanentError, match="disk is full"):
        HostLedger.open(mount / "ledger" / "ledger.db", read_memory=HostDouble())


def test_a_read_only_disk_can_be_read(mount: Path) -> None:
    path = mount / "state" / "state.db"
    store = SqliteStateStore.open(path)
    record(store, 1)
    store.close()
    remount(mount, "ro")
    with pytest.raises((ConfigError, PermanentError), match=r"ULLAGE_STATE_DIR"):
        SqliteStateStore.open(path)
    with pytest.raises(ConfigError, match=r"cannot be written.*ULLAGE_STATE_DIR"):
        SqliteStateStore.open(mount / "other" / "state.db")
    reader = SqliteStateStore.open(path, read_only=True)
    assert [run.run_id for run in reader.runs()] == [begun_run(1).run_id]
    reader.close()
    remount(mount, "rw")
