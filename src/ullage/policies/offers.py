"""What one worker would cost and risk, and the best of all memories that a layout may have.

Vectors over memories: a choice looks at hundreds of shapes and names only the one taken.
Not here: which layouts and families are looked at (`policies.workers`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.allocation import FLOOR_BYTES
from ullage.core.launch import WorkerLayout
from ullage.core.machines import FAMILIES, STEP_BYTES
from ullage.core.units import GIB, MIB
from ullage.policies.layouts import ProcessNeed

Floats = NDArray[np.float64]

LEAST_KNOWN_RUNS = 3
"""With fewer known runs of its own a job's memory per process is not lowered."""
_ROUNDING = 1e-9
"""A chance that is over the budget by this is not over it: sums of floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """By what a worker is judged.

    disk_hour_usd: of one worker's disk. rerun_ratio: what a failure costs, in job costs.
    floor_bytes: the worker's least memory (a user's hint). least_limit_bytes: the same of
    one process.
    """

    vcpu_hour_usd: float
    gib_hour_usd: float
    disk_hour_usd: float
    budget_ratio: float
    rerun_ratio: float
    gain_ratio: float
    overhead_bytes: int
    busy_vcpus_count: float | None = None
    floor_bytes: int = 0
    least_limit_bytes: int = 1

    def useful_vcpus(self, layout: WorkerLayout) -> float:
        """Return the vCPUs of a worker that do work: no more than threads, or were ever busy."""
        threads = layout.processes_count * layout.threads_count
        useful = float(min(layout.vcpus_count, threads))
        return useful if self.busy_vcpus_count is None else min(useful, self.busy_vcpus_count)

    def work_usd(self, layout: WorkerLayout, memory_bytes: Floats) -> Floats:
        """Return the money for one vCPU-hour of work, for each memory.

        Worked: 4 vCPUs, 15 GiB and 25 GiB of disk in batch, all busy:
        (4 x 0.056 + 15 x 0.003557 + 25 x 0.000054) / 4 = 0.06968 USD.
        """
        hour = layout.vcpus_count * self.vcpu_hour_usd + self.disk_hour_usd
        memory_usd: Floats = memory_bytes / GIB * self.gib_hour_usd
        return (hour + memory_usd) / self.useful_vcpus(layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One worker with its price and risk."""

    family: str
    layout: WorkerLayout
    memory_bytes: int
    limit_bytes: int
    """What one SDK process can have."""
    oom_prob: float
    vcpu_hour_usd: float
    expected_usd: float
    useful_vcpus_count: float
    need: ProcessNeed

    def is_within(self, terms: Terms) -> bool:
        """Whether the risk is within the budget and no floor is undercut."""
        return (
            self.oom_prob <= terms.budget_ratio + _ROUNDING
            and self.limit_bytes >= max(self.need.least_bytes, terms.least_limit_bytes)
            and self.memory_bytes >= terms.floor_bytes
        )


def offer_at(
    terms: Terms, layout: WorkerLayout, need: ProcessNeed, family: str, memory_bytes: int
) -> Offer:
    """Return what a worker with this layout and memory costs and risks."""
    return _offer(terms, layout, need, family, _judged(terms, layout, need, [memory_bytes]), 0)


def best_of(terms: Terms, layout: WorkerLayout, need: ProcessNeed, family: str) -> Offer | None:
    """Return the worker with the least expected cost within the budget, or None."""
    table = _judged(terms, layout, need, _memories(terms, layout, need, family))
    least = max(need.least_bytes, terms.least_limit_bytes)
    within = (table.oom_prob <= terms.budget_ratio + _ROUNDING) & (table.limit_bytes >= least)
    if not within.any():
        return None
    at = int(np.where(within, table.expected_usd, np.inf).argmin())
    return _offer(terms, layout, need, family, table, at)


def safest_of(terms: Terms, layout: WorkerLayout, need: ProcessNeed, family: str) -> Offer | None:
    """Return the worker with the least risk, of equal ones the largest; None without any.

    For where none is within the budget: then what lies beyond all that was seen is not known
    well, and more memory is the better guess.
    """
    table = _judged(terms, layout, need, _memories(terms, layout, need, family))
    if not len(table.memory_bytes):
        return None
    at = int(np.lexsort((-table.limit_bytes, table.oom_prob))[0])
    return _offer(terms, layout, need, family, table, at)


@dataclass(frozen=True, slots=True)
class _Judged:
    memory_bytes: Floats
    limit_bytes: Floats
    oom_prob: Floats
    work_usd: Floats
    expected_usd: Floats


def _judged(
    terms: Terms, layout: WorkerLayout, need: ProcessNeed, memories: Floats | list[int]
) -> _Judged:
    memory = np.array(memories, float)
    limit = np.floor((memory - terms.overhead_bytes) / layout.processes_count)
    limit = np.maximum(limit, 1.0)
    prob = need.oom_prob(limit)
    work = terms.work_usd(layout, memory)
    return _Judged(memory, limit, prob, work, work * (1.0 + prob * terms.rerun_ratio))


def _memories(terms: Terms, layout: WorkerLayout, need: ProcessNeed, family: str) -> Floats:
    """Return every memory worth a look: standard sizes, and custom ones that just fit a need."""
    known, count = FAMILIES[family], layout.vcpus_count
    sizes = [each[count] * MIB for each in known.series_mib.values() if count in each]
    if count in known.custom_vcpus_count:
        points = np.array([need.least_bytes, terms.least_limit_bytes, *_points(need)], float)
        worker = terms.overhead_bytes + layout.processes_count * np.ceil(points)
        least = max(known.least_bytes(count), terms.floor_bytes)
        top = known.top_bytes(count)
        worker = np.ceil(np.maximum(worker, least) / STEP_BYTES) * STEP_BYTES
        sizes += [*worker[worker <= top].tolist(), top]
    found = np.unique(np.array(sizes, float))
    least_memory = terms.overhead_bytes + layout.processes_count * FLOOR_BYTES
    return found[found >= max(terms.floor_bytes, least_memory)]


def _points(need: ProcessNeed) -> tuple[float, ...]:
    return need.curve.need_bytes if need.curve is not None else ()


def _offer(
    terms: Terms, layout: WorkerLayout, need: ProcessNeed, family: str, table: _Judged, at: int
) -> Offer:
    return Offer(
        family=family,
        layout=layout,
        memory_bytes=int(table.memory_bytes[at]),
        limit_bytes=int(table.limit_bytes[at]),
        oom_prob=float(table.oom_prob[at]),
        vcpu_hour_usd=float(table.work_usd[at]),
        expected_usd=float(table.expected_usd[at]),
        useful_vcpus_count=terms.useful_vcpus(layout),
        need=need,
    )
