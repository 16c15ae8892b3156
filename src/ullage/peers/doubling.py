"""What limits would have wasted under the retry rule of most peers: x2 after each failure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def doubled_waste_bytes(limits: Floats, peaks: Floats) -> Floats:
    """Return what runs with these peaks waste that start at these limits, float64 > 0.

    Shapes that broadcast. A run that fails k times before a x 2^k is enough holds
    a (1 + 2 + ... + 2^k) over its runtime: a (2^(k + 1) - 1) - y. Attempts fail at their end.

    Worked: limit 10, peak 20: one failure, 30 - 20 = 10. Peak 100: 10, 20, 40, 80 fail:
    310 - 100 = 210. Peak 4: 6.
    """
    doublings = np.ceil(np.log2(np.maximum(peaks / limits, 1.0)) - 1e-12)
    wasted: Floats = limits * (np.exp2(doublings + 1) - 1) - peaks
    return wasted
