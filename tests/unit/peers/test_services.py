"""Peers on services: worked values from their formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ullage.core.errors import ConfigError
from ullage.core.service import Direction, TargetHistory
from ullage.core.units import MIB
from ullage.peers.services import SERVICE_PEER_IDS, make_service_peer
from ullage.testing.usage import BEGAN_AT, INTERVAL_S, service_question, target_history

DAY = 48
"""Intervals of a day."""


def sampled(
    needs_mib: list[float], *, ooms: list[tuple[float, float]] | None = None
) -> TargetHistory:
    """Return a history with one sample in each interval."""
    history = target_history([need * MIB for need in needs_mib], ooms=ooms or [])
    return replace(
        history,
        at_s=BEGAN_AT.timestamp() + INTERVAL_S * np.arange(len(needs_mib)),
        need_bytes=history.peak_bytes,
    )


def wanted_mib(policy_id: str, history: TargetHistory) -> float:
    answer = make_service_peer(policy_id).recommend(history, service_question(history))
    assert answer.wanted_bytes is not None
    return answer.wanted_bytes / MIB


@pytest.mark.parametrize(
    ("policy_id", "needs_mib", "expected"),
    [
        ("max-1.2", [800, 1000, 900], 1200),
        ("p98-1.1", [*range(1, 101)], 1.1 * 98),
        ("krr", [800, 1000], 1150),
        ("krr", [10], 100),  # its least
        ("krr", [5000] + [100] * (15 * DAY), 115),  # older than 14 days
        ("vpa", [10] * DAY, 250),  # its least
        # load-adjusted: 100 weighs 100, 10 weighs 10 each: 98 % of 120 is reached at 100
        ("autopilot-p98", [100, 10, 10], 110),
        ("autopilot-window", [800, 1000, 900], 1100),
        ("autopilot-window", [5000] + [100] * (11 * DAY), 110),
        ("kruize", [1000, 1000, 1100], 1205),  # rise 100: 1100 + 105 < 1.2 x 1100
        ("kruize", [100, 1000, 1000], 1200),
        ("crane", [250] * 4, 345),  # bucket 200..300, its edge x 1.15
    ],
)
def test_by_hand(policy_id: str, needs_mib: list[float], expected: float) -> None:
    assert wanted_mib(policy_id, sampled(needs_mib)) == pytest.approx(expected, rel=1e-6)


def test_vpa_takes_one_peak_a_day_and_halves_it_each_day() -> None:
    """1e9 bytes lie in the bucket that ends at 1.01628e9 (worked in peers.vpa)."""
    one = wanted_mib("vpa", sampled([1e9 / MIB] * 3)) * MIB
    assert one == pytest.approx(1.15 * 1.01628e9, rel=1e-4)
    # a spike four days ago weighs 1/16 of 31/16: less than the upper tenth
    spike = [4e9 / MIB, *[1e9 / MIB] * (5 * DAY - 1)]
    assert wanted_mib("vpa", sampled(spike)) * MIB == pytest.approx(one)
    # two days ago 1/4 of 7/4 = 14 %: it is in the upper tenth
    recent = [4e9 / MIB, *[1e9 / MIB] * (3 * DAY - 1)]
    assert wanted_mib("vpa", sampled(recent)) * MIB > 4e9


def test_after_an_oom() -> None:
    history = sampled([1000] * 4, ooms=[(2.5, 2000 * MIB)])
    assert wanted_mib("krr", history) == pytest.approx(2500)
    assert wanted_mib("crane", history) == pytest.approx(2400)
    assert wanted_mib("vpa", history) > 1.15 * 2400
    assert wanted_mib("max-1.2", history) == pytest.approx(1200)


@pytest.mark.parametrize("policy_id", SERVICE_PEER_IDS)
def test_nothing_known_is_a_hold(policy_id: str) -> None:
    history = target_history([], readings=0)
    answer = make_service_peer(policy_id).recommend(history, service_question(history))
    assert (answer.wanted_bytes, answer.direction) == (None, Direction.HOLD)
    assert answer.policy == policy_id


def test_unknown_peer_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'vpa'"):
        make_service_peer("vpaa")
