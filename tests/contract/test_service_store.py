"""The SQLite store of the service loop passes the contract, and keeps what is its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ullage.core.audit import check_chain
from ullage.core.errors import PermanentError
from ullage.core.intents import Intent, IntentVerb
from ullage.core.service import Freeze, FreezeScope, ServeSettings, ServiceSpec, TargetKind
from ullage.stores.service import SqliteServiceStore
from ullage.testing.service_contract import (
    START_AT,
    TARGET,
    JournalContract,
    LeaseContract,
    MakeLease,
    MakeStore,
    ManualClock,
    hold,
    reading,
)

SETTINGS = ServeSettings()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def opened(path: Path) -> Iterator[list[SqliteServiceStore]]:
    stores: list[SqliteServiceStore] = []
    yield stores
    for store in stores:
        store.close()


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def make_store(self, path: Path, opened: list[SqliteServiceStore]) -> MakeStore:
        def make() -> SqliteServiceStore:
            opened.append(SqliteServiceStore.open(path, SETTINGS))
            return opened[-1]

        return make


class TestSqliteLease(LeaseContract):
    @pytest.fixture
    def make_lease(
        self, path: Path, opened: list[SqliteServiceStore], clock: ManualClock
    ) -> MakeLease:
        def make(holder: str) -> object:
            opened.append(SqliteServiceStore.open(path, SETTINGS))
            return opened[-1].lease(holder=holder, monotonic_s=clock)

        return make  # type: ignore[return-value]


@pytest.fixture
def store(path: Path, opened: list[SqliteServiceStore]) -> SqliteServiceStore:
    opened.append(SqliteServiceStore.open(path, SETTINGS))
    return opened[-1]


def test_a_dead_holders_lease_is_free_at_once(store: SqliteServiceStore, path: Path) -> None:
    clock = ManualClock()
    assert store.lease(holder="dead", monotonic_s=clock).acquire(START_AT)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE service_lease SET pid_start_ticks = 1")
    other.close()
    second = store.lease(holder="next", monotonic_s=clock)
    assert second.acquire(START_AT)
    assert second.token == 2


def test_another_boot_ends_every_tenure(store: SqliteServiceStore, path: Path) -> None:
    clock = ManualClock()
    first = store.lease(holder="before", monotonic_s=clock)
    assert first.acquire(START_AT)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE service_lease SET boot_id = 'another'")
    other.close()
    clock.advance(
        SETTINGS.lease_span.total_seconds() / 2
    )  # before, a renewal needs no look at the store
    assert not first.renew(START_AT)
    assert store.lease(holder="after", monotonic_s=clock).acquire(START_AT)


def test_months_are_sealed_and_dropped_whole(store: SqliteServiceStore) -> None:
    for number in range(6):
        at = START_AT + timedelta(days=20 * number)
        store.append([hold(number, at=at), hold(number, at=at)], token=1)
    assert store.month_findings() == []
    assert store.journal_size().months_count == 5
    later = START_AT + timedelta(days=120)
    dropped = store.drop_months(START_AT + timedelta(days=45), at=later)
    assert dropped == ["2026-01", "2026-02"]
    assert store.month_findings() == []
    records = list(store.each())
    assert list(check_chain(records)) == []
    assert records[0].number == 5
    size = store.journal_size()
    assert (size.records_count, size.months_count, size.dropped_months_count) == (8, 3, 2)


def test_the_chain_goes_on_where_all_was_dropped(store: SqliteServiceStore, path: Path) -> None:
    store.append([hold(1)], token=1)
    [_, second] = store.append([hold(2, at=START_AT + timedelta(days=9)), hold(3)], token=1)
    assert store.drop_months(START_AT + timedelta(days=90), at=START_AT) == ["2026-01"]
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM service_journal")
    other.close()
    [third] = store.append([hold(4, at=START_AT + timedelta(days=9))], token=1)
    assert third.number > 1
    assert third.previous_digest
    assert second.number == 3


def test_a_month_that_does_not_fit_shows(store: SqliteServiceStore, path: Path) -> None:
    store.append([hold(1), hold(2)], token=1)
    store.append([hold(3, at=START_AT + timedelta(days=9))], token=1)
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM service_journal WHERE number = 1")
    other.close()
    assert [finding.number for finding in store.month_findings()] == [1]


def test_the_clock_going_back_begins_no_older_month(store: SqliteServiceStore) -> None:
    store.append([hold(1, at=START_AT + timedelta(days=9))], token=1)
    store.append([hold(2, at=START_AT - timedelta(days=90))], token=1)
    assert store.journal_size().months_count == 1
    assert store.month_findings() == []


def test_a_damaged_last_record_is_a_store_failure(store: SqliteServiceStore, path: Path) -> None:
    store.append([hold(1)], token=1)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE service_journal SET entry_json = '{'")
    other.close()
    with pytest.raises(PermanentError, match="audit verify"):
        store.append([hold(2)], token=1)


def test_orders_are_read_by_the_loop_and_journalled(store: SqliteServiceStore) -> None:
    order = Freeze(scope=FreezeScope.CUTS, workload_key="we\udcffb", since_at=START_AT, by="me")
    store.freeze(order)
    assert store.fleet().freezes == (order,)
    assert store.unfreeze("we\udcffb", by="me", at=START_AT)
    assert not store.unfreeze("we\udcffb", by="me", at=START_AT)
    assert store.fleet().freezes == ()
    assert not store.rearm(by="me", at=START_AT)
    store.append([], token=0, breaker_since_at=START_AT)
    assert store.rearm(by="me", at=START_AT)
    assert store.fleet().breaker_since_at is None
    records = list(store.each())
    assert [record.entry.body["verb"] for record in records] == ["freeze", "unfreeze", "rearm"]
    assert list(check_chain(records)) == []


def test_an_order_fits_into_the_chain_of_the_holder(store: SqliteServiceStore) -> None:
    lease = store.lease(holder="daemon", monotonic_s=ManualClock())
    lease.acquire(START_AT)
    store.append([hold()], token=lease.token)
    store.freeze(Freeze(scope=FreezeScope.CUTS, workload_key=None, since_at=START_AT))
    store.append([hold()], token=lease.token)
    assert list(check_chain(store.each())) == []


def test_intents_wait_until_they_are_answered(store: SqliteServiceStore) -> None:
    intent = Intent(verb=IntentVerb.UNDO, workload_key="web", to_at=START_AT, by="me")
    number = store.ask(intent, START_AT)
    assert [asked.intent for asked in store.intents()] == [intent]
    store.answer(number, ("web: 1 GiB",), START_AT)
    assert store.intents() == []
    [done] = store.intents(only_open=False)
    assert done.result == ("web: 1 GiB",)


def test_registered_services_come_and_go(store: SqliteServiceStore) -> None:
    spec = ServiceSpec(workload_key="web", kind=TargetKind.CGROUP1, selector="/a/b")
    store.register(TARGET, spec, owner="o", at=START_AT)
    store.register(TARGET, replace(spec, group="g"), owner="o", at=START_AT)
    assert store.registered() == [(TARGET, "o", replace(spec, group="g"))]
    store.unregister(TARGET)
    assert store.registered() == []


def test_what_is_remembered_of_targets_is_bounded(
    store: SqliteServiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage.stores.service_readings.NAMES_AT_MOST", 3)
    for number in range(5):
        one = replace(reading(number, 1 << 20), target_id=f"cgroup1:/{number}")
        store.add_readings([one])
        store.flush(one.at)
    store.add_readings([replace(reading(61, 1 << 20), target_id="cgroup1:/4")])
    store.flush(START_AT + timedelta(minutes=61))
    names = [name for name, _ in store.histories(START_AT)]
    assert names == ["cgroup1:/2", "cgroup1:/3", "cgroup1:/4"]
    later = reading(6 * 7 * 24 * 60, 1 << 20)
    store.add_readings([later])
    store.flush(later.at)
    [(name, history)] = list(store.histories(START_AT))
    assert (name, len(history.peak_at_s)) == (TARGET, 1)


def test_of_many_targets_some_are_written_at_each_pass_and_all_within_a_minute(
    store: SqliteServiceStore,
) -> None:
    names = [f"cgroup1:/{number}" for number in range(200)]
    written: list[int] = []
    for minute in (0.0, 0.5, 1.0, 1.5):
        store.add_readings([replace(reading(minute, 1 << 20), target_id=name) for name in names])
        written.append(200 - store.readings.waiting_targets_count)
    assert written == [0, 100, 100, 100]
    assert store.readings.waiting_count == 100
    counts = [len(history.at_s) for _, history in store.histories(START_AT)]
    assert sorted(counts) == [3] * 100 + [4] * 100


def test_readings_of_few_targets_are_written_once_a_minute(store: SqliteServiceStore) -> None:
    waiting = []
    for second in range(0, 121, 30):
        store.add_readings([reading(second / 60, 1 << 20)])
        waiting.append(store.readings.waiting_count)
    assert waiting == [1, 2, 0, 1, 0]


def test_readings_that_wait_are_bounded(
    store: SqliteServiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage.stores.service_readings.WAITING_AT_MOST", 2)
    store.readings.add([reading(0, 1), reading(1, 1), reading(2, 1)])
    assert store.readings.waiting_count == 0
    assert store.readings.lost_count == 3
