"""What a Dataflow job costs: its metrics times the prices of its region. Pure arithmetic.

cost = sum over parts of quantity x price. Batch and streaming: vCPU-hours, memory GiB-hours, disk
and SSD GiB-hours, and the GiB that were shuffled (batch) or processed by Streaming Engine. Prime:
DCU-hours alone. List prices, without discounts. Not in it: network, storage, GPUs, Pub/Sub,
snapshots, and what the service bills apart (docs/cost.md). "Cannot tell" is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ullage.core.errors import DataError
from ullage.core.machines import MachineShape
from ullage.core.prices import DataflowPrice
from ullage.core.units import GIB

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMetrics:
    """What a job has used until now. None = the service did not say."""

    vcpu_hours: float | None = None
    memory_gib_hours: float | None = None
    """What was allocated to workers: that is billed, not what they used."""
    disk_gib_hours: float | None = None
    ssd_gib_hours: float | None = None
    shuffle_bytes: float | None = None
    """Billable: the service counts the first part of a job's shuffle at a discount."""
    streaming_bytes: float | None = None
    dcu_hours: float | None = None
    is_streaming: bool = False
    is_prime: bool = False
    is_flexrs: bool = False

    def __post_init__(self) -> None:
        for name in _QUANTITIES:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise DataError(f"{name}: {value!r} is no quantity: finite and not below 0")


_QUANTITIES = (
    *("vcpu_hours", "memory_gib_hours", "disk_gib_hours", "ssd_gib_hours"),
    *("shuffle_bytes", "streaming_bytes", "dcu_hours"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """One line of a bill. quantity_count: in `unit`; price_usd: of one of them, None = unknown."""

    name: str
    quantity_count: float
    unit: str
    price_usd: float | None
    is_verified: bool = True
    """Whether the price was read from a list."""

    @property
    def cost_usd(self) -> float | None:
        """Quantity x price; None where the price is not known."""
        return None if self.price_usd is None else self.quantity_count * self.price_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCost:
    """A job's cost by part. missing: what is part of the bill and was not reported."""

    parts: tuple[CostPart, ...]
    missing: tuple[str, ...]
    price: DataflowPrice

    @property
    def total_usd(self) -> float:
        """The parts that have a price; *at least* this much where `is_complete` is False."""
        return sum(part.cost_usd or 0.0 for part in self.parts)

    @property
    def is_complete(self) -> bool:
        """Whether every part was reported and has a price."""
        return not self.missing and all(part.price_usd is not None for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class OomCost:
    """What a job's OOM kills cost.

    lost_vcpu_hours: of work items whose attempt failed, or of the whole job where it failed.
    """

    lost_vcpu_hours: float
    lost_usd: float
    is_job_lost: bool


# -- units -------------------------------------------------------------------------------------


def gib_hours_of_mb_s(mb_s: float) -> float:
    """Return GiB-hours of the REST metric TotalMemoryUsage, which counts MB x seconds.

    Its MB is 2**20 bytes: a worker with 3.75 GiB counts 3,840 a second.

    >>> gib_hours_of_mb_s(3840 * 3600)
    3.75
    """
    return mb_s / 1024 / HOUR_S


def gib_hours_of_gb_s(gb_s: float) -> float:
    """Return GiB-hours of GB x seconds: Monitoring's total_memory_usage_time (GBy.s), disks.

    Google's GB of memory and disks is 2**30 bytes in its prices.

    >>> gib_hours_of_gb_s(250 * 7200)
    500.0
    """
    return gb_s / HOUR_S


# -- cost --------------------------------------------------------------------------------------


def job_cost(metrics: JobMetrics, price: DataflowPrice) -> JobCost:
    """Return what `metrics` cost at `price`.

    Worked, batch in us-central1: 100 vCPU-hours x 0.056 = 5.60; 375 GiB-hours x 0.003557 =
    1.333875; 2,500 GiB-hours of disk x 0.000054 = 0.135; 50 GiB of shuffle x 0.011 = 0.55;
    together 7.618875 USD. Prime, 10 DCU-hours batch x 0.06 = 0.60 USD and nothing else.
    """
    parts: list[CostPart] = []
    missing: list[str] = []
    for name, quantity, unit, price_name in _bill(metrics):
        if quantity is None:
            missing.append(name)
            continue
        parts.append(
            CostPart(
                name=name,
                quantity_count=quantity,
                unit=unit,
                price_usd=getattr(price, price_name),
                is_verified=price_name not in price.unverified,
            )
        )
    return JobCost(parts=tuple(parts), missing=tuple(missing), price=price)


def _bill(metrics: JobMetrics) -> Iterable[tuple[str, float | None, str, str]]:
    """Yield (part, quantity, unit, name of the price) of what this kind of job is billed for."""
    way = "streaming" if metrics.is_streaming else "batch"
    if metrics.is_prime:
        yield "DCU", metrics.dcu_hours, "DCU-hours", f"prime_{way}_dcu_hour_usd"
        return
    flexrs = metrics.is_flexrs and not metrics.is_streaming
    vcpu_price = "flexrs_vcpu_hour_usd" if flexrs else f"{way}_vcpu_hour_usd"
    memory_price = "flexrs_memory_gib_hour_usd" if flexrs else "memory_gib_hour_usd"
    yield "vCPU", metrics.vcpu_hours, "vCPU-hours", vcpu_price
    yield "memory", metrics.memory_gib_hours, "GiB-hours", memory_price
    yield "disk", metrics.disk_gib_hours, "GiB-hours", "disk_gib_hour_usd"
    if metrics.ssd_gib_hours is not None:  # most jobs have none, and then nothing is reported
        yield "SSD", metrics.ssd_gib_hours, "GiB-hours", "ssd_gib_hour_usd"
    moved = metrics.streaming_bytes if metrics.is_streaming else metrics.shuffle_bytes
    if moved is not None:  # only with the Dataflow Shuffle and with Streaming Engine
        name = "streaming" if metrics.is_streaming else "shuffle"
        price_name = "streaming_gib_usd" if metrics.is_streaming else "shuffle_gib_usd"
        yield name, moved / GIB, "GiB", price_name


def at_shape(
    metrics: JobMetrics, shape: MachineShape, *, before: MachineShape | None = None
) -> JobMetrics | None:
    """Return what the same work would use on workers of another shape; None where none can tell.

    vCPU-hours are kept (the same work on as many vCPUs), memory follows the shape's share per
    vCPU, disks follow the number of workers where the shape before is known. Prime bills DCUs,
    whose share of memory is not published: None.

    Worked: 100 vCPU-hours at 4 GiB a vCPU on n2-custom-8-65536 (8 GiB a vCPU): 800 GiB-hours of
    memory instead of 400. 16 vCPUs / 64 GiB that were bought for their memory are another case:
    there the vCPU-hours fall too, and only the plan knows by how much.
    """
    if metrics.is_prime or metrics.vcpu_hours is None:
        return None
    share_gib = shape.memory_bytes / GIB / shape.vcpus_count
    workers_ratio = 1.0 if before is None else before.vcpus_count / shape.vcpus_count
    return replace(
        metrics,
        memory_gib_hours=metrics.vcpu_hours * share_gib,
        disk_gib_hours=_scaled(metrics.disk_gib_hours, workers_ratio),
        ssd_gib_hours=_scaled(metrics.ssd_gib_hours, workers_ratio),
    )


def oom_cost(
    metrics: JobMetrics,
    price: DataflowPrice,
    *,
    lost_vcpu_hours: float | None,
    is_job_lost: bool,
) -> OomCost | None:
    """Return what was paid for work that OOM kills threw away; None where that cannot be told.

    A job that failed by them has cost all it cost for nothing (the next run is paid once, as
    this one was). A job that went on has lost the attempts that failed: their share of its
    vCPU-hours, with the same share of its memory, disks or DCUs; shuffled and streamed data is
    not counted as lost.

    Worked: 100 vCPU-hours, of which 5 in attempts that failed; vCPUs, memory and disks cost
    7.00 USD: 0.35 USD lost.
    """
    if is_job_lost:
        hours = metrics.vcpu_hours if metrics.vcpu_hours is not None else metrics.dcu_hours
        total_usd = job_cost(metrics, price).total_usd
        return OomCost(lost_vcpu_hours=hours or 0.0, lost_usd=total_usd, is_job_lost=True)
    if lost_vcpu_hours is None or not metrics.vcpu_hours:
        return None
    if not (math.isfinite(lost_vcpu_hours) and lost_vcpu_hours >= 0):
        raise DataError(f"lost_vcpu_hours: {lost_vcpu_hours!r} is no quantity")
    lost_ratio = min(1.0, lost_vcpu_hours / metrics.vcpu_hours)
    held = replace(metrics, shuffle_bytes=None, streaming_bytes=None)
    return OomCost(
        lost_vcpu_hours=lost_ratio * metrics.vcpu_hours,
        lost_usd=lost_ratio * job_cost(held, price).total_usd,
        is_job_lost=False,
    )


def _scaled(value: float | None, ratio: float) -> float | None:
    return None if value is None else value * ratio
