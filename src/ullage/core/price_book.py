"""The price book: what Dataflow and machines cost in each region, with the day and the source.

Known without settings is us-central1 (`core.prices`). Other regions are the user's to add, in
the configuration file; a region that is not in the book is an error that says how to add it,
never the price of another one. Pure: reading the file is `ullage.config`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date

from ullage.core.errors import ConfigError
from ullage.core.prices import COMPUTE_ENGINE, DATAFLOW, DataflowPrice, MachinePrice

MOST_USD = 1000.0
"""No price per hour or GiB is believed above this."""
_OPTIONAL = frozenset(
    {
        "prime_batch_dcu_hour_usd",
        "prime_streaming_dcu_hour_usd",
        "flexrs_vcpu_hour_usd",
        "flexrs_memory_gib_hour_usd",
    }
)
_WORDS = frozenset({"as_of", "source"})
PRICE_KEYS = tuple(each.name for each in fields(DataflowPrice) if each.name.endswith("_usd"))
"""What a region's table may say, in USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Prices by region. dataflow: region -> price. machines: (region, family "n2") -> price."""

    dataflow: Mapping[str, DataflowPrice] = field(
        default_factory=lambda: {DATAFLOW.region: DATAFLOW}
    )
    machines: Mapping[tuple[str, str], MachinePrice] = field(
        default_factory=lambda: {
            (price.region, price.family.lower()): price for price in COMPUTE_ENGINE.values()
        }
    )

    def dataflow_in(self, region: str) -> DataflowPrice:
        """Return what Dataflow costs in `region`; ConfigError where that is not known.

        >>> PriceBook().dataflow_in("us-central1").batch_vcpu_hour_usd
        0.056
        """
        price = self.dataflow.get(region)
        if price is None:
            raise ConfigError(_unknown("Dataflow", region, self.dataflow))
        return price

    def dataflow_to_compare(self, region: str) -> tuple[DataflowPrice, str]:
        """Return what shapes are compared by in `region`, and what stands in, in words or "".

        For a choice, not for a bill: where `region` is not in the book those of us-central1 stand
        in, and the words say so. Between regions memory and vCPUs differ by much the same factor.

        >>> PriceBook().dataflow_to_compare("us-central1")[1]
        ''
        """
        price = self.dataflow.get(region)
        if price is not None:
            return price, ""
        return DATAFLOW, (
            f"Dataflow's prices in {region[:40]!a} are not known here: shapes are compared by "
            f"those of {DATAFLOW.region}, and the USD are theirs. docs/cost.md says how to add "
            "a region."
        )

    def machine_in(self, region: str, family: str) -> MachinePrice:
        """Return what a machine family costs in `region`; ConfigError where that is not known."""
        price = self.machines.get((region, family.lower()))
        if price is None:
            known = sorted({f"{name} in {where}" for where, name in self.machines})
            raise ConfigError(
                f"no price of {family[:20]!a} in {region[:40]!a} is known: {', '.join(known)}"
            )
        return price

    def with_dataflow(self, price: DataflowPrice) -> PriceBook:
        """Return the book with a region added or replaced."""
        return PriceBook(
            dataflow={**self.dataflow, price.region: price}, machines=dict(self.machines)
        )


def dataflow_price_from(
    table: Mapping[str, object], *, region: str, as_of: date | None = None
) -> DataflowPrice:
    """Return a region's price from a table of settings; ConfigError says what is wrong with it.

    Each price that every job may have must be there: none is taken from another region.
    """
    where = f"[prices.dataflow.{region}]"
    known = {*PRICE_KEYS, *_WORDS}
    for key in table:
        if key not in known:
            close = _nearest(str(key), known, cutoff=0.5)
            hint = f"did you mean {close!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown key {key!a} in {where}: {hint}")
    missing = [key for key in PRICE_KEYS if key not in table and key not in _OPTIONAL]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}: see docs/cost.md")
    given = table.get("as_of", as_of)
    if type(given) is not date:
        raise ConfigError(f"{where} needs as_of, a date without quotes: as_of = 2026-11-23")
    source = table.get("source", "the configuration file")
    if not isinstance(source, str) or not source.isprintable() or len(source) > 200:
        raise ConfigError(f"source in {where} is not a text of printable characters")
    amounts = {key: _amount(table[key], key, where) for key in PRICE_KEYS if key in table}
    return DataflowPrice(
        **{**dict.fromkeys(_OPTIONAL), **amounts},  # type: ignore[arg-type]
        region=region,
        as_of=given,
        source=source,
        unverified=frozenset(),
    )


def _amount(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{key} in {where}: {value!r:.40} is not a number of USD")
    if not 0 <= value <= MOST_USD:
        raise ConfigError(f"{key} in {where}: {value!r:.40} is outside 0..{MOST_USD:g} USD")
    return float(value)


def _nearest(word: str, known: Iterable[str], *, cutoff: float) -> str:
    from difflib import get_close_matches  # only where something is wrong already

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def _unknown(what: str, region: str, known: Mapping[str, object]) -> str:
    close = _nearest(region, known, cutoff=0.75)
    hint = f" (did you mean {close}?)" if close else ""
    return (
        f"no price of {what} in region {region[:40]!a} is known{hint}; known: "
        f"{', '.join(sorted(known))}. Add [prices.dataflow.REGION] to the configuration file: "
        "docs/cost.md has the form"
    )
