"""The failure budget: the share of first attempts that may fail, and that is spent.

One price of a failure (lambda) holds for all decisions that share a budget, of one workload
or of a whole fleet; it is the smallest for which the share expected over the recent
decisions meets the budget, corrected by what happened. So a run where safety is dear may
fail more often, and one where it is cheap less. Not here: the ladder that a price leads
to (policies.ladder).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ullage.core.spending import Spending, spending_of
from ullage.core.view import RunHistory

Floats = NDArray[np.float64]

FAILURE_GRID_GBH: Floats = np.concatenate(([0.0], np.logspace(-9.0, 7.0, 49)))
"""The shared grid of failure prices: 0, then a millionth of a byte-year up to a data centre's
day, a factor of 2.15 apart. Fixed for ever, or stored curves lose their meaning."""

OWN_RUNS = 100
"""A workload that has a budget for itself looks back so many runs (older ones knew less)."""
LEAST_HORIZON_RUNS = 25
"""What was over- or underspent is made good over so many runs at least ..."""
HORIZON_RATIO = 0.5
"""... or this share of the runs looked back on."""
PRIOR_FAILURES = 5.0
LEAST_CALIBRATION = 0.5
MOST_CALIBRATION = 8.0
CORRECTION_LIMIT = 2.0
"""The corrected budget stays within budget / 2 .. budget x 2: a price that swings costs more."""


def own_spending(history: RunHistory) -> Spending:
    """Return what the latest OWN_RUNS runs of one workload under the budget have spent."""
    curves = history.spent_prob
    if curves.shape[1] != len(FAILURE_GRID_GBH):
        return Spending()
    latest = np.flatnonzero(~np.isnan(curves[:, 0]))[-OWN_RUNS:]
    if len(history.first_oom_prob) == 0:
        return Spending()
    return spending_of(curves[latest], history.first_oom_prob[latest], history.first_failed[latest])


def target_share(spending: Spending, budget_ratio: float) -> float:
    """Return the share of first attempts to let fail now, after what was spent so far.

    target = (budget x (N + K) - failures) / K over the N runs looked back on, K the larger
    of 25 and N / 2, kept within budget / 2 .. 2 x budget.

    Worked: budget 2 %, 25 runs without a failure -> 4 %; with one failure -> 1 % (the
    least); 80 runs with one failure -> 3.5 %; 1,000 runs with 22 failures -> 1.6 %.
    """
    n = spending.runs_count
    horizon = max(LEAST_HORIZON_RUNS, HORIZON_RATIO * n)
    owed = budget_ratio * (n + horizon) - spending.failures_count
    least, most = budget_ratio / CORRECTION_LIMIT, budget_ratio * CORRECTION_LIMIT
    return min(max(owed / horizon, least), most)


def calibration(spending: Spending) -> float:
    """Return how many times as often first attempts fail as was announced.

    (failures + 5) / (expected + 5): five of each are believed beforehand. Between 1/2 and 8:
    more caution is believed at once, more daring less.

    Worked: nothing known -> 1; 25 failures where 10 were expected -> 2; 1 where 19 -> 0.5.
    """
    ratio = (spending.failures_count + PRIOR_FAILURES) / (spending.expected_count + PRIOR_FAILURES)
    return min(max(ratio, LEAST_CALIBRATION), MOST_CALIBRATION)


def choose_price(curve: Floats, spending: Spending, target_ratio: float) -> int:
    """Return the index on the grid of the smallest price that meets the target share.

    curve: chance that this decision's first rung fails at each price, float64[g]. It is
    one of N + 1 decisions whose mean, x how far such chances were off, is compared; the
    highest price where even that does not meet it.
    """
    mean = curve
    if len(spending.mean_prob) == len(curve):
        n = spending.runs_count
        mean = (curve + n * np.array(spending.mean_prob)) / (1 + n)
    meets = np.minimum.accumulate(mean) * calibration(spending) <= target_ratio
    return int(meets.argmax()) if meets.any() else len(curve) - 1
