"""A new replica: what the other members of its group say of it, as an upper bound.

Replicas are not one number: a hot worker must count. Two levels: the base of the group is the
median of its members' largest needs, the tail is how far the hottest one lies above it.

    bound = max(1.2 x hottest, hottest + (hottest - base))

The next hot worker may exceed the hottest so far by as much as that one exceeds the usual.
Worked: members 100, 100, 110, 200: base 105, hottest 200: max(240, 295) = 295. Members 100, 100:
120. One member says nothing about how members differ: no bound.
A bound never cuts: a replica without a past of its own keeps its limit, or gets more.
Not here: a replica with a past of its own (policies.services).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GROUP_MARGIN_RATIO = 1.2
LEAST_MEMBERS = 2


def replica_bound(largest_needs: Sequence[float]) -> float | None:
    """Return the upper bound for a new member; None for fewer than two members with a need.

    >>> replica_bound([100, 100, 110, 200])
    295.0
    """
    needs = np.array([need for need in largest_needs if need > 0], float)
    if len(needs) < LEAST_MEMBERS:
        return None
    hottest = float(needs.max())
    return max(GROUP_MARGIN_RATIO * hottest, 2 * hottest - float(np.median(needs)))
