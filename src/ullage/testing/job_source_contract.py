"""What every source of jobs must do. Subclass it; give `service` and `open_source`.

Shown against a service that the test fills: what it lists, what a job's facts are, and how it
fails. Reading changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import pytest

from ullage.core.errors import PermanentError, TransientError
from ullage.core.ports import JobSource


class JobService(Protocol):
    """A service of the test's own."""

    def add_job(self, name: str, *, state: str, machine_type: str) -> str:
        """Add a job and return its id; state "RUNNING", "DONE", "FAILED"."""
        ...

    def created_at(self, job_id: str) -> datetime:
        """Return when the service says that the job was created."""
        ...

    def fail_next(self, status: int) -> None:
        """Let the next request fail: 429, 500, 503, or 0 for a connection that breaks."""
        ...


class JobSourceContract:
    """The suite."""

    @pytest.fixture
    def service(self) -> JobService:
        """Return an empty service."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, service: JobService) -> JobSource:
        """Return a source that reads it."""
        raise NotImplementedError

    def test_an_empty_service_has_no_jobs(self, source: JobSource) -> None:
        """Nothing is an empty list."""
        assert list(source.job_ids()) == []

    def test_lists_every_job_however_many(self, service: JobService, source: JobSource) -> None:
        """Page after page."""
        added = [service.add_job(f"a{n}", state="DONE", machine_type="") for n in range(230)]
        assert sorted(source.job_ids()) == sorted(added)

    def test_lists_those_that_were_created_since(
        self, service: JobService, source: JobSource
    ) -> None:
        """From that moment on, itself included."""
        added = [service.add_job(f"a{n}", state="DONE", machine_type="") for n in range(5)]
        since = service.created_at(added[2])
        assert sorted(source.job_ids(since=since)) == sorted(added[2:])

    @pytest.mark.parametrize("state", ["RUNNING", "DONE", "FAILED"])
    def test_facts_of_a_job(self, service: JobService, source: JobSource, state: str) -> None:
        """What was said is there, what was not is None."""
        job_id = service.add_job("orders", state=state, machine_type="n1-standard-4")
        facts = source.facts(job_id)
        assert (facts.job_id, facts.job.job_name, facts.state) == (job_id, "orders", state)
        assert facts.job.machine_type == "n1-standard-4"
        assert facts.created_at == service.created_at(job_id)
        assert facts.is_ended == (state != "RUNNING")
        assert (facts.ended_at is None) == (state == "RUNNING")
        assert facts.evidence == ()
        assert facts.need_peak_bytes is None
        assert source.facts(job_id) == facts, "reading changes nothing"

    def test_an_unknown_job_will_not_come_by_waiting(self, source: JobSource) -> None:
        """It is told at once, with the way out."""
        with pytest.raises(PermanentError, match="there is no"):
            source.facts("gone")

    @pytest.mark.parametrize("status", [429, 500, 503, 0])
    def test_what_may_pass_is_worth_another_try(
        self, service: JobService, source: JobSource, status: int
    ) -> None:
        """Busy, broken, cut off: and then it works."""
        job_id = service.add_job("orders", state="DONE", machine_type="")
        service.fail_next(status)
        with pytest.raises(TransientError) as caught:
            source.facts(job_id)
        assert caught.value.retry_after.total_seconds() > 0
        assert "\n" not in str(caught.value)
        assert source.facts(job_id).job_id == job_id

    def test_closing_twice_is_closing_once(self, source: JobSource) -> None:
        """No error, no effect."""
        source.close()
        source.close()
