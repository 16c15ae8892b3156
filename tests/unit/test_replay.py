"""core.replay: a ladder against a run of known peak."""

from __future__ import annotations

import pytest

from ullage.core.allocation import round_up
from ullage.core.errors import InvariantError
from ullage.core.replay import next_limit, replay_run
from ullage.core.units import MIB

GB = 10**9


def test_first_limit_that_suffices_wastes_only_slack() -> None:
    run = replay_run((2 * GB, 4 * GB), peak_bytes=1.5 * GB, runtime_s=3600)
    assert run.limit_bytes == (2 * GB,)
    assert (run.reserved_gbh, run.used_gbh, run.waste_gbh) == pytest.approx((2.0, 1.5, 0.5))
    assert not run.is_first_failed
    assert run.ooms_count == 0
    assert run.lost_s == 0


@pytest.mark.parametrize(("ttf", "reserved"), [(1.0, 3.0), (0.5, 2.5), (0.0, 2.0)])
def test_a_failed_attempt_is_wasted_for_its_share_of_the_time(ttf: float, reserved: float) -> None:
    run = replay_run((GB, 2 * GB), peak_bytes=1.5 * GB, runtime_s=3600, ttf_ratio=ttf)
    assert run.reserved_gbh == pytest.approx(reserved)
    assert run.waste_gbh == pytest.approx(reserved - 1.5)
    assert run.failed_gbh == pytest.approx(ttf)
    assert run.lost_s == pytest.approx(3600 * ttf)
    assert run.is_first_failed


def test_a_peak_at_the_limit_fits() -> None:
    assert replay_run((GB,), peak_bytes=GB, runtime_s=1).is_finished


def test_after_the_last_rung_the_limit_grows_by_half_in_whole_mib() -> None:
    run = replay_run((101 * MIB,), peak_bytes=300 * MIB, runtime_s=1)
    assert [limit // MIB for limit in run.limit_bytes] == [101, 152, 228, 342]
    assert all(limit % MIB == 0 for limit in run.limit_bytes)


def test_the_ceiling_ends_a_run_that_does_not_fit() -> None:
    run = replay_run((GB, 8 * GB), peak_bytes=5 * GB, runtime_s=3600, ceiling_bytes=3 * GB)
    assert run.limit_bytes == (GB, 3 * GB)
    assert not run.is_finished
    assert run.used_gbh == 0
    assert run.reserved_gbh == pytest.approx(4)
    assert run.ooms_count == 2


def test_another_policys_retry_rule() -> None:
    run = replay_run((GB,), peak_bytes=3.5 * GB, runtime_s=1, factor=2.0)
    assert len(run.limit_bytes) == 3


def test_sums_do_not_overflow_int64() -> None:
    run = replay_run((1 << 50,), peak_bytes=1 << 49, runtime_s=10**7)
    assert run.reserved_byte_seconds == pytest.approx(2.0**50 * 1e7)


def test_next_limit() -> None:
    assert next_limit((100, 300), 100) == 300
    assert next_limit((100, 300), 150) == 300
    assert next_limit((), 100 * MIB) == 150 * MIB
    assert next_limit((), 100 * MIB, ceiling_bytes=120 * MIB) == 120 * MIB
    assert next_limit((), 100 * MIB, ceiling_bytes=90 * MIB) == 90 * MIB
    assert next_limit((), 1) > 1


def test_round_up() -> None:
    assert round_up(1) == MIB
    assert round_up(MIB) == MIB
    assert round_up(MIB + 0.5) == 2 * MIB


def test_an_empty_ladder_is_a_bug() -> None:
    with pytest.raises(InvariantError, match="at least one limit"):
        replay_run((), peak_bytes=1, runtime_s=1)
