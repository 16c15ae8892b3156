"""The failure budget: the share of first attempts that may fail, and that is spent.

One price of a failure (lambda) holds for all decisions of a workload; it is the smallest
for which the share expected over the recent decisions meets the budget, corrected by
what happened. So a run where safety is dear may fail more often, and one where it is
cheap less. Not here: the ladder that a price leads to (policies.ladder).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ullage.core.view import RunHistory

Floats = NDArray[np.float64]

FAILURE_GRID_GBH: Floats = np.concatenate(([0.0], np.logspace(-9.0, 7.0, 49)))
"""The shared grid of failure prices: 0, then a millionth of a byte-year up to a data centre's
day, a factor of 2.15 apart. Fixed for ever, or stored curves lose their meaning."""

NO_CURVES: Floats = np.zeros((0, len(FAILURE_GRID_GBH)))

RECENT_DECISIONS = 100
"""So many past curves are pooled with the present one (older ones knew less)."""
HORIZON_RUNS = 25
"""What was over- or underspent is made good over so many runs."""
CORRECTION_LIMIT = 4.0
"""The corrected budget stays within budget / 4 .. budget x 4."""


def recent_curves(history: RunHistory) -> Floats:
    """Return the stored curves [k, g] of the latest RECENT_DECISIONS that were under the budget.

    Only the workload's own: a few curves of unlike workloads are a worse guess of what
    this one will spend than the present decision alone (measured: more waste, no fewer
    failures).
    """
    curves = history.spent_prob
    if curves.shape[1] != len(FAILURE_GRID_GBH):
        return NO_CURVES
    return curves[~np.isnan(curves[:, 0])][-RECENT_DECISIONS:]


def target_share(history: RunHistory, budget_ratio: float) -> float:
    """Return the share of first attempts to let fail now, after what was spent so far.

    target = (budget x (N + K) - failures) / K over the last N <= 4 K runs under the
    budget, K = 25, kept within budget / 4 .. 4 x budget. Where it is not recorded which
    runs were under the budget, all count.

    Worked: budget 2 %, 25 runs without a failure -> 4 %; with one failure -> 0.5 % (the
    least); 75 runs with one failure -> 4 %.
    """
    failed = history.first_failed
    if history.spent_prob.shape[1] > 0:
        failed = failed[~np.isnan(history.spent_prob[:, 0])]
    failed = failed[-4 * HORIZON_RUNS :]
    owed = budget_ratio * (len(failed) + HORIZON_RUNS) - float(failed.sum())
    least, most = budget_ratio / CORRECTION_LIMIT, budget_ratio * CORRECTION_LIMIT
    return min(max(owed / HORIZON_RUNS, least), most)


def choose_price(curve: Floats, past: Floats, target_ratio: float) -> int:
    """Return the index on the grid of the smallest price that meets the target share.

    curve: chance that this decision's first rung fails at each price, float64[g]. past:
    the same for k earlier decisions, [k, g]. The mean of all is compared; the highest price where
    even that does not meet it.
    """
    mean = (curve + past.sum(axis=0)) / (1 + len(past))
    meets = np.minimum.accumulate(mean) <= target_ratio
    return int(meets.argmax()) if meets.any() else len(curve) - 1
