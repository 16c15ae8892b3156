"""peers.crane against worked values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ullage.core.units import MIB
from ullage.peers.crane import CranePolicy
from ullage.testing.histories import run_history, run_question

DAY_S = 86_400.0
NAN = float("nan")


def _limit_mib(
    peaks_mib: Sequence[float],
    *,
    ages_days: Sequence[float] = (),
    failed_mib: Sequence[float] = (),
    limits_mib: Sequence[float] = (),
    **asked: Any,
) -> float:
    asked["failed_limits_bytes"] = tuple(x * MIB for x in asked.pop("failed_now_mib", ()))
    question = run_question(**asked)
    ages = np.array(ages_days or [0.0] * len(peaks_mib))
    history = run_history(
        [x * MIB for x in peaks_mib],
        failed_bytes=np.array(failed_mib, float) * MIB,
        limit_bytes=np.array(limits_mib, float) * MIB,
    )
    object.__setattr__(history, "known_at_s", question.asked_at.timestamp() - ages * DAY_S)
    return CranePolicy().recommend(history, question).ladder.limit_bytes[0] / MIB


def test_the_upper_edge_and_fifteen_percent() -> None:
    # 250 is in 200..300: 1.15 x 300 = 345. Half the weight is above it, so p99 is the larger
    assert _limit_mib([250, 120]) == pytest.approx(345, abs=1e-5)
    assert _limit_mib([120]) == pytest.approx(230, abs=1e-5)
    assert _limit_mib([300]) == pytest.approx(460, abs=1e-5)  # an edge opens the next bucket


@pytest.mark.parametrize(
    # 200 peaks of 120 MiB today, one of 950: it weighs 2^(-age / 2 d) of 200 + that.
    # Above p99 where its share is under 1 %: 2^(-age / 2) < 200/99: always, for age >= 0;
    # with 98 peaks: share 1/99 = 1.01 % at age 0 (p99 = 950), under 1 % from
    # 2^(-age / 2) = 98/99, age = 0.0293 d
    ("alike", "age_days", "limit"),
    [(200, 0.0, 230), (98, 0.0, 1150), (98, 0.029, 1150), (98, 0.030, 230)],
)
def test_the_99th_percentile_decays_by_half_in_two_days(
    alike: int, age_days: float, limit: float
) -> None:
    got = _limit_mib([950] + [120] * alike, ages_days=[age_days] + [0.0] * alike)
    assert got == pytest.approx(limit, abs=1e-5)


def test_seven_days_count() -> None:
    assert _limit_mib([950, 120], ages_days=[6.9, 6.9]) == pytest.approx(1150, abs=1e-5)
    assert _limit_mib([950, 120], ages_days=[7.1, 6.9]) == pytest.approx(230, abs=1e-5)
    # nothing in seven days: the limit in force
    assert _limit_mib([950, 120], ages_days=[9, 8], limits_mib=[NAN, 500]) == 500


def test_protected_for_seven_days_after_an_oom() -> None:
    # failed at 1000 MiB: bump max(1100, 1200), below 1.15 x 1100 = 1265 of the peak 1010
    assert _limit_mib([1010], failed_mib=[1000]) == pytest.approx(1265, abs=1e-5)
    # failed at 1090, peak 1095 in 1000..1100: 1265 against 1.2 x 1090 = 1308
    assert _limit_mib([1095], failed_mib=[1090]) == pytest.approx(1308, abs=1e-5)
    # the same eight days ago, since then 120: forgotten
    old = _limit_mib([1095, 120], failed_mib=[1090, NAN], ages_days=[8, 0])
    assert old == pytest.approx(230, abs=1e-5)


def test_after_an_oom() -> None:
    assert _limit_mib([250], failed_now_mib=[345]) == 445  # max(445, 414)
    assert _limit_mib([250], failed_now_mib=[345, 1000]) == 1200  # max(1100, 1200)
    # without history: the larger of the request, 300, and max(200 + 100, 240)
    assert _limit_mib([], failed_now_mib=[200], request_bytes=200 * MIB) == 300


def test_without_history_the_request() -> None:
    assert _limit_mib([], request_bytes=77 * MIB) == 77
