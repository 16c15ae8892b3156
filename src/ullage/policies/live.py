"""Growth of a running command's limit: when to raise it, and by how much.

Pure and without numpy: it is asked at every reading. Not here: shrinking, and who
carries a raise out (control.growth).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ullage.core.allocation import round_up
from ullage.core.units import MIB

TRIGGER_RATIO = 0.90
"""Need above this share of the limit asks for a raise."""

REACTION_S = 0.1
"""From a reading to a raised limit in the worst case: two readings (50 ms apart)."""

LEAD_S = 0.5
"""A raise has room for this long at the present rate, so that raises stay few."""

ROOM_RATIO = 1.25
ROOM_BYTES = 64 * MIB
"""Where no rung says better a raise goes to need x 1.25 + 64 MiB at least: geometric, so few
raises reach any size."""

RUNG_TRIGGER_RATIO = 0.97
RUNG_ROOM_RATIO = 1.05
RUNG_ROOM_BYTES = 16 * MIB
"""A limit that is a rung was chosen because needs end below it: it is left later (the policy
reckons with it), and a rung needs less room above the need to be taken."""

REACH_RATIO = 1.5
"""A rung is taken up to this many times the raise without rungs; a higher one can wait."""

NO_EVIDENCE_BYTES = 512 * MIB
NO_EVIDENCE_RATIO = 1.2
"""Without history a run books max(512 MiB, 1.2 x its need so far) of the host."""


def grow(
    need_bytes: int,
    limit_bytes: int,
    ceiling_bytes: int,
    rungs: Sequence[int],
    *,
    rate_bytes_per_s: float = 0.0,
    is_waiting: bool = False,
) -> int | None:
    """Return the raised limit, or None where it should stay or is at the ceiling already.

    need_bytes: now (without page cache). rungs: rising limits of the decision's ladder.
    rate_bytes_per_s: growth of need lately (below 0 counts as 0). is_waiting: tasks wait
    at the limit, so what they ask for is beyond it whatever need says.

    A raise is due where tasks wait, need >= 90 % of the limit (97 % where the limit is a
    rung with another above it), or what is free will be used within the reaction time.
    It goes to the first rung with room (5 % and 16 MiB above need, and what is used
    within the reaction time), where that is not far, else to max(1.25 x need + 64 MiB,
    need + half a second's growth), in whole MiB; above the present limit and never above
    the ceiling.

    Worked: need 950 MiB of 1000, no rungs -> 1252 MiB; with a rung at 1500 -> 1500 MiB;
    need 800 MiB of 1000 at rest -> None.
    """
    if limit_bytes >= ceiling_bytes:
        return None
    rate = max(0.0, rate_bytes_per_s)
    is_rung = limit_bytes in rungs and limit_bytes < rungs[-1]
    is_near = need_bytes >= (RUNG_TRIGGER_RATIO if is_rung else TRIGGER_RATIO) * limit_bytes
    is_soon = limit_bytes - need_bytes < rate * REACTION_S
    if not (is_waiting or is_near or is_soon):
        return None
    base = max(need_bytes, limit_bytes) if is_waiting else need_bytes
    free = max(base * ROOM_RATIO + ROOM_BYTES, base + rate * LEAD_S, limit_bytes + MIB)
    room = max(base * RUNG_ROOM_RATIO, base + RUNG_ROOM_BYTES, base + rate * REACTION_S)
    rung = next((rung for rung in rungs if rung >= room and rung > limit_bytes), 0)
    raised = rung if 0 < rung <= free * REACH_RATIO else round_up(free)
    return min(raised, ceiling_bytes)


def bytes_to_book(need_bytes: int, limit_bytes: int, *, has_evidence: bool) -> int:
    """Return what a run should book in the host's ledger.

    With evidence (the limit rests on history): the limit. Without: max(512 MiB, 1.2 x
    need so far), even where the limit is lower: it will be asked to grow.

    Worked: need 1000 MiB under 4096 MiB without evidence -> 1200 MiB.
    """
    if has_evidence:
        return limit_bytes
    return max(NO_EVIDENCE_BYTES, math.ceil(need_bytes * NO_EVIDENCE_RATIO))
