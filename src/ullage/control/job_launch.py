"""Plans the worker of a Dataflow job before its launch, and records the decision durably.

The way of every entrance: `plan_launch`, show it, `record_launch`, and only then send. What
the job really did is written back later, when the service has told; until then the run stays
open under an owner that no process is (see `control.owners`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ullage.control.owners import launch_owner
from ullage.control.run import HISTORY_RUNS, RunStore
from ullage.core.beam_key import PREFIX
from ullage.core.ids import make_run_id
from ullage.core.launch import LaunchedJob, WorkerPlan
from ullage.core.ports import Clock, RunPolicy
from ullage.core.price_book import PriceBook
from ullage.core.view import history_of
from ullage.core.workload import ControlKind, Features, Outcome, Run, Workload
from ullage.policies.workers import PlanRules, plan_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPorts:
    """The world of one launch. store: None where nothing is read and nothing recorded."""

    store: RunStore | None
    policy: RunPolicy
    clock: Clock
    entropy: Callable[[int], bytes]


def plan_launch(
    job: LaunchedJob, ports: LaunchPorts, rules: PlanRules, *, book: PriceBook
) -> WorkerPlan:
    """Return the worker that `job` should get by its history; nothing is recorded.

    Without history other Beam workloads are looked at: they can raise a default, no more.
    Where `book` does not know the job's region, the plan's notes say what stands in.

    Raises ConfigError for a launch that the service would refuse.
    """
    now = ports.clock.now()
    history, related = history_of([], at=now), None
    if ports.store is not None:
        history = history_of(ports.store.runs(job.key, limit=HISTORY_RUNS), at=now)
        if len(history) == 0:
            others = ports.store.runs(limit=HISTORY_RUNS)
            beam = [run for run in others if run.workload.key.startswith(PREFIX)]
            related = history_of(beam, at=now) if beam else None
    prices, stand_in = book.dataflow_to_compare(job.region)
    plan = plan_worker(
        job,
        history=history,
        related=related,
        policy=ports.policy,
        asked_at=now,
        prices=prices,
        rules=rules,
    )
    return replace(plan, notes=(*plan.notes, stand_in)) if stand_in else plan


def record_launch(plan: WorkerPlan, ports: LaunchPorts) -> Run | None:
    """Record the run that is about to be launched with its decision; None without a store.

    The label `ullage-decision` on the job is what joins the two later.
    """
    if ports.store is None:
        return None
    job, now = plan.job, ports.clock.now()
    run = Run(
        run_id=make_run_id(epoch_ms=int(now.timestamp() * 1000), entropy=ports.entropy(3)),
        workload=Workload(key=job.key, key_reason=_key_reason(job)),
        started_at=now,
        known_at=None,
        features=_features(plan),
        control=ControlKind.DATAFLOW,
        outcome=None,
        exit_code=None,
        decision_id=plan.decision.decision_id,
    )
    owner = launch_owner(job.project, job.region, job.job_name)
    ports.store.begin_run(run, plan.decision, owner=owner)
    return run


def close_unsent(run: Run | None, ports: LaunchPorts) -> None:
    """Close the run of a launch that failed, as unknown.

    Not as refused: where an answer was lost the job may run, and then gets its real end.
    """
    if run is not None and ports.store is not None:
        ended = replace(run, known_at=ports.clock.now(), outcome=Outcome.UNKNOWN)
        ports.store.end_run(ended, ())


def _key_reason(job: LaunchedJob) -> str:
    if job.workload_key is not None and not job.workload_key.startswith(PREFIX):
        return "named by the user"
    return f"the Beam job {job.job_name[:120]!a}, without what its launcher adds"


def _features(plan: WorkerPlan) -> Features:
    """Return what is known before the start, the chosen layout among it."""
    known = plan.decision.question.features
    layout: dict[str, float] = {
        "vcpus_count": plan.layout.vcpus_count,
        "processes_count": plan.layout.processes_count,
        "threads_count": plan.layout.threads_count,
    }
    return Features(
        numbers={**known.numbers, **layout},
        labels=known.labels,
        sources={**known.sources, **dict.fromkeys(layout, "the worker plan")},
    )
