"""The run policy `ullage`: a ladder for each attempt of a run, from the workload's history.

Reads as a table of contents: window, experts, leader, price, ladders. The parts are in
the modules named in its imports; the guards come after it (core.decide).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ullage.core.allocation import Ladder
from ullage.core.decision import Reason, Recommendation, RunQuestion
from ullage.core.guardrails import above_failed, at_ceiling_when_last
from ullage.core.view import RunHistory
from ullage.policies.bases import Evidence
from ullage.policies.budget import FAILURE_GRID_GBH, choose_price, own_spending, target_share
from ullage.policies.cold_start import recommend_cold
from ullage.policies.distributions import PeakDistribution, curve_of, given_above
from ullage.policies.experts import Reading, compared, distribution, evidence_of, read_all
from ullage.policies.ladder import candidates_of, cut_to_attempts, ladder_of, solve
from ullage.policies.leader import choose_leader, is_scoring_turn, settled_experts
from ullage.policies.live import RUNG_TRIGGER_RATIO
from ullage.policies.panel import Panel, panel_of
from ullage.policies.regime import regime_start

WINDOW_RUNS = 384
"""Older runs than these change no decision worth the time."""
GROWTH_STEP_RATIO = 1.05
"""Rungs that a limit grows along are no closer than this: a raise skips them anyway."""
GROWTH_LEAST_LEVEL = 0.5
"""Under growth the first rung covers the conditional median at least."""
PAUSE_PRICE_RATIO = 0.01
"""A raise is charged this share of a run's GB-hours, so that rungs stay few."""
DECIDING_RUNS = 5
_NEAR_RATIO = 0.1
"""A run's say in a limit falls by e for each 10 % between its point and the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UllageRunPolicy:
    """Conditional distributions, the solved ladder, the budget that is spent.

    is_critical: never let the first attempt's own OOM chance be above the budget either
    (the preset for batch jobs that must not fail); else only the share over decisions
    is held to it.
    names_runs: name the deciding runs in every answer, for people; nothing else depends on it.
    tells_needs: tell the whole distribution of the need, for a choice among machines; the
    ladder does not depend on it.
    scores_experts: give the ladders of all experts, to be scored when the peak is known; not
    where the answer is only looked at.
    """

    policy_id: str = "ullage"
    is_critical: bool = False
    names_runs: bool = True
    tells_needs: bool = False
    scores_experts: bool = True
    is_guarded: bool = True

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer `question`; same arguments, same answer.

        Without a known peak in the history the cold start answers. `expert_ladders` are
        those of a first attempt that cannot grow, so that scores compare between modes; none
        where this run is not one to score experts on.
        """
        history = history.latest(WINDOW_RUNS)
        if history.is_censored.all():
            cold = recommend_cold(history, question, related=related, tells_needs=self.tells_needs)
            return _for_last_attempt(cold, question)
        seen = evidence_of(history, question.features)
        since = _regime(seen)
        if since:
            seen = evidence_of(history, question.features, since=since)
        experts = settled_experts(history, seen)
        if any(expert.follows_all for expert in experts):
            seen = compared(seen, history, question.features)
        readings = read_all(seen, experts)
        leader = choose_leader(history, seen, readings)
        level = 1.0 - question.failure_budget_ratio if self.is_critical else 0.0
        is_scored = self.scores_experts and is_scoring_turn(history, seen)
        asked = readings if is_scored else [leader, readings[0]]
        panel = panel_of(seen, asked, question.bounds, least_level=level)
        name = leader.expert.name if leader.expert.name in panel.names else "constant"
        price_gbh, spent = _price(history, question, panel, name)
        ladders = panel.ladders(price_gbh, question.prices)
        reading = next(reading for reading in readings if reading.expert.name == name)
        ladder = _ladder(question, seen, reading, ladders[name])
        told = _peak(seen, reading) if self.names_runs or self.tells_needs else None
        reasons = (Reason.LEARNED, Reason.REGIME_CHANGE) if since else (Reason.LEARNED,)
        is_first = not (question.failed_limits_bytes or question.can_grow)
        answer = Recommendation(
            ladder=ladder,
            reasons=reasons,
            expert=name,
            runs_used=len(seen.peak_bytes),
            expert_ladders=ladders if is_scored else {},
            deciding_run_ids=_deciding_runs(history, seen, told, ladder)
            if told is not None and self.names_runs
            else (),
            spent_prob=spent if is_first and question.attempts_left > 0 else (),
            failure_gbh=price_gbh,
            feature=seen.feature if leader.expert.follows_feature else None,
            curve=curve_of(told) if told is not None and self.tells_needs else None,
        )
        return _for_last_attempt(answer, question)


def _ladder(question: RunQuestion, seen: Evidence, reading: Reading, first: Ladder) -> Ladder:
    """Return the ladder for the attempt asked about; `first` is that of a first attempt."""
    failed_bytes = max(question.failed_limits_bytes, default=0)
    ladder = first
    if failed_bytes or question.can_grow:
        peak = _peak(seen, reading)
        if failed_bytes:
            peak = given_above(peak, failed_bytes)
        ladder = (
            _growth_ladder(question, peak) if question.can_grow else _retry_ladder(question, peak)
        )
    if failed_bytes:
        ladder = above_failed(ladder, failed_bytes, question.bounds)
    if question.can_grow:
        return ladder
    return cut_to_attempts(ladder, question.bounds, question.attempts_left)


def _price(
    history: RunHistory, question: RunQuestion, panel: Panel, name: str
) -> tuple[float, tuple[float, ...]]:
    """Return the price of a failure in GBh, and what this decision spends at each price."""
    if question.prices.failure_gbh is not None:
        return question.prices.failure_gbh, ()
    curve = panel.failure_curve(name, FAILURE_GRID_GBH, question.prices)
    spending = question.spending or own_spending(history)
    target = target_share(spending, question.failure_budget_ratio)
    at = choose_price(curve, spending, target)
    return float(FAILURE_GRID_GBH[at]), tuple(curve.tolist())


def _peak(seen: Evidence, reading: Reading) -> PeakDistribution:
    """Return the distribution of a reading that the panel has found not to be empty."""
    peak = distribution(seen, reading)
    assert peak is not None
    return peak


def _retry_ladder(question: RunQuestion, peak: PeakDistribution) -> Ladder:
    choice = candidates_of(peak, question.bounds)
    price = np.array([question.prices.failure_gbh or 0.0])
    return ladder_of(choice, solve([choice], price, question.prices).path(0), peak)


def _regime(seen: Evidence) -> int:
    """Return the first run to use: the present regime's, if it holds a known peak."""
    since = regime_start(seen.peak_bytes, seen.x)
    return since if (~seen.is_censored[since:]).any() else 0


def _growth_ladder(question: RunQuestion, peak: PeakDistribution) -> Ladder:
    """Return the rungs of a limit that grows in place: a failure costs a pause, not a run.

    A limit serves needs up to RUNG_TRIGGER_RATIO of it; above, a raise is due.
    """
    median = peak.quantile(GROWTH_LEAST_LEVEL) / RUNG_TRIGGER_RATIO
    choice = candidates_of(
        peak, question.bounds, full_ratio=RUNG_TRIGGER_RATIO, at_least_bytes=median
    )
    run_gbh = float((peak.points_bytes * peak.run_hours).sum()) / 1e9
    pause_gbh = question.growth_prices.failure_gbh or PAUSE_PRICE_RATIO * run_gbh
    solution = solve([choice], np.array([pause_gbh]), question.growth_prices)
    path = solution.path(0)
    kept = path[:1]
    for at in path[1:-1]:
        if choice.limit_bytes[at] >= GROWTH_STEP_RATIO * choice.limit_bytes[kept[-1]]:
            kept.append(at)
    return ladder_of(choice, [*kept, path[-1]], peak)


def _deciding_runs(
    history: RunHistory, seen: Evidence, peak: PeakDistribution, ladder: Ladder
) -> tuple[str, ...]:
    """Return the runs with the largest say in the first limit, weightiest first."""
    limit = float(ladder.limit_bytes[0])
    say = peak.prob * np.exp(-np.abs(peak.points_bytes - limit) / (_NEAR_RATIO * limit))
    n = len(seen.peak_bytes)
    by_run = np.bincount(peak.source, weights=say, minlength=n)
    newest_first = np.arange(n)[::-1]
    order = newest_first[np.argsort(-by_run[newest_first], kind="stable")]
    since = len(history) - n
    return tuple(history.run_ids[since + i] for i in order[:DECIDING_RUNS] if by_run[i] > 0)


def _for_last_attempt(answer: Recommendation, question: RunQuestion) -> Recommendation:
    """Return the ceiling, and why, where neither a retry nor growth is left."""
    if question.can_grow or question.attempts_left > 0:
        return answer
    return replace(
        answer,
        ladder=at_ceiling_when_last(answer.ladder, question),
        reasons=(Reason.NO_RETRY_LEFT, *answer.reasons),
        spent_prob=(),
    )
