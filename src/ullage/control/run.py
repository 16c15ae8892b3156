"""A whole run: decide, record, try, retry, learn. The table of contents of `ullage run`.

Everything outside comes in as a port; the order of effects is the safety contract's: the
decision and its envelope are durable before the command starts, the end is durable before
anybody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from ullage.control.attempt import AttemptEnd, AttemptPlan, AttemptWatch, Target, WatchSettings
from ullage.control.forward_clock import ForwardClock
from ullage.control.growth import Envelope
from ullage.control.sentinel import Sentinel
from ullage.control.signals import SignalQueue
from ullage.core.allocation import FLOOR_BYTES, Bounds, Ladder, Prices
from ullage.core.decide import decide_run
from ullage.core.decision import Reason, RunDecision, RunQuestion
from ullage.core.errors import AdapterError, ConfigError, DataError
from ullage.core.ids import make_run_id
from ullage.core.ports import (
    Booking,
    Clock,
    MemorySource,
    RunPolicy,
    RunReader,
    Sandbox,
    StateStore,
)
from ullage.core.scoring import expert_costs_gbh
from ullage.core.service_registry import RunningService, ServiceRegistry
from ullage.core.spending import Spending
from ullage.core.telemetry import Attribution, OomEvent
from ullage.core.units import format_bytes
from ullage.core.view import RunHistory, history_of, moment_of_view
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload

HISTORY_RUNS = 500
"""How many past runs a decision sees at most."""


class RunStore(StateStore, RunReader, Protocol):
    """What a run needs of the store: to write and to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked for. Byte counts are None where nothing was said."""

    workload: Workload
    features: Features
    argv: Sequence[str]
    env: Mapping[str, str]
    request_bytes: int | None = None
    max_bytes: int | None = None
    fixed_limit_bytes: int | None = None
    growth_allowed: bool = True
    observe_only: bool = False
    is_service: bool = False
    """Runs until it is stopped; `ullage serve` may move its limit too."""
    retries: int = 0
    failure_budget_ratio: float = 0.02
    prices: Prices = field(default_factory=Prices)
    parent_run_id: str | None = None


class SandboxMaker(Protocol):
    """Makes the sandbox of one attempt and a source over it."""

    control: ControlKind
    reason: str
    """Why it can only observe; empty where it can limit."""

    def make(self, name: str) -> tuple[Sandbox, Callable[[int], MemorySource]]:
        """Return a sandbox that is not created yet, and how to open its source."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """The world of one run. `join_ledger(run_id, parent_run_id)` returns its booking."""

    store: RunStore | None
    policy: RunPolicy
    sandboxes: SandboxMaker
    join_ledger: Callable[[str, str | None], Booking]
    clock: Clock
    entropy: Callable[[int], bytes]
    signals: SignalQueue
    sentinel: Sentinel
    owner: str
    say: Callable[[str], None]
    settings: WatchSettings
    services: ServiceRegistry | None = None
    """Where a service is registered; None = nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """An ended run and what the next one will get; notes are one line each.

    following: None for a service: its limit is not sized by the end of a run.
    """

    run: Run
    decision: RunDecision
    following: RunDecision | None
    limit_wanted: bool
    left_running_count: int
    is_recorded: bool
    notes: tuple[str, ...] = ()


def supervise_run(request: RunRequest, ports: RunPorts) -> RunReport:
    """Run the command under memory control and return the report.

    Raises ConfigError or AdapterError before the command has started; once it has run, the
    report comes back whatever else breaks.
    """
    ports = replace(ports, clock=ForwardClock(ports.clock))
    run_id = make_run_id(
        epoch_ms=int(ports.clock.now().timestamp() * 1000), entropy=ports.entropy(3)
    )
    booking = ports.join_ledger(run_id, request.parent_run_id)
    try:
        return _Run(request, ports, run_id, booking).execute()
    except BaseException:
        booking.release()
        raise


class _Run:
    """The state of one run while it lasts."""

    def __init__(self, request: RunRequest, ports: RunPorts, run_id: str, booking: Booking) -> None:
        self._request = request
        self._ports = ports
        self._run_id = run_id
        self._booking = booking
        self._attempts: list[Attempt] = []
        self._service: RunningService | None = None
        self._notes: list[str] = []
        self._is_recorded = ports.store is not None
        self._view_at = ports.clock.now()

    def execute(self) -> RunReport:
        """Decide, record, try, learn."""
        self._bounds = self._find_bounds()
        self._history, self._related = self._read_history()
        self._spending = self._read_spending()
        decision = self._decide(self._history)
        started = Run(
            run_id=self._run_id,
            workload=self._request.workload,
            started_at=self._ports.clock.now(),
            known_at=None,
            features=self._request.features,
            control=self._ports.sandboxes.control,
            outcome=None,
            exit_code=None,
            decision_id=decision.decision_id,
        )
        if self._ports.store is not None:
            self._ports.store.begin_run(started, decision, owner=self._ports.owner)
        end = self._try_until_done(decision)
        run = self._finish(started, decision)
        self._note_left_running(end.left_running_count)
        if end.left_running_count == 0:
            self._booking.release()
        return RunReport(
            run=run,
            decision=decision,
            following=None if self._request.is_service else self._decide_next(run),
            limit_wanted=not self._request.observe_only,
            left_running_count=end.left_running_count,
            is_recorded=self._is_recorded,
            notes=tuple(self._notes),
        )

    # -- before -------------------------------------------------------------------------

    def _find_bounds(self) -> Bounds:
        """Return floor and ceiling; ConfigError where the wish cannot be met on this host."""
        request, can_limit = self._request, self._ports.sandboxes.control is not ControlKind.OBSERVE
        host_bytes = self._booking.ceiling_bytes(0)
        if request.fixed_limit_bytes is not None:
            if not can_limit:
                raise ConfigError(
                    f"--limit cannot be enforced: {self._ports.sandboxes.reason}; "
                    "use --observe to only measure"
                )
            return Bounds(
                floor_bytes=min(FLOOR_BYTES, request.fixed_limit_bytes),
                ceiling_bytes=request.fixed_limit_bytes,
            )
        ceiling_bytes = min(host_bytes, request.max_bytes or host_bytes)
        if ceiling_bytes < FLOOR_BYTES and can_limit and not request.observe_only:
            raise ConfigError(
                f"the host has only {format_bytes(max(0, ceiling_bytes))} to give (other runs have "
                "booked the rest, see `ullage doctor`); wait for them, or use --observe"
            )
        return Bounds(ceiling_bytes=max(FLOOR_BYTES, ceiling_bytes))

    def _read_history(self) -> tuple[RunHistory, RunHistory | None]:
        store, now = self._ports.store, self._ports.clock.now()
        if store is None:
            return history_of([], at=now), None
        runs = store.runs(self._request.workload.key, limit=HISTORY_RUNS)
        self._view_at = moment_of_view(runs, now=now)
        history = history_of(runs, at=self._view_at)
        if len(history):
            return history, None
        runs = store.runs(limit=HISTORY_RUNS)
        self._view_at = moment_of_view(runs, now=now)
        return history, history_of(runs, at=self._view_at)

    def _read_spending(self) -> Spending | None:
        """Return what all workloads have spent of the budget, where it is this run's too."""
        store = self._ports.store
        if store is None or self._can_grow or self._request.retries < 1:
            return None
        spending = store.spending()
        return spending if spending.runs_count else None

    def _question(self) -> RunQuestion:
        request = self._request
        return RunQuestion(
            workload_key=request.workload.key,
            asked_at=max(self._ports.clock.now(), self._view_at),
            features=request.features,
            bounds=self._bounds,
            request_bytes=request.request_bytes,
            failed_limits_bytes=tuple(
                attempt.final_limit_bytes
                for attempt in self._attempts
                if attempt.oom_kills and attempt.final_limit_bytes is not None
            ),
            attempts_left=max(0, request.retries - len(self._attempts)),
            can_grow=self._can_grow,
            failure_budget_ratio=request.failure_budget_ratio,
            spending=self._spending,
            prices=request.prices,
        )

    @property
    def _can_grow(self) -> bool:
        can_limit = self._ports.sandboxes.control is not ControlKind.OBSERVE
        return self._request.growth_allowed and can_limit

    def _decide(self, history: RunHistory) -> RunDecision:
        decision = decide_run(history, self._question(), self._ports.policy, related=self._related)
        return self._as_ordered(decision)

    def _as_ordered(self, decision: RunDecision) -> RunDecision:
        """Let the user's own order (--limit, --observe) outrank the policy, and say so."""
        fixed_bytes = self._request.fixed_limit_bytes
        if fixed_bytes is not None:
            ladder = Ladder(limit_bytes=(fixed_bytes,), oom_prob=decision.ladder.oom_prob[-1:])
            return replace(decision, ladder=ladder, reasons=(Reason.FIXED,))
        if self._request.observe_only or self._ports.sandboxes.control is ControlKind.OBSERVE:
            return replace(decision, reasons=(Reason.OBSERVE, *decision.reasons))
        return decision

    # -- the attempts -------------------------------------------------------------------

    def _try_until_done(self, decision: RunDecision) -> AttemptEnd:
        while True:
            end = self._try_once(decision)
            self._attempts.append(end.attempt)
            self._record_attempt(end)
            if not self._may_retry(end):
                return end
            decision = self._decide(self._history)
            self._record_decision(decision)
            self._ports.say(
                f"attempt {end.attempt.number} was OOM-killed at "
                f"{format_bytes(end.attempt.final_limit_bytes)}; "
                f"trying again with {format_bytes(decision.limit_bytes)}"
            )

    def _try_once(self, decision: RunDecision) -> AttemptEnd:
        number = len(self._attempts) + 1
        envelope = self._envelope(decision)
        ports = self._ports
        sandbox, open_source = ports.sandboxes.make(f"ullage-{self._run_id}-{number}")
        if sandbox.path:
            ports.sentinel.guard(sandbox.path, sandbox.release_writes)
        sandbox.create()
        self._register(sandbox)
        try:
            watch = AttemptWatch(
                AttemptPlan(
                    number=number,
                    argv=self._request.argv,
                    env=self._env(),
                    envelope=envelope,
                    is_shared=self._request.is_service,
                ),
                Target(sandbox=sandbox, open_source=open_source, booking=self._booking),
                clock=ports.clock,
                signals=ports.signals,
                settings=ports.settings,
                say=ports.say,
            )
            end = watch.run()
            if end.attempt.oom_kills and self._has_retry(end):
                watch.kill_members()  # what is left of a failed try must not meet the next one
        finally:
            if sandbox.path and sandbox.remove():
                ports.sentinel.drop(sandbox.path)
                self._unregister()
        return end

    def _register(self, sandbox: Sandbox) -> None:
        """Let `ullage serve` find the service; where that fails it runs and grows as any run."""
        services = self._ports.services
        if services is None or not self._request.is_service or not sandbox.path:
            return
        self._service = RunningService(
            workload_key=self._request.workload.key,
            kind=sandbox.kind,
            folder=sandbox.path,
            owner=self._ports.owner,
            started_at=self._ports.clock.now(),
            max_bytes=self._request.max_bytes,
        )
        try:
            services.add(self._service)
        except (AdapterError, DataError) as error:
            self._ports.say(f"`ullage serve` will not find it: {error}")

    def _unregister(self) -> None:
        services, service = self._ports.services, self._service
        if services is None or service is None:
            return
        with suppress(AdapterError, DataError):  # who is gone is found to be gone
            services.drop(service)

    def _envelope(self, decision: RunDecision) -> Envelope | None:
        is_observing = Reason.OBSERVE in decision.reasons
        if is_observing:
            return None
        limit_bytes = decision.limit_bytes
        may_grow = self._can_grow and self._request.fixed_limit_bytes is None
        return Envelope(
            limit_bytes=limit_bytes,
            ceiling_bytes=max(limit_bytes, self._growth_ceiling_bytes())
            if may_grow
            else limit_bytes,
            rungs_bytes=decision.ladder.limit_bytes,
            has_evidence=Reason.LEARNED in decision.reasons,
        )

    def _growth_ceiling_bytes(self) -> int:
        """The recorded envelope: no raise leaves what was durable before the start."""
        return self._bounds.ceiling_bytes

    def _env(self) -> dict[str, str]:
        return {**self._request.env, "ULLAGE_RUN_ID": self._run_id}

    def _has_retry(self, end: AttemptEnd) -> bool:
        return (
            end.attempt.outcome is Outcome.OOM_KILLED
            and len(self._attempts) + (end.attempt not in self._attempts) <= self._request.retries
        )

    def _may_retry(self, end: AttemptEnd) -> bool:
        if not self._has_retry(end):
            return False
        failed_bytes = end.attempt.final_limit_bytes
        if failed_bytes is not None and failed_bytes >= self._bounds.ceiling_bytes:
            self._notes.append(
                f"not tried again: {format_bytes(failed_bytes)} was the ceiling already"
            )
            return False
        return True

    # -- after --------------------------------------------------------------------------

    def _record_decision(self, decision: RunDecision) -> None:
        store = self._ports.store
        if store is not None and self._is_recorded:
            self._keep(lambda: store.add_decision(decision))

    def _record_attempt(self, end: AttemptEnd) -> None:
        store = self._ports.store
        if store is not None and self._is_recorded:
            self._keep(lambda: store.add_attempt(self._run_id, end.attempt, end.samples))

    def _finish(self, started: Run, decision: RunDecision) -> Run:
        last = self._attempts[-1]
        is_policys = not {Reason.FIXED, Reason.OBSERVE} & set(decision.reasons)
        spent_prob = decision.recommendation.spent_prob if is_policys else ()
        first_oom_prob = decision.ladder.oom_prob[0] if spent_prob else None
        run = replace(
            started,
            known_at=self._ports.clock.now(),
            outcome=last.outcome,
            exit_code=last.exit_code,
            attempts=tuple(self._attempts),
        )
        run = replace(
            run,
            expert_costs=expert_costs_gbh(decision, run),
            spent_prob=spent_prob,
            first_oom_prob=first_oom_prob,
        )
        store = self._ports.store
        if store is not None and self._is_recorded:
            self._keep(lambda: store.end_run(run, self._oom_events()))
        return run

    def _keep(self, write: Callable[[], None]) -> None:
        """Write; where the store breaks now, the command's own result still comes first."""
        try:
            write()
        except (AdapterError, DataError) as error:
            self._is_recorded = False
            self._notes.append(f"this run is not recorded: {error}")

    def _oom_events(self) -> list[OomEvent]:
        return [
            OomEvent(
                run_id=self._run_id,
                workload_key=self._request.workload.key,
                attempt=attempt.number,
                at=attempt.started_at + attempt.runtime,
                at_least_bytes=_most(attempt.peak_bytes, attempt.final_limit_bytes),
                limit_bytes=attempt.final_limit_bytes,
                kills=attempt.oom_kills,
                attribution=self._attribution(attempt),
            )
            for attempt in self._attempts
            if attempt.oom_kills
        ]

    def _note_left_running(self, count: int) -> None:
        if count:
            self._notes.append(
                f"{count} process{'es' if count > 1 else ''} of the command still running under "
                "the last limit; the cgroup is removed when they end"
            )

    def _attribution(self, attempt: Attempt) -> Attribution:
        """Planned: an earlier rung of our ladder. Organic: the user's own limit or the ceiling."""
        is_ours = self._request.fixed_limit_bytes is None and not self._can_grow
        if attempt.final_limit_bytes is None or not is_ours:
            return Attribution.ORGANIC
        if attempt.number <= self._request.retries:
            return Attribution.PLANNED
        is_at_ceiling = attempt.final_limit_bytes >= self._bounds.ceiling_bytes
        return Attribution.ORGANIC if is_at_ceiling else Attribution.ULLAGE

    def _decide_next(self, run: Run) -> RunDecision:
        """Return what the next run with the same features and options would get."""
        store = self._ports.store
        runs = [run]
        if store is not None and self._is_recorded:
            runs = store.runs(run.workload.key, limit=HISTORY_RUNS)
        self._view_at = moment_of_view(runs, now=self._ports.clock.now())
        self._attempts.clear()
        question = replace(self._question(), request_bytes=self._request.request_bytes)
        if self._request.fixed_limit_bytes is not None:
            host_bytes = max(FLOOR_BYTES, self._booking.ceiling_bytes(0))
            question = replace(question, bounds=Bounds(ceiling_bytes=host_bytes), can_grow=True)
        return decide_run(
            history_of(runs, at=self._view_at), question, self._ports.policy, related=self._related
        )


def _most(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return max(known, default=None)
