"""A compaction that is killed at each point, or finds the disk full, loses nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from test_store_disk import leave_bytes, mount, remount

from ullage.core.errors import ConfigError, PermanentError
from ullage.stores.state import SqliteStateStore
from ullage.testing.records import START
from ullage.testing.sample_contract import ALL, compact, facts, record, series_of

__all__ = ["mount"]

COMPACTOR = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path

point, turn = sys.argv[2], int(sys.argv[3])
from ullage.stores import compaction, segment_files, segment_index, segment_parquet

compaction.SEGMENT_SAMPLES = 40  # several segments

def die_at(owner, name, *, after):
    real, calls = getattr(owner, name), []
    def wrapped(*args, **options):
        calls.append(1)
        is_due = len(calls) == turn
        if is_due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **options)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

POINTS = {
    "before the file is written": (segment_parquet.SegmentEngine, "write", False),
    "written, not synced": (os, "fsync", False),
    "synced, not named": (os, "rename", False),
    "named, name not synced": (os, "rename", True),
    "named and synced": (segment_files, "sync_folder", True),
    "in the transaction, recorded": (segment_index, "record_segment", True),
    "in the transaction, some deleted": (segment_index, "delete_blob", True),
    "recorded, space not given back": (compaction, "give_space_back", False),
    "given up, file still there": (segment_files.SegmentFolder, "remove", False),
    "given up, file gone": (segment_files.SegmentFolder, "remove", True),
}
if point in POINTS:
    owner, name, after = POINTS[point]
    die_at(owner, name, after=after)
from ullage.stores.state import SqliteStateStore
from ullage.testing.sample_contract import compact
store = SqliteStateStore.open(Path(sys.argv[1]))
keep = timedelta(days=400) if point.startswith("given up") else None
print("at work", flush=True)
compact(store, keep=keep)
"""

MOVING = [
    "before the file is written",
    "written, not synced",
    "synced, not named",
    "named, name not synced",
    "named and synced",
    "in the transaction, recorded",
    "in the transaction, some deleted",
    "recorded, space not given back",
]


def start(path: Path, point: str, turn: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMPACTOR, str(path), point, str(turn)],
        stdout=subprocess.PIPE,
        text=True,
    )


def fill(path: Path, runs: int = 12) -> list[tuple[object, ...]]:
    """Record runs with 10 samples each; return all their samples."""
    store = SqliteStateStore.open(path)
    for number in range(runs):
        record(store, number, series_of(*(each + number / 3 for each in range(10))))
    everything = facts(store.workload_samples("daily-orders", **ALL))
    store.close()
    assert len(everything) == 10 * runs
    return everything


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", MOVING)
def test_kill_9_at_each_point_loses_nothing(tmp_path: Path, point: str, turn: int) -> None:
    path = tmp_path / "state" / "state.db"
    everything = fill(path)
    process = start(path, point, 1 if point.startswith("recorded") else turn)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    store = SqliteStateStore.open(path)
    assert facts(store.workload_samples("daily-orders", **ALL)) == everything
    assert store.segments_report().faults == ()
    compact(store)
    report = store.segments_report()
    assert facts(store.workload_samples("daily-orders", **ALL)) == everything
    assert (report.samples_count, report.waiting_samples_count) == (120, 0)
    assert report.faults == report.foreign == ()
    in_folder = {file.name for file in path.parent.glob("segments/*") if file.name != ".lock"}
    assert len(in_folder) == report.segments_count
    assert store.integrity() == []
    store.close()


@pytest.mark.parametrize("point", ["given up, file still there", "given up, file gone"])
def test_kill_9_while_old_segments_are_given_up(tmp_path: Path, point: str) -> None:
    path = tmp_path / "state" / "state.db"
    store = SqliteStateStore.open(path)
    for number, days in ((1, 500), (2, 450)):
        record(store, number, series_of(1.0), started_at=START - timedelta(days=days))
    kept = record(store, 3, series_of(2.0))
    compact(store)
    process = start(path, point)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert store.workload_samples("daily-orders", **ALL).dropped_count == 2
    compact(store)
    assert len(list(path.parent.glob("segments/*.parquet"))) == 1
    assert store.samples(kept, 1) == series_of(2.0)
    report = store.segments_report()
    assert (report.dropped_segments_count, report.faults) == (2, ())
    store.close()


def test_kill_9_at_any_moment_while_runs_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    chance = random.Random(20261126)
    store = SqliteStateStore.open(path)
    expected: set[tuple[str, float]] = set()
    for turn in range(8):
        process = start(path, "anywhere")
        assert process.stdout is not None
        number = 10 * turn
        for each in range(number, number + 5):
            expected.add((record(store, each, series_of(float(each))), float(each)))
        process.stdout.readline()
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.communicate()
        table = store.workload_samples("daily-orders", **ALL)
        found = [
            (table.run_ids[row], ms) for row, ms in zip(table.row, table.elapsed_ms, strict=True)
        ]
        assert len(found) == len(expected)
        assert set(found) == expected
    compact(store)
    assert store.segments_report().waiting_samples_count == 0
    assert store.segments_report().faults == ()
    assert len(store.workload_samples("daily-orders", **ALL)) == len(expected)
    store.close()


def test_two_processes_at_once_move_each_sample_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    everything = fill(path)
    both = [start(path, "nowhere") for _ in range(2)]
    for process in both:
        process.communicate()
    store = SqliteStateStore.open(path)
    compact(store)
    assert facts(store.workload_samples("daily-orders", **ALL)) == everything
    assert store.segments_report().samples_count == len(everything)
    store.close()


@pytest.mark.parametrize("free_bytes", [0, 8 << 10, 16 << 10])
def test_a_full_disk_is_told_and_loses_nothing(mount: Path, free_bytes: int) -> None:
    """While the segment is written; or after that, when the state has to record it."""
    path = mount / "state.db"
    everything = fill(path, 40)
    store = SqliteStateStore.open(path)
    filler = leave_bytes(mount, free_bytes)
    with pytest.raises(PermanentError, match=r"free some space"):
        compact(store)
    assert [file.name for file in path.parent.glob("segments/*")] in ([".lock"], [])
    assert facts(store.workload_samples("daily-orders", **ALL)) == everything
    filler.unlink()
    assert compact(store).moved_samples_count == 400
    assert facts(store.workload_samples("daily-orders", **ALL)) == everything
    store.close()


def test_a_read_only_disk_is_told(mount: Path) -> None:
    path = mount / "state" / "state.db"
    everything = fill(path, 3)
    store = SqliteStateStore.open(path)
    compact(store)
    store.close()
    remount(mount, "ro")
    reader = SqliteStateStore.open(path, read_only=True)
    assert facts(reader.workload_samples("daily-orders", **ALL)) == everything
    with pytest.raises((ConfigError, PermanentError), match="ULLAGE_STATE_DIR"):
        compact(reader)
    reader.close()
    remount(mount, "rw")
