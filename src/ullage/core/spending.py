"""What decisions spend of a failure budget, over all workloads that share it.

One price of a failure for all of them costs least: a failure is then risked where it
saves most. Not here: how the price is found (policies.budget).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECENT_RUNS = 1000
"""The budget looks back so many runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The latest decisions under the budget whose runs have ended.

    failures_count: of these runs, how many failed at their first limit. expected_count: how
    many would have, by the chances announced. mean_prob: mean chance of that at each price
    of the shared grid (policies.budget); empty without runs.
    """

    runs_count: int = 0
    failures_count: int = 0
    expected_count: float = 0.0
    mean_prob: tuple[float, ...] = ()


def spending_of(
    spent_prob: NDArray[np.float64],
    first_oom_prob: NDArray[np.float64],
    first_failed: NDArray[np.bool_],
) -> Spending:
    """Return the spending of k decisions: curves [k, g] and chances [k] without NaN."""
    if len(spent_prob) == 0:
        return Spending()
    return Spending(
        runs_count=len(spent_prob),
        failures_count=int(first_failed.sum()),
        expected_count=float(first_oom_prob.sum()),
        mean_prob=tuple(spent_prob.mean(axis=0).tolist()),
    )
