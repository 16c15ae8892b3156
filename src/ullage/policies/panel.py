"""The ladders of all experts at once: what each would answer to the same question.

Arrays [m, e] of m candidates of e experts, from their readings in one pass. Not here:
what an expert is (policies.experts), which one leads (policies.leader).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import Bounds, Prices
from ullage.core.guardrails import lowest_limit
from ullage.core.kernels import kernel
from ullage.core.scoring import ExpertLadders
from ullage.core.statistics import sorted_quantile
from ullage.policies.bases import Evidence
from ullage.policies.distributions import rising, support
from ullage.policies.experts import Reading
from ullage.policies.ladder import (
    MAX_CANDIDATES,
    Problems,
    cheapest_path,
    solve_problems,
    thinned,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The candidates of e experts, those that have any.

    limit_bytes, and in `problems` everything else: [m, e]. count: int[e], candidates of each.
    """

    names: tuple[str, ...]
    limit_bytes: Floats
    count: Ints
    problems: Problems

    def failure_curve(self, name: str, failure_gbh: Floats, prices: Prices) -> Floats:
        """Return the chance that one expert's first rung fails at each price, float64 [g]."""
        at, g = self.names.index(name), len(failure_gbh)
        m = int(self.count[at])
        one = self.problems
        repeated = Problems(
            limit_gb=np.repeat(one.limit_gb[:m, at : at + 1], g, axis=1),
            prob_above=np.repeat(one.prob_above[:m, at : at + 1], g, axis=1),
            hours_above=np.repeat(one.hours_above[:m, at : at + 1], g, axis=1),
            run_hours=one.run_hours[at : at + 1],
            failure_gbh=failure_gbh,
        )
        curve: Floats = np.minimum.accumulate(solve_problems(repeated, prices).prob_first)
        return curve

    def ladders(self, price_gbh: float, prices: Prices) -> ExpertLadders:
        """Return every expert's ladder at the same price of a failure."""
        failure_gbh = np.full(len(self.names), price_gbh)
        problems = replace(self.problems, failure_gbh=failure_gbh)
        solution = solve_problems(problems, prices)
        limits, probs, rungs = paths(
            self.limit_bytes,
            problems.limit_gb,
            problems.prob_above,
            problems.hours_above,
            solution.ahead,
            solution.first,
            self.count,
        )
        return ExpertLadders(self.names, limits, probs, rungs)


def panel_of(
    seen: Evidence, readings: Sequence[Reading], bounds: Bounds, *, least_level: float = 0.0
) -> Panel:
    """Return the candidates of each reading whose distribution is not empty.

    least_level: candidates below this quantile of the expert's own distribution are left out.
    """
    rows: dict[tuple[str, bool], int] = {}
    points: list[Floats] = []
    order: list[Ints] = []
    row_of: list[int] = []
    for reading in readings:
        key = (reading.expert.base, reading.expert.is_ratio)
        if key not in rows:
            rows[key] = len(points)
            points.append(reading.points())
            order.append(rising(points[-1], seen.is_censored))
        row_of.append(rows[key])
    limit_bytes, prob, hours, run_hours, count = candidates(
        np.array(points),
        np.array(order),
        np.array(row_of),
        np.array([reading.weights for reading in readings]),
        seen.is_censored,
        seen.runtime_s,
        float(lowest_limit(bounds)),
        float(bounds.ceiling_bytes),
        least_level,
    )
    some = [at for at, n in enumerate(count.tolist()) if n]
    if len(some) < len(readings):
        limit_bytes, prob, hours = limit_bytes[:, some], prob[:, some], hours[:, some]
        run_hours, count = run_hours[some], count[some]
    return Panel(
        names=tuple(readings[at].expert.name for at in some),
        limit_bytes=limit_bytes,
        count=count,
        problems=Problems(
            limit_gb=limit_bytes / 1e9,
            prob_above=prob,
            hours_above=hours,
            run_hours=run_hours,
            failure_gbh=np.zeros(len(some)),
        ),
    )


@kernel
def candidates(
    points: Floats,
    order: Ints,
    row_of: Ints,
    weights: Floats,
    is_censored: NDArray[np.bool_],
    runtime_s: Floats,
    lowest: float,
    ceiling: float,
    least_level: float,
) -> tuple[Floats, Floats, Floats, Floats, Ints]:
    """Return limit_bytes, prob_above, hours_above [m, e], run_hours [e] and count [e] of a Panel.

    points, order: [p, n], `rising` of each row. row_of: [e], the row of each expert's points.
    weights: [e, n].
    """
    e = len(weights)
    limit_bytes = np.zeros((MAX_CANDIDATES, e))
    prob, hours_above = np.zeros((MAX_CANDIDATES, e)), np.zeros((MAX_CANDIDATES, e))
    hours = runtime_s / 3600.0
    run_hours, count = np.zeros(e), np.zeros(e, np.int64)
    for at in range(e):
        row = row_of[at]
        mine = order[row]
        counts = (weights[at] > 0) & (points[row] > 0)
        if not counts.all():
            mine = mine[counts[mine]]
        if len(mine) == 0:
            continue
        peaks, mass, mass_hours, _ = support(
            points[row][mine], weights[at][mine], is_censored[mine], hours[mine]
        )
        least = sorted_quantile(peaks, mass, least_level)
        limits, above, more_hours = thinned(peaks, mass, mass_hours, lowest, ceiling, 1.0, least)
        n = len(limits)
        limit_bytes[:n, at], limit_bytes[n:, at] = limits, limits[-1]
        prob[:n, at], prob[n:, at] = above, above[-1]
        hours_above[:n, at], hours_above[n:, at] = more_hours, more_hours[-1]
        run_hours[at] = mass_hours.sum()
        count[at] = n
    m = count.max()
    return limit_bytes[:m], prob[:m], hours_above[:m], run_hours, count


@kernel
def paths(
    limit_bytes: Floats,
    limit_gb: Floats,
    prob: Floats,
    hours: Floats,
    ahead: Floats,
    first: Ints,
    count: Ints,
) -> tuple[Floats, Floats, Ints]:
    """Return limits and OOM chances [e, r] of each expert's solved ladder, and its length [e]."""
    m, e = limit_bytes.shape
    limits, probs = np.zeros((e, m)), np.zeros((e, m))
    rungs = np.zeros(e, np.int64)
    for at in range(e):
        n = count[at]
        path = cheapest_path(limit_gb[:n, at], hours[:n, at], ahead[:n, at], min(first[at], n - 1))
        rungs[at] = len(path)
        for step in range(len(path)):
            limits[at, step] = limit_bytes[path[step], at]
            probs[at, step] = min(max(prob[path[step], at], 0.0), 1.0)
    r = rungs.max()
    return limits[:, :r].copy(), probs[:, :r].copy(), rungs
