"""Prices by region: what is known, how a region is added, and that none stands in for another."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ullage.config import load_settings
from ullage.core.errors import ConfigError
from ullage.core.price_book import PriceBook, dataflow_price_from
from ullage.core.prices import DATAFLOW

TABLE = """
[prices.dataflow.europe-west1]
as_of = 2026-11-23
source = "our contract"
batch_vcpu_hour_usd = 0.06
streaming_vcpu_hour_usd = 0.072
memory_gib_hour_usd = 0.004
disk_gib_hour_usd = 0.00006
ssd_gib_hour_usd = 0.0003
shuffle_gib_usd = 0.011
streaming_gib_usd = 0.02
"""


def _book(tmp_path: Path, text: str) -> PriceBook:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_settings({"ULLAGE_CONFIG": str(file), "HOME": str(tmp_path)}).price_book


def test_one_region_is_known_and_says_when_and_where_from() -> None:
    price = PriceBook().dataflow_in("us-central1")
    assert (price.batch_vcpu_hour_usd, price.streaming_vcpu_hour_usd) == (0.056, 0.069)
    assert (price.prime_batch_dcu_hour_usd, price.prime_streaming_dcu_hour_usd) == (0.06, 0.089)
    assert {"prime_batch_dcu_hour_usd", "prime_streaming_dcu_hour_usd"} <= price.unverified
    assert price.as_of.year == 2026
    assert PriceBook().machine_in("us-central1", "N2").gib_hour_usd == 0.004237


def test_an_unknown_region_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(ConfigError, match="europe-west1") as caught:
        PriceBook().dataflow_in("europe-west1")
    told = str(caught.value)
    assert "us-central1" in told
    assert "[prices.dataflow.REGION]" in told
    with pytest.raises(ConfigError, match="did you mean us-central1"):
        PriceBook().dataflow_in("us-central")
    with pytest.raises(ConfigError, match="\\\\x1b"):
        PriceBook().dataflow_in("\x1b[31m")
    with pytest.raises(ConfigError, match="n2 in us-central1"):
        PriceBook().machine_in("us-central1", "c4")


def test_shapes_are_compared_by_known_prices_and_it_is_said_whose() -> None:
    own = replace(DATAFLOW, region="europe-west1", batch_vcpu_hour_usd=0.07)
    assert PriceBook().with_dataflow(own).dataflow_to_compare("europe-west1") == (own, "")
    price, words = PriceBook().dataflow_to_compare("europe-west1")
    assert price is DATAFLOW
    assert "'europe-west1' are not known here" in words
    assert "us-central1" in words


def test_a_region_is_added_by_the_file(tmp_path: Path) -> None:
    book = _book(tmp_path, TABLE)
    price = book.dataflow_in("europe-west1")
    assert (price.batch_vcpu_hour_usd, price.as_of) == (0.06, date(2026, 11, 23))
    assert price.source == "our contract"
    assert price.prime_batch_dcu_hour_usd is None, "none is taken from another region"
    assert book.dataflow_in("us-central1").batch_vcpu_hour_usd == 0.056


def test_a_price_of_memory_and_regions_stand_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[prices]\ngib_hour_usd = 0.01\n" + TABLE)
    settings = load_settings({"ULLAGE_CONFIG": str(file), "HOME": str(tmp_path)})
    assert settings.prices.gib_hour_usd == 0.01
    assert settings.price_book.dataflow_in("europe-west1").shuffle_gib_usd == 0.011


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TABLE.replace("shuffle_gib_usd = 0.011\n", ""), "lacks shuffle_gib_usd"),
        (TABLE.replace("as_of = 2026-11-23\n", ""), "needs as_of"),
        (TABLE.replace("0.072", "nan"), "not a number"),
        (TABLE.replace("0.072", '"0.072"'), "not a number"),
        (TABLE.replace("0.072", "-1"), "outside"),
        (TABLE.replace("0.072", "true"), "not a number"),
        (TABLE.replace("shuffle_gib_usd", "shufle_gib_usd"), "did you mean 'shuffle_gib_usd'"),
        (TABLE.replace("europe-west1", '"eu\\u0007"'), "a table"),
        ("[prices]\ndataflow = 3\n", "a table for each region"),
        ("[prices.dataflow]\nus-west1 = 3\n", "a table"),
        (TABLE.replace('"our contract"', "3"), "source"),
    ],
)
def test_a_table_that_is_wrong_says_what(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _book(tmp_path, text)


def test_every_price_that_jobs_have_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"batch_vcpu_hour_usd.*streaming_gib_usd"):
        dataflow_price_from({}, region="r")
