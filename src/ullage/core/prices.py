"""The price book: what memory and machines cost, dated, and the arithmetic on it.

A fallback for when no live price is at hand: list prices in USD of one region, without
discounts, as they were entered on `as_of`. Not here: live prices from a billing
catalogue, prices of failures in the ladder's equation (`core.allocation.Prices`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from ullage.core.units import GIB

REGION = "us-central1"
AS_OF = date(2026, 11, 23)
_DATAFLOW = "list price of Google Cloud Dataflow"
_COMPUTE = "list price of Google Compute Engine, on demand"

GIB_HOUR = GIB * 3600.0
"""Byte-seconds of one GiB held for one hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPrice:
    """What one GiB of memory costs for an hour, and where that figure comes from."""

    gib_hour_usd: float
    name: str
    region: str = REGION
    as_of: date | None = AS_OF
    """The day on which it was entered; None where nobody said."""
    source: str = _DATAFLOW

    def in_words(self) -> str:
        """Return the price with its origin, for every place where money is shown.

        >>> DEFAULT_MEMORY_PRICE.in_words()
        '0.003557 USD per GiB-hour (Dataflow memory, us-central1, 2026-11-23)'
        """
        origin = [self.name, self.region, self.as_of.isoformat() if self.as_of else ""]
        words = ", ".join(part for part in origin if part)
        return f"{self.gib_hour_usd:.6g} USD per GiB-hour ({words})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePrice:
    """A Compute Engine family, USD per hour; custom shapes and extended memory cost more."""

    family: str
    vcpu_hour_usd: float
    gib_hour_usd: float
    custom_vcpu_hour_usd: float
    custom_gib_hour_usd: float
    extended_gib_hour_usd: float | None
    """Memory above the family's share per vCPU; None where it is not offered."""
    region: str = REGION
    as_of: date = AS_OF
    source: str = _COMPUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class DataflowPrice:
    """Dataflow, any machine family, in USD."""

    batch_vcpu_hour_usd: float = 0.056
    streaming_vcpu_hour_usd: float = 0.069
    memory_gib_hour_usd: float = 0.003557
    """Google's page says GB and means 2**30 bytes, as its billing does."""
    disk_gib_hour_usd: float = 0.000054
    ssd_gib_hour_usd: float = 0.000298
    shuffle_gib_usd: float = 0.011
    streaming_gib_usd: float = 0.018
    prime_batch_dcu_hour_usd: float | None = 0.06
    """A DCU, Prime's unit of vCPU, memory, disk and shuffle together; None = not known."""
    prime_streaming_dcu_hour_usd: float | None = 0.089
    flexrs_vcpu_hour_usd: float | None = 0.0336
    """FlexRS: batch at 60 % of the price of vCPUs and memory; None = not known."""
    flexrs_memory_gib_hour_usd: float | None = 0.0021342
    region: str = REGION
    as_of: date = AS_OF
    source: str = _DATAFLOW
    unverified: frozenset[str] = frozenset(
        {
            "prime_batch_dcu_hour_usd",
            "prime_streaming_dcu_hour_usd",
            "flexrs_vcpu_hour_usd",
            "flexrs_memory_gib_hour_usd",
        }
    )
    """Prices that were entered from memory, not read from a list."""


DATAFLOW = DataflowPrice()

COMPUTE_ENGINE = {
    price.family: price
    for price in (
        MachinePrice(
            family="E2",
            vcpu_hour_usd=0.02181159,
            gib_hour_usd=0.00292353,
            custom_vcpu_hour_usd=0.02290217,
            custom_gib_hour_usd=0.003069707,
            extended_gib_hour_usd=None,
        ),
        MachinePrice(
            family="N1",
            vcpu_hour_usd=0.031611,
            gib_hour_usd=0.004237,
            custom_vcpu_hour_usd=0.03319155,
            custom_gib_hour_usd=0.004446,
            extended_gib_hour_usd=0.00955,
        ),
        MachinePrice(
            family="N2",
            vcpu_hour_usd=0.031611,
            gib_hour_usd=0.004237,
            custom_vcpu_hour_usd=0.03319155,
            custom_gib_hour_usd=0.00444885,
            extended_gib_hour_usd=0.00955,
        ),
        MachinePrice(
            family="N2D",
            vcpu_hour_usd=0.027502,
            gib_hour_usd=0.003686,
            custom_vcpu_hour_usd=0.0288771,
            custom_gib_hour_usd=0.0038703,
            extended_gib_hour_usd=0.008309,
        ),
    )
}
"""Family -> price."""

DEFAULT_MEMORY_PRICE = MemoryPrice(
    gib_hour_usd=DATAFLOW.memory_gib_hour_usd, name="Dataflow memory"
)
"""What plain commands are charged in reports: the platform that Ullage is made for first,
and below Compute Engine's custom memory (0.0039..0.0044), so that savings are not
overstated. A plain command has no bill of its own: set `[prices]` to your own figure."""


def gib_hours(byte_seconds: float) -> float:
    """Return GiB-hours.

    >>> gib_hours(2 * 1024**3 * 1800)
    1.0
    """
    return byte_seconds / GIB_HOUR


def memory_cost_usd(byte_seconds: float, price: MemoryPrice = DEFAULT_MEMORY_PRICE) -> float:
    """Return what holding memory costs: byte_seconds / (2**30 x 3600) x price per GiB-hour.

    Worked: 8 GiB for 30 minutes at 0.003557 -> 4 GiB-hours -> 0.014228 USD.
    """
    return gib_hours(byte_seconds) * price.gib_hour_usd


def format_usd(amount_usd: float) -> str:
    """Return an amount for people: cents where they matter, else three digits.

    >>> format_usd(12.3), format_usd(0.0142), format_usd(0.0000032)
    ('12.30 USD', '0.0142 USD', '0.0000032 USD')
    >>> format_usd(0)
    '0 USD'
    """
    if amount_usd == 0:
        return "0 USD"
    size = abs(amount_usd)
    if size >= 1:
        return f"{amount_usd:,.2f} USD"
    digits = 2
    while size < 0.1 and digits < 9:
        size *= 10
        digits += 1
    text = f"{amount_usd:.{digits + 1}f}".rstrip("0")
    return f"{text} USD" if text.strip("-0.") else "less than 0.000000001 USD"


def format_usd_of_run(amount_usd: float) -> str:
    """Return what one run costs, for 1,000 runs where one costs less than a cent.

    >>> format_usd_of_run(0.25), format_usd_of_run(0.000016), format_usd_of_run(0.0000016)
    ('0.25 USD', '0.016 USD per 1,000 such runs', 'less than 0.01 USD per 1,000 such runs')
    """
    if abs(amount_usd) >= 0.01 or amount_usd == 0:
        return format_usd(amount_usd)
    if abs(amount_usd) < 0.00001:
        return "less than 0.01 USD per 1,000 such runs"
    return f"{format_usd(amount_usd * 1000)} per 1,000 such runs"


def format_gib_hours(byte_seconds: float) -> str:
    """Return memory-time for people, in GiB-hours, or GiB-seconds where those are few.

    >>> format_gib_hours(3.2 * 1024**3 * 3600), format_gib_hours(1024**3 * 20)
    ('3.20 GiB-hours', '20.0 GiB-seconds')
    """
    hours = gib_hours(byte_seconds)
    value, unit = (hours, "GiB-hours") if abs(hours) >= 0.1 else (hours * 3600, "GiB-seconds")
    size = abs(value)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.0995 else 4
    return f"{value:,.{places}f} {unit}"
