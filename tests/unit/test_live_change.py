"""What is asked before a live limit is written: bounds (S4), compare (S8), live floor (S1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ullage.core.live_change import PAGE_BYTES, refusal_of, whole_pages_bytes
from ullage.core.serve_settings import ServeSettings, live_floor_bytes
from ullage.core.service import ChangeResult, LimitChange
from ullage.core.units import MAX_BYTES, MIB

SETTINGS = ServeSettings()
BYTES = st.integers(0, 1 << 40)


def change(expected_bytes: int | None, new_bytes: int, *, is_cut: bool = False) -> LimitChange:
    return LimitChange(
        target_id="cgroup1:/a",
        decision_id="d",
        expected_bytes=expected_bytes,
        new_bytes=new_bytes,
        token=1,
        is_cut=is_cut,
        floor_bytes=64 * MIB,
    )


@given(limit_bytes=st.integers(1, 1 << 40), need_bytes=BYTES, new_bytes=BYTES, is_cut=st.booleans())
def test_nothing_that_lowers_a_limit_passes_below_the_floor(
    limit_bytes: int, need_bytes: int, new_bytes: int, is_cut: bool
) -> None:
    order = change(limit_bytes, new_bytes, is_cut=is_cut)
    refusal = refusal_of(order, limit_bytes, need_bytes, SETTINGS)
    floor_bytes = live_floor_bytes(need_bytes, limit_bytes, 64 * MIB, SETTINGS)
    if refusal is None and whole_pages_bytes(new_bytes) < limit_bytes:
        assert new_bytes >= floor_bytes >= 1.1 * need_bytes - 1
    if new_bytes >= limit_bytes:
        assert refusal is None, "a growth is never refused by the floor"


@given(limit_bytes=BYTES, expected_bytes=BYTES, new_bytes=st.integers(1, 1 << 40))
def test_an_edit_by_somebody_else_is_a_conflict(
    limit_bytes: int, expected_bytes: int, new_bytes: int
) -> None:
    refusal = refusal_of(change(expected_bytes, new_bytes), limit_bytes, 0, SETTINGS)
    is_conflict = refusal is not None and refusal.result is ChangeResult.CONFLICT
    assert is_conflict is (abs(limit_bytes - expected_bytes) >= PAGE_BYTES)


def test_no_limit_is_a_limit_that_can_be_expected_and_a_first_one_is_a_cut() -> None:
    assert refusal_of(change(None, 300 * MIB), None, 100 * MIB, SETTINGS) is None
    low = refusal_of(change(None, 200 * MIB), None, 100 * MIB, SETTINGS)
    assert low is not None
    assert low.result is ChangeResult.REFUSED
    other = refusal_of(change(None, 300 * MIB), 200 * MIB, 0, SETTINGS)
    assert other is not None
    assert other.result is ChangeResult.CONFLICT


@given(st.one_of(st.integers(max_value=0), st.integers(min_value=MAX_BYTES + 1)))
def test_what_cannot_be_meant_is_refused(new_bytes: int) -> None:
    refusal = refusal_of(change(100, new_bytes), 100, 0, SETTINGS)
    assert refusal is not None
    assert refusal.result is ChangeResult.REFUSED


@given(st.integers(1, MAX_BYTES))
def test_whole_pages_are_never_less(new_bytes: int) -> None:
    rounded = whole_pages_bytes(new_bytes)
    assert rounded % PAGE_BYTES == 0
    assert new_bytes <= rounded < new_bytes + PAGE_BYTES
