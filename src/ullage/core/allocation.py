"""Limits: the bounds they obey, the prices of missing them, and the ladder over attempts."""

from __future__ import annotations

from dataclasses import dataclass

from ullage.core.units import MIB

FLOOR_BYTES = 64 * MIB
"""No policy sets a limit below this: a bound of the platform, the same for every policy."""

GRANULARITY_BYTES = MIB
"""Limits are whole MiB, rounded up."""


def round_up(value_bytes: float) -> int:
    """Return the smallest whole MiB not below `value_bytes`."""
    return -int(-value_bytes // GRANULARITY_BYTES) * GRANULARITY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a limit may be, whatever a model says: floor_bytes <= limit <= ceiling_bytes."""

    floor_bytes: int = FLOOR_BYTES
    ceiling_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a failure costs, in the terms of the ladder's equation.

    rho: price of memory-time lost in a failed attempt, relative to memory-time wasted.
    failure_gbh: extra price of one failed first attempt in GB-hours (lambda); None =
        find it so that the failure budget is spent.
    ttf_ratio: share of a run's time after which it fails (time to failure).
    """

    rho: float = 1.0
    failure_gbh: float | None = None
    ttf_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Limits for attempts 1, 2, 3 ... and the chance that a run's need exceeds each.

    limit_bytes: strictly rising integers. oom_prob: same length, falling, each in 0..1.
    """

    limit_bytes: tuple[int, ...]
    oom_prob: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedCurve:
    """The chance that a run needs more than m bytes, for every m: a falling staircase.

    need_bytes: rising. above_prob: same length, the chance of a need above each; below the
    least point it is 1.
    """

    need_bytes: tuple[float, ...]
    above_prob: tuple[float, ...]
