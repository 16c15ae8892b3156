"""The service policy: the cheapest in hindsight of 72 rules, on the target's own past.

A first honest version: base x margin rules (service_bases), scored with full information
(service_rules), over a prior from other workloads while the own past is short. OOM kills are
"at least": they lift the peak of their interval, and can only raise an answer. Pure: what is
kept between two questions is a memory of sums that the same history gives again.

The fallback (S14): model -> last good answer -> largest need x 1.15 -> keep. The step shows.
Not here: guards, steps and watches (core.live_guards), rescue (control).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ullage.core.service import (
    Direction,
    GuardCode,
    LimitProposal,
    ModelStep,
    ServiceQuestion,
    TargetHistory,
)
from ullage.core.units import format_bytes
from ullage.policies.service_bases import HOUR_S, PeakGrid, base_rows, peak_grid
from ullage.policies.service_groups import replica_bound
from ullage.policies.service_prior import shipped_prior
from ullage.policies.service_rules import (
    OOM_GROWTH_RATIO,
    RulePrior,
    RuleScores,
    no_scores,
    rule_limits,
    rule_words,
    scored,
)

Floats = NDArray[np.float64]

PRICE_HOURS = {"service-tolerant": 2.0, "service": 10.0, "service-critical": 50.0}
"""What one OOM kill costs, in hours of the workload's largest peak, by preset."""

THIN_HOURS = 3.0
THIN_READINGS = 100
"""Less than this is no evidence: the limit stays (S2)."""

NEAR_RATIO = 1.01
"""Of the rules this near the cheapest the one that moves the limit least is followed."""

EMPIRICAL_RATIO = 1.15
ALARM_OOMS = 2
ALARM_BUDGETS = 2.0
ALARM_PROB = 0.05
ALARM_WINDOW_S = 7 * 24 * HOUR_S

_REMEMBERED_TARGETS = 20_000
_COMPARED_PEAKS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Remembered:
    """Sums of one reading of a target's past. tail: its latest scored peaks, to know it again."""

    scores: RuleScores
    tail: tuple[float, ...]
    interval_s: float
    floor_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The rule that is followed and what it says."""

    wanted: float
    rule: int
    hours: float
    ooms: float
    reserved: float


class UllageServicePolicy:
    """Follows the cheapest rule in hindsight.

    price_hours: what an OOM kill costs, in hours of the largest peak; None = by the preset
    of the question. prior: None = the shipped one; `no_prior=True` = none at all.
    """

    policy_id = "ullage"

    def __init__(
        self,
        *,
        price_hours: float | None = None,
        prior: RulePrior | None = None,
        no_prior: bool = False,
    ) -> None:
        self._price_hours = price_hours
        self._prior = None if no_prior else prior or shipped_prior()
        self._sums: dict[tuple[str, bool], _Remembered] = {}

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        """Answer `question` from what was known at its moment; thin history holds."""
        asked_s = question.asked_at.timestamp()
        history = _known_by(history, asked_s)
        if not _has_evidence(history, asked_s):
            return _new_replica(question)
        choice = self._cheapest(history, question, asked_s)
        if choice is None or not _is_sound(choice.wanted, question):
            return self._fallback(history, question, asked_s)
        if _is_alarming(history, choice, asked_s):
            largest = EMPIRICAL_RATIO * _largest(history)
            wanted = max(choice.wanted, largest)
            words = "more OOM kills than the rule announced: largest need seen x 1.15"
            return _proposed(question, wanted, "alarm", words, ModelStep.EMPIRICAL)
        rule = rule_words(choice.rule)
        return _proposed(question, choice.wanted, rule, _evidence(choice), ModelStep.MODEL)

    def _cheapest(
        self, history: TargetHistory, question: ServiceQuestion, asked_s: float
    ) -> _Choice | None:
        """Return the choice; with OOM kills never below the choice without them."""
        plain = np.asarray(history.peak_bytes, float)
        choice = self._choose(history, plain, question, asked_s, lifted=False)
        if choice is None or len(history.oom_at_s) == 0:
            return choice
        raised = _lifted(history, plain)
        other = self._choose(history, raised, question, asked_s, lifted=True)
        return choice if other is None or other.wanted <= choice.wanted else other

    def _choose(
        self,
        history: TargetHistory,
        peaks: Floats,
        question: ServiceQuestion,
        asked_s: float,
        *,
        lifted: bool,
    ) -> _Choice | None:
        step_s = history.peak_interval_s
        grid = peak_grid(history.peak_at_s, peaks, step_s)
        is_running = len(grid) > 0 and float(history.peak_at_s[-1]) + step_s > asked_s
        ended = grid.without_last() if is_running else grid
        if len(ended) < 2 or not grid.peaks.max() > 0:
            return None
        scores = self._scores(question, ended, lifted=lifted)
        ref = float(grid.peaks.max())
        costs = scores.costs(price_hours=self._price(question), ref=ref, prior=self._prior)
        if not np.isfinite(costs).all():
            return None
        limits = rule_limits(base_rows(grid.peaks, step_s, first=len(grid)))[0]
        limits = np.maximum(limits, float(max(question.need_bytes, question.floor_bytes)))
        rule = _nearest(costs, limits, question.limit_bytes)
        return _Choice(
            wanted=float(limits[rule]),
            rule=rule,
            hours=scores.hours,
            ooms=float(scores.ooms[rule]),
            reserved=float(scores.reserved[rule]),
        )

    def _scores(self, question: ServiceQuestion, ended: PeakGrid, *, lifted: bool) -> RuleScores:
        """Return the scores of all intervals that have ended, from where they were left."""
        key, floor_bytes = (question.target_id, lifted), question.floor_bytes
        known = self._sums.get(key)
        if known is None or not _continues(known, ended) or known.floor_bytes != floor_bytes:
            scores = scored(no_scores(), ended, floor=floor_bytes)
        else:
            scores = scored(known.scores, ended, floor=floor_bytes)
        if known is None or scores is not known.scores:
            self._sums.pop(key, None)
            while len(self._sums) >= 2 * _REMEMBERED_TARGETS:
                del self._sums[next(iter(self._sums))]
            self._sums[key] = _Remembered(
                scores=scores,
                tail=tuple(ended.peaks[-_COMPARED_PEAKS:].tolist()),
                interval_s=ended.interval_s,
                floor_bytes=floor_bytes,
            )
        return scores

    def _price(self, question: ServiceQuestion) -> float:
        if self._price_hours is not None:
            return self._price_hours
        return PRICE_HOURS.get(question.preset, PRICE_HOURS["service"])

    def _fallback(
        self, history: TargetHistory, question: ServiceQuestion, asked_s: float
    ) -> LimitProposal:
        """Return the next step that makes sense (S14): last good, empirical, keep."""
        good = None
        if len(history.peak_at_s) > 1:
            before_s = float(history.peak_at_s[-2]) + history.peak_interval_s
            newest_s = float(history.peak_at_s[-1])
            good = self._cheapest(_known_by(history, newest_s - 1.0), question, before_s)
        if good is not None and _is_sound(good.wanted, question):
            words = "the model's answer made no sense: what it said one interval ago"
            return _proposed(question, good.wanted, "last_good", words, ModelStep.LAST_GOOD)
        empirical = EMPIRICAL_RATIO * max(_largest(history), float(question.need_bytes))
        if _is_sound(empirical, question):
            words = "the model's answer made no sense: largest need seen x 1.15"
            return _proposed(question, empirical, "empirical", words, ModelStep.EMPIRICAL)
        return _held(question, "keep", "nothing that is known makes sense: the limit stays")


def _new_replica(question: ServiceQuestion) -> LimitProposal:
    """Hold; but grow to what the other members of the group may need where that is more."""
    bound = replica_bound(question.group_needs_bytes)
    limit_bytes = question.limit_bytes
    if bound is None or limit_bytes is None or bound <= limit_bytes:
        words = "less than 3 h or 100 readings are known"
        return _held(question, "thin_history", words, GuardCode.S2_THIN)
    words = "too little of its own is known: what the hottest of its group may need"
    return _proposed(question, bound, "group", words, ModelStep.EMPIRICAL)


def _has_evidence(history: TargetHistory, asked_s: float) -> bool:
    """Say whether 3 h and 100 readings are known (peaks of earlier days count as such)."""
    if len(history.peak_at_s) == 0:
        return False
    step_s = history.peak_interval_s
    covered_s = min(len(history.peak_at_s) * step_s, asked_s - history.first_seen_at.timestamp())
    readings = int((history.at_s <= asked_s).sum())
    return covered_s >= THIN_HOURS * HOUR_S and readings >= THIN_READINGS


def _known_by(history: TargetHistory, at_s: float) -> TargetHistory:
    """Return the history without the intervals that began and the OOM kills that came later."""
    peaks, ooms = history.peak_at_s <= at_s, history.oom_at_s <= at_s
    return replace(
        history,
        peak_at_s=history.peak_at_s[peaks],
        peak_bytes=history.peak_bytes[peaks],
        oom_at_s=history.oom_at_s[ooms],
        oom_at_least_bytes=history.oom_at_least_bytes[ooms],
    )


def _lifted(history: TargetHistory, peaks: Floats) -> Floats:
    """Return the peaks with those in which an OOM kill fell at 1.2 x what it proves at least."""
    places = np.searchsorted(history.peak_at_s, history.oom_at_s, side="right") - 1
    places = np.maximum(places, 0)
    raised = peaks.copy()
    np.maximum.at(raised, places, OOM_GROWTH_RATIO * history.oom_at_least_bytes)
    return raised


def _nearest(costs: Floats, limits: Floats, limit_bytes: int | None) -> int:
    """Return the cheapest rule; of those within 1 % of it the one nearest to the limit."""
    if limit_bytes is None:
        return int(np.argmin(costs))
    near = np.flatnonzero(costs <= NEAR_RATIO * costs.min())
    return int(near[np.argmin(np.abs(limits[near] - limit_bytes))])


def _continues(known: _Remembered, ended: PeakGrid) -> bool:
    """Say whether `ended` goes on from what was scored: the same peaks up to there."""
    if known.interval_s != ended.interval_s:
        return False
    upto = known.scores.number - int(ended.number[0])
    if not 0 < upto <= len(ended):
        return False
    count = min(upto, len(known.tail))
    return tuple(ended.peaks[upto - count : upto].tolist()) == known.tail[-count:]


def _is_sound(wanted: float, question: ServiceQuestion) -> bool:
    return math.isfinite(wanted) and wanted >= question.need_bytes and wanted < 2.0**50


def _largest(history: TargetHistory) -> float:
    peaks, ooms = history.peak_bytes, history.oom_at_least_bytes
    return float(max(peaks.max(initial=0), ooms.max(initial=0)))


def _is_alarming(history: TargetHistory, choice: _Choice, asked_s: float) -> bool:
    """Say whether OOM kills exceed twice what the rule announced, with 95 % confidence.

    The chance of so many kills or more in a week, were they Poisson with twice the announced
    rate; two kills at least.
    """
    since_s = asked_s - ALARM_WINDOW_S
    ooms = int((history.oom_at_s > since_s).sum())
    if ooms < ALARM_OOMS or choice.hours <= 0:
        return False
    seen_s = min(ALARM_WINDOW_S, asked_s - history.first_seen_at.timestamp())
    expected = ALARM_BUDGETS * choice.ooms / choice.hours * seen_s / HOUR_S
    below = sum(
        math.exp(-expected) * expected**k / math.factorial(k) for k in range(min(ooms, 100))
    )
    return 1 - below < ALARM_PROB


def _evidence(choice: _Choice) -> str:
    days = choice.hours / 24
    mean = choice.reserved / choice.hours if choice.hours else choice.wanted
    return (
        f"cheapest of its rules over {days:.1f} days of its own: "
        f"{rule_words(choice.rule)} would have held {format_bytes(round(mean))} on average "
        f"with {choice.ooms:.1f} OOM kills"
    )


def _held(question: ServiceQuestion, reason: str, words: str, *codes: GuardCode) -> LimitProposal:
    return LimitProposal(
        target_id=question.target_id,
        wanted_bytes=None,
        direction=Direction.HOLD,
        reason=reason,
        evidence=words,
        policy=UllageServicePolicy.policy_id,
        step=ModelStep.KEEP,
        evidence_bytes=question.need_bytes,
        guards=codes,
    )


def _proposed(
    question: ServiceQuestion, wanted: float, reason: str, words: str, step: ModelStep
) -> LimitProposal:
    wanted_bytes = min(math.ceil(wanted), max(question.ceiling_bytes, question.need_bytes))
    limit_bytes = question.limit_bytes
    direction = Direction.HOLD
    if limit_bytes is None or wanted_bytes < limit_bytes:
        direction = Direction.CUT
    elif wanted_bytes > limit_bytes:
        direction = Direction.GROW
    return LimitProposal(
        target_id=question.target_id,
        wanted_bytes=wanted_bytes,
        direction=direction,
        reason=reason,
        evidence=words,
        policy=UllageServicePolicy.policy_id,
        step=step,
        evidence_bytes=question.need_bytes,
    )
