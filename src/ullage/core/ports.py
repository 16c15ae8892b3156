"""Ports: the small interfaces through which the core meets the world.

Each is owned here, has one to five methods, and has a contract suite in
`ullage.testing` that every adapter passes. `bootstrap` is the only module that names
adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ullage.core.decision import Recommendation, RunDecision, RunQuestion
from ullage.core.jobs import JobFacts, RecordedJob
from ullage.core.recorded import FoundRun, ReadOptions, RejectedRow
from ullage.core.spending import Spending
from ullage.core.stages import StageUse
from ullage.core.telemetry import MemoryReading, OomEvent, PressureState, SampleSeries
from ullage.core.workload import Attempt, ControlKind, Run, Workload

if TYPE_CHECKING:
    from ullage.core.stored_samples import (
        CompactionOrder,
        CompactionReport,
        SampleTable,
        SegmentsReport,
    )
    from ullage.core.view import RunHistory


class Clock(Protocol):
    """Time from outside: intervals by the monotonic clock, facts by the wall clock."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC: for what is recorded, never for spans."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never jumps: for spans and cool-downs."""
        ...


class RunPolicy(Protocol):
    """From history to a ladder. Pure: same arguments, same answer."""

    @property
    def policy_id(self) -> str:
        """Return the policy's name in records and reports."""
        ...

    @property
    def is_guarded(self) -> bool:
        """Say whether our guards hold its answers; a peer has its own rules, and bounds."""
        ...

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer `question` from the workload's own `history`.

        `related` holds runs of other workloads (for the cold start and for pooling).
        """
        ...


class MemorySource(Protocol):
    """Reads one live target and wakes whoever watches it. One reader: readings reset a maximum."""

    def read(self) -> MemoryReading:
        """Return usage and need now. PermanentError if the target has vanished."""
        ...

    def pressure(self) -> PressureState:
        """Return whether tasks wait at the limit, and the OOM kills so far."""
        ...

    def expect_limit(self, limit_bytes: int) -> None:
        """Arm early warnings below `limit_bytes`, at once or soon; never waits for it."""
        ...

    def wake_fds(self) -> Sequence[int]:
        """Return file descriptors that become readable when the target should be read."""
        ...

    def close(self) -> None:
        """Give back descriptors; the target stays."""
        ...


class LimitActuator(Protocol):
    """Changes one live target's limit. Obeys; decides nothing."""

    def set_limit(self, limit_bytes: int) -> int:
        """Set the limit in place and return what the target now has.

        PermanentError if the target refuses (a cut below usage) or has vanished.
        """
        ...

    def set_parking(self, is_parking: bool) -> None:
        """True: tasks wait at the limit instead of being OOM-killed. False: the kernel kills."""
        ...


class Sandbox(LimitActuator, Protocol):
    """A target that Ullage made for one attempt: a cgroup, or nothing but a process tree."""

    kind: ControlKind
    path: str

    @property
    def release_writes(self) -> tuple[tuple[str, str], ...]:
        """Return (file, text) that a sentinel writes when the supervisor is dead."""
        ...

    def create(self) -> None:
        """Make it. Its path is known before, so that a sentinel can guard it first."""
        ...

    def enter(self) -> None:
        """Move the calling process in. Runs in the child between fork and exec."""
        ...

    def current_limit_bytes(self) -> int | None:
        """Return the limit as it is now, also if somebody else has set it; None = none or gone."""
        ...

    def is_parked(self) -> bool | None:
        """Say whether tasks are made to wait now, whoever ordered it; None = cannot tell."""
        ...

    def member_pids(self) -> list[int]:
        """Return the processes inside now."""
        ...

    def remove(self) -> bool:
        """Remove it if it is empty; say whether it is gone."""
        ...


class StateStore(Protocol):
    """The durable record: decisions before effects, runs, attempts, samples, OOM events.

    Every method that writes is durable (committed and synced) when it returns.
    TransientError = locked, try again; PermanentError = full, read-only, corrupted.
    """

    def begin_run(self, run: Run, decision: RunDecision | None, *, owner: str) -> None:
        """Record a run that is about to start, with the decision that it starts under.

        `owner` identifies the supervising process (see `close_orphans`).
        """
        ...

    def add_decision(self, decision: RunDecision) -> None:
        """Record a later decision of a run (for a retry), before it has an effect."""
        ...

    def add_attempt(self, run_id: str, attempt: Attempt, samples: SampleSeries) -> None:
        """Record one ended attempt and its samples."""
        ...

    def end_run(self, run: Run, ooms: Iterable[OomEvent]) -> None:
        """Record the end of a run: outcome, exit code, expert costs, OOM events, known_at."""
        ...

    def add_stages(self, workload_key: str, uses: Iterable[StageUse]) -> None:
        """Record what the workers of one execution of a pipeline needed in each stage."""
        ...

    def close_orphans(self, is_alive: Callable[[str], bool], *, at: datetime) -> list[str]:
        """Close runs whose owner is not alive as `unknown`; return their ids."""
        ...

    def close(self) -> None:
        """Give the store back."""
        ...


class RunReader(Protocol):
    """Reads what is recorded."""

    def runs(self, workload_key: str | None = None, *, limit: int | None = None) -> list[Run]:
        """Return runs with their attempts, newest first."""
        ...

    def workloads(self) -> list[tuple[Workload, int, datetime]]:
        """Return (workload, number of runs, last start), latest first."""
        ...

    def ooms(self, workload_key: str | None = None, *, limit: int | None = None) -> list[OomEvent]:
        """Return OOM events, newest first."""
        ...

    def spending(self) -> Spending:
        """Return what the latest runs of all workloads have spent of the failure budget."""
        ...

    def decision(self, decision_id: str) -> RunDecision | None:
        """Return a recorded decision, or None."""
        ...

    def samples(self, run_id: str, attempt: int) -> SampleSeries:
        """Return the samples of one attempt (empty if there are none, or none are left).

        DataError where they are recorded and cannot be read.
        """
        ...

    def stages(self, workload_key: str) -> list[StageUse]:
        """Return the stages of a workload's latest execution that has any, in order of start."""
        ...


class Booking(Protocol):
    """One run's share of the host's memory in the ledger that all runs share."""

    def ceiling_bytes(self, need_bytes: int) -> int:
        """Return how far this run may grow now, given its own need."""
        ...

    def book(self, *, booked_bytes: int, need_bytes: int) -> int:
        """Book memory (replacing the last booking); return the new ceiling in bytes."""
        ...

    def release(self) -> None:
        """Give the booking back."""
        ...


class HistoryReader(Protocol):
    """Reads one kind of file in which another system recorded runs. One method does the work."""

    @property
    def format_id(self) -> str:
        """Return what `--format` calls it."""
        ...

    def recognises(self, head: bytes) -> bool:
        """Say whether a file that begins with `head` (unpacked) is of this kind."""
        ...

    def read(
        self, path: str, *, options: ReadOptions, tell: Callable[[int, int], None]
    ) -> Iterator[FoundRun | RejectedRow]:
        """Yield what the file holds, row by row, in bounded memory; broken rows are rejected.

        `tell(done, total)` is called now and then. ConfigError if the file cannot be read.
        """
        ...


class RunArchive(Protocol):
    """Takes runs over that ended elsewhere, and gives all that is recorded away."""

    def known_run_ids(self, run_ids: Sequence[str]) -> set[str]:
        """Return those of `run_ids` that are recorded."""
        ...

    def add_ended(self, runs: Sequence[Run], ooms: Iterable[OomEvent]) -> set[str]:
        """Record ended runs in one transaction, without those that are recorded already.

        Returns the ids of the new ones; `ooms` of the others are left out with them.
        """
        ...

    def each_run(
        self, workload_key: str | None = None, *, since: datetime | None = None
    ) -> Iterator[Run]:
        """Yield runs that started at `since` or later, oldest first, in bounded memory."""
        ...

    def each_decision(
        self, workload_key: str | None = None, *, since: datetime | None = None
    ) -> Iterator[RunDecision]:
        """Yield decisions asked for at `since` or later, oldest first, in bounded memory."""
        ...


class JobSource(Protocol):
    """Reads the jobs of a service that runs them (Dataflow): one project, one region."""

    def job_ids(self, *, since: datetime | None = None) -> Iterator[str]:
        """Yield the ids of jobs created at `since` or later."""
        ...

    def facts(self, job_id: str) -> JobFacts:
        """Return what the service says about a job now.

        PermanentError where there is no such job or no permission, TransientError where
        asking again may help, DataError for an answer that cannot be meant.
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class JobArchive(Protocol):
    """Keeps the facts of jobs, the latest of each."""

    def put_job(self, job: RecordedJob) -> None:
        """Record a job's facts; said again, the last word counts."""
        ...

    def job(self, job_id: str) -> RecordedJob | None:
        """Return a recorded job, or None."""
        ...

    def jobs(
        self, workload_key: str | None = None, *, limit: int | None = None
    ) -> list[RecordedJob]:
        """Return recorded jobs, created last first."""
        ...

    def job_of_run(self, run_id: str) -> RecordedJob | None:
        """Return the job that a run is, or None."""
        ...

    def run_under(self, decision_label: str) -> list[Run]:
        """Return the runs begun under the decision whose id has this form as a label."""
        ...


class SampleArchive(Protocol):
    """Samples beyond the live record: asked for by workload, moved, given up, verified.

    Where samples lie makes no difference to any answer.
    """

    def workload_samples(
        self, workload_key: str, *, since: datetime, until: datetime
    ) -> SampleTable:
        """Return a workload's samples taken at `since` or later and before `until`.

        What cannot be read is counted and told in the table; the rest is there.
        """
        ...

    def compact(
        self, order: CompactionOrder, *, tell: Callable[[int, int], None]
    ) -> CompactionReport:
        """Move samples of ended runs out of the live record; give old ones up, if ordered.

        `tell(done, total)` is called now and then. TransientError where another is at it.
        """
        ...

    def dropped_attempts_count(
        self, workload_key: str | None = None, *, since: datetime | None = None
    ) -> int:
        """Return of how many attempts, of runs that started at `since` or later, the samples
        were given up."""
        ...

    def segments_report(self) -> SegmentsReport:
        """Verify what was moved, and count it."""
        ...
