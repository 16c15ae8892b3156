"""What the loop remembers of a target: rings that a restart fills as the readings filled them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ullage.control.histories import Histories
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import TargetHistory

SETTINGS = ServeSettings(
    recent_samples_count=5, peak_interval=timedelta(seconds=10), peaks_kept=timedelta(seconds=60)
)
BEGAN_AT = datetime(2026, 1, 1, tzinfo=UTC)
BEGAN_S = BEGAN_AT.timestamp()

readings = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 1 << 50), st.none() | st.integers(1, 1 << 50)),
    max_size=30,
).map(lambda rows: [(BEGAN_S + at, need, limit) for at, need, limit in sorted(rows, key=str)])
peaks = st.dictionaries(st.integers(0, 20), st.integers(0, 1 << 50), max_size=20)


def kept_of(rows: list[tuple[float, int, int | None]], known: dict[int, int]) -> TargetHistory:
    """Return a stored history of readings and of peaks by their interval."""
    starts = sorted(known)
    return TargetHistory(
        at_s=np.array([at for at, _, _ in rows], np.float64),
        need_bytes=np.array([need for _, need, _ in rows], np.int64),
        limit_bytes=np.array([-1 if one is None else one for _, _, one in rows], np.int64),
        peak_at_s=np.array([BEGAN_S + 10.0 * start for start in starts], np.float64),
        peak_bytes=np.array([known[start] for start in starts], np.int64),
        peak_interval_s=10.0,
        oom_at_s=np.zeros(0),
        oom_at_least_bytes=np.zeros(0, np.int64),
        first_seen_at=BEGAN_AT,
    )


def as_lists(history: TargetHistory) -> list[list[float]]:
    """Return the arrays for a comparison."""
    names = ("at_s", "need_bytes", "limit_bytes", "peak_at_s", "peak_bytes")
    return [getattr(history, name).tolist() for name in names]


@given(rows=readings, known=peaks)
def test_restoring_is_adding_one_by_one(
    rows: list[tuple[float, int, int | None]], known: dict[int, int]
) -> None:
    rows.sort(key=lambda row: row[0])
    now_s = BEGAN_S + 210.0
    one_by_one, at_once = Histories(SETTINGS), Histories(SETTINGS)
    first, second = one_by_one.take_row(BEGAN_AT), at_once.take_row(BEGAN_AT)
    for start, peak in sorted(known.items()):
        one_by_one.add_peak(first, BEGAN_S + 10.0 * start, peak)
    for at_s, need_bytes, limit_bytes in rows[-SETTINGS.recent_samples_count :]:
        one_by_one.add(first, at_s, need_bytes, limit_bytes)
    at_once.restore(second, kept_of(rows, known))
    wanted = as_lists(one_by_one.history(first, now_s))
    assert as_lists(at_once.history(second, now_s)) == wanted


def test_a_row_given_back_keeps_nothing_of_its_former_owner() -> None:
    histories = Histories(SETTINGS)
    row = histories.take_row(BEGAN_AT)
    histories.add(row, BEGAN_S, 7, None)
    histories.release(row)
    row = histories.take_row(BEGAN_AT)
    histories.restore(row, kept_of([(BEGAN_S + 1.0, 3, None)], {}))
    assert histories.history(row, BEGAN_S + 5).peak_bytes.tolist() == [3]


def test_peaks_older_than_is_kept_are_not_told_even_where_nothing_replaced_them() -> None:
    histories = Histories(SETTINGS)
    row = histories.take_row(BEGAN_AT)
    histories.add_peak(row, BEGAN_S, 7)
    histories.add_peak(row, BEGAN_S + 10, 8)
    assert histories.history(row, BEGAN_S + 69).peak_bytes.tolist() == [8]
