"""The SQLite ledger passes the contract, and survives what may happen to its file."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ullage.core.errors import ConfigError
from ullage.core.units import GIB, MIB
from ullage.stores.ledger import HostBooking, HostLedger
from ullage.testing.ledger_contract import (
    HostDouble,
    LedgerContract,
    OpenLedger,
    sleeping_process,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "ledger.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., HostLedger]]:
    ledgers: list[HostLedger] = []

    def open_ledger(memory: Callable[[], tuple[int, int]]) -> HostLedger:
        ledgers.append(HostLedger.open(path, read_memory=memory))
        return ledgers[-1]

    yield open_ledger
    for ledger in ledgers:
        ledger.close()


class TestHostLedger(LedgerContract):
    @pytest.fixture
    def open_ledger(self, opened: Callable[..., HostLedger]) -> OpenLedger:
        return opened


@pytest.fixture
def ledger(opened: Callable[..., HostLedger]) -> HostLedger:
    return opened(HostDouble())


@pytest.fixture
def two(opened: Callable[..., HostLedger]) -> tuple[HostBooking, HostBooking]:
    one, other = (
        opened(HostDouble()).join(run_id=name, pid=os.getpid()) for name in ("one", "other")
    )
    one.book(booked_bytes=6 * GIB, need_bytes=0)
    return one, other


def test_nobody_else_may_read_it(ledger: HostLedger, path: Path) -> None:
    ledger.join(run_id="a", pid=os.getpid())
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_reserve_can_be_set(path: Path) -> None:
    ledger = HostLedger.open(
        path, read_memory=HostDouble(), reserve_ratio=0.5, reserve_min_bytes=MIB
    )
    assert ledger.summary() == (2 * GIB, 0, 0)
    ledger.close()


def test_the_summary_tells_what_is_left(
    ledger: HostLedger, two: tuple[HostBooking, HostBooking]
) -> None:
    assert ledger.summary() == (3 * GIB, 6 * GIB, 2)


def test_rows_of_the_dead_are_deleted_by_whoever_books_next(ledger: HostLedger, path: Path) -> None:
    with sleeping_process() as process:
        ledger.join(run_id="doomed", pid=process.pid)
    ledger.join(run_id="next", pid=os.getpid())
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT run_id FROM booking").fetchall() == [("next",)]
    connection.close()


def test_a_process_number_used_again_is_somebody_else(ledger: HostLedger, path: Path) -> None:
    ledger.join(run_id="a", pid=os.getpid()).book(booked_bytes=6 * GIB, need_bytes=0)
    connection = sqlite3.connect(path)
    for change in ("pid_start_ticks = pid_start_ticks - 1", "boot_id = 'an earlier boot'"):
        before = connection.execute("SELECT * FROM booking").fetchall()
        assert ledger.summary()[2] == 1
        connection.execute(f"UPDATE booking SET {change}")
        connection.commit()
        assert ledger.summary()[2] == 0
        connection.execute("DELETE FROM booking")
        connection.execute(
            f"INSERT INTO booking VALUES ({','.join('?' * len(before[0]))})", before[0]
        )
        connection.commit()
    connection.close()


def wreck_with_noise(path: Path) -> None:
    for side in ("-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    path.unlink()
    path.write_bytes(b"\x00\xffnoise" * 4096)


def wreck_pages(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def remove_all(path: Path) -> None:
    for side in ("", "-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)


@pytest.mark.parametrize("wreck", [wreck_with_noise, wreck_pages, remove_all])
def test_a_wrecked_ledger_is_replaced_and_live_runs_enter_again(
    wreck: Callable[[Path], None], path: Path, two: tuple[HostBooking, HostBooking]
) -> None:
    one, other = two
    wreck(path)
    other.book(booked_bytes=GIB, need_bytes=0)
    one.book(booked_bytes=6 * GIB, need_bytes=0)
    assert other.ceiling_bytes(0) == 3 * GIB
    assert one.ceiling_bytes(0) == 8 * GIB


@pytest.mark.parametrize("times", [1, 1000])
def test_a_damaged_file_is_kept_aside_and_said(
    path: Path, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my only copy" * times)
    with caplog.at_level(logging.WARNING):
        ledger = HostLedger.open(path, read_memory=HostDouble())
    ledger.close()
    assert Path(f"{path}.damaged").read_bytes() == b"my only copy" * times
    assert "ledger.db.damaged" in caplog.text


def test_another_programs_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="ULLAGE_LEDGER"):
        HostLedger.open(path, read_memory=HostDouble())
    assert path.read_bytes() == before


def test_a_folder_where_the_file_should_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ULLAGE_LEDGER"):
        HostLedger.open(tmp_path, read_memory=HostDouble())


def test_a_live_run_goes_on_with_what_it_knew(
    path: Path, two: tuple[HostBooking, HostBooking], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    assert other.ceiling_bytes(0) == 3 * GIB
    remove_all(path)
    path.mkdir()  # now the ledger cannot be opened again
    with caplog.at_level(logging.WARNING):
        assert other.book(booked_bytes=GIB, need_bytes=0) == 3 * GIB
        assert other.ceiling_bytes(GIB) == 4 * GIB
        other.release()
    assert caplog.text.count("without the ledger") == 1
    one.release()
