"""demo.rounds: jobs side by side, each with its runs in order; one failure ends all."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from threading import Event

import pytest

from ullage.core.errors import PermanentError
from ullage.demo import rounds
from ullage.demo.rounds import Job, JobRun

JOBS = tuple(Job(name=name, naive_limit_bytes=1, months=(1, 2, 3)) for name in "abcde")


def _runs(job: Job) -> Iterator[JobRun]:
    for months in job.months:
        yield JobRun(job=job.name, months=months, result={"outcome": "ok"})


def test_runs_of_a_job_follow_each_other_and_jobs_keep_their_order() -> None:
    told: list[JobRun] = []
    done = rounds._side_by_side(JOBS, _runs, told.append)
    assert [(run.job, run.months) for run in done] == [(j, m) for j in "abcde" for m in (1, 2, 3)]
    assert sorted((run.job, run.months) for run in told) == [(r.job, r.months) for r in done]


def test_a_job_that_fails_ends_the_others() -> None:
    def runs(job: Job) -> Iterator[JobRun]:
        if job.name == "a":
            raise PermanentError("no")
        yield from _runs(job)

    with pytest.raises(PermanentError, match="no"):
        rounds._side_by_side(JOBS, runs, lambda run: None)


def test_a_failure_is_seen_while_jobs_before_it_still_run() -> None:
    may_end = Event()

    def runs(job: Job) -> Iterator[JobRun]:
        if job.name == "b":
            raise PermanentError("no")
        assert may_end.wait(60)
        yield from _runs(job)

    class Running:
        def send_signal(self, number: int) -> None:
            assert number == signal.SIGTERM
            may_end.set()

    running = Running()
    rounds._RUNNING.add(running)  # type: ignore[arg-type]
    try:
        with pytest.raises(PermanentError, match="no"):
            rounds._side_by_side(JOBS, runs, lambda run: None)
    finally:
        rounds._RUNNING.discard(running)  # type: ignore[arg-type]
    assert may_end.is_set()


def test_without_beam_there_are_plain_commands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds.importlib.util, "find_spec", lambda name: None)
    assert rounds.jobs_here() == rounds.COMMANDS
    monkeypatch.setattr(rounds.importlib.util, "find_spec", lambda name: name)
    assert len(rounds.jobs_here()) == 5
