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
from ullage.simulation.runs_table import Ints
from ullage.simulation.timeline import Timeline
from ullage.simulation.work_pool import Progress, deal_out

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
    batches = _batches(timeline)
    sizes = [sum(map(len, batch)) for batch in batches]
    total = len(timeline.runs) * len(policy_ids)
    for number, policy_id in enumerate(policy_ids):
        progress = Progress()
        task = _Task(timeline, world, policy_id, make_policy, batches, progress)
        began = time.perf_counter()
        parts, peak_mib = deal_out(
            task.run,
            sizes,
            jobs=jobs,
            progress=progress,
            on_progress=partial(_tell, on_progress, number * len(timeline.runs), total),
        )
        yield PolicyRun(
            policy_id=policy_id,
            results=merged(parts),
            elapsed_s=time.perf_counter() - began,
            peak_rss_mib=peak_mib,
        )


def _tell(on_progress: OnProgress | None, before: int, total: int, done: int) -> None:
    if on_progress is not None:
        on_progress(before + done, total)


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


class _Task:
    """One policy on one timeline; made before the processes are forked, which inherit it."""

    def __init__(
        self,
        timeline: Timeline,
        world: World,
        policy_id: str,
        make_policy: PolicyFactory,
        batches: Sequence[Sequence[Ints]],
        progress: Progress,
    ) -> None:
        self._timeline, self._world, self._batches = timeline, world, batches
        self._policy_id, self._make_policy, self._progress = policy_id, make_policy, progress
        self._policy: RunPolicy | None = None

    def run(self, number: int) -> Results:
        """Replay the workloads of one batch."""
        return merged([self._replay(rows) for rows in self._batches[number]])

    def _replay(self, rows: Ints) -> Results:
        if self._policy_id == ORACLE:
            return oracle_workload(self._timeline, rows, self._world)
        if self._policy is None:
            self._policy = _Counting(self._make_policy(self._policy_id), self._progress)
        return backtest_workload(self._timeline, rows, self._policy, self._world)


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
