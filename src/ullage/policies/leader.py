"""Which expert to follow: the one whose own ladders would have been cheapest.

When a run ends its peak is known, so every expert can be scored on it, also those that
did not decide (full information). Until there are such scores, experts are judged by
how well they foretell each run from the others. Not here: the experts themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ullage.core.kernels import kernel
from ullage.core.view import RunHistory
from ullage.policies.bases import Evidence
from ullage.policies.experts import EXPERTS, Expert, Reading, rank_positions

Floats = NDArray[np.float64]

DECAY = 0.99
"""A score loses 1 % of its weight with each further run ..."""
SCORED_RUNS = 512
"""... and older scores than these, worth 0.6 %, are forgotten."""
_FADED: Floats = DECAY ** np.arange(float(SCORED_RUNS))[::-1]
PRIOR_RUNS = 4.0
"""The left-out judgement counts as so many scored runs ..."""
PRIOR_FADES_AT = 40.0
"""... and not at all from this weight of scored runs on."""
MIN_RUNS_BEHIND_SCORE = 8
"""A score made from fewer earlier runs says little about the expert of today."""
SPARSE_SCORING = ((256, 2), (384, 4))
"""From so many runs on every 2nd, every 4th is scored, and stands for those between."""
LEFT_OUT_RUNS = 64
_LEVEL = 0.95
_UNDER_PRICE = 10.0
"""Below the peak costs so many times what above it costs, in the left-out judgement."""
_FEW_EXCESS_RATIO = 0.15
_FALLBACK = "constant"
_BEYOND_RATIO = 1.1
BEYOND_WORTH = 1.5


def choose_leader(history: RunHistory, seen: Evidence, readings: list[Reading]) -> Reading:
    """Return the reading to follow; the earlier in the fixed order where two are equal.

    Sum of decayed scores plus PRIOR_RUNS x the left-out cost. Beyond the largest input
    seen (by 10 %) an expert that compares with similar inputs has none to compare with:
    where one leads, the best that draws a line takes its place if it is not much dearer.
    """
    scored, weight = _scores(history, seen, [reading.expert for reading in readings])
    total = scored
    if weight < PRIOR_FADES_AT:
        typical = float(np.mean(seen.peak_bytes * seen.runtime_s)) / 3.6e12
        prior = np.array([left_out_cost(seen, reading) for reading in readings])
        total = scored + PRIOR_RUNS * typical * prior
    order = np.argsort(total, kind="stable")
    leader = readings[int(order[0])]
    if leader.expert.needs_like_input and _is_beyond(seen):
        worth = BEYOND_WORTH * total[order[0]]
        able = (i for i in order if readings[i].expert.base != "nothing" and total[i] <= worth)
        leader = readings[int(next(able, order[0]))]
    return leader


def settled_experts(history: RunHistory, seen: Evidence) -> tuple[Expert, ...]:
    """Return the experts to read where scores alone decide: the leader and its stand-in; else all.

    Scores alone decide once they are many, for a run whose input is within what was seen.
    """
    rivals = [expert for expert in EXPERTS if expert.name in history.expert_costs]
    if is_scoring_turn(history, seen) or _is_beyond(seen):
        return EXPERTS
    scored, weight = _scores(history, seen, rivals)
    if weight < PRIOR_FADES_AT:
        return EXPERTS
    leader = rivals[int(np.argmin(scored))]
    if leader.follows_feature and np.isnan(seen.x_now):
        return EXPERTS
    return tuple(expert for expert in rivals if expert.name in (_FALLBACK, leader.name))


def is_scoring_turn(history: RunHistory, seen: Evidence) -> bool:
    """Say whether this run is one that all experts are to be scored on.

    Where much is known their order changes slowly.
    """
    stand_in = history.expert_costs.get(_FALLBACK)
    every = max((n for runs, n in SPARSE_SCORING if len(seen.peak_bytes) >= runs), default=1)
    if stand_in is None or every == 1:
        return True
    return bool(np.isnan(stand_in[1 - every :]).all())


def _is_beyond(seen: Evidence) -> bool:
    x = seen.x[seen.has_x()]
    return len(x) > 0 and seen.x_now > _BEYOND_RATIO * float(x.max())


def _scores(history: RunHistory, seen: Evidence, experts: Sequence[Expert]) -> tuple[Floats, float]:
    """Return each expert's decayed cost in GBh, and the weight of the runs behind it.

    Where an expert had no ladder on a run it is charged the constant expert's cost: that
    is what would have stood in for it.
    """
    stand_in = history.expert_costs.get(_FALLBACK)
    if stand_in is None:
        return np.zeros(len(experts)), 0.0
    first = len(history) - len(seen.peak_bytes) + MIN_RUNS_BEHIND_SCORE
    stand_in = stand_in[first:][-SCORED_RUNS:]
    weights = np.zeros(len(stand_in))
    scored = np.flatnonzero(~np.isnan(stand_in))
    stands_for = np.diff(scored, prepend=scored[:1] - 1)
    weights[scored] = _FADED[SCORED_RUNS - len(stand_in) :][scored] * stands_for
    totals = np.zeros(len(experts))
    for at, expert in enumerate(experts):
        own = history.expert_costs.get(expert.name)
        own = stand_in if own is None else own[first:][-SCORED_RUNS:]
        totals[at] = decayed_cost(own, stand_in, weights)
    return totals, float(weights.sum())


@kernel
def decayed_cost(own: Floats, stand_in: Floats, weights: Floats) -> float:
    """Return the weighted sum of an expert's costs, or of what stands in where it has none."""
    cost = np.where(np.isnan(own), stand_in, own)
    return float(np.where(weights > 0, weights * cost, 0.0).sum())


def left_out_cost(seen: Evidence, reading: Reading) -> float:
    """Return an expert's relative cost when each run is foretold from the others.

    The limit for run i is its left-out prediction combined with the 0.95 quantile of the
    other runs' residuals and the tail's margin; the cost is the mean of over/peak +
    10 x under/peak. Only the last 64 runs with a known peak.
    """
    use = np.flatnonzero(~seen.is_censored & ~np.isnan(reading.residual) & (reading.weights > 0))
    use = use[-LEFT_OUT_RUNS:]
    n = len(use)
    if n < 2:
        return 0.5 if reading.expert.name == _FALLBACK else 1.0
    residual, peak = reading.residual[use], seen.peak_bytes[use]
    order = np.argsort(residual, kind="stable")
    if reading.expert.kernel in ("recent", "input"):
        mass = _kernel(seen, reading, use)
        np.fill_diagonal(mass, 0.0)
        below = np.cumsum(mass[:, order], axis=1)
        at = (below >= _LEVEL * below[:, -1:] - 1e-15).argmax(axis=1)
        n_eff = below[:, -1] ** 2 / np.maximum((mass**2).sum(axis=1), 1e-300)
    else:
        at, n_eff = _even_upper(order), np.full(n, n - 1.0)
    upper = residual[order][at]
    left_out = reading.left_out[use]
    ratio = reading.expert.is_ratio
    limit = left_out * np.exp(np.minimum(upper, 50.0)) if ratio else left_out + upper
    limit = limit * (1 + _FEW_EXCESS_RATIO / np.maximum(n_eff, 1.0))
    over = np.maximum(limit - peak, 0.0) / peak
    under = np.maximum(peak - limit, 0.0) / peak
    return float(np.mean(over + _UNDER_PRICE * under))


def _even_upper(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each run the rank of the 0.95 quantile of all others, which weigh the same.

    Of n - 1 others it is the one at ceil(0.95 (n - 1)); a run at or below that rank stands
    in the way itself.
    """
    n = len(order)
    last = math.ceil(_LEVEL * (n - 1) - 1e-15) - 1
    at = np.full(n, last)
    at[order[: last + 1]] += 1
    return at


def _kernel(seen: Evidence, reading: Reading, use: NDArray[np.int64]) -> Floats:
    """Return the weight that run j has for run i under a kernel that is not even, [n, n]."""
    n = len(use)
    if reading.expert.kernel == "recent":
        age = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
        decayed: Floats = 0.9**age
        return decayed
    x = seen.x[use]
    u = rank_positions(np.sort(x), x)
    kernel: Floats = np.exp(-0.5 * ((u[:, None] - u[None, :]) / reading.expert.rank_width) ** 2)
    return np.maximum(kernel, 1e-12)
