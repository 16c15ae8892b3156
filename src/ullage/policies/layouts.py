"""What one SDK process needs under a layout that differs from those seen. Pure.

A process's load is (threads, vCPUs that they can keep busy). Runs of the same load answer
by themselves. Where they are few, those of the least larger load answer as they are: a
process that does less at once may still hold the same data. Where there is none, those of
the nearest smaller load answer, and need is taken to rise in proportion to the load. Not
here: the prediction itself (one decision path, core.decide).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import NeedCurve
from ullage.core.decide import Answer, answer_run, settle_run
from ullage.core.decision import Reason, Recommendation, RunDecision, RunQuestion
from ullage.core.launch import WorkerLayout
from ullage.core.ports import RunPolicy
from ullage.core.view import RunHistory

LIKE_RUNS = 5
"""So many runs of a load with a known peak answer for it by themselves."""
FEATURES = ("vcpus_count", "processes_count", "threads_count")
"""The layout as features of a run, known before it starts."""

_INFORMED = frozenset((Reason.LEARNED, Reason.POOLED_PRIOR))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNeed:
    """What one SDK process needs under a layout.

    curve: None where nothing is known of its distribution. least_bytes: less is out of
    the question, whatever the curve says. known_count: own runs with a known peak.
    scale_ratio: by how much the need of the runs that answer was scaled; 1 = not.
    """

    answer: Answer
    question: RunQuestion
    history: RunHistory
    policy: RunPolicy
    curve: NeedCurve | None
    least_bytes: int
    known_count: int
    scale_ratio: float

    @property
    def is_unknown(self) -> bool:
        """Whether no run at all says anything."""
        return self.curve is None and len(self.history) == 0

    def oom_prob(self, limits_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chance that the hottest process needs more than each limit."""
        if self.curve is None:
            return np.where(limits_bytes >= self.least_bytes, 0.0, 1.0)
        return exceeding(self.curve, limits_bytes)

    def settle(self, limit_bytes: int) -> RunDecision:
        """Return the decision to record for a worker that gives a process so much."""
        _, ladder, _ = self.answer
        chance = float(self.oom_prob(np.array([float(limit_bytes)]))[0])
        if self.curve is None and ladder.oom_prob:
            chance = ladder.oom_prob[0]  # the policy's own guess: nothing is known
        return settle_run(
            self.history,
            self.question,
            self.policy,
            self.answer,
            limit_bytes=limit_bytes,
            oom_prob=chance,
        )


def exceeding(curve: NeedCurve, limits_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chance of a need above each limit; 1 below the curve's least point.

    >>> curve = NeedCurve(need_bytes=(1.0, 2.0), above_prob=(0.5, 0.0))
    >>> exceeding(curve, np.array([0.5, 1.0, 1.5, 2.0])).tolist()
    [1.0, 0.5, 0.5, 0.0]
    """
    at = np.searchsorted(np.array(curve.need_bytes), limits_bytes, side="right")
    return np.append(1.0, curve.above_prob)[at]


def load_of(layout: WorkerLayout) -> tuple[float, float]:
    """Return (threads, vCPUs that they can keep busy) of one process.

    >>> load_of(WorkerLayout(vcpus_count=8, processes_count=8, threads_count=1))
    (1.0, 1.0)
    >>> load_of(WorkerLayout(vcpus_count=8, processes_count=1, threads_count=300))
    (300.0, 8.0)
    """
    threads = float(layout.threads_count)
    return threads, min(layout.vcpus_count / layout.processes_count, threads)


def _rise(load: tuple[float, float], seen: tuple[float, float]) -> float:
    """Return by how much need rises from the load that was seen; never below 1."""
    return max(1.0, load[0] / seen[0], load[1] / seen[1])


class NeedReader:
    """Asks the policy about layouts; the same history and features are asked about once."""

    def __init__(
        self,
        history: RunHistory,
        question: RunQuestion,
        policy: RunPolicy,
        *,
        related: RunHistory | None,
        before: WorkerLayout,
    ) -> None:
        self._history = history
        self._question = question
        self._policy = policy
        self._related = related
        self._columns = {name: _column(history, name, before) for name in FEATURES}
        self._loads = _loads(self._columns)
        self._known = ~history.is_censored
        loads, counts = np.unique(self._loads[self._known], axis=0, return_counts=True)
        rows = [(threads, vcpus) for threads, vcpus in loads.tolist()]
        self._seen = [row for row, n in zip(rows, counts.tolist(), strict=True) if n >= LIKE_RUNS]
        self._commonest = rows[int(counts.argmax())] if rows else None
        self._asked: dict[tuple[object, ...], ProcessNeed] = {}

    def need(self, layout: WorkerLayout) -> ProcessNeed:
        """Return what one process needs under `layout`."""
        load = load_of(layout)
        answering = self._answering(load)
        if answering is None:
            return self._ask(layout, np.ones(len(self._history), bool), 1.0)
        return self._ask(layout, (self._loads == answering).all(axis=1), _rise(load, answering))

    def seen_threads(self) -> tuple[int, ...]:
        """Return the threads per process that enough runs had, rising."""
        threads = self._columns["threads_count"][self._known]
        values, counts = np.unique(threads, return_counts=True)
        return tuple(int(value) for value in values[counts >= LIKE_RUNS])

    def _answering(self, load: tuple[float, float]) -> tuple[float, float] | None:
        """Return the load whose runs answer for `load`, None where no peak is known.

        Itself or the least larger one (need does not rise from it), else the nearest smaller.
        """
        nearest = min(self._seen, key=lambda each: (_rise(load, each), each), default=None)
        return self._commonest if nearest is None else nearest

    def _ask(self, layout: WorkerLayout, kept: NDArray[np.bool_], scale: float) -> ProcessNeed:
        """Return what the policy says of `layout` from the runs `kept`, x `scale`."""
        varying = tuple(
            getattr(layout, name) if np.ptp(self._columns[name][kept]) > 0 else None
            for name in FEATURES
            if kept.any()
        )
        key = (kept.tobytes(), varying)
        if key not in self._asked:
            self._asked[key] = self._answer(layout, self._history.where(kept))
        return _scaled(self._asked[key], scale)

    def _answer(self, layout: WorkerLayout, history: RunHistory) -> ProcessNeed:
        """Return what the policy says of `layout`.

        Where it knows nothing, or the guards overruled it, its curve does not count: the
        first rung is what is needed.
        """
        numbers = {name: float(getattr(layout, name)) for name in FEATURES}
        features = self._question.features
        question = replace(
            self._question, features=replace(features, numbers={**features.numbers, **numbers})
        )
        answer = answer_run(history, question, self._policy, related=self._related)
        recommendation, ladder, reasons = answer
        is_informed = bool(_INFORMED & set(reasons))
        overruled = Reason.MODEL_FALLBACK in reasons
        return ProcessNeed(
            answer=answer,
            question=question,
            history=history,
            policy=self._policy,
            curve=_curve(recommendation) if is_informed else None,
            least_bytes=ladder.limit_bytes[0] if overruled or not is_informed else 1,
            known_count=int((~history.is_censored).sum()),
            scale_ratio=1.0,
        )


def _scaled(need: ProcessNeed, scale: float) -> ProcessNeed:
    if scale == 1.0:
        return need
    curve = need.curve
    if curve is not None:
        curve = replace(curve, need_bytes=tuple(each * scale for each in curve.need_bytes))
    return replace(
        need, curve=curve, least_bytes=math.ceil(need.least_bytes * scale), scale_ratio=scale
    )


def _column(history: RunHistory, name: str, before: WorkerLayout) -> NDArray[np.float64]:
    """Return a layout feature of past runs; runs that lack it had the launch's own."""
    own = float(getattr(before, name))
    column = history.numbers.get(name)
    if column is None:
        return np.full(len(history), own)
    return np.where(np.isfinite(column) & (column >= 1), column, own)


def _loads(columns: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    vcpus, processes, threads = (columns[name] for name in FEATURES)
    return np.stack([threads, np.minimum(vcpus / processes, threads)], axis=1)


def _curve(answer: Recommendation) -> NeedCurve | None:
    """Return the distribution that the policy tells, or the staircase of its ladder."""
    if answer.curve is not None:
        return answer.curve
    if not answer.ladder.oom_prob:
        return None
    return NeedCurve(
        need_bytes=tuple(map(float, answer.ladder.limit_bytes)),
        above_prob=answer.ladder.oom_prob,
    )
