"""What every store of the service loop must do: journal, lease, states, readings.

Subclass the suites and give what makes the parts. A `ServiceParts` opens the same store as
often as it is called, as a second process would. Crashes are for the adapter's own tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from ullage.core.audit import check_chain
from ullage.core.errors import FencedError
from ullage.core.service import (
    EntryKind,
    JournalEntry,
    JsonValue,
    LimitChange,
    LiveReading,
    TargetState,
    Watch,
)
from ullage.core.service_ports import Journal, Lease, ServiceStore
from ullage.core.units import MIB

START_AT = datetime(2026, 1, 30, 12, tzinfo=UTC)
TARGET = "cgroup1:/a/b"


class JournalledStore(Journal, ServiceStore, Protocol):
    """A journal and a store are one adapter: states and rows are never apart."""


MakeStore = Callable[[], JournalledStore]
MakeLease = Callable[[str], Lease]
"""holder -> its lease over the same store."""


def hold(number: int = 0, *, at: datetime = START_AT, target_id: str = TARGET) -> JournalEntry:
    """Return some entry."""
    return JournalEntry(
        kind=EntryKind.HOLD,
        at=at,
        target_id=target_id,
        workload_key="web",
        body={"codes": ["keep"], "number": number, "ratio": 0.1, "none": None},
    )


def reading(minutes: float, need_bytes: int, *, limit_bytes: int | None = 200 * MIB) -> LiveReading:
    """Return a reading so long after START_AT."""
    at = START_AT + timedelta(minutes=minutes)
    return LiveReading(
        target_id=TARGET,
        at=at,
        known_at=at,
        usage_bytes=need_bytes,
        need_bytes=need_bytes,
        limit_bytes=limit_bytes,
    )


def some_state() -> TargetState:
    """Return a state with something in every field that matters after a crash."""
    return TargetState(
        target_id=TARGET,
        workload_key="web",
        instance="17",
        original_limit_bytes=-1,
        our_limit_bytes=300 * MIB,
        pending=LimitChange(
            target_id=TARGET,
            decision_id="d-1",
            expected_bytes=300 * MIB,
            new_bytes=280 * MIB,
            token=3,
            is_cut=True,
        ),
        watch=Watch(
            decision_id="d-1",
            from_bytes=300 * MIB,
            to_bytes=280 * MIB,
            began_at=START_AT,
            until_at=START_AT + timedelta(minutes=15),
            oom_kills=0,
            instance="17",
        ),
        is_parked=True,
        oom_kills=2,
    )


class JournalContract:
    """The suite of journal and store."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return what opens the same store, empty at first, as often as it is called."""
        raise NotImplementedError

    def test_what_was_appended_is_there_for_others(self, make_store: MakeStore) -> None:
        """Durable when append returns: rows, states and breaker together."""
        entries = [hold(1), hold(2, target_id="cgroup1:/\udcff\n'\"%")]
        records = make_store().append(
            entries, token=1, states=[some_state()], breaker_since_at=START_AT
        )
        other = make_store()
        assert list(other.each()) == records
        assert [record.entry for record in records] == entries
        assert [record.number for record in records] == [1, 2]
        assert other.states() == [some_state()]
        assert other.fleet().breaker_since_at == START_AT

    def test_the_chain_goes_on_over_calls_and_openings(self, make_store: MakeStore) -> None:
        """Sealed onto the latest record, whoever wrote it."""
        for number in range(4):
            make_store().append([hold(number)], token=number + 1)
        records = list(make_store().each())
        assert len(records) == 4
        assert list(check_chain(records)) == []
        assert [record.number for record in make_store().each(2)] == [3, 4]

    def test_an_older_token_is_fenced_and_nothing_is_written(self, make_store: MakeStore) -> None:
        """S9: who lost the lease cannot write, neither rows nor states."""
        store = make_store()
        store.append([hold()], token=5)
        with pytest.raises(FencedError):
            store.append([hold()], token=4, states=[some_state()])
        assert len(list(store.each())) == 1
        assert store.states() == []

    def test_a_state_is_replaced(self, make_store: MakeStore) -> None:
        """The last word counts."""
        store = make_store()
        store.append([], token=1, states=[some_state()])
        settled = replace(some_state(), pending=None, is_parked=False)
        store.append([hold()], token=1, states=[settled])
        assert make_store().states() == [settled]

    def test_the_breaker_stays_open(self, make_store: MakeStore) -> None:
        """Only people close it."""
        store = make_store()
        store.append([hold()], token=1, breaker_since_at=START_AT)
        store.append([hold()], token=1)
        assert store.fleet().breaker_since_at == START_AT

    def test_readings_come_back_as_history(self, make_store: MakeStore) -> None:
        """Interval peaks, recent samples, no limit as -1."""
        store = make_store()
        for minute, need_mib in enumerate((100, 150, 120)):
            store.add_readings([reading(minute, need_mib * MIB)])
        store.add_readings([reading(60, 90 * MIB, limit_bytes=None)])
        store.flush(START_AT + timedelta(hours=1))
        [(target_id, history)] = list(make_store().histories(START_AT - timedelta(weeks=5)))
        assert target_id == TARGET
        assert history.need_bytes.tolist() == [100 * MIB, 150 * MIB, 120 * MIB, 90 * MIB]
        assert history.limit_bytes.tolist() == [200 * MIB] * 3 + [-1]
        assert sorted(history.at_s.tolist()) == history.at_s.tolist()
        assert history.peak_bytes.tolist() == [150 * MIB, 90 * MIB]
        assert history.first_seen_at == START_AT

    def test_an_oom_kill_is_history_for_ever(self, make_store: MakeStore) -> None:
        """S23: told twice it counts once, and it survives."""
        body: dict[str, JsonValue] = {
            "instance": "17",
            "died_at": START_AT.isoformat(),
            "at_least_bytes": 210 * MIB,
            "limit_bytes": 200 * MIB,
            "kills": 1,
            "attribution": "organic",
            "decision_id": None,
        }
        oom = replace(hold(), kind=EntryKind.OOM, body=body)
        store = make_store()
        store.add_readings([reading(0, 100 * MIB)])
        store.flush(START_AT)
        store.append([oom], token=1)
        store.append([oom], token=1)
        [(_, history)] = list(store.histories(START_AT - timedelta(weeks=5)))
        assert history.oom_at_least_bytes.tolist() == [210 * MIB]


class LeaseContract:
    """The suite of the lease. The clock stands still unless a test moves it."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the monotonic clock that all leases of the suite share."""
        return ManualClock()

    @pytest.fixture
    def make_lease(self, clock: ManualClock) -> MakeLease:
        """Return what makes holders' leases over one store, with a span of 15 s."""
        raise NotImplementedError

    def test_one_holder_at_a_time(self, make_lease: MakeLease) -> None:
        """The second one has to wait."""
        first, second = make_lease("a"), make_lease("b")
        assert first.acquire(START_AT)
        assert first.still_mine()
        assert not second.acquire(START_AT)
        assert not second.still_mine()
        assert (first.token, second.token) == (1, 0)

    def test_released_it_is_free_at_once(self, make_lease: MakeLease) -> None:
        """With a higher token."""
        first, second = make_lease("a"), make_lease("b")
        first.acquire(START_AT)
        first.release()
        assert not first.still_mine()
        assert second.acquire(START_AT)
        assert second.token > first.token

    def test_not_renewed_it_ends_by_its_age(
        self, make_lease: MakeLease, clock: ManualClock
    ) -> None:
        """A paused holder may not write before another one may begin."""
        first, second = make_lease("a"), make_lease("b")
        first.acquire(START_AT)
        clock.advance(14)
        assert not second.acquire(START_AT)
        assert not first.still_mine(), "writes end before the lease does"
        clock.advance(1)
        assert second.acquire(START_AT)
        assert not first.renew(START_AT)
        assert not first.still_mine()
        assert second.still_mine()

    def test_renewed_it_goes_on(self, make_lease: MakeLease, clock: ManualClock) -> None:
        """Under the same token."""
        first, second = make_lease("a"), make_lease("b")
        first.acquire(START_AT)
        for _ in range(5):
            clock.advance(5)
            assert first.renew(START_AT)
            assert first.still_mine()
            assert first.age_s() == 0
        assert not second.acquire(START_AT)
        assert first.token == 1

    def test_the_wall_clock_says_nothing(self, make_lease: MakeLease) -> None:
        """S20: it may jump by days."""
        first, second = make_lease("a"), make_lease("b")
        first.acquire(START_AT)
        assert not second.acquire(START_AT + timedelta(days=9))
        assert first.renew(START_AT - timedelta(days=9))


class ManualClock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now_s = 1_000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self._now_s

    def advance(self, span_s: float) -> None:
        """Let time pass."""
        self._now_s += span_s
