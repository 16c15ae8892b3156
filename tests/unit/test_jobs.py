"""What messages say about OOM kills, and what run a job was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.control.job_sync import Fate, SyncedJob, sync_job, sync_jobs
from ullage.core.jobs import (
    JobFacts,
    OomEvidence,
    features_of,
    known_by_label,
    oom_moments,
    process_limit,
    workload_of,
)
from ullage.core.launch import Sdk, label_value
from ullage.core.oom_signals import Surety, oom_signal
from ullage.core.telemetry import Attribution
from ullage.core.units import GIB
from ullage.core.view import history_of
from ullage.core.workload import ControlKind, Outcome, Run, Workload
from ullage.stores.state import SqliteStateStore
from ullage.testing.job_archive_contract import one_job
from ullage.testing.records import begun_run, one_decision

FACTS = replace(one_job().facts, evidence=())
NOW = FACTS.created_at + timedelta(days=365)


@pytest.mark.parametrize(
    ("text", "name", "surety"),
    [
        ("Out of memory: Killed process 5 (java) total-vm:1kB, anon-rss:9kB", "kernel", "definite"),
        (
            "Memory cgroup out of memory: Killed process 5 (python) anon-rss:1kB",
            "kernel",
            "definite",
        ),
        ("SDK harness sdk-0-1 exited: signal: killed", "python_killed", "definite"),
        (
            "Shutting down JVM after 8 consecutive periods of measured GC thrashing. Memory is",
            "gc_thrashing",
            "definite",
        ),
        ("java.lang.OutOfMemoryError: Java heap space", "java_heap", "definite"),
        ("container sdk: OOMKilled", "oom_killed", "strong"),
        ("the process exited with code 137", "exit_137", "strong"),
        ("SDK harness sdk-0-0 disconnected. This usually means", "harness_disconnected", "weak"),
        ("The worker lost contact with the service.", "worker_lost", "weak"),
        ("Worker configuration: n1-standard-1 in us-central1-f.", None, None),
        ("exited with code 1370", None, None),
        ("we ran out of memory of yesterday", None, None),
        ("", None, None),
    ],
)
def test_what_a_message_says(text: str, name: str | None, surety: str | None) -> None:
    found = oom_signal(text)
    assert (None if found is None else found.name) == name
    assert (None if found is None else str(found.surety)) == surety


def test_the_kernel_says_what_the_process_had() -> None:
    line = (
        "Out of memory: Killed process 812 (python) total-vm:9000000kB, anon-rss:3145728kB, "
        "file-rss:1024kB, shmem-rss:1048576kB, UID:0"
    )
    found = oom_signal(line)
    assert found is not None
    assert found.need_bytes == 4 * GIB


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    oom_signal(text)
    oom_signal("Out of memory: Killed process " + text)


def _evidence(seconds: float, name: str, surety: Surety = Surety.DEFINITE) -> OomEvidence:
    at = FACTS.created_at + timedelta(seconds=seconds)
    return OomEvidence(at=at, name=name, surety=surety, text=name)


def test_a_kill_that_three_tell_of_is_one_kill() -> None:
    told = (
        _evidence(0, "kernel"),
        _evidence(1, "python_killed"),
        _evidence(30, "exit_137", Surety.STRONG),
        _evidence(200, "kernel"),
        _evidence(205, "kernel"),
        _evidence(210, "worker_lost", Surety.WEAK),
        _evidence(900, "worker_lost", Surety.WEAK),
    )
    moments = oom_moments(told)
    assert [each.kills for each in moments] == [1, 2]
    assert replace(FACTS, evidence=told).oom_kills == 3


def test_what_one_process_could_have() -> None:
    job = FACTS.job
    assert process_limit(job) == int(3.5 * GIB), "n1-standard-4: (15 - 1) / 4"
    single = replace(job, experiments=("no_use_multiple_sdk_containers",))
    assert process_limit(single) == 14 * GIB
    assert process_limit(replace(job, sdk=Sdk.JAVA)) == 14 * GIB
    assert process_limit(replace(job, machine_type="c3-standard-4")) is None
    assert process_limit(replace(job, is_prime=True)) is None


def test_the_workload_by_label_then_by_name() -> None:
    orders = Workload(key="beam/Orders (EU)", key_reason="")
    known = known_by_label([Workload(key="other", key_reason=""), orders])
    labelled = replace(FACTS.job, labels={"ullage-workload": label_value("Orders (EU)")})
    assert workload_of(labelled, known) == orders
    assert workload_of(labelled, {}).key == "beam/orders--eu"
    assert workload_of(replace(FACTS.job, job_name="etl-20260101-120000"), known).key == "beam/etl"
    hostile = replace(FACTS.job, job_name="\x1b[31m<script>", labels={"ullage-workload": "../\n"})
    assert workload_of(hostile, known).key.isprintable()


def test_features_are_what_was_known_before_the_start() -> None:
    features = features_of(FACTS.job)
    assert features.numbers == {
        "vcpus_count": 4,
        "processes_count": 4,
        "threads_count": 2,
        "workers_count": 3,
    }
    assert features.labels == {"sdk": "python", "sdk_version": "2.77.0", "runner": "dataflow"}


# -- into the record ---------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStateStore]:
    store = SqliteStateStore.open(tmp_path / "state" / "state.db")
    yield store
    store.close()


def _sync(facts: JobFacts, store: SqliteStateStore) -> SyncedJob:
    known = known_by_label([workload for workload, _, _ in store.workloads()])
    return sync_job(facts, store, known=known, now=NOW)


def _only(store: SqliteStateStore) -> Run:
    (run,) = store.runs()
    return run


def test_a_job_that_ended_well_is_a_run_with_the_peak_of_its_hottest_process(
    store: SqliteStateStore,
) -> None:
    assert _sync(FACTS, store).fate is Fate.NEW
    run = _only(store)
    assert (run.workload.key, run.control, run.outcome) == (
        *("beam/orders", ControlKind.DATAFLOW),
        Outcome.OK,
    )
    assert (run.attempts[0].peak_bytes, run.attempts[0].limit_bytes) == (GIB, int(3.5 * GIB))
    assert run.attempts[0].runtime == timedelta(minutes=90)
    assert run.known_at == FACTS.ended_at
    assert list(history_of([run], at=NOW).is_censored) == [False]


def test_twice_is_once(store: SqliteStateStore) -> None:
    _sync(FACTS, store)
    first = store.runs()
    assert _sync(FACTS, store).fate is Fate.KNOWN
    assert store.runs() == first
    assert len(store.jobs()) == 1


class Once:
    """A source that may be asked about a job once."""

    def __init__(self, facts: JobFacts) -> None:
        self.left = [facts]

    def job_ids(self, *, since: datetime | None = None) -> Iterator[str]:
        """Yield nothing."""
        return iter(())

    def facts(self, job_id: str) -> JobFacts:
        """Return the facts; IndexError the second time."""
        return self.left.pop()

    def close(self) -> None:
        """Do nothing."""


def test_a_job_whose_last_word_is_recorded_is_not_asked_about_again(
    store: SqliteStateStore,
) -> None:
    source = Once(FACTS)
    fates = [
        each.fate for _ in range(2) for each in sync_jobs(source, [FACTS.job_id], store, now=NOW)
    ]
    assert fates == [Fate.NEW, Fate.KNOWN]
    with pytest.raises(IndexError):
        list(sync_jobs(source, [FACTS.job_id], store, now=NOW, asks_again=True))


def test_a_job_read_right_after_its_end_is_asked_about_again(store: SqliteStateStore) -> None:
    assert FACTS.ended_at is not None
    soon = FACTS.ended_at + timedelta(minutes=5)
    list(sync_jobs(Once(FACTS), [FACTS.job_id], store, now=soon))
    source = Once(FACTS)
    assert [each.fate for each in sync_jobs(source, [FACTS.job_id], store, now=NOW)] == [Fate.KNOWN]
    assert source.left == []


def test_a_running_job_is_no_run_yet(store: SqliteStateStore) -> None:
    running = replace(FACTS, state="RUNNING", ended_at=None)
    assert _sync(running, store).fate is Fate.RUNNING
    assert store.runs() == []
    assert _sync(FACTS, store).fate is Fate.NEW
    job = store.job(FACTS.job_id)
    assert job is not None
    assert job.run_id == _only(store).run_id


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("FAILED", Outcome.ERROR),
        ("CANCELLED", Outcome.INTERRUPTED),
        ("UPDATED", Outcome.INTERRUPTED),
        ("DRAINED", Outcome.OK),
    ],
)
def test_how_a_job_ended(store: SqliteStateStore, state: str, outcome: Outcome) -> None:
    _sync(replace(FACTS, state=state), store)
    assert _only(store).outcome is outcome


def test_an_oom_makes_the_peak_a_lower_bound(store: SqliteStateStore) -> None:
    facts = replace(FACTS, state="FAILED", evidence=(_evidence(60, "python_killed"),))
    _sync(facts, store)
    run = _only(store)
    assert (run.outcome, run.oom_kills) == (Outcome.OOM_KILLED, 1)
    assert run.attempts[0].peak_bytes == int(3.5 * GIB), "at least what a process could have"
    assert list(history_of([run], at=NOW).is_censored) == [True]
    (event,) = store.ooms()
    assert (event.at, event.attribution) == (facts.evidence[0].at, Attribution.ORGANIC)


def test_an_oom_that_a_retry_survived_censors_too(store: SqliteStateStore) -> None:
    evidence = replace(_evidence(60, "kernel"), need_bytes=3 * GIB)
    _sync(replace(FACTS, evidence=(evidence,)), store)
    run = _only(store)
    assert (run.outcome, run.oom_kills, run.attempts[0].peak_bytes) == (Outcome.OK, 1, 3 * GIB)
    assert list(history_of([run], at=NOW).is_censored) == [True]


def test_weak_signs_are_no_kill(store: SqliteStateStore) -> None:
    _sync(replace(FACTS, evidence=(_evidence(60, "worker_lost", Surety.WEAK),)), store)
    assert _only(store).oom_kills == 0
    assert store.ooms() == []


def test_a_job_without_an_agent_says_nothing_about_its_need(store: SqliteStateStore) -> None:
    _sync(replace(FACTS, need_peak_bytes=None), store)
    assert _only(store).attempts[0].peak_bytes is None
    assert len(history_of(store.runs(), at=NOW)) == 0


def _launched(store: SqliteStateStore, *, asked_bytes: int | None = None) -> JobFacts:
    """Begin a run as a launch does, and return the facts of its job."""
    decision = one_decision()
    question = replace(decision.question, default_bytes=asked_bytes)
    ladders = {"constant": decision.ladder}
    answer = replace(decision.recommendation, expert_ladders=ladders)
    decision = replace(decision, question=question, recommendation=answer)
    run = replace(begun_run(), decision_id=decision.decision_id, control=ControlKind.DATAFLOW)
    store.begin_run(run, decision, owner="launcher")
    labels = {"ullage-decision": decision.decision_id, "ullage-workload": "anything"}
    created_at = run.started_at + timedelta(seconds=5)
    return replace(
        FACTS,
        job=replace(FACTS.job, labels=labels),
        created_at=created_at,
        started_at=created_at,
        ended_at=created_at + timedelta(hours=1),
    )


def test_the_run_that_the_launch_had_begun_is_closed(store: SqliteStateStore) -> None:
    facts = _launched(store)
    begun = _only(store)
    assert _sync(replace(facts, state="RUNNING", ended_at=None), store).fate is Fate.RUNNING
    assert _sync(facts, store).fate is Fate.CLOSED
    assert _sync(facts, store).fate is Fate.KNOWN
    run = _only(store)
    assert (run.run_id, run.workload) == (begun.run_id, begun.workload)
    assert (run.outcome, run.attempts[0].peak_bytes) == (Outcome.OK, GIB)
    assert run.known_at == facts.ended_at
    assert run.expert_costs, "its experts are scored on it"


def test_a_run_whose_launcher_is_long_gone_gets_its_real_end(store: SqliteStateStore) -> None:
    facts = _launched(store)
    store.close_orphans(lambda owner: False, at=facts.created_at)
    assert _only(store).outcome is Outcome.UNKNOWN
    assert _sync(facts, store).fate is Fate.CLOSED
    assert _only(store).outcome is Outcome.OK


def test_cut_off_between_the_run_and_the_job_the_next_sync_finishes(
    store: SqliteStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = _launched(store)
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStateStore, "put_job", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _sync(facts, store)
    before = store.runs()
    assert _sync(facts, store).fate is Fate.KNOWN
    assert store.runs() == before


def test_a_template_launched_twice_under_one_label_is_two_runs(store: SqliteStateStore) -> None:
    first = _launched(store)
    second = replace(first, job_id="other", ended_at=NOW - timedelta(days=1))
    assert _sync(replace(first, state="RUNNING", ended_at=None), store).fate is Fate.RUNNING
    assert _sync(second, store).fate is Fate.NEW
    assert _sync(first, store).fate is Fate.CLOSED
    assert len(store.runs()) == 2
    assert len({run.workload.key for run in store.runs()}) == 1


@pytest.mark.parametrize(
    ("asked_bytes", "attribution"),
    [
        (8 * GIB, Attribution.ULLAGE),
        (2 * GIB, Attribution.ORGANIC),
        (None, Attribution.UNKNOWN),
    ],
)
def test_an_oom_is_ours_where_we_gave_less_than_was_asked(
    store: SqliteStateStore, asked_bytes: int | None, attribution: Attribution
) -> None:
    facts = _launched(store, asked_bytes=asked_bytes)
    _sync(replace(facts, evidence=(_evidence(60, "kernel"),)), store)
    (event,) = store.ooms()
    assert event.attribution is attribution


def test_a_clock_ahead_of_ours_tells_nothing_before_now(store: SqliteStateStore) -> None:
    _sync(replace(FACTS, ended_at=NOW + timedelta(hours=3)), store)
    assert _only(store).known_at == NOW
