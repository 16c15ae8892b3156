"""Workloads side by side under one failure budget, told now and then what all have spent.

Time goes in epochs: what was spent is known to every decision as of the beginning of its
epoch, so that workloads need each other only between epochs, and the answers do not
depend on how many processes share the work. Not here: one workload (backtest), the
processes (work_pool).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ullage.core.ports import RunPolicy
from ullage.core.spending import RECENT_RUNS, Spending, spending_of
from ullage.simulation.backtest import Results, Spent, WorkloadReplay, World
from ullage.simulation.runs_table import Ints
from ullage.simulation.timeline import Timeline

EPOCH_LEAST_RUNS = 64
EPOCH_RATIO = 0.05
"""An epoch lasts 64 runs, or 5 % of all runs so far where that is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Runs asked about in [after, until); spending as it was known at the beginning."""

    begin_s: float
    until_s: float
    spending: Spending | None


def run_epochs(
    timeline: Timeline,
    replay: Callable[[Epoch], list[Spent]],
    *,
    least_runs: int = EPOCH_LEAST_RUNS,
) -> None:
    """Let `replay` go through all epochs; it returns what each share of the fleet has spent."""
    recent: Spent | None = None
    starts = epoch_starts(timeline, least_runs)
    for begin_s, until_s in pairwise([-np.inf, *starts[1:], np.inf]):
        epoch = Epoch(
            begin_s=float(begin_s), until_s=float(until_s), spending=spending_so_far(recent)
        )
        parts = replay(epoch)
        recent = latest([*parts, recent] if recent is not None else parts)


def epoch_starts(timeline: Timeline, least_runs: int) -> NDArray[np.float64]:
    """Return the moments at which epochs begin; they depend on no later run."""
    asked = np.sort(timeline.asked_at_s[timeline.is_scored])
    at, starts = 0, []
    while at < len(asked):
        starts.append(asked[at])
        at += max(least_runs, int(EPOCH_RATIO * at))
    return np.unique(np.array(starts, float))


class FleetShare:
    """Some workloads of a fleet, in one process."""

    def __init__(
        self, timeline: Timeline, workloads: Sequence[Ints], policy: RunPolicy, world: World
    ) -> None:
        self._replays = [WorkloadReplay(timeline, rows, policy, world) for rows in workloads]

    def advance(self, epoch: Epoch) -> Spent:
        """Replay one epoch; return the latest of what became known of spending in it."""
        for replay in self._replays:
            replay.advance(epoch.until_s, spending=epoch.spending)
        return latest([replay.spent(epoch.begin_s, epoch.until_s) for replay in self._replays])

    def results(self) -> list[Results]:
        """Return what became of the runs, workload by workload."""
        return [replay.results() for replay in self._replays]


def latest(parts: Sequence[Spent]) -> Spent:
    """Return the RECENT_RUNS runs that became known last, in that order."""
    some = [part for part in parts if len(part.row)] or list(parts[:1])
    known_at_s = np.concatenate([part.known_at_s for part in some])
    row = np.concatenate([part.row for part in some])
    order = np.lexsort((row, known_at_s))[-RECENT_RUNS:]
    return Spent(
        known_at_s=known_at_s[order],
        row=row[order],
        first_failed=np.concatenate([part.first_failed for part in some])[order],
        first_oom_prob=np.concatenate([part.first_oom_prob for part in some])[order],
        spent_prob=np.concatenate([part.spent_prob for part in some])[order],
    )


def spending_so_far(recent: Spent | None) -> Spending | None:
    """Return the spending to tell; None while nothing is known of any."""
    if recent is None or len(recent.row) == 0:
        return None
    return spending_of(recent.spent_prob, recent.first_oom_prob, recent.first_failed)
