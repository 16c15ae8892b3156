"""Who knows what when: the order in which runs are asked about, and when each is known.

Two protocols. `order`: as the runs happened. `sizey`: the field's own benchmark, a
seeded permutation of each workload, the first part of it as history.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ullage.core.units import GIB
from ullage.simulation.runs_table import RunsTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SIZEY_MIN_RUNS = 34
SIZEY_HISTORY_RATIO = 0.3
STEP_S = 1e-6
"""Between rows whose times are not recorded: no run ends within it."""
DEFAULT_BYTES = 4 * GIB
DEFAULT_RATIO = 2.0
"""Without a request and own history: 2 x the median of all peaks known, else 4 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The runs of a table with the two times of each, all arrays of length n.

    asked_at_s: when its limit has to be chosen. known_at_s > asked_at_s: when its end is
    known. default_bytes: what the site gives a workload without history and request.
    is_scored: bool, False for runs that are history from the start.
    """

    runs: RunsTable
    asked_at_s: Floats
    known_at_s: Floats
    default_bytes: Floats
    is_scored: Bools
    by_known: Ints = field(init=False)
    """All rows in the order in which they become known."""
    rising_known_at_s: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Sort once: a cold start asks for the latest runs of all, and there may be a million."""
        by_known = np.argsort(self.known_at_s, kind="stable")
        object.__setattr__(self, "by_known", by_known)
        object.__setattr__(self, "rising_known_at_s", self.known_at_s[by_known])

    def latest_known(self, row: int, count: int) -> Ints:
        """Return the latest `count` rows that are known when `row` is asked about, oldest first."""
        known = int(np.searchsorted(self.rising_known_at_s, self.asked_at_s[row], side="right"))
        return self.by_known[max(known - count, 0) : known]


def in_order(runs: RunsTable) -> Timeline:
    """Return the runs as they happened: asked about at the start, known at start + runtime.

    Without a recorded start, or in a file without runtimes: asked at the latest start
    recorded so far, known from the next row on. Rows that start before an earlier row are
    asked in the order of their starts.
    """
    n = len(runs)
    start = runs.started_at_s if runs.has_runtime.any() else np.full(n, np.nan)
    is_gap = np.isnan(start)
    if is_gap.all():
        asked = np.arange(n, dtype=float)
        known = asked + 0.5
    else:
        asked = _with_gaps(start) if is_gap.any() else start.copy()
        known = np.where(is_gap, asked + STEP_S / 2, start + runs.runtime_s)
        known = np.maximum(known, np.nextafter(asked, np.inf))
    return Timeline(
        runs=runs,
        asked_at_s=asked,
        known_at_s=known,
        default_bytes=default_limits(runs.peak_bytes, asked, known),
        is_scored=np.ones(n, bool),
    )


def _with_gaps(start: Floats) -> Floats:
    """Return when each row is asked about where some lack a start: those come after the row before.

    Such rows are STEP_S apart. A row with a start that coincides with them moves behind
    them, by as little, so that it may know them; a row that starts earlier stays where it is.
    """
    asked = np.empty(len(start))
    latest = float(start[~np.isnan(start)][0])
    free = latest
    """The first moment after all rows without a start so far."""
    for row, moment in enumerate(start.tolist()):
        if moment != moment:
            asked[row] = max(free, latest + STEP_S)
            free = asked[row] + STEP_S
            continue
        asked[row] = free if latest <= moment < free else moment
        latest = max(latest, moment)
    return asked


def as_sizey(runs: RunsTable, *, seed: int) -> Timeline:
    """Return protocol A: task types with enough runs and no zero runtime, permuted, 30 % history.

    A type with fewer than 34 runs, or any run without a runtime above zero, is left out.
    Types come in the order of the file; one generator serves all of them. Each run is
    known before the next of its type is asked about.
    """
    generator = np.random.default_rng(seed)
    taken, asked, scored = [], [], []
    _, first = np.unique(runs.workload, return_index=True)
    for number in runs.workload[np.sort(first)]:
        rows = np.flatnonzero(runs.workload == number)
        if len(rows) < SIZEY_MIN_RUNS or not runs.has_runtime[rows].all():
            continue
        history = int(SIZEY_HISTORY_RATIO * len(rows))
        taken.append(generator.permutation(rows))
        asked.append(np.arange(len(rows), dtype=float))
        scored.append(np.arange(len(rows)) >= history)
    kept = runs.take(np.concatenate([*taken, np.zeros(0, np.int64)]))
    asked_at_s = np.concatenate([*asked, np.zeros(0)])
    return Timeline(
        runs=kept,
        asked_at_s=asked_at_s,
        known_at_s=asked_at_s + 0.5,
        default_bytes=np.full(len(kept), float(DEFAULT_BYTES)),
        is_scored=np.concatenate([*scored, np.zeros(0, bool)]),
    )


def default_limits(peak_bytes: Floats, asked: Floats, known: Floats) -> Floats:
    """Return for each run 2 x the median of all peaks known when it is asked about, else 4 GiB."""
    low: list[float] = []
    high: list[float] = []
    by_known = np.argsort(known, kind="stable")
    defaults = np.empty(len(asked))
    next_known = 0
    for row in np.argsort(asked, kind="stable"):
        while next_known < len(by_known) and known[by_known[next_known]] <= asked[row]:
            _push(low, high, float(peak_bytes[by_known[next_known]]))
            next_known += 1
        defaults[row] = DEFAULT_RATIO * _median(low, high) if low else DEFAULT_BYTES
    return defaults


def _push(low: list[float], high: list[float], value: float) -> None:
    """Add to a running median: `low` a heap of negated values, as long as `high` or one longer."""
    heapq.heappush(high, -heapq.heappushpop(low, -value))
    if len(high) > len(low):
        heapq.heappush(low, -heapq.heappop(high))


def _median(low: list[float], high: list[float]) -> float:
    return -low[0] if len(low) > len(high) else (high[0] - low[0]) / 2
