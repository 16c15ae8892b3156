"""What every state store must do. Subclass `StateStoreContract` and give `make_store`.

Durability is shown by opening the same store again; crashes are for the adapter's own tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage.core.decision import RunDecision
from ullage.core.errors import InvariantError
from ullage.core.ports import RunArchive, RunReader, StateStore
from ullage.core.spending import Spending
from ullage.core.telemetry import SampleSeries
from ullage.core.units import GIB
from ullage.core.workload import Features, Outcome, Run
from ullage.testing import records
from ullage.testing.records import (
    START,
    begun_run,
    ended,
    one_attempt,
    one_decision,
    one_oom,
    one_stage,
)

_ANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Store(StateStore, RunReader, RunArchive, Protocol):
    """All that one store does."""


MakeStore = Callable[[], Store]


class StateStoreContract:
    """The suite."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return what opens the same store, empty at first, as often as it is called."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, make_store: MakeStore) -> Iterator[Store]:
        """Return the store, opened once."""
        store = make_store()
        yield store
        store.close()

    def run_to_end(self, store: Store, run: Run) -> Run:
        """Record a whole run; return it as it ended."""
        store.begin_run(run, None, owner="me")
        end = ended(run)
        store.add_attempt(run.run_id, end.attempts[0], SampleSeries())
        store.end_run(end, [])
        return end

    def test_a_run_is_recorded_before_it_starts(self, store: Store, make_store: MakeStore) -> None:
        """What begin_run has returned from is there for others, running and with its decision."""
        decision = one_decision()
        run = begun_run(decision_id=decision.decision_id)
        store.begin_run(run, decision, owner="me")
        other = make_store()
        assert other.runs() == [run]
        assert other.decision(decision.decision_id) == decision
        other.close()

    def test_an_ended_run_is_what_it_was(self, store: Store, make_store: MakeStore) -> None:
        """Outcome, exit code, attempts and costs survive closing the store."""
        run = begun_run()
        store.begin_run(run, None, owner="me")
        attempts = (one_attempt(1, outcome=Outcome.OOM_KILLED, oom_kills=2), one_attempt(2))
        for attempt in attempts:
            store.add_attempt(run.run_id, attempt, SampleSeries())
        end = ended(
            run,
            *attempts,
            expert_costs={"constant": 0.25},
            spent_prob=(0.5, 0.25),
            first_oom_prob=0.25,
        )
        store.end_run(end, [one_oom(run)])
        store.close()
        again = make_store()
        assert again.runs() == [end]
        assert again.ooms() == [one_oom(run)]
        again.close()

    def test_spending_is_that_of_all_workloads_under_the_budget(self, store: Store) -> None:
        """Runs that were not under it, go on, or have a curve on another grid, do not count."""
        assert store.spending() == Spending()
        ends = [
            (1, "a", one_attempt(1), (0.5, 0.25), 0.25),
            (2, "b", one_attempt(1, outcome=Outcome.OOM_KILLED, oom_kills=1), (0.25, 0.0), 0.0),
            (3, "a", one_attempt(1), (), None),
            (0, "a", one_attempt(1), (0.5, 0.5, 0.5), 0.5),
        ]
        for number, key, attempt, curve, announced in ends:
            run = begun_run(number, key=key)
            store.begin_run(run, None, owner="me")
            store.end_run(ended(run, attempt, spent_prob=curve, first_oom_prob=announced), [])
        store.begin_run(begun_run(5), None, owner="me")
        found = store.spending()
        assert (found.runs_count, found.failures_count) == (2, 1)
        assert found.mean_prob == (0.375, 0.125)
        assert found.expected_count == 0.25

    def test_runs_come_newest_first(self, store: Store) -> None:
        """By start, whatever the order of recording; by workload; at most as many as asked."""
        for number in (3, 1, 4, 2):
            key = "odd" if number % 2 else "even"
            store.begin_run(begun_run(number, key=key), None, owner="me")
        assert [run.run_id[11] for run in store.runs()] == list("4321")
        assert [run.run_id[11] for run in store.runs("odd")] == list("31")
        assert [run.run_id[11] for run in store.runs(limit=2)] == list("43")
        assert [run.run_id[11] for run in store.runs("even", limit=1)] == ["4"]
        assert store.runs("neither") == []

    def test_workloads_are_counted_and_shown_as_last_seen(self, store: Store) -> None:
        """One row per key, latest start first."""
        renamed = replace(begun_run().workload, command=("python", "etl2.py"))
        store.begin_run(begun_run(1), None, owner="me")
        store.begin_run(begun_run(3, workload=renamed), None, owner="me")
        store.begin_run(begun_run(2, key="other"), None, owner="me")
        assert store.workloads() == [
            (renamed, 2, START + timedelta(minutes=3)),
            (begun_run(key="other").workload, 1, START + timedelta(minutes=2)),
        ]

    def test_the_same_decision_may_start_two_runs(self, store: Store) -> None:
        """Same inputs, same id: it is referred to, not refused."""
        decision = one_decision()
        for number in (1, 2):
            run = begun_run(number, decision_id=decision.decision_id)
            store.begin_run(run, decision, owner="me")
        assert {run.decision_id for run in store.runs()} == {decision.decision_id}
        assert store.decision(decision.decision_id) == decision
        assert store.decision("d-none") is None

    def test_a_run_id_is_used_once(self, store: Store) -> None:
        """A second run of the same id is refused, and the first stays as it was."""
        store.begin_run(begun_run(), None, owner="me")
        with pytest.raises(InvariantError):
            store.begin_run(begun_run(exit_code=7), one_decision(), owner="me")
        assert store.runs() == [begun_run()]
        assert store.decision("d-1") is None

    def test_an_end_needs_a_beginning_and_happens_once(self, store: Store) -> None:
        """The same end said twice is one end; another end is refused."""
        with pytest.raises(InvariantError):
            store.end_run(ended(begun_run()), [])
        end = self.run_to_end(store, begun_run())
        store.end_run(end, [])
        with pytest.raises(InvariantError):
            store.end_run(
                replace(end, known_at=START + timedelta(days=1), outcome=Outcome.ERROR), []
            )
        with pytest.raises(InvariantError):
            store.end_run(begun_run(), [])
        assert store.runs() == [end]

    def test_the_end_brings_attempts_that_were_not_recorded(self, store: Store) -> None:
        """A store that failed during the run still gets the whole run at its end."""
        run = begun_run()
        store.begin_run(run, None, owner="me")
        store.end_run(ended(run, one_attempt(1), one_attempt(2)), [])
        assert [attempt.number for attempt in store.runs()[0].attempts] == [1, 2]

    def test_runs_of_the_dead_are_closed_as_unknown(self, store: Store) -> None:
        """Only those without an end whose owner is not alive; said once."""
        self.run_to_end(store, begun_run(1))
        store.begin_run(begun_run(2), None, owner="dead")
        store.begin_run(begun_run(3), None, owner="alive")
        at = START + timedelta(hours=1)
        assert store.close_orphans({"alive"}.__contains__, at=at) == [begun_run(2).run_id]
        assert store.close_orphans({"alive"}.__contains__, at=at) == []
        three, two, one = store.runs()
        assert (three.outcome, three.known_at) == (None, None)
        assert (two.outcome, two.known_at) == (Outcome.UNKNOWN, at)
        assert one.outcome is Outcome.OK

    def test_a_real_end_outranks_unknown(self, store: Store) -> None:
        """A run that was given up too early still tells how it ended."""
        store.begin_run(begun_run(), None, owner="me")
        store.close_orphans(lambda _: False, at=START + timedelta(hours=1))
        end = ended(begun_run(), known_at=START + timedelta(hours=2))
        store.end_run(end, [])
        assert store.runs() == [end]

    def test_an_oom_counts_once_and_comes_newest_first(self, store: Store) -> None:
        """By run, attempt and moment."""
        for number, key in ((1, "a"), (2, "b")):
            run = begun_run(number, key=key)
            store.begin_run(run, None, owner="me")
            store.end_run(ended(run), [one_oom(run), one_oom(run)])
            store.end_run(ended(run), [one_oom(run)])
        assert [event.workload_key for event in store.ooms()] == ["b", "a"]
        assert [event.workload_key for event in store.ooms("a")] == ["a"]
        assert [event.workload_key for event in store.ooms(limit=1)] == ["b"]

    def test_samples_belong_to_an_attempt(self, store: Store) -> None:
        """They come back as they went in; where there are none, none come."""
        series = SampleSeries()
        series.append(0.1, need_bytes=5, usage_bytes=7, limit_bytes=None)
        series.append(50.3, need_bytes=GIB, usage_bytes=2 * GIB, limit_bytes=3 * GIB)
        store.begin_run(begun_run(), None, owner="me")
        store.add_attempt(begun_run().run_id, one_attempt(), series)
        assert store.samples(begun_run().run_id, 1) == series
        assert store.samples(begun_run().run_id, 2) == SampleSeries()
        assert store.samples("r-none", 1) == SampleSeries()

    def test_stages_are_those_of_the_latest_execution(
        self, store: Store, make_store: MakeStore
    ) -> None:
        """Of that workload, in order of start, durable; none where there are none."""
        for number, key in ((1, "a"), (2, "a"), (3, "a"), (4, "b")):
            self.run_to_end(store, begun_run(number, key=key))
        store.add_stages("a", [one_stage(begun_run(1)), one_stage(begun_run(1), name="late")])
        latest = [
            one_stage(begun_run(2), execution_id="e-2", peak_bytes=GIB, used_byte_seconds=0.5),
            one_stage(begun_run(3), execution_id="e-2", start_bytes=None),
        ]
        store.add_stages("a", reversed(latest))
        store.add_stages("b", [one_stage(begun_run(4), execution_id="e-3")])
        store.close()
        again = make_store()
        assert again.stages("a") == latest
        assert again.stages("neither") == []
        again.close()

    def test_a_stage_said_again_is_one_stage(self, store: Store) -> None:
        """The last word counts; a worker without a run has no stages."""
        self.run_to_end(store, begun_run())
        store.add_stages("daily-orders", [one_stage(begun_run())])
        store.add_stages("daily-orders", [one_stage(begun_run(), peak_bytes=7)])
        assert store.stages("daily-orders") == [one_stage(begun_run(), peak_bytes=7)]
        with pytest.raises(InvariantError):
            store.add_stages("daily-orders", [one_stage(begun_run(9))])

    def test_no_secret_is_stored(self, store: Store) -> None:
        """Not in the command, the features, or the question of the decision."""
        workload = replace(
            begun_run().workload, command=("etl", "--db-password", "hunter2", "pg://u:hunter2@db")
        )
        features = Features(
            labels={"api_token": "hunter2"}, sources={"input_bytes": "--token=hunter2"}
        )
        decision = one_decision()
        decision = replace(decision, question=replace(decision.question, features=features))
        run = begun_run(workload=workload, features=features, decision_id=decision.decision_id)
        store.begin_run(run, decision, owner="me")
        store.add_stages("daily-orders", [one_stage(run, name="Read(pg://u:hunter2@db)")])
        assert "hunter2" not in repr(store.stages("daily-orders"))
        assert "hunter2" not in repr(store.runs())
        assert "hunter2" not in repr(store.workloads())
        assert "hunter2" not in repr(store.decision(decision.decision_id))
        assert store.runs()[0].workload.command[:2] == ("etl", "--db-password")

    @_ANY
    @given(run=records.ended_runs, series=st.lists(records.sample_series(), max_size=3))
    def test_what_went_in_comes_out(
        self, store: Store, run: Run, series: list[SampleSeries]
    ) -> None:
        """Any run, any attempts, any samples."""
        run = replace(run, run_id=f"r-{next(_numbers)}")
        store.begin_run(
            replace(run, known_at=None, outcome=None, attempts=()), None, owner="somebody"
        )
        for attempt, samples in zip(run.attempts, series, strict=False):
            store.add_attempt(run.run_id, attempt, samples)
        store.end_run(run, [])
        found = [each for each in store.runs(run.workload.key) if each.run_id == run.run_id]
        assert found == [run]
        for attempt, samples in zip(run.attempts, series, strict=False):
            assert store.samples(run.run_id, attempt.number) == samples

    @_ANY
    @given(decision=records.decisions)
    def test_a_decision_comes_out_as_it_went_in(self, store: Store, decision: RunDecision) -> None:
        """Any decision."""
        number = next(_numbers)
        decision = replace(decision, decision_id=f"d-{number}")
        run = begun_run(number, decision_id=decision.decision_id)
        store.begin_run(run, decision, owner="somebody")
        assert store.decision(decision.decision_id) == decision

    # -- many at once ------------------------------------------------------------------------

    def test_imported_twice_is_once(self, make_store: MakeStore) -> None:
        """Only new runs are recorded, with their OOM events, durably."""
        store = make_store()
        runs = [ended(begun_run(n), one_attempt(oom_kills=1)) for n in range(3)]
        ooms = [one_oom(run) for run in runs]
        assert store.add_ended(runs[:2], ooms) == {run.run_id for run in runs[:2]}
        assert store.add_ended(runs, ooms) == {runs[2].run_id}
        assert store.add_ended(runs, ooms) == set()
        store.close()
        again = make_store()
        assert again.runs() == list(reversed(runs))
        assert len(again.ooms()) == 3
        assert again.known_run_ids([runs[0].run_id, "r-other"]) == {runs[0].run_id}
        again.close()

    def test_an_import_leaves_what_is_recorded_as_it_is(self, store: Store) -> None:
        """No import changes a run of our own."""
        end = self.run_to_end(store, begun_run())
        assert store.add_ended([replace(end, exit_code=9)], []) == set()
        assert store.runs() == [end]

    def test_of_two_with_one_id_the_first_is_imported(self, store: Store) -> None:
        """In one batch too."""
        first = ended(begun_run())
        second = ended(begun_run(), one_attempt(exit_code=7), exit_code=7)
        assert store.add_ended([first, second], []) == {first.run_id}
        assert store.runs() == [first]

    def test_a_run_that_still_goes_on_cannot_be_imported(self, store: Store) -> None:
        """And then nothing of the batch is."""
        with pytest.raises(InvariantError, match="has not ended"):
            store.add_ended([ended(begun_run(1)), begun_run(2)], [])
        assert store.runs() == []

    def test_all_runs_come_oldest_first_page_by_page(self, store: Store) -> None:
        """Of one workload or all, from a moment on."""
        runs = [ended(begun_run(n, key=("even", "odd")[n % 2])) for n in range(2_500)]
        store.add_ended(runs, [])
        assert list(store.each_run()) == runs
        assert list(store.each_run("odd")) == runs[1::2]
        assert list(store.each_run(since=runs[2_400].started_at)) == runs[2_400:]
        assert list(store.each_run("neither")) == []

    def test_all_decisions_come_oldest_first(self, store: Store) -> None:
        """Of one workload or all, from a moment on."""
        decisions = [
            replace(
                each,
                question=replace(each.question, asked_at=START + timedelta(minutes=number)),
            )
            for number, each in enumerate(
                one_decision(f"d-{n}", key=("even", "odd")[n % 2]) for n in range(1_100)
            )
        ]
        for each in decisions:
            store.add_decision(each)
        assert list(store.each_decision()) == decisions
        assert list(store.each_decision("odd")) == decisions[1::2]
        assert list(store.each_decision(since=START + timedelta(minutes=1_098))) == decisions[-2:]


_numbers = count(10**6)
