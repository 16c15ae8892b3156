"""Rules (base x margin) and what each would have cost on the target's own past.

    limit_r(k) = margin_r x base_r(k)         the limit that rule r had set for interval k
    cost_r = reserved_r / hours + P x ref x (ooms_r / hours)

reserved_r: byte-hours that the rule had kept; the need itself is the same for all rules, so
slack and reserved memory rank them alike. ooms_r: intervals whose peak is above the limit; the
limit then goes to 1.2 x the peak for the rest of the interval, on average half of it. P: price
of an OOM kill in peak-hours. ref: the largest peak known. Sums decay by half in a week.
Full information: every rule is scored on every interval, also those that did not decide.

Worked: base 100, margins 1.0 and 1.2, one interval of half an hour with peak 110, P = 2, ref =
110. Margin 1.0: an OOM, reserved (100 + 132) / 2 x 0.5 = 58 byte-hours; cost 58 / 0.5 + 2 x 110
x 1 / 0.5 = 556. Margin 1.2: reserved 60, cost 120. The second is cheaper.

Not here: what is asked and answered (policies.services).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.policies.service_bases import BASES, DAY_S, PeakGrid, base_rows

Floats = NDArray[np.float64]

MARGINS: tuple[float, ...] = (1.0, 1.05, 1.1, 1.2, 1.35, 1.6)
RULES_COUNT = len(BASES) * len(MARGINS)
HALF_LIFE_S = 7 * DAY_S
"""Slow on purpose: a rule that failed a week ago is still remembered for it."""

OOM_GROWTH_RATIO = 1.2
"""After an OOM kill at need x, x times this is given: the growth any controller has to make."""

PRIOR_HOURS = 6.0
"""A prior counts as much as so many hours of the target's own past."""

_MARGINS = np.array(MARGINS)


def rule_words(rule: int) -> str:
    """Return a rule in words, for people.

    >>> rule_words(0), rule_words(9)
    ('max of 5 weeks x 1', 'max of a day x 1.2')
    """
    base, margin = divmod(rule, len(MARGINS))
    return f"{BASES[base][0]} x {MARGINS[margin]:g}"


def base_of(rule: int) -> int:
    """Return the index in BASES of a rule's base."""
    return rule // len(MARGINS)


def margin_of(rule: int) -> float:
    """Return a rule's margin."""
    return MARGINS[rule % len(MARGINS)]


def rule_limits(rows: Floats) -> Floats:
    """Return float64 [rows, rules]: the limits that the rules make of rows of bases."""
    return np.asarray((rows[:, :, None] * _MARGINS).reshape(len(rows), RULES_COUNT), float)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RulePrior:
    """What rules cost elsewhere, for a target with little past of its own.

    reserved: float64 of length RULES_COUNT, mean limit / largest peak known. ooms: OOM kills per
    hour. hours: how many hours of own past it counts as. provenance: where it comes from.
    """

    reserved: Floats
    ooms: Floats
    hours: float
    provenance: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleScores:
    """What each rule would have cost so far: decayed sums, a few hundred bytes a rule book.

    reserved: float64 [rules], byte-hours. ooms: float64 [rules]. hours: decayed time scored.
    number: of the first interval that is not in yet (PeakGrid.number).
    """

    reserved: Floats
    ooms: Floats
    hours: float
    number: int

    def costs(self, *, price_hours: float, ref: float, prior: RulePrior | None) -> Floats:
        """Return float64 [rules]: memory held plus OOM kills at their price, per hour.

        price_hours: of one OOM kill, in hours of `ref`, the largest peak known.
        """
        reserved, ooms, hours = self.reserved, self.ooms, self.hours
        if prior is not None:
            reserved = reserved + prior.hours * ref * prior.reserved
            ooms = ooms + prior.hours * prior.ooms
            hours = hours + prior.hours
        if hours <= 0:
            return np.full(RULES_COUNT, np.nan)
        return np.asarray((reserved + price_hours * ref * ooms) / hours, float)


def no_scores() -> RuleScores:
    """Return the scores before the first interval."""
    return RuleScores(
        reserved=np.zeros(RULES_COUNT), ooms=np.zeros(RULES_COUNT), hours=0.0, number=0
    )


def scored(scores: RuleScores, grid: PeakGrid, *, floor: float = 0.0) -> RuleScores:
    """Return the scores with the intervals of `grid` that are not in yet.

    All intervals of `grid` have ended. The first one has nothing before it and is not scored;
    holes are not scored but time passes in them. A tick without a new interval costs nothing,
    a new interval costs one row of bases, whatever the history. floor: no rule's limit is below.
    """
    n = len(grid)
    if n == 0 or grid.number[-1] < scores.number:
        return scores
    first = max(1, int(scores.number - grid.number[0]))
    if first >= n:
        return _moved(scores, grid)
    decay = 0.5 ** (grid.interval_s / HALF_LIFE_S)
    hours = grid.interval_s / 3600
    rows = base_rows(grid.peaks[:-1], grid.interval_s, first=first)
    peaks = grid.peaks[first:, None]
    weights = np.where(grid.is_seen[first:], decay ** np.arange(n - first)[::-1], 0.0)
    held, failed = np.zeros((len(BASES), len(MARGINS))), np.zeros((len(BASES), len(MARGINS)))
    for at, margin in enumerate(MARGINS):  # one margin at a time stays in the processor's cache
        limits = np.maximum(rows * margin, floor)
        is_failed = peaks > limits
        held[:, at] = weights @ np.where(is_failed, (limits + OOM_GROWTH_RATIO * peaks) / 2, limits)
        failed[:, at] = weights @ is_failed
    passed = decay ** (int(grid.number[-1]) + 1 - max(scores.number, int(grid.number[0]) + 1))
    return RuleScores(
        reserved=scores.reserved * passed + hours * held.ravel(),
        ooms=scores.ooms * passed + failed.ravel(),
        hours=scores.hours * passed + float(weights.sum()) * hours,
        number=int(grid.number[-1]) + 1,
    )


def _moved(scores: RuleScores, grid: PeakGrid) -> RuleScores:
    return RuleScores(
        reserved=scores.reserved,
        ooms=scores.ooms,
        hours=scores.hours,
        number=int(grid.number[-1]) + 1,
    )
