"""Section D: whether what was asked for is what came: failure budgets and quantiles.

Only warm runs (5 own predecessors known) count, pooled over a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from quality.honest_order import Ordered
from quality.line import Line
from quality.replays import Work
from ullage.core.allocation import Prices
from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.view import RunHistory
from ullage.policies.runs import UllageRunPolicy
from ullage.simulation.backtest import World, backtest_workload, rows_by_workload
from ullage.simulation.figures import WARM_RUNS
from ullage.simulation.timeline import Timeline

NEEDED_RUNS = {0.02: 2150, 0.05: 860}
"""Budget -> warm runs from which on its share says enough."""
MOST_RATIO, LEAST_RATIO = 1.3, 0.7
LEVELS = (0.5, 0.9, 0.98)
COVER_WITHIN = 0.015
CONTINUOUS_RATIO = 0.1
"""Peaks count as continuous where at most this share of runs has the peak of another run."""
_MOST_STANDARD_ERROR = 0.01
"""A share that chance alone moves by more than a point says too little."""
_ASKED_RUNS = 4000
"""About so many runs of a file are asked for quantiles."""
_FREE = Prices(rho=1e-6, failure_gbh=0.0)


def kept_promises(several: Sequence[Ordered]) -> list[Line]:
    """Return the lines of section D."""
    lines = []
    for each in several:
        is_smooth = repeated_share(each.work.timeline) <= CONTINUOUS_RATIO
        lines += [_budget_line(each, budget, is_smooth) for budget in NEEDED_RUNS]
    for each in several:
        lines += _cover_lines(each.work)
    return lines


def repeated_share(timeline: Timeline) -> float:
    """Return the share of runs that share their exact peak with another run of their workload."""
    pairs = np.column_stack([timeline.runs.workload.astype(float), timeline.runs.peak_bytes])
    _, at, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return float((counts[at.ravel()] > 1).mean())


def _budget_line(ordered: Ordered, budget: float, is_smooth: bool) -> Line:
    replayed = next(each for each in ordered.curve if each.setting.failure_budget_ratio == budget)
    warm = replayed.results.known_count >= WARM_RUNS
    failed = replayed.results.outcomes.ooms_count[warm] > 0
    multiple = float(failed.mean()) / budget if len(failed) else float("nan")
    is_enough = len(failed) >= NEEDED_RUNS[budget]
    least = f" and >= {LEAST_RATIO} x" if is_smooth else ""
    is_reached = multiple <= MOST_RATIO and (multiple >= LEAST_RATIO or not is_smooth)
    kind = "continuous peaks" if is_smooth else "peaks repeat: no lower bound"
    return Line(
        section="D",
        figure=f"{ordered.work.name}: failed first attempts, {budget * 100:g} % asked, warm",
        target=f"<= {MOST_RATIO} x{least}",
        seen=f"{multiple:.2f} x",
        is_reached=is_reached if is_enough else None,
        note=f"{int(failed.sum()):,} of {len(failed):,} runs; {kind}"
        + ("" if is_enough else f"; too few to tell (< {NEEDED_RUNS[budget]:,})"),
    )


class QuantileProbe:
    """Our policy, which is also asked for quantiles of what it believes, now and then.

    A quantile is the first limit of its critical mode where failures cost nothing: the
    least limit that this mode allows. The answers are those of the policy alone.
    """

    policy_id, is_guarded = "ullage", True

    def __init__(self, every: int) -> None:
        self._every, self._policy = every, UllageRunPolicy(names_runs=False)
        self._critical = UllageRunPolicy(names_runs=False, is_critical=True)
        self.first_asked_count = 0
        self.asked: list[tuple[int, list[int], list[float]]] = []
        """(number of the first attempt, limits, announced levels) for each one asked."""

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        """Answer as the policy does; note quantiles for some first attempts."""
        if not question.failed_limits_bytes:
            at = self.first_asked_count
            self.first_asked_count += 1
            is_warm = len(history) >= WARM_RUNS and not history.is_censored.all()
            if is_warm and at % self._every == 0:
                self._note(at, history, question)
        return self._policy.recommend(history, question, related=related)

    def _note(self, at: int, history: RunHistory, question: RunQuestion) -> None:
        limits, levels = [], []
        for level in LEVELS:
            asked = replace(question, failure_budget_ratio=1.0 - level, prices=_FREE)
            ladder = self._critical.recommend(history, asked).ladder
            limits.append(ladder.limit_bytes[0])
            levels.append(1.0 - ladder.oom_prob[0])
        self.asked.append((at, limits, levels))


def covered(timeline: Timeline, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (is covered, announced), both [runs asked, levels], of warm runs that ended well.

    Quantiles below the platform's floor were lifted to it and are left out, whatever the
    peak was (NaN).
    """
    runs = timeline.runs
    floor_bytes = World().bounds.floor_bytes
    seen, announced = [], []
    for rows in rows_by_workload(timeline):
        probe = QuantileProbe(every)
        probed = backtest_workload(timeline, rows, probe, World())
        assert probe.first_asked_count == len(probed.row)
        for at, limits, levels in probe.asked:
            row = int(probed.row[at])
            if runs.is_error[row]:
                continue
            is_told = np.array(limits) > floor_bytes
            is_covered = runs.peak_bytes[row] <= np.array(limits)
            seen.append(np.where(is_told, is_covered, np.nan))
            announced.append(np.where(is_told, levels, np.nan))
    shape = (len(seen), len(LEVELS))
    return np.array(seen, float).reshape(shape), np.array(announced, float).reshape(shape)


def _cover_lines(work: Work) -> list[Line]:
    every = max(1, len(work.timeline.runs) // _ASKED_RUNS)
    seen, announced = covered(work.timeline, every)
    is_smooth = repeated_share(work.timeline) <= CONTINUOUS_RATIO
    lines = []
    for column, level in enumerate(LEVELS):
        told = ~np.isnan(seen[:, column])
        count = int(told.sum())
        if not count:
            continue
        share, said = float(seen[told, column].mean()), float(announced[told, column].mean())
        meant = level if is_smooth else said
        is_enough = np.sqrt(level * (1 - level) / count) <= _MOST_STANDARD_ERROR
        kind = "" if is_smooth else ", peaks repeat: held against the announced"
        lines.append(
            Line(
                section="D",
                figure=f"{work.name}: quantile {level} covers, warm",
                target=f"within {COVER_WITHIN * 100:g} points",
                seen=f"{share * 100:.1f} % ({(share - meant) * 100:+.1f})",
                is_reached=abs(share - meant) <= COVER_WITHIN if is_enough else None,
                note=f"announced {said * 100:.1f} %, {count:,} runs"
                + kind
                + ("" if is_enough else "; too few to tell"),
            )
        )
    return lines
