"""What every actuator of a live target must ask before it writes: S1, S4 and S8. Pure.

The actuator reads limit and need, asks here, then writes. So the rules stand in one place,
whatever the target is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from ullage.core.serve_settings import ServeSettings, live_floor_bytes
from ullage.core.service import ChangeResult, LimitChange
from ullage.core.units import MAX_BYTES, format_bytes

PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a change is not made."""

    result: ChangeResult
    words: str


def whole_pages_bytes(limit_bytes: int) -> int:
    """Return the limit in whole pages, rounded up: what the kernel can hold, never less.

    >>> whole_pages_bytes(4097)
    8192
    """
    return -(-limit_bytes // PAGE_BYTES) * PAGE_BYTES


def is_lowering(limit_bytes: int | None, new_bytes: int) -> bool:
    """Say whether `new_bytes` takes memory away; a first limit does (None = no limit)."""
    return limit_bytes is None or new_bytes < limit_bytes


def refusal_of(
    change: LimitChange, limit_bytes: int | None, need_bytes: int, settings: ServeSettings
) -> Refusal | None:
    """Return what speaks against `change` now: bounds (S4), another's edit (S8), the floor (S1).

    limit_bytes, need_bytes: as read in the same call. Limits within a page of each other are the
    same: the kernel rounds what it is given. The floor holds for whatever takes memory away,
    not only for what calls itself a cut; where there is no limit yet, it leaves the most room.
    """
    if not 0 < change.new_bytes <= MAX_BYTES:
        return Refusal(
            result=ChangeResult.REFUSED,
            words=f"{change.new_bytes} bytes cannot be meant: a limit is within 1..2^50",
        )
    if not _is_same(change.expected_bytes, limit_bytes):
        return Refusal(
            result=ChangeResult.CONFLICT,
            words=f"the limit is {_shown(limit_bytes)}, not {_shown(change.expected_bytes)} "
            "as the decision saw it: somebody else has changed it",
        )
    if not is_lowering(limit_bytes, whole_pages_bytes(change.new_bytes)):
        return None
    basis_bytes = MAX_BYTES if limit_bytes is None else limit_bytes
    floor_bytes = live_floor_bytes(need_bytes, basis_bytes, change.floor_bytes, settings)
    if change.new_bytes >= floor_bytes:
        return None
    return Refusal(
        result=ChangeResult.REFUSED,
        words=f"a cut to {format_bytes(change.new_bytes)} would go below the live floor of "
        f"{format_bytes(floor_bytes)}: {format_bytes(need_bytes)} are needed now",
    )


def _is_same(first_bytes: int | None, second_bytes: int | None) -> bool:
    if first_bytes is None or second_bytes is None:
        return first_bytes is second_bytes
    return abs(first_bytes - second_bytes) < PAGE_BYTES


def _shown(limit_bytes: int | None) -> str:
    return "none" if limit_bytes is None else format_bytes(limit_bytes)
