"""Samples that have left the live record: what a question over many attempts gets, and what
moving them came to. Not here: one attempt's series (`core.telemetry`), any file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

EARLIEST_US, LATEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and the last microsecond of the years 1 to 9999: what every reader can show."""
_MOST_US = 1e17


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTable:
    """Samples of one workload as parallel arrays: m attempts, n samples.

    run_ids: m texts, and attempt: m ordinals (int64), by the start of their runs.
    row: int64[n], which of the m attempts a sample belongs to; rising, and inside an attempt
    in the order in which the samples were taken.
    at_us: int64[n], microseconds since 1970 UTC (see `absolute_us`). elapsed_ms: float64[n].
    need_bytes, usage_bytes, limit_bytes: int64[n]; limit -1 = none.
    faults: one line for each file that cannot be read; unread_count: attempts with samples
    in the span that are missing because of them. dropped_count: attempts whose samples were
    given up by retention.
    """

    run_ids: tuple[str, ...]
    attempt: NDArray[np.int64]
    row: NDArray[np.int64]
    at_us: NDArray[np.int64]
    elapsed_ms: NDArray[np.float64]
    need_bytes: NDArray[np.int64]
    usage_bytes: NDArray[np.int64]
    limit_bytes: NDArray[np.int64]
    faults: tuple[str, ...] = ()
    unread_count: int = 0
    dropped_count: int = 0

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionOrder:
    """What to move and what to give up.

    at: now. older_than: only runs that ended so long ago. keep: segments whose newest sample
    is older are given up; None = keep all. Age counts from `at` or from the newest recorded
    end, whichever is earlier: a clock that is years ahead gives nothing up.
    forgets_damaged: give up segments that cannot be read any more. is_dry: change nothing.
    """

    at: datetime
    older_than: timedelta
    keep: timedelta | None = None
    forgets_damaged: bool = False
    is_dry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionReport:
    """What a compaction came to. moved_*: attempts and samples that left the state.

    packed_bytes: what they took there. segments_bytes: what their segments take.
    state_before_bytes, state_after_bytes: the state's file. kept_attempts_count: with
    samples that cannot be read, or that changed meanwhile: they stay in the state.
    foreign: names in the folder that are not ours, left alone.
    notes: one line each, what a person should know.
    """

    moved_attempts_count: int = 0
    moved_samples_count: int = 0
    packed_bytes: int = 0
    segments_count: int = 0
    segments_bytes: int = 0
    state_before_bytes: int = 0
    state_after_bytes: int = 0
    dropped_segments_count: int = 0
    dropped_samples_count: int = 0
    leftovers_count: int = 0
    kept_attempts_count: int = 0
    foreign: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsReport:
    """The segments as they stand: how many, how large, and what is wrong, one line each."""

    segments_count: int
    samples_count: int
    segments_bytes: int
    waiting_samples_count: int
    """Samples that are in the state still."""
    dropped_segments_count: int
    dropped_samples_count: int
    faults: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


def absolute_us(
    started_us: NDArray[np.int64], elapsed_ms: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return when samples were taken: the start of their attempt and what has passed since.

    elapsed_ms comes from a clock that never jumps, so samples never change places when the
    wall clock does. Rounded to a microsecond, held inside the years 1 to 9999; what is no
    number counts as 0.

    >>> absolute_us(np.array([1_000]), np.array([0.25])).tolist()
    [1250]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        span_us = np.nan_to_num(elapsed_ms * 1000.0, nan=0.0, posinf=_MOST_US, neginf=-_MOST_US)
    whole_us = np.rint(np.clip(span_us, -_MOST_US, _MOST_US)).astype(np.int64)
    at_us: NDArray[np.int64] = np.clip(started_us + whole_us, EARLIEST_US, LATEST_US)
    return at_us
