"""Segments that are damaged, missing, replaced, half-written or not ours: clear, counted, nothing
else lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from ullage.core.errors import DataError, TransientError
from ullage.core.telemetry import SampleSeries
from ullage.stores.state import SqliteStateStore
from ullage.testing.sample_contract import ALL, compact, record, series_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStateStore]:
    store = SqliteStateStore.open(path)
    yield store
    store.close()


@pytest.fixture
def segment(store: SqliteStateStore, path: Path) -> Path:
    """Return the only segment, of run 1."""
    record(store, 1, series_of(*range(500)))
    compact(store)
    (found,) = files(path)
    return found


def files(path: Path) -> list[Path]:
    return sorted(path.parent.glob("segments/samples-*.parquet"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def lose(file: Path) -> None:
    file.unlink()


def replace_by_foreign(file: Path) -> None:
    file.unlink()
    duckdb.sql("SELECT 1 AS colour, 'x' AS shape").write_parquet(str(file))


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_link(file: Path) -> None:
    shutil.copy(file, file.with_name("elsewhere"))
    file.unlink()
    file.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "its sha256 is not the recorded one"),
        (cut, "bytes, [0-9,]+ were written"),
        (lose, "is missing"),
        (replace_by_foreign, "bytes, [0-9,]+ were written"),
        (replace_by_pipe, "is not a regular file"),
        (replace_by_link, "cannot be read"),
    ],
)
@pytest.mark.parametrize("is_open", [False, True], ids=["fresh", "read before"])
def test_damage_is_told_in_one_line_and_the_rest_is_there(
    store: SqliteStateStore,
    path: Path,
    segment: Path,
    damage: Callable[[Path], None],
    words: str,
    is_open: bool,
) -> None:
    """Also where the process had verified the file before it was damaged."""
    run_id = store.runs()[0].run_id
    other = record(store, 2, series_of(3.0))
    compact(store)
    last = record(store, 3, series_of(4.0))
    if is_open:
        assert len(store.samples(run_id, 1)) == 500
    damage(segment)
    with pytest.raises(DataError, match=words) as caught:
        store.samples(run_id, 1)
    message = str(caught.value)
    assert segment.name in message
    assert "ullage compact --forget-damaged" in message
    assert "\n" not in message
    assert store.samples(other, 1) == series_of(3.0)
    table = store.workload_samples("daily-orders", **ALL)
    assert table.run_ids == (other, last)
    assert (table.unread_count, len(table.faults)) == (1, 1)
    report = store.segments_report()
    assert (report.segments_count, len(report.faults)) == (2, 1)
    assert segment.name in report.faults[0]


def test_damage_can_be_given_up_and_nothing_damaged_is_deleted(
    store: SqliteStateStore, path: Path, segment: Path
) -> None:
    run_id = store.runs()[0].run_id
    flip(segment)
    damaged = segment.read_bytes()
    assert compact(store).dropped_segments_count == 0
    report = compact(store, forgets_damaged=True)
    assert (report.dropped_segments_count, report.dropped_samples_count) == (1, 500)
    assert store.samples(run_id, 1) == SampleSeries()
    assert store.workload_samples("daily-orders", **ALL).dropped_count == 1
    assert store.segments_report().faults == ()
    assert compact(store, forgets_damaged=True).dropped_segments_count == 0
    assert segment.with_name(f"{segment.name}.damaged").read_bytes() == damaged
    assert store.segments_report().foreign == ()


def test_a_segment_that_is_brought_back_is_read_again(
    store: SqliteStateStore, segment: Path
) -> None:
    run_id = store.runs()[0].run_id
    content = segment.read_bytes()
    flip(segment)
    with pytest.raises(DataError):
        store.samples(run_id, 1)
    segment.write_bytes(content)
    assert len(store.samples(run_id, 1)) == 500


def test_foreign_files_are_named_and_left_alone(
    store: SqliteStateStore, path: Path, segment: Path
) -> None:
    folder = segment.parent
    duckdb.sql("SELECT 1 AS colour").write_parquet(str(folder / "mine.parquet"))
    (folder / "no\x1b[31mte").write_text("x")
    (folder / "writing-notes.tmp").write_text("x")
    (folder / "samples-2026-11-0123456789abcdef.parquet").write_text("not Parquet")
    odd = "SELECT {'a': 1} AS run_id, 'x' AS attempt"
    duckdb.sql(odd).write_parquet(str(folder / "samples-2026-11-00000000000000ff.parquet"))
    (folder / "folder").mkdir()
    before = sorted(folder.iterdir())
    record(store, 2, series_of(1.0))
    report = compact(store)
    assert report.foreign == (
        "'folder'",
        "'mine.parquet'",
        "'no\\x1b[31mte'",
        "'writing-notes.tmp'",
    )
    assert any("0123456789abcdef.parquet is not of this record" in note for note in report.notes)
    assert any("00000000000000ff.parquet is not of this record" in note for note in report.notes)
    assert set(before) < set(folder.iterdir())
    assert len(store.workload_samples("daily-orders", **ALL)) == 501


def test_leftovers_are_cleared_once_the_state_has_all_of_them(
    store: SqliteStateStore, path: Path, segment: Path
) -> None:
    """A temporary file; a whole one that was never recorded, whose samples are in the state."""
    (segment.parent / "writing-0123456789abcdef.tmp").write_bytes(b"PAR1 half of it")
    orphan = segment.with_name("samples-2026-11-fedcba9876543210.parquet")
    shutil.copy(segment, orphan)
    report = compact(store)
    assert report.leftovers_count == 2
    assert files(path) == [segment]
    assert report.notes == ()


def test_a_segment_of_another_record_is_never_deleted(tmp_path: Path, segment: Path) -> None:
    """It may hold the only copy: the state was begun anew beside it."""
    other = tmp_path / "other" / "state.db"
    store = SqliteStateStore.open(other)
    record(store, 7, series_of(1.0))
    (other.parent / "segments").mkdir()
    shutil.copy(segment, other.parent / "segments")
    report = compact(store, forgets_damaged=True)
    assert (report.leftovers_count, report.moved_samples_count) == (0, 1)
    assert segment.name in report.notes[0]
    assert (other.parent / "segments" / segment.name).exists()
    store.close()


def test_damaged_samples_in_the_state_stay_there_and_are_counted(store: SqliteStateStore) -> None:
    bad, good = record(store, 1, series_of(1.0)), record(store, 2, series_of(2.0))
    store._connection.execute("UPDATE samples SET packed = x'01020304' WHERE run_id = ?", (bad,))
    report = compact(store)
    assert (report.moved_attempts_count, report.kept_attempts_count) == (1, 1)
    assert bad in report.notes[0]
    assert store.samples(good, 1) == series_of(2.0)
    with pytest.raises(DataError, match="damaged"):
        store.samples(bad, 1)
    table = store.workload_samples("daily-orders", **ALL)
    assert (table.run_ids, table.unread_count) == ((good,), 1)


def test_nobody_else_may_read_segments(store: SqliteStateStore, path: Path, segment: Path) -> None:
    os.chmod(segment.parent, 0o755)
    record(store, 2, series_of(1.0))
    old = os.umask(0)
    try:
        compact(store)
    finally:
        os.umask(old)
    assert stat.S_IMODE(segment.parent.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(file.stat().st_mode) for file in segment.parent.iterdir()}
    assert modes == {0o600}


def test_two_at_once_is_one(store: SqliteStateStore, path: Path, segment: Path) -> None:
    record(store, 2, series_of(1.0))
    with open(segment.parent / ".lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match="another `ullage compact` is at work"):
            compact(store)
    assert compact(store).moved_samples_count == 1


def test_samples_said_anew_while_a_segment_is_made_stay_in_the_state(
    store: SqliteStateStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction looks again; the segment that nobody needs is not left."""
    run_id = record(store, 1, series_of(1.0))
    other = SqliteStateStore.open(path)
    rename = os.rename

    def say_anew(*args: Path) -> None:
        attempt = store.runs()[0].attempts[0]
        other.add_attempt(run_id, attempt, series_of(2.0))
        rename(*args)

    monkeypatch.setattr(os, "rename", say_anew)
    report = compact(store)
    monkeypatch.undo()
    assert (report.moved_samples_count, report.kept_attempts_count) == (0, 1)
    assert files(path) == []
    assert store.samples(run_id, 1) == series_of(2.0)
    assert compact(store).moved_samples_count == 1
    assert store.samples(run_id, 1) == series_of(2.0)
    other.close()


def test_a_segment_given_up_while_it_is_asked_for_reads_as_empty(
    store: SqliteStateStore, path: Path, segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from ullage.stores import segment_index

    run_id = store.runs()[0].run_id
    record(store, 2, series_of(1.0), started_at=store.runs()[0].started_at + timedelta(days=9))
    other = SqliteStateStore.open(path)
    place_of, looks = segment_index.place_of, []

    def look_then_lose(*args: object) -> object:
        found = place_of(*args)  # type: ignore[arg-type]
        if not looks:
            looks.append(found)
            compact(other, keep=timedelta(days=1))
        return found

    monkeypatch.setattr(segment_index, "place_of", look_then_lose)
    assert store.samples(run_id, 1) == SampleSeries()
    assert not segment.exists()
    other.close()


def test_a_state_on_read_only_ground_reads_its_segments(path: Path, segment: Path) -> None:
    reader = SqliteStateStore.open(path, read_only=True)
    assert len(reader.workload_samples("daily-orders", **ALL)) == 500
    reader.close()


def test_anybody_can_ask_the_files_themselves(segment: Path) -> None:
    """As docs/telemetry.md says."""
    found = duckdb.sql(
        "SELECT workload_key, run_id, attempt,"
        " date_diff('microsecond', started_at, \"at\") / 1000.0 AS elapsed_ms,"
        " need_bytes, usage_bytes, limit_bytes"
        f" FROM read_parquet('{segment.parent}/samples-*.parquet') ORDER BY elapsed_ms LIMIT 2"
    ).fetchall()
    assert [row[3:] for row in found] == [
        (0.0, 4096, 8192, 36_864),
        (1.0, 8192, 16_384, None),
    ]
    assert found[0][0] == "daily-orders"
