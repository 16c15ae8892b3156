"""All policies on all instances of a usage file: outcomes, and the figures made of them.

Figures, per policy and price: slack (GB-hours above the need), OOM kills per 1,000 instance-hours,
changes per hour, and the cost = slack + OOM kills x price x the instance's first-day peak, in
GB-hours, summed over instances. Not here: how one instance is replayed (usage_backtest).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ullage.core.service_ports import ServicePolicy
from ullage.simulation.usage_backtest import (
    ORACLE,
    UsageOutcome,
    UsageWorld,
    decision_moments,
    first_day_peak_bytes,
    replay_oracle,
    replay_usage,
)
from ullage.simulation.usage_file import UsageTrace
from ullage.simulation.work_pool import Progress, WorkPool

OURS = "ullage"
GUARDED = "ullage-guarded"
"""Ours as the live loop lets it act: the answers after the guards."""
PRICED = (OURS, GUARDED)
"""Policies that are told the price of an OOM kill."""
LEAST_HOURS = 10.0
PRICES_HOURS = (0.5, 2.0, 10.0, 50.0)
DECIDE_EVERY_S = (1800.0, 3600.0)

MakePolicy = Callable[[str, float], ServicePolicy]
"""(policy id, price of an OOM kill in peak-hours) -> a new policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One policy at one price and one decision interval, over all instances."""

    policy: str
    price_hours: float
    decide_every_s: float
    outcomes: tuple[UsageOutcome, ...]

    @property
    def cost_gbh(self) -> float:
        """Slack and OOM kills at their price."""
        return sum(each.cost_gbh(self.price_hours) for each in self.outcomes)

    def figures(self) -> dict[str, object]:
        """Return the figures as plain values for JSON and tables."""
        hours = sum(each.scored_hours for each in self.outcomes)
        ooms = sum(each.ooms_count for each in self.outcomes)
        changes = sum(each.changes_count for each in self.outcomes)
        return {
            "policy": self.policy,
            "price_hours": self.price_hours,
            "decide_every_s": self.decide_every_s,
            "instances_count": len(self.outcomes),
            "scored_hours": hours,
            "slack_gbh": sum(each.slack_gbh for each in self.outcomes),
            "used_gbh": sum(each.used_gbh for each in self.outcomes),
            "ooms_count": ooms,
            "ooms_per_1000_hours": 1000 * ooms / hours if hours else None,
            "changes_per_hour": changes / hours if hours else None,
            "cost_gbh": self.cost_gbh,
        }


def fit_traces(
    traces: Sequence[UsageTrace], world: UsageWorld
) -> tuple[list[UsageTrace], dict[str, int]]:
    """Return the instances that protocol D replays, and why others are left out (-> count)."""
    fit: list[UsageTrace] = []
    left_out: dict[str, int] = {}
    for trace in traces:
        reason = None
        if trace.span_hours < LEAST_HOURS:
            reason = "shorter_than_10_h"
        elif first_day_peak_bytes(trace) == 0:
            reason = "no_use_on_its_first_day"
        elif len(decision_moments(trace, world)) == 0:
            reason = "fewer_than_100_samples_before_its_end"
        if reason is None:
            fit.append(trace)
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    return fit, left_out


def compare_usage(
    traces: Sequence[UsageTrace],
    policy_ids: Sequence[str],
    *,
    make_policy: MakePolicy,
    worlds: Sequence[UsageWorld],
    prices_hours: Sequence[float],
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Cell]:
    """Replay every instance under every policy; return the cells, policies in their order.

    A peer knows no price: it is replayed once and priced several times. Ours is told the
    price before it decides.
    """
    progress = Progress()

    def work(at: int) -> list[tuple[str, float, int, int, UsageOutcome]]:
        found = list(_replays(at, traces[at], policy_ids, make_policy, worlds, prices_hours))
        progress.add(1)
        return found

    total = len(traces)
    with WorkPool(
        [work] * max(1, min(jobs, total)),
        progress=progress,
        on_progress=lambda done: on_progress(done, total),
    ) as pool:
        rows = [row for found in pool.deal(range(total)) for row in found]
    by_cell: dict[tuple[str, float, int], dict[int, UsageOutcome]] = {}
    for policy_id, price, world, trace, outcome in rows:
        by_cell.setdefault((policy_id, price, world), {})[trace] = outcome
    return [
        Cell(
            policy=policy_id,
            price_hours=price,
            decide_every_s=world.decide_every_s,
            outcomes=tuple(outcome for _, outcome in sorted(by_cell[policy_id, key, at].items())),
        )
        for at, world in enumerate(worlds)
        for price in prices_hours
        for policy_id in policy_ids
        for key in (price if policy_id in PRICED else 0.0,)
    ]


def _replays(
    at: int,
    trace: UsageTrace,
    policy_ids: Sequence[str],
    make_policy: MakePolicy,
    worlds: Sequence[UsageWorld],
    prices_hours: Sequence[float],
) -> Iterator[tuple[str, float, int, int, UsageOutcome]]:
    for number, world in enumerate(worlds):
        for policy_id in policy_ids:
            if policy_id == ORACLE:
                yield policy_id, 0.0, number, at, replay_oracle(trace, world)
                continue
            for price in prices_hours if policy_id in PRICED else (0.0,):
                outcome = replay_usage(trace, make_policy(policy_id, price), world)
                yield policy_id, price, number, at, outcome


def against_ours(cells: Sequence[Cell]) -> Mapping[str, float]:
    """Return for each policy the geometric mean of our cost / its cost, over prices and steps.

    Without the cells where one of them costs nothing; empty where ours is not among them.
    """
    ours = {(c.price_hours, c.decide_every_s): c.cost_gbh for c in cells if c.policy == OURS}
    ratios: dict[str, list[float]] = {}
    for cell in cells:
        mine = ours.get((cell.price_hours, cell.decide_every_s))
        if mine and cell.cost_gbh > 0:
            ratios.setdefault(cell.policy, []).append(mine / cell.cost_gbh)
    return {policy: float(np.exp(np.mean(np.log(found)))) for policy, found in ratios.items()}
