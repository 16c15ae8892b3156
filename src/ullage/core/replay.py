"""Replay: what a ladder does to a run whose peak and runtime are known.

The one function behind scoring, simulation and shadow mode. Pure arithmetic in
floats: bytes x seconds overflow 64-bit integers.
Not here: figures over many runs (core.scoring).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import GRANULARITY_BYTES
from ullage.core.errors import InvariantError
from ullage.core.kernels import kernel

Floats = NDArray[np.float64]

GB_HOUR = 1e9 * 3600.0
"""Byte-seconds in one GB-hour."""

RAISE_FACTOR = 1.5
"""After the last rung each further attempt gets this many times the limit that failed."""

_MAX_ATTEMPTS = 1000


def next_limit(
    rungs: Sequence[int],
    failed_bytes: int,
    *,
    ceiling_bytes: int | None = None,
    factor: float = RAISE_FACTOR,
) -> int:
    """Return the limit of the attempt after one that failed at `failed_bytes`.

    The lowest rung above it, else `factor` times it in whole MiB; at most the ceiling,
    even where the ceiling is not above what failed.

    >>> next_limit((100, 300), 100)
    300
    """
    above = (rung for rung in rungs if rung > failed_bytes)
    limit = next(above, 0) or int(raised(failed_bytes, factor))
    return limit if ceiling_bytes is None else min(limit, ceiling_bytes)


@kernel
def raised(failed_bytes: float, factor: float) -> float:
    """Return `factor` times a failed limit, in whole MiB and above it in any case."""
    limit = float(np.ceil(failed_bytes * factor / GRANULARITY_BYTES)) * GRANULARITY_BYTES
    return max(limit, failed_bytes + 1.0)


@kernel
def climbed(rungs: Floats, peak_bytes: float, ceiling_bytes: float, factor: float) -> Floats:
    """Return the limits of the attempts that a run with this peak makes, as `next_limit` has them.

    rungs: rising, at least one. ceiling_bytes: perhaps infinite.
    """
    limits = np.empty(_MAX_ATTEMPTS)
    limit = min(rungs[0], ceiling_bytes)
    limits[0] = limit
    count, at = 1, 0
    while peak_bytes > limit and limit < ceiling_bytes and count < _MAX_ATTEMPTS:
        while at < len(rungs) and rungs[at] <= limit:
            at += 1
        higher = rungs[at] if at < len(rungs) else raised(limit, factor)
        limit = min(higher, ceiling_bytes)
        limits[count] = limit
        count += 1
    return limits[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One run under one ladder.

    limit_bytes: the limits of the attempts made. is_finished: the last one succeeded.
    reserved = failed + limit x runtime of the attempt that succeeded; used = peak x
    runtime of that attempt (0 if none did); waste = reserved - used. All byte-seconds.
    lost_s: time of the attempts that failed.
    """

    limit_bytes: tuple[int, ...]
    is_finished: bool
    reserved_byte_seconds: float
    used_byte_seconds: float
    failed_byte_seconds: float
    lost_s: float

    @property
    def waste_byte_seconds(self) -> float:
        """Reserved less used."""
        return self.reserved_byte_seconds - self.used_byte_seconds

    @property
    def ooms_count(self) -> int:
        """Attempts that failed."""
        return len(self.limit_bytes) - int(self.is_finished)

    @property
    def is_first_failed(self) -> bool:
        """Whether the first attempt failed (what the failure budget counts)."""
        return self.ooms_count > 0

    @property
    def reserved_gbh(self) -> float:
        """Reserved in GB-hours (1e9 bytes x 3600 s)."""
        return self.reserved_byte_seconds / GB_HOUR

    @property
    def used_gbh(self) -> float:
        """Used in GB-hours."""
        return self.used_byte_seconds / GB_HOUR

    @property
    def waste_gbh(self) -> float:
        """Waste in GB-hours."""
        return self.waste_byte_seconds / GB_HOUR

    @property
    def failed_gbh(self) -> float:
        """GB-hours reserved by attempts that failed."""
        return self.failed_byte_seconds / GB_HOUR


def replay_run(
    rungs: Sequence[int],
    *,
    peak_bytes: float,
    runtime_s: float,
    ttf_ratio: float = 1.0,
    ceiling_bytes: int | None = None,
    factor: float = RAISE_FACTOR,
) -> Replay:
    """Run a run of known peak and runtime up the ladder `rungs`.

    rungs: rising limits in bytes, at least one. An attempt fails where peak > limit; it
    then has held its limit for ttf_ratio x runtime. After the last rung the limit grows
    by `factor` (whole MiB). With a ceiling nothing goes above it, and a failure there
    ends the run unfinished.

    Worked: rungs (1 GB, 2 GB), peak 1.5 GB, one hour, ttf 1.0 -> two attempts,
    reserved 3 GBh, used 1.5, waste 1.5. With ttf 0.5: reserved 2.5, waste 1.0.
    """
    if not rungs or rungs[0] <= 0:
        raise InvariantError("a ladder needs at least one limit above zero")
    top = float("inf") if ceiling_bytes is None else float(ceiling_bytes)
    tried = climbed(np.array(rungs, float), float(peak_bytes), top, factor).tolist()
    limits = [int(limit) for limit in tried]
    is_finished = peak_bytes <= limits[-1]
    failed = 0.0
    for limit in tried[:-1]:
        failed += limit * ttf_ratio * runtime_s
    last = tried[-1] * runtime_s * (1.0 if is_finished else ttf_ratio)
    failed += 0.0 if is_finished else last
    ooms = len(limits) - int(is_finished)
    return Replay(
        limit_bytes=tuple(limits),
        is_finished=is_finished,
        reserved_byte_seconds=failed + (last if is_finished else 0.0),
        used_byte_seconds=float(peak_bytes) * runtime_s if is_finished else 0.0,
        failed_byte_seconds=failed,
        lost_s=ooms * ttf_ratio * runtime_s,
    )
