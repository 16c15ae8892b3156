"""Policies side by side on the same work, over several processes, with the same answers as by one.

Each workload is replayed on its own, so that they can be dealt out; what comes back is put
in the order of the timeline. The oracle, which knows every peak, is the floor.
Not here: what a policy does (backtest), what the figures mean (figures).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.ports import RunPolicy
from ullage.core.replay import replay_run
from ullage.core.scoring import Outcomes
from ullage.core.view import RunHistory
from ullage.simulation.backtest import (
    Results,
    World,
    backtest_workload,
    outcomes_with_use,
    rows_by_workload,
)
from ullage.simulation.fleet import Epoch, FleetShare, run_epochs
from ullage.simulation.runs_table import Ints
from ullage.simulation.timeline import Timeline
from ullage.simulation.work_pool import Progress, WorkPool

ORACLE = "oracle"
PolicyFactory = Callable[[str], RunPolicy]
OnProgress = Callable[[int, int], None]

_BATCH_RUNS = 512
"""Workloads are dealt out in batches of about so many runs."""
_TOLD_EVERY = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """What one policy did on a whole timeline, and what that took of this machine.

    elapsed_s: of all processes together, start included. peak_rss_mib: most memory held,
    the child processes included.
    """

    policy_id: str
    results: Results
    elapsed_s: float
    peak_rss_mib: float


def compare(
    timeline: Timeline,
    policy_ids: Sequence[str],
    *,
    make_policy: PolicyFactory,
    world: World,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> Iterator[PolicyRun]:
    """Yield what each policy does on the timeline, one after the other.

    jobs: worker processes for the workloads; the answers do not depend on it.
    on_progress: told (runs done, runs in all) over all policies, a few times a second.
    Raises PermanentError where a worker process dies.
    """
    runs_count = len(timeline.runs)
    total = runs_count * len(policy_ids)
    for number, policy_id in enumerate(policy_ids):
        task = _Task(timeline, world, policy_id, make_policy)
        tell = partial(_tell, on_progress, number * runs_count, total, runs_count)
        began = time.perf_counter()
        parts, peak_mib = (_as_fleet if task.shares_budget else _apart)(task, jobs, tell)
        tell(runs_count)
        yield PolicyRun(
            policy_id=policy_id,
            results=merged(parts),
            elapsed_s=time.perf_counter() - began,
            peak_rss_mib=peak_mib,
        )


def _tell(on_progress: OnProgress | None, before: int, total: int, most: int, done: int) -> None:
    if on_progress is not None:
        on_progress(before + min(done, most), total)


def _apart(task: _Task, jobs: int, tell: Callable[[int], None]) -> tuple[list[Results], float]:
    """Replay each workload by itself: in batches, each to whichever process is free."""
    batches = _batches(task.timeline)
    with WorkPool(
        [task.replay_batch] * min(jobs, len(batches)), progress=task.progress, on_progress=tell
    ) as pool:
        return pool.deal(batches), pool.peak_mib


def _as_fleet(task: _Task, jobs: int, tell: Callable[[int], None]) -> tuple[list[Results], float]:
    """Replay all workloads side by side, epoch by epoch: they share the failure budget."""
    shares = _shares(task.timeline, jobs)
    with WorkPool(
        [_FleetWork(task, share) for share in shares], progress=task.progress, on_progress=tell
    ) as pool:
        run_epochs(task.timeline, pool.ask_all)
        found = pool.ask_all(None)
        return [results for share in found for results in share], pool.peak_mib


class _FleetWork:
    """One process's share of a fleet; made in its own process."""

    def __init__(self, task: _Task, workloads: Sequence[Ints]) -> None:
        self._task, self._workloads = task, workloads
        self._share: FleetShare | None = None

    def __call__(self, epoch: Epoch | None) -> Any:
        """Replay an epoch and return what it spent; None asks for the results."""
        if self._share is None:
            task = self._task
            self._share = FleetShare(task.timeline, self._workloads, task.policy(), task.world)
        return self._share.results() if epoch is None else self._share.advance(epoch)


def oracle_workload(timeline: Timeline, rows: Ints, world: World) -> Results:
    """Replay the runs of one workload with the true peak as the limit: the floor of all policies.

    The bounds hold for it too: a peak below the floor gets the floor, one above the ceiling
    is tried once at the ceiling.
    """
    runs = timeline.runs
    scored = rows[timeline.is_scored[rows]]
    known_at_s = np.sort(timeline.known_at_s[rows])
    bounds = world.bounds
    limits = np.clip(np.ceil(runs.peak_bytes[scored]), bounds.floor_bytes, bounds.ceiling_bytes)
    replays = [
        replay_run(
            [int(limit)],
            peak_bytes=float(runs.peak_bytes[row]),
            runtime_s=float(runs.runtime_s[row]),
            ttf_ratio=world.ttf_ratio,
            ceiling_bytes=bounds.ceiling_bytes,
        )
        for row, limit in zip(scored.tolist(), limits.tolist(), strict=True)
    ]
    return Results(
        row=scored,
        known_count=np.searchsorted(known_at_s, timeline.asked_at_s[scored], side="right"),
        first_limit_bytes=limits,
        oom_prob=(runs.peak_bytes[scored] > limits).astype(float),
        decision_ms=np.zeros(len(scored)),
        outcomes=outcomes_with_use(replays, timeline, scored),
    )


def merged(parts: Sequence[Results]) -> Results:
    """Return results as one, in the order of the timeline's rows."""
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row, kind="stable")

    def joined(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    outcomes = {
        each.name: np.concatenate([getattr(part.outcomes, each.name) for part in parts])[order]
        for each in fields(Outcomes)
    }
    return Results(
        row=row[order],
        known_count=np.concatenate([part.known_count for part in parts])[order],
        first_limit_bytes=joined("first_limit_bytes"),
        oom_prob=joined("oom_prob"),
        decision_ms=joined("decision_ms"),
        outcomes=Outcomes(**outcomes),
    )


def _batches(timeline: Timeline) -> list[list[Ints]]:
    """Return all workloads in batches, the largest first: the last ones fill the gaps."""
    workloads = sorted(rows_by_workload(timeline), key=len, reverse=True)
    batches: list[list[Ints]] = []
    runs_count = _BATCH_RUNS
    for rows in workloads:
        if runs_count >= _BATCH_RUNS:
            batches.append([])
            runs_count = 0
        batches[-1].append(rows)
        runs_count += len(rows)
    return batches


def _shares(timeline: Timeline, jobs: int) -> list[list[Ints]]:
    """Return all workloads in at most `jobs` shares of about as many runs each."""
    workloads = sorted(rows_by_workload(timeline), key=len, reverse=True)
    shares: list[list[Ints]] = [[] for _ in range(min(jobs, len(workloads)))]
    loads = [0] * len(shares)
    for rows in workloads:
        least = loads.index(min(loads))
        shares[least].append(rows)
        loads[least] += len(rows)
    return shares


class _Task:
    """One policy on one timeline; made before the processes are forked, which inherit it."""

    def __init__(
        self, timeline: Timeline, world: World, policy_id: str, make_policy: PolicyFactory
    ) -> None:
        self.timeline, self.world, self.progress = timeline, world, Progress()
        self._policy_id, self._make_policy = policy_id, make_policy
        self._policy: RunPolicy | None = None

    @property
    def shares_budget(self) -> bool:
        """Whether the policy's workloads share a failure budget."""
        if self._policy_id == ORACLE or self.world.prices.failure_gbh is not None:
            return False
        return self._make_policy(self._policy_id).is_guarded

    def policy(self) -> RunPolicy:
        """Return the policy, which counts its questions."""
        if self._policy is None:
            self._policy = _Counting(self._make_policy(self._policy_id), self.progress)
        return self._policy

    def replay_batch(self, batch: Sequence[Ints]) -> Results:
        """Replay the workloads of one batch, each by itself."""
        if self._policy_id == ORACLE:
            parts = [oracle_workload(self.timeline, rows, self.world) for rows in batch]
        else:
            policy = self.policy()
            parts = [backtest_workload(self.timeline, rows, policy, self.world) for rows in batch]
        return merged(parts)


class _Counting:
    """A policy that counts its questions, so that progress shows within a long workload."""

    def __init__(self, policy: RunPolicy, progress: Progress) -> None:
        self.policy_id, self.is_guarded = policy.policy_id, policy.is_guarded
        self._policy, self._progress, self._asked = policy, progress, 0

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Pass the question on; count the first one of each run."""
        self._asked += not question.failed_limits_bytes
        if self._asked >= _TOLD_EVERY:
            self._progress.add(self._asked)
            self._asked = 0
        return self._policy.recommend(history, question, related=related)
