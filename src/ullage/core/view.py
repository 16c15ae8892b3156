"""What a policy may see: the past runs of one workload as parallel arrays.

Two times on every fact: when it happened and when it was known. A view at moment t
holds only what was known by t; nothing in here can look ahead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ullage.core.workload import Outcome, Run

Scalar = TypeVar("Scalar", np.float64, np.int64)

_ENDED = {Outcome.OK, Outcome.ERROR, Outcome.OOM_KILLED}
"""Outcomes that say something about the peak; the others stopped for other reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """Past runs of one workload, oldest known first, all arrays of length n.

    run_ids: n texts. known_at_s: float64 epoch seconds, rising.
    peak_bytes: float64 > 0, the largest need. is_censored: bool, the true peak is
        *at least* peak_bytes (an OOM kill, an interruption, an error).
    runtime_s: float64 > 0, of the attempt that gave the peak.
    numbers: feature name -> float64 of length n, NaN where the run lacks it.
    labels: feature name -> int64 of length n, label_code of the text, 0 where it is lacking.
    expert_costs: expert name -> float64 of length n, NaN where it was not scored.
    first_failed: bool, the first attempt was OOM-killed (what the budget counts).
    spent_prob: float64 [n, g], for each run Recommendation.spent_prob of its decision, NaN
        where the run was not under the budget; g = 0 where nothing of it is recorded.
    first_oom_prob: float64, the announced chance that the first limit fails, NaN where the
        run was not under the budget; length 0 where it is not recorded.
    limit_bytes: float64, the limit of the last attempt. failed_bytes: float64, the largest
        limit that an attempt of the run failed at. Both NaN where there is none, and of
        length 0 where they are not recorded.
    ooms_count: int64, attempts that were OOM-killed; length 0 where it is not recorded.
    """

    run_ids: tuple[str, ...]
    known_at_s: NDArray[np.float64]
    peak_bytes: NDArray[np.float64]
    is_censored: NDArray[np.bool_]
    runtime_s: NDArray[np.float64]
    first_failed: NDArray[np.bool_]
    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    expert_costs: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    spent_prob: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    first_oom_prob: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    limit_bytes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    failed_bytes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    ooms_count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.run_ids)

    def latest(self, count: int) -> RunHistory:
        """Return the `count` runs that were known last."""
        n = len(self)
        return self if n <= count else self._cut(slice(n - count, n))

    def where(self, kept: NDArray[np.bool_]) -> RunHistory:
        """Return the runs that `kept`, bool of length n, marks."""
        return self if kept.all() else self._cut(np.flatnonzero(kept))

    def _cut(self, at: slice | NDArray[np.int64]) -> RunHistory:
        def cut(column: NDArray[Scalar]) -> NDArray[Scalar]:
            return column[at] if len(column) else column  # of length 0: not recorded

        ids = self.run_ids
        return RunHistory(
            run_ids=ids[at] if isinstance(at, slice) else tuple(ids[i] for i in at.tolist()),
            known_at_s=self.known_at_s[at],
            peak_bytes=self.peak_bytes[at],
            is_censored=self.is_censored[at],
            runtime_s=self.runtime_s[at],
            first_failed=self.first_failed[at],
            numbers={name: column[at] for name, column in self.numbers.items()},
            labels={name: column[at] for name, column in self.labels.items()},
            expert_costs={name: column[at] for name, column in self.expert_costs.items()},
            spent_prob=cut(self.spent_prob),
            first_oom_prob=cut(self.first_oom_prob),
            limit_bytes=cut(self.limit_bytes),
            failed_bytes=cut(self.failed_bytes),
            ooms_count=cut(self.ooms_count),
        )


def history_of(runs: Iterable[Run], *, at: datetime) -> RunHistory:
    """Return the runs that were known at `at` as arrays, oldest known first.

    Runs that never started, never ended, or have no measured peak are left out: they
    say nothing about the peak. An interrupted or failed run is censored. The peak of a
    run is the largest over its attempts; it is censored if its last attempt is.
    """
    kept = sorted(
        (run for run in runs if run.known_at is not None and run.known_at <= at and _peak(run)),
        key=lambda run: (run.known_at, run.run_id),
    )
    names = sorted({name for run in kept for name in run.features.numbers})
    labels = sorted({name for run in kept for name in run.features.labels})
    experts = sorted({name for run in kept for name in run.expert_costs})
    nan = float("nan")
    return RunHistory(
        run_ids=tuple(run.run_id for run in kept),
        known_at_s=np.array([run.known_at.timestamp() for run in kept if run.known_at], float),
        peak_bytes=np.array([_peak(run) for run in kept], float),
        is_censored=np.array([_is_censored(run) for run in kept], bool),
        runtime_s=np.array(
            [max(run.attempts[-1].runtime.total_seconds(), 1e-3) for run in kept], float
        ),
        first_failed=np.array([run.attempts[0].oom_kills > 0 for run in kept], bool),
        numbers={
            name: np.array([run.features.numbers.get(name, nan) for run in kept], float)
            for name in names
        },
        labels={
            name: np.array([label_code(run.features.labels.get(name)) for run in kept], np.int64)
            for name in labels
        },
        expert_costs={
            name: np.array([run.expert_costs.get(name, nan) for run in kept], float)
            for name in experts
        },
        spent_prob=curves_of([run.spent_prob for run in kept]),
        first_oom_prob=np.array([_or_nan(run.first_oom_prob) for run in kept], float),
        limit_bytes=np.array([_or_nan(run.attempts[-1].final_limit_bytes) for run in kept], float),
        failed_bytes=np.array([_failed_bytes(run) for run in kept], float),
        ooms_count=np.array([sum(a.oom_kills > 0 for a in run.attempts) for run in kept], np.int64),
    )


def moment_of_view(runs: Iterable[Run], *, now: datetime) -> datetime:
    """Return from when to look at what is recorded now: `now`, or the latest `known_at`.

    For live decisions only. What the record holds is known, whatever the clock says: after a
    wall clock that was ahead has been set back, the runs that ended under it would otherwise
    be unknown until it gets there again. A question asks as of this moment, so that its
    answer can be had again.
    """
    return max([now, *(run.known_at for run in runs if run.known_at is not None)])


@lru_cache(maxsize=65_536)
def label_code(text: str | None) -> int:
    """Return a number > 0 that stands for the text of a label, 0 for none.

    The first 62 bits of its SHA-256: the same everywhere and for ever.
    """
    if text is None:
        return 0
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 2) + 1


def curves_of(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return curves as [n, g], g the longest; a shorter one (none, or a foreign grid) is NaN."""
    longest = max(map(len, curves), default=0)
    table = np.full((len(curves), longest), np.nan)
    for row, curve in zip(table, curves, strict=True):
        if len(curve) == longest:
            row[:] = curve
    return table


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _failed_bytes(run: Run) -> float:
    failed = [a.final_limit_bytes for a in run.attempts if a.oom_kills and a.final_limit_bytes]
    return float(max(failed)) if failed else float("nan")


def _peak(run: Run) -> int:
    peaks = [attempt.peak_bytes for attempt in run.attempts if attempt.peak_bytes]
    informative = run.outcome in _ENDED or run.outcome is Outcome.INTERRUPTED
    return max(peaks, default=0) if informative else 0


def _is_censored(run: Run) -> bool:
    last = run.attempts[-1]
    return last.outcome is not Outcome.OK or last.oom_kills > 0
