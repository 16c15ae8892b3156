"""Rescue: who needs memory now, and who gets it when there is not enough for all (S3).

Pure: asks in, grants out. It passes by thresholds, cool-downs, budgets and the model; the
opt-in, the kill switch, the fence and the bounds hold (core.live_guards.RESCUE_GUARDS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ullage.control.tracked import Tick, Tracked
from ullage.core.allocation import GRANULARITY_BYTES
from ullage.core.service import ServeSettings
from ullage.policies.live import grow

_PRESSED_RATIO = 0.75
"""PSI counts as need where need is above this share of the limit; else cache is thrashing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one target needs. urgency_prob: how near it is to harm, 0..2 (2 = tasks stand still).

    wanted_bytes: None = it has to grow, but is at its maximum already.
    """

    target_id: str
    limit_bytes: int
    wanted_bytes: int | None
    urgency_ratio: float


def ask_of(tracked: Tracked, tick: Tick, settings: ServeSettings, ceiling_bytes: int) -> Ask | None:
    """Return what a target needs now, None if nothing is wrong.

    Wrong: tasks wait; an OOM kill in the last 10 min at a limit not raised since; pressure;
    need near the limit (policies.live.grow says how near).
    """
    reading, limit_bytes = tracked.reading, tracked.limit_bytes
    if reading is None or limit_bytes is None:
        return None
    need_bytes = reading.need_bytes
    is_hungry = _has_died(tracked, tick) or reading.is_waiting
    psi = reading.psi_full_avg10_ratio or 0.0
    is_pressed = (
        psi > settings.watch_psi_ratio and need_bytes >= _PRESSED_RATIO * limit_bytes
    ) or is_hungry
    at_least_bytes = tracked.oom_at_least_bytes if _has_died(tracked, tick) else 0
    wanted_bytes = grow(
        max(need_bytes, at_least_bytes), limit_bytes, ceiling_bytes, (), is_waiting=is_pressed
    )
    if wanted_bytes is None and not is_hungry:
        return None
    return Ask(
        target_id=tracked.target.target_id,
        limit_bytes=limit_bytes,
        wanted_bytes=wanted_bytes,
        urgency_ratio=(1.0 if is_hungry else 0.0) + min(1.0, need_bytes / max(limit_bytes, 1)),
    )


def _has_died(tracked: Tracked, tick: Tick) -> bool:
    """Whether an OOM kill still asks for growth (S23: for ten minutes, until the limit rose)."""
    limit_bytes = tracked.limit_bytes or 0
    return tick.mono_s < tracked.oom_until_s and limit_bytes <= tracked.oom_at_least_bytes


def share_out(asks: Sequence[Ask], room_bytes: int) -> dict[str, int]:
    """Return target -> limit granted, the riskiest first; who gets nothing keeps its limit.

    Grants are whole MiB where the room does not suffice for all that was asked.

    Worked (MiB), room 100: A (waits) asks 200 -> 280, B (need at 95 %) 300 -> 360: A gets 280,
    B gets 320.
    """
    granted: dict[str, int] = {}
    left_bytes = max(0, room_bytes)
    for ask in sorted(asks, key=lambda ask: (-ask.urgency_ratio, ask.target_id)):
        if ask.wanted_bytes is None:
            continue
        more_bytes = ask.wanted_bytes - ask.limit_bytes
        if more_bytes > left_bytes:
            more_bytes = left_bytes // GRANULARITY_BYTES * GRANULARITY_BYTES
        granted[ask.target_id] = ask.limit_bytes + more_bytes
        left_bytes -= more_bytes
    return granted
