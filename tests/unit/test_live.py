"""policies.live: when a running limit is raised, how far, and what is booked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.units import GIB, MIB
from ullage.policies.live import bytes_to_book, grow

CEILING = 64 * GIB


def _mib(need: float, limit: float, rungs: tuple[int, ...] = (), **more: object) -> float | None:
    raised = grow(
        int(need * MIB),
        int(limit * MIB),
        int(more.pop("ceiling", 65536)) * MIB,  # type: ignore[call-overload]
        tuple(rung * MIB for rung in rungs),
        **more,  # type: ignore[arg-type]
    )
    return None if raised is None else raised / MIB


def test_enough_room_is_left_alone() -> None:
    assert _mib(800, 1000) is None
    assert _mib(899, 1000) is None


def test_near_the_limit_it_grows_geometrically() -> None:
    assert _mib(900, 1000) == 900 * 1.25 + 64
    assert _mib(950, 1000) == 1252


def test_a_limit_that_is_a_rung_is_left_later_and_for_the_next_rung() -> None:
    assert _mib(960, 1000, (1000, 1100)) is None
    assert _mib(970, 1000, (1000, 1100)) == 1100
    # The last rung is no promise that need ends below it.
    assert _mib(1000, 1100, (1000, 1100)) == 1314
    # Rungs without room, and rungs far away, are passed over.
    assert _mib(1080, 1100, (1100, 1120, 1200)) == 1200
    assert _mib(970, 1000, (1000, 9000)) == 1277


def test_fast_growth_is_met_before_it_arrives() -> None:
    rate = 2e9
    assert _mib(500, 600) is None
    raised = _mib(500, 600, rate_bytes_per_s=rate)
    assert raised is not None
    assert raised * MIB >= 500 * MIB + rate * 0.5


def test_waiting_tasks_need_more_than_the_limit_whatever_need_says() -> None:
    assert _mib(100, 1000, is_waiting=True) == 1000 * 1.25 + 64


def test_the_ceiling_is_never_passed_and_at_it_nothing_is_due() -> None:
    assert _mib(950, 1000, ceiling=1010) == 1010
    assert _mib(1010, 1010, ceiling=1010, is_waiting=True) is None
    assert _mib(2000, 1000, ceiling=900) is None


_BYTES = st.integers(0, 1 << 42)


@given(
    _BYTES,
    st.integers(1, 1 << 42),
    st.integers(1, 1 << 42),
    st.lists(st.integers(1, 1 << 42), max_size=6, unique=True).map(sorted),
    st.floats(-1e11, 1e11),
    st.booleans(),
)
def test_a_raise_is_always_a_raise_within_the_ceiling(
    need: int, limit: int, ceiling: int, rungs: list[int], rate: float, is_waiting: bool
) -> None:
    raised = grow(need, limit, ceiling, rungs, rate_bytes_per_s=rate, is_waiting=is_waiting)
    if raised is None:
        is_calm = need < 0.97 * limit and not is_waiting
        assert is_calm or limit >= ceiling
    else:
        assert limit < raised <= ceiling
        assert raised % MIB == 0 or raised == ceiling or raised in rungs
        assert raised == ceiling or raised > need


@pytest.mark.parametrize("rungs", [(), (200 * MIB, 300 * MIB, 450 * MIB)])
def test_keeps_up_with_a_fast_allocator_in_few_raises(rungs: tuple[int, ...]) -> None:
    """2 GB/s from 200 MiB to 16 GB, read every 5 ms, acted on one reading later."""
    limit, need, raises = 200 * MIB, 0, 0
    pending: int | None = None
    while need < 16e9:
        need += int(2e9 * 0.005)
        assert need <= limit, "a task would have had to wait"
        limit = pending or limit
        pending = grow(need, limit, CEILING, rungs, rate_bytes_per_s=2e9)
        raises += pending is not None
    assert raises <= 20


def test_what_is_booked() -> None:
    assert bytes_to_book(100 * MIB, 4 * GIB, has_evidence=True) == 4 * GIB
    assert bytes_to_book(100 * MIB, 4 * GIB, has_evidence=False) == 512 * MIB
    assert bytes_to_book(1000 * MIB, 4 * GIB, has_evidence=False) == 1200 * MIB
    assert bytes_to_book(100 * MIB, 200 * MIB, has_evidence=False) == 512 * MIB


def test_the_rule_loads_no_numpy() -> None:
    code = "import sys, ullage.policies.live; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
