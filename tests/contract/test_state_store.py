"""The SQLite state store passes the contract, and keeps what is its own."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ullage.core.errors import DataError
from ullage.core.telemetry import SampleSeries
from ullage.core.workload import Outcome
from ullage.stores.record_json import from_json, to_json
from ullage.stores.sample_blob import pack_samples, unpack_samples
from ullage.stores.schema.migrations import MIGRATIONS, Migration, migrate, schema_version
from ullage.stores.state import SqliteStateStore
from ullage.testing.records import START, begun_run, ended, one_attempt, one_decision
from ullage.testing.sample_contract import MakeStore as MakeSampleStore
from ullage.testing.sample_contract import SampleArchiveContract
from ullage.testing.store_contract import MakeStore, StateStoreContract


class TestSqliteStateStore(StateStoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda: SqliteStateStore.open(tmp_path / "state" / "state.db")


class TestSqliteSamples(SampleArchiveContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeSampleStore:
        return lambda: SqliteStateStore.open(tmp_path / "a 'b?*[x]%" / "state.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "a b?#%" / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStateStore]:
    store = SqliteStateStore.open(path)
    yield store
    store.close()


def test_nobody_else_may_read_it(store: SqliteStateStore, path: Path) -> None:
    store.begin_run(begun_run(), None, owner="me")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_copy_with_loose_rights_is_tightened(store: SqliteStateStore, path: Path) -> None:
    store.close()
    os.chmod(path, 0o644)
    SqliteStateStore.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_commit_is_synced_and_others_may_read_meanwhile(store: SqliteStateStore) -> None:
    ask = store._connection.execute
    assert ask("PRAGMA synchronous").fetchone()[0] == 2
    assert ask("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ask("PRAGMA foreign_keys").fetchone()[0] == 1


def test_the_envelope_lasts_as_long_as_its_run(store: SqliteStateStore) -> None:
    decision = one_decision()
    run = begun_run(decision_id=decision.decision_id)
    ask = "SELECT ceiling_bytes, valid_until_us FROM envelope"
    store.begin_run(run, decision, owner="me")
    ceiling_bytes = decision.question.bounds.ceiling_bytes
    assert tuple(store._connection.execute(ask).fetchone()) == (ceiling_bytes, None)
    store.end_run(ended(run), [])
    assert store._connection.execute(ask).fetchone()[1] > START.timestamp() * 1e6


def test_all_tables_are_strict(store: SqliteStateStore) -> None:
    tables = store._connection.execute("PRAGMA table_list").fetchall()
    assert {row["name"] for row in tables if not row["strict"]} <= {
        "sqlite_schema",
        "sqlite_temp_schema",
    }


def test_reading_only_writes_nothing(store: SqliteStateStore, path: Path) -> None:
    store.begin_run(begun_run(), None, owner="me")
    reader = SqliteStateStore.open(path, read_only=True)
    assert reader.runs() == [begun_run()]
    with pytest.raises(sqlite3.OperationalError):
        reader._connection.execute("DELETE FROM run")
    reader.close()


def test_no_text_of_a_secret_is_in_the_files(store: SqliteStateStore, path: Path) -> None:
    workload = replace(begun_run().workload, command=("etl", "--token=hunter2", "X_SECRET=hunter2"))
    store.begin_run(begun_run(workload=workload), None, owner="me")
    for file in path.parent.iterdir():
        assert b"hunter2" not in file.read_bytes()


def test_counts_and_integrity(store: SqliteStateStore) -> None:
    store.begin_run(begun_run(), None, owner="me")
    store.end_run(ended(begun_run()), [])
    assert store.counts() == {"workloads": 1, "runs": 1, "attempts": 1, "decisions": 0, "ooms": 0}
    assert store.integrity() == []


def test_a_damaged_row_is_told_by_its_run(store: SqliteStateStore) -> None:
    store.begin_run(begun_run(), None, owner="me")
    store._connection.execute("UPDATE run SET features_json = '{'")
    with pytest.raises(DataError, match=begun_run().run_id):
        store.runs()
    assert begun_run().run_id in store.integrity()[0]


def test_runs_are_found_by_indexes(store: SqliteStateStore) -> None:
    for where, index in (("", "run_by_start"), ("WHERE workload_key = 'x'", "run_by_workload")):
        plan = store._connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM run {where} ORDER BY started_at_us DESC, run_id DESC"
        ).fetchall()
        text = " ".join(row["detail"] for row in plan)
        assert index in text
        assert "TEMP B-TREE" not in text


def test_a_cost_that_is_no_number_is_not_scored(store: SqliteStateStore) -> None:
    store.begin_run(begun_run(), None, owner="me")
    costs = {"good": 1.0, "nan": float("nan"), "infinite": float("inf")}
    store.end_run(ended(begun_run(), expert_costs=costs), [])
    assert store.runs()[0].expert_costs == {"good": 1.0}


def test_values_beyond_64_bits_are_refused_and_nothing_of_them_stays(
    store: SqliteStateStore,
) -> None:
    store.begin_run(begun_run(), None, owner="me")
    with pytest.raises(DataError):
        store.end_run(ended(begun_run(), one_attempt(), one_attempt(2, peak_bytes=2**64)), [])
    assert store.runs() == [begun_run()]


def test_orphans_may_be_told_by_a_question(store: SqliteStateStore) -> None:
    store.begin_run(begun_run(1), None, owner="alive")
    store.begin_run(begun_run(2), None, owner="dead")
    assert store.close_orphans(lambda owner: owner == "alive", at=START) == [begun_run(2).run_id]
    assert store.runs()[0].outcome is Outcome.UNKNOWN


def test_nonsense_of_a_policy_is_recorded_as_it_was() -> None:
    ladder = replace(one_decision().ladder, oom_prob=(float("nan"), float("-inf")))
    text = to_json(ladder)
    assert '"NaN","-Infinity"' in text
    assert repr(from_json(type(ladder), text)) == repr(ladder)


def test_older_records_get_defaults_and_newer_ones_are_read() -> None:
    record = one_decision().recommendation
    text = to_json(record).replace('"spent_prob":[]', '"from_the_future":1')
    assert from_json(type(record), text) == record


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"limit_bytes":3,"oom_prob":[]}'])
def test_damaged_json_is_said(text: str) -> None:
    with pytest.raises(DataError, match="Ladder"):
        from_json(type(one_decision().ladder), text)


def test_damaged_samples_are_said() -> None:
    series = SampleSeries()
    for index in range(50):
        series.append(index * 50.1, need_bytes=index, usage_bytes=index, limit_bytes=None)
    blob = pack_samples(series)
    assert unpack_samples(blob) == series
    assert len(blob) < 50 * 4 * 8 / 2
    for damaged in (
        b"",
        blob[:3],
        blob[:-5],
        blob[:20],
        b"\x09" + blob[1:],
        b"\x01\x07" + blob[2:],
    ):
        with pytest.raises(DataError):
            unpack_samples(damaged)


def test_a_step_that_fails_leaves_the_file_as_it_was(store: SqliteStateStore) -> None:
    broken = Migration(MIGRATIONS[-1].number + 1, ("CREATE TABLE extra (x)", "nonsense"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(store._connection, (*MIGRATIONS, broken))
    assert schema_version(store._connection) == MIGRATIONS[-1].number
    names = store._connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert "extra" not in {row["name"] for row in names}


def test_steps_are_made_once_and_in_order() -> None:
    assert [step.number for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    connection = sqlite3.connect(":memory:", isolation_level=None)
    two = (Migration(1, ("CREATE TABLE a (x)",)), Migration(2, ("ALTER TABLE a ADD y",)))
    migrate(connection, two[:1])
    migrate(connection, two)
    migrate(connection, two)
    assert [row[1] for row in connection.execute("PRAGMA table_info(a)")] == ["x", "y"]
    connection.close()
