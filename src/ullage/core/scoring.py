"""The one definition of every figure: used, reserved, waste, failures, MAQ, cost.

All from replayed (or real) runs as parallel arrays, in float64: bytes x seconds
overflow int64. GB = 1e9 bytes. Not here: how a run replays (core.replay), prices in
money by region (the price book).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import Ladder, Prices
from ullage.core.decision import RunDecision
from ullage.core.kernels import kernel
from ullage.core.replay import GB_HOUR, RAISE_FACTOR, Replay, climbed
from ullage.core.workload import Outcome, Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ExpertLadders(Mapping[str, Ladder]):
    """Ladders of experts by name, held as arrays: made in numbers, scored, seldom looked at.

    limit_bytes, oom_prob: float64 [e, r], the first rungs_count[e] of each row count.
    """

    def __init__(
        self, names: Sequence[str], limit_bytes: Floats, oom_prob: Floats, rungs_count: Ints
    ) -> None:
        self._names = tuple(names)
        self._limit_bytes, self._oom_prob = limit_bytes, oom_prob
        self._rungs_count = rungs_count

    @classmethod
    def of(cls, ladders: Mapping[str, Ladder]) -> ExpertLadders:
        """Return any mapping of ladders as arrays."""
        if isinstance(ladders, ExpertLadders):
            return ladders
        counts = np.array([len(each.limit_bytes) for each in ladders.values()], np.int64)
        limits = np.zeros((len(counts), int(counts.max(initial=0))))
        probs = np.zeros_like(limits)
        for row, ladder in enumerate(ladders.values()):
            limits[row, : counts[row]], probs[row, : counts[row]] = (
                ladder.limit_bytes,
                ladder.oom_prob,
            )
        return cls(tuple(ladders), limits, probs, counts)

    def costs_gbh(self, *, peak_bytes: float, runtime_s: float, prices: Prices) -> dict[str, float]:
        """Return what each ladder would have cost on a run whose peak is known, in GB-hours."""
        costs = ladder_costs_gbh(
            self._limit_bytes,
            self._rungs_count,
            float(peak_bytes),
            float(runtime_s),
            float(prices.ttf_ratio),
            float(prices.rho),
            float(prices.failure_gbh or 0.0),
        )
        return dict(zip(self._names, costs.tolist(), strict=True))

    def __getitem__(self, name: str) -> Ladder:
        if name not in self._names:
            raise KeyError(name)
        row = self._names.index(name)
        count = int(self._rungs_count[row])
        return Ladder(
            limit_bytes=tuple(int(limit) for limit in self._limit_bytes[row, :count].tolist()),
            oom_prob=tuple(self._oom_prob[row, :count].tolist()),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"ExpertLadders({dict(self)!r})"


@kernel
def ladder_costs_gbh(
    limit_bytes: Floats,
    rungs_count: Ints,
    peak_bytes: float,
    runtime_s: float,
    ttf_ratio: float,
    rho: float,
    failure_gbh: float,
) -> Floats:
    """Return the GB-hours that each of e ladders would have cost on a run, float64 [e].

    cost = (limit - peak) x t of the attempt that succeeds + rho x what the failed ones
    held + failure_gbh for each failure. Full information: any ladder can be scored on any
    ended run. limit_bytes: [e, r], of which the first rungs_count [e] count.
    """
    costs = np.zeros(len(limit_bytes))
    for row in range(len(limit_bytes)):
        rungs = limit_bytes[row, : rungs_count[row]]
        limits = climbed(rungs, peak_bytes, np.inf, RAISE_FACTOR)
        slack = (limits[-1] - peak_bytes) * runtime_s
        lost = rho * ttf_ratio * limits[:-1].sum() * runtime_s
        costs[row] = (slack + lost) / GB_HOUR + failure_gbh * (len(limits) - 1)
    return costs


def expert_cost_gbh(
    ladder: Ladder, *, peak_bytes: float, runtime_s: float, prices: Prices
) -> float:
    """Return the GB-hours that `ladder` would have cost on a run whose peak is known.

    As ladder_costs_gbh; a failure costs nothing more where prices.failure_gbh is None.

    Worked: ladder (1 GB, 2 GB), peak 1.5 GB, 1 h, rho 4, ttf 1 -> 0.5 + 4 x 1 = 4.5.
    """
    alone = ExpertLadders.of({"": ladder})
    return alone.costs_gbh(peak_bytes=peak_bytes, runtime_s=runtime_s, prices=prices)[""]


def expert_costs_gbh(decision: RunDecision, run: Run) -> dict[str, float]:
    """Return what each expert's own ladder would have cost on `run`, now that it has ended.

    Empty where the peak is not known: the run failed, was stopped, or had an OOM kill in
    its last attempt (its peak is only a lower bound, and would score wrongly).
    """
    last = run.attempts[-1] if run.attempts else None
    if last is None or last.outcome is not Outcome.OK or last.oom_kills > 0:
        return {}
    peak = max((attempt.peak_bytes or 0 for attempt in run.attempts), default=0)
    runtime_s = last.runtime.total_seconds()
    if peak <= 0 or runtime_s <= 0:
        return {}
    prices = priced(decision.question.prices, decision.recommendation.failure_gbh)
    ladders = ExpertLadders.of(decision.recommendation.expert_ladders)
    return ladders.costs_gbh(peak_bytes=peak, runtime_s=runtime_s, prices=prices)


def priced(prices: Prices, failure_gbh: float) -> Prices:
    """Return `prices` with what a failure was priced at: the ladders were solved for that."""
    return replace(prices, failure_gbh=failure_gbh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Ended runs as parallel arrays of length n (float64; ooms_count: OOM-killed attempts)."""

    used_byte_seconds: Floats
    reserved_byte_seconds: Floats
    failed_byte_seconds: Floats
    ooms_count: Floats
    lost_s: Floats

    def __len__(self) -> int:
        return len(self.used_byte_seconds)

    def where(self, mask: NDArray[np.bool_]) -> Outcomes:
        """Return the runs for which `mask` holds, for example those with a warm history."""
        return Outcomes(
            used_byte_seconds=self.used_byte_seconds[mask],
            reserved_byte_seconds=self.reserved_byte_seconds[mask],
            failed_byte_seconds=self.failed_byte_seconds[mask],
            ooms_count=self.ooms_count[mask],
            lost_s=self.lost_s[mask],
        )


def outcomes_of(replays: Sequence[Replay]) -> Outcomes:
    """Return replayed runs as arrays."""
    return Outcomes(
        used_byte_seconds=np.array([run.used_byte_seconds for run in replays], float),
        reserved_byte_seconds=np.array([run.reserved_byte_seconds for run in replays], float),
        failed_byte_seconds=np.array([run.failed_byte_seconds for run in replays], float),
        ooms_count=np.array([run.ooms_count for run in replays], float),
        lost_s=np.array([run.lost_s for run in replays], float),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Every published figure of one policy on one set of runs. None = cannot tell.

    used = sum(peak x t); reserved = sum over attempts of limit x t (a failed one: its
    limit x ttf x t); waste = reserved - used; slack = waste without the failed attempts;
    waste_over_used = waste / used; reserved_over_used = reserved / used; MAQ = used /
    (used + waste) (memory allocation quality, 1 is perfect); oom_run_share = share of
    runs with at least one OOM kill.
    """

    runs_count: int
    used_gbh: float
    reserved_gbh: float
    waste_gbh: float
    slack_gbh: float
    failed_gbh: float
    waste_over_used_ratio: float | None
    reserved_over_used_ratio: float | None
    maq_ratio: float | None
    oom_run_share_ratio: float | None
    ooms_per_run: float | None
    attempts_per_run: float | None
    lost_hours: float
    cost_usd: float | None


def score(outcomes: Outcomes, *, usd_per_gbh: float | None = None) -> Score:
    """Return every figure over `outcomes`; cost_usd = reserved x `usd_per_gbh`.

    Worked: one run, used 2 GBh, reserved 3 GBh in two attempts -> waste 1, waste over
    used 0.5, MAQ 0.667, share of runs with an OOM 1.0, 2 attempts per run.
    """
    n = len(outcomes)
    used = float(outcomes.used_byte_seconds.sum()) / GB_HOUR
    reserved = float(outcomes.reserved_byte_seconds.sum()) / GB_HOUR
    failed = float(outcomes.failed_byte_seconds.sum()) / GB_HOUR
    waste = reserved - used
    ooms_per_run = float(outcomes.ooms_count.mean()) if n else None
    return Score(
        runs_count=n,
        used_gbh=used,
        reserved_gbh=reserved,
        waste_gbh=waste,
        slack_gbh=waste - failed,
        failed_gbh=failed,
        waste_over_used_ratio=waste / used if used > 0 else None,
        reserved_over_used_ratio=reserved / used if used > 0 else None,
        maq_ratio=used / reserved if reserved > 0 else None,
        oom_run_share_ratio=float((outcomes.ooms_count > 0).mean()) if n else None,
        ooms_per_run=ooms_per_run,
        attempts_per_run=None if ooms_per_run is None else ooms_per_run + 1,
        lost_hours=float(outcomes.lost_s.sum()) / 3600,
        cost_usd=None if usd_per_gbh is None else reserved * usd_per_gbh,
    )


def macro_reserved_over_used(outcomes: Outcomes, workload: NDArray[np.int64]) -> float | None:
    """Return the geometric mean over workloads of reserved / used.

    workload: int of length n, the number of the workload of each run. Every workload
    counts the same, however many runs it has; those without use are left out.
    """
    logs = []
    for number in np.unique(workload):
        mine = workload == number
        used = float(outcomes.used_byte_seconds[mine].sum())
        reserved = float(outcomes.reserved_byte_seconds[mine].sum())
        if used > 0 and reserved > 0:
            logs.append(np.log(reserved / used))
    return float(np.exp(np.mean(logs))) if logs else None
