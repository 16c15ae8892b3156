"""How the host's memory is shared by the runs on it: pure arithmetic over what they booked.

A booking is a promise. What a run has booked and does not need yet is kept free of other
runs; what it needs is gone from the host's available memory already. So, with n_i the need
and b_i the booking of run i, A the host's available memory now and R its reserve:

    promise_i = max(0, b_i - n_i)
    ceiling_i = n_i + A - R - sum of promise_j over the other live runs j

Runs inside a run (`parent_run_id`) are one family: the outermost live run's booking stands
for all of them, so they do not count against each other, and an inner run may also use
what its family has promised: ceiling_i >= min(n_i + A, n_i + promise of the outermost).

A booking is cut to its ceiling, which keeps the sum of all promises within A - R: no two
runs are ever promised the same memory. Not here: what a run should ask for
(`policies.live.bytes_to_book`), and where bookings are kept (`stores.ledger`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ullage.core.units import GIB

RESERVE_RATIO = 0.05
RESERVE_MIN_BYTES = GIB
RESERVE_MIN_SHARE = 8
"""The least reserve is never more than one part in eight: else a small container gives nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one live run has booked, and what it needed when it last said so."""

    run_id: str
    booked_bytes: int
    need_bytes: int
    parent_run_id: str | None = None

    @property
    def promise_bytes(self) -> int:
        """What is booked and not needed yet."""
        return max(0, self.booked_bytes - self.need_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """The host's memory at one moment: available now, and what no run may ever take."""

    available_bytes: int
    reserve_bytes: int


def reserve_bytes(
    total_bytes: int, *, ratio: float = RESERVE_RATIO, min_bytes: int = RESERVE_MIN_BYTES
) -> int:
    """Return what runs never book: max(min(min_bytes, total / 8), ratio x total memory).

    >>> reserve_bytes(64 * GIB) / GIB, reserve_bytes(8 * GIB) / GIB, reserve_bytes(2 * GIB) / GIB
    (3.2, 1.0, 0.25)
    """
    return max(min(min_bytes, total_bytes // RESERVE_MIN_SHARE), round(ratio * total_bytes))


def ceiling_bytes(claim: Claim, others: Iterable[Claim], memory: HostMemory) -> int:
    """Return how far the run of `claim` may grow now, in bytes (0 = not at all).

    claim: the run's own, with its present need. others: the other live runs'.

    Worked, with 10 GiB available and 1 GiB reserve: alone and needing 2 GiB -> 11 GiB;
    another run that has booked 6 GiB and needs 1 -> 2 + 10 - 1 - 5 = 6 GiB.
    """
    live = {other.run_id: other for other in others if other.run_id != claim.run_id}
    live[claim.run_id] = claim
    outermost = _outermost(claim, live)
    promised_bytes = sum(
        other.promise_bytes
        for other in live.values()
        if _outermost(other, live) is other and other is not outermost
    )
    reachable_bytes = claim.need_bytes + memory.available_bytes
    free_bytes = reachable_bytes - memory.reserve_bytes - promised_bytes
    covered_bytes = 0
    if outermost is not claim:
        covered_bytes = min(reachable_bytes, claim.need_bytes + outermost.promise_bytes)
    return max(0, free_bytes, covered_bytes)


def promised_bytes(claims: Iterable[Claim]) -> int:
    """Return what all runs together have booked and do not need yet; families count once."""
    live = {claim.run_id: claim for claim in claims}
    return sum(claim.promise_bytes for claim in live.values() if _outermost(claim, live) is claim)


def _outermost(claim: Claim, live: Mapping[str, Claim]) -> Claim:
    """Return the outermost live run around `claim`: itself where it runs inside no other."""
    seen = {claim.run_id}
    while (parent := live.get(claim.parent_run_id or "")) and parent.run_id not in seen:
        claim = parent
        seen.add(claim.run_id)
    return claim
