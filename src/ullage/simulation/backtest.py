"""The backtest: every run of a timeline asked about with what was known then, and replayed.

The policy answers through core.decide, as in a live run, attempt by attempt; what its
limits do is core.replay's to say. Not here: files, figures, several processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import Bounds, Ladder, Prices
from ullage.core.decide import answer_run
from ullage.core.decision import Recommendation, RunQuestion
from ullage.core.errors import InvariantError
from ullage.core.ports import RunPolicy
from ullage.core.replay import Replay, replay_run
from ullage.core.scoring import ExpertLadders, Outcomes, priced
from ullage.core.spending import Spending
from ullage.core.units import MAX_BYTES
from ullage.core.view import RunHistory, label_code
from ullage.core.workload import Features
from ullage.simulation.timeline import Timeline

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ATTEMPTS_LEFT = 99
MAX_ATTEMPTS = 200
RELATED_RUNS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is the same for every policy. ttf_ratio belongs to the world, not to the policy.

    prices.failure_gbh None: the failure budget decides.
    """

    bounds: Bounds = field(default_factory=lambda: Bounds(ceiling_bytes=MAX_BYTES))
    ttf_ratio: float = 1.0
    prices: Prices = field(default_factory=Prices)
    failure_budget_ratio: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What became of k runs under one policy, all arrays of length k.

    row: index into the timeline. known_count: own predecessors known when it was asked
    about. first_limit_bytes: of the first attempt. decision_ms: the first decision took.
    """

    row: Ints
    known_count: Ints
    first_limit_bytes: Floats
    oom_prob: Floats
    decision_ms: Floats
    outcomes: Outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What k runs spent of the failure budget: arrays of length k, and curves [k, g]."""

    known_at_s: Floats
    row: Ints
    first_failed: Bools
    first_oom_prob: Floats
    spent_prob: Floats


def rows_by_workload(timeline: Timeline) -> Iterator[Ints]:
    """Yield the rows of each workload in the order in which they are asked about."""
    order = np.lexsort((timeline.asked_at_s, timeline.runs.workload))
    cuts = np.flatnonzero(np.diff(timeline.runs.workload[order])) + 1
    yield from (rows for rows in np.split(order, cuts) if len(rows))


def backtest_workload(timeline: Timeline, rows: Ints, policy: RunPolicy, world: World) -> Results:
    """Replay the runs of one workload under `policy`; `rows` in the order they are asked about.

    The workload has the failure budget for itself.
    """
    replay = WorkloadReplay(timeline, rows, policy, world)
    replay.advance()
    return replay.results()


class WorkloadReplay:
    """One workload under one policy, replayed from one moment to the next.

    What the workload has been told so far is kept; `rows` in the order they are asked about.
    """

    def __init__(self, timeline: Timeline, rows: Ints, policy: RunPolicy, world: World) -> None:
        runs = timeline.runs
        self._timeline, self._rows, self._policy, self._world = timeline, rows, policy, world
        by_known = rows[np.argsort(timeline.known_at_s[rows], kind="stable")]
        self._past = _Past(timeline, by_known)
        self._position = {int(row): at for at, row in enumerate(by_known)}
        self._known_count = np.searchsorted(
            timeline.known_at_s[by_known], timeline.asked_at_s[rows], side="right"
        )
        self._key = runs.workload_names[int(runs.workload[rows[0]])]
        self._asked_at_s = timeline.asked_at_s[rows]
        self._next = 0
        self._spending: Spending | None = None
        self._kept: list[tuple[int, int, float, float, float]] = []
        self._replays: list[Replay] = []

    def advance(self, until_s: float = float("inf"), *, spending: Spending | None = None) -> None:
        """Replay the runs asked about before `until_s` that are left.

        spending: of all workloads that share the failure budget; None = this one alone.
        """
        self._spending = spending
        end = int(np.searchsorted(self._asked_at_s, until_s, side="left"))
        for at in range(self._next, end):
            self._replay(int(self._rows[at]), int(self._known_count[at]))
        self._next = max(self._next, end)

    def spent(self, after_s: float, until_s: float) -> Spent:
        """Return what runs that became known in (after_s, until_s] spent of the budget."""
        return self._past.spent(after_s, until_s)

    def _replay(self, row: int, known_count: int) -> None:
        if not self._timeline.is_scored[row]:
            self._rehearse(row, known_count)
            return
        answer, ladder, run, seconds = self._decide_and_replay(row, known_count)
        prob = ladder.oom_prob[0] if ladder.oom_prob else float("nan")
        self._past.learn(self._position[row], answer, run, self._costs(answer, row), prob)
        self._kept.append((row, known_count, float(run.limit_bytes[0]), prob, seconds * 1e3))
        self._replays.append(run)

    def results(self) -> Results:
        """Return what became of the runs replayed so far."""
        columns = list(zip(*self._kept, strict=True)) or [()] * 5
        return Results(
            row=np.array(columns[0], np.int64),
            known_count=np.array(columns[1], np.int64),
            first_limit_bytes=np.array(columns[2], float),
            oom_prob=np.array(columns[3], float),
            decision_ms=np.array(columns[4], float),
            outcomes=outcomes_with_use(
                self._replays, self._timeline, np.array(columns[0], np.int64)
            ),
        )

    def _rehearse(self, row: int, known_count: int) -> None:
        """Score the experts on a run that is history: its own limits are not ours."""
        if known_count == 0 or not self._policy.is_guarded:
            return
        answer = self._policy.recommend(self._past.view(known_count), self._question(row))
        self._past.score(self._position[row], self._costs(answer, row))

    def _decide_and_replay(
        self, row: int, known_count: int
    ) -> tuple[Recommendation, Ladder, Replay, float]:
        """Return the first answer, its ladder, what happened, and how long the answer took."""
        runs, world = self._timeline.runs, self._world
        history = self._past.view(known_count)
        question = self._question(row)
        related = None if known_count else _related(self._timeline, row)
        began = time.perf_counter()
        answer, ladder, _ = answer_run(history, question, self._policy, related=related)
        seconds = time.perf_counter() - began
        peak, limits = float(runs.peak_bytes[row]), [ladder.limit_bytes[0]]
        while peak > limits[-1] < world.bounds.ceiling_bytes:
            if len(limits) > MAX_ATTEMPTS:
                raise InvariantError(f"{self._policy.policy_id} never gives a run enough")
            retry = replace(
                question,
                failed_limits_bytes=tuple(limits),
                attempts_left=ATTEMPTS_LEFT - len(limits),
            )
            _, again, _ = answer_run(history, retry, self._policy, related=related)
            limits.append(again.limit_bytes[0])
        run = replay_run(
            limits,
            peak_bytes=peak,
            runtime_s=float(runs.runtime_s[row]),
            ttf_ratio=world.ttf_ratio,
            ceiling_bytes=world.bounds.ceiling_bytes,
        )
        return answer, ladder, run, seconds

    def _question(self, row: int) -> RunQuestion:
        runs, world = self._timeline.runs, self._world
        request, default = runs.request_bytes[row], self._timeline.default_bytes[row]
        return RunQuestion(
            workload_key=self._key,
            asked_at=_EPOCH + timedelta(seconds=float(self._timeline.asked_at_s[row])),
            features=self._past.features(row),
            bounds=world.bounds,
            request_bytes=None if np.isnan(request) else int(request),
            default_bytes=int(default),
            attempts_left=ATTEMPTS_LEFT,
            can_grow=False,
            failure_budget_ratio=world.failure_budget_ratio,
            spending=self._spending,
            prices=world.prices,
        )

    def _costs(self, answer: Recommendation, row: int) -> Mapping[str, float]:
        runs = self._timeline.runs
        if runs.is_error[row]:
            return {}
        peak, runtime_s = float(runs.peak_bytes[row]), float(runs.runtime_s[row])
        prices = priced(self._world.prices, answer.failure_gbh)
        ladders = ExpertLadders.of(answer.expert_ladders)
        return ladders.costs_gbh(peak_bytes=peak, runtime_s=runtime_s, prices=prices)


class _Past:
    """The runs of one workload in the order in which they become known, and what was learned.

    What a run taught stands at its own place: a view shows it once the run is known.
    """

    def __init__(self, timeline: Timeline, by_known: Ints) -> None:
        runs, n = timeline.runs, len(by_known)
        self._runs, self._by_known = runs, by_known
        self._run_ids = tuple(runs.run_ids[row] for row in by_known)
        self._known_at_s = timeline.known_at_s[by_known]
        self._peak_bytes = runs.peak_bytes[by_known]
        self._is_censored = runs.is_error[by_known]
        self._runtime_s = runs.runtime_s[by_known]
        self._numbers = {name: x[by_known] for name, x in runs.numbers.items()}
        self._numbers = {k: x for k, x in self._numbers.items() if not np.isnan(x).all()}
        self._texts = {name: x[by_known] for name, x in runs.labels.items()}
        self._labels = {
            name: np.array([label_code(text) for text in texts], np.int64)
            for name, texts in self._texts.items()
        }
        self._labels = {name: codes for name, codes in self._labels.items() if codes.any()}
        self._first_failed = np.zeros(n, bool)
        self._limit_bytes = np.full(n, np.nan)
        self._failed_bytes = np.full(n, np.nan)
        self._ooms_count = np.zeros(n, np.int64)
        self._costs: dict[str, Floats] = {}
        self._first_oom_prob = np.full(n, np.nan)
        self._spent = np.zeros((n, 0))
        self._first_spent = n

    def view(self, count: int) -> RunHistory:
        """Return the first `count` runs that became known, as core.view.history_of has them.

        No budget was spent until a run that spent some is known.
        """
        spent = self._spent[:count]
        return RunHistory(
            run_ids=self._run_ids[:count],
            known_at_s=self._known_at_s[:count],
            peak_bytes=self._peak_bytes[:count],
            is_censored=self._is_censored[:count],
            runtime_s=self._runtime_s[:count],
            first_failed=self._first_failed[:count],
            numbers={name: x[:count] for name, x in self._numbers.items()},
            labels={name: codes[:count] for name, codes in self._labels.items()},
            expert_costs={name: cost[:count] for name, cost in self._costs.items()},
            spent_prob=spent if self._first_spent < count else spent[:, :0],
            first_oom_prob=self._first_oom_prob[:count],
            limit_bytes=self._limit_bytes[:count],
            failed_bytes=self._failed_bytes[:count],
            ooms_count=self._ooms_count[:count],
        )

    def features(self, row: int) -> Features:
        """Return what is known of a run before its start."""
        runs = self._runs
        numbers = {name: float(runs.numbers[name][row]) for name in self._numbers}
        labels = {name: runs.labels[name][row] for name in self._labels}
        return Features(
            numbers={name: x for name, x in numbers.items() if x == x},
            labels={name: text for name, text in labels.items() if text is not None},
        )

    def score(self, at: int, costs: Mapping[str, float]) -> None:
        """Write what each expert's ladder would have cost on run number `at`."""
        for name, cost in costs.items():
            self._costs.setdefault(name, np.full(len(self._run_ids), np.nan))[at] = cost

    def spent(self, after_s: float, until_s: float) -> Spent:
        """Return what runs that became known in (after_s, until_s] spent of the budget."""
        ends = np.searchsorted(self._known_at_s, [after_s, until_s], side="right")
        among = slice(int(ends[0]), int(ends[1]))
        is_under = ~np.isnan(self._first_oom_prob[among])
        return Spent(
            known_at_s=self._known_at_s[among][is_under],
            row=self._by_known[among][is_under],
            first_failed=self._first_failed[among][is_under],
            first_oom_prob=self._first_oom_prob[among][is_under],
            spent_prob=self._spent[among][is_under],
        )

    def learn(
        self,
        at: int,
        answer: Recommendation,
        run: Replay,
        costs: Mapping[str, float],
        first_oom_prob: float,
    ) -> None:
        """Write what run number `at` taught."""
        n = len(self._run_ids)
        self.score(at, costs)
        limits = run.limit_bytes
        self._first_failed[at] = run.is_first_failed
        self._limit_bytes[at] = limits[-1]
        self._ooms_count[at] = run.ooms_count
        if run.ooms_count:
            self._failed_bytes[at] = limits[run.ooms_count - 1]
        if len(answer.spent_prob):
            if self._spent.shape[1] != len(answer.spent_prob):
                self._spent = np.full((n, len(answer.spent_prob)), np.nan)
            self._spent[at] = answer.spent_prob
            self._first_oom_prob[at] = first_oom_prob
            self._first_spent = min(self._first_spent, at)


def _related(timeline: Timeline, row: int) -> RunHistory:
    """Return the latest RELATED_RUNS runs of all workloads that were known when `row` was asked."""
    runs = timeline.runs
    latest = timeline.latest_known(row, RELATED_RUNS)
    return RunHistory(
        run_ids=tuple(runs.run_ids[at] for at in latest),
        known_at_s=timeline.known_at_s[latest],
        peak_bytes=runs.peak_bytes[latest],
        is_censored=runs.is_error[latest],
        runtime_s=runs.runtime_s[latest],
        first_failed=np.zeros(len(latest), bool),
        numbers={name: x[latest] for name, x in runs.numbers.items()},
    )


def outcomes_with_use(replays: list[Replay], timeline: Timeline, row: Ints) -> Outcomes:
    """Return replays as arrays; a run counts as used also where the node was too small for it."""
    runs = timeline.runs
    return Outcomes(
        used_byte_seconds=runs.peak_bytes[row] * runs.runtime_s[row],
        reserved_byte_seconds=np.array([run.reserved_byte_seconds for run in replays], float),
        failed_byte_seconds=np.array([run.failed_byte_seconds for run in replays], float),
        ooms_count=np.array([run.ooms_count for run in replays], float),
        lost_s=np.array([run.lost_s for run in replays], float),
    )
