"""peers.doubling against worked values."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.peers.doubling import doubled_waste_bytes


@pytest.mark.parametrize(
    ("limit", "peak", "wasted"),
    [
        (10, 4, 6),
        (10, 10, 0),
        (10, 20, 10),  # 10 fails, 20 is exactly enough: 30 - 20
        (10, 21, 49),  # 10, 20 fail, 40 is enough: 70 - 21
        (10, 100, 210),  # 10, 20, 40, 80 fail, 160 is enough: 310 - 100
    ],
)
def test_waste_under_doubling(limit: float, peak: float, wasted: float) -> None:
    got = doubled_waste_bytes(np.array([limit], float), np.array([peak], float))
    assert got == pytest.approx([wasted])
