"""Beam job names: the same job has the same key, whatever its launcher adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.beam_key import beam_workload_key
from ullage.core.ids import check_name

SAME = [
    "orders",
    "orders-2026-11-25",
    "orders-20261125",
    "orders-20261125-070312",
    "orders-20261125t070312",
    "orders-1795413600",
    "orders-17",
    "orders-run-17",
    "orders-a1b2c3d4",
    "orders-x7k2p9qz",
    "orders-20261125-3-x7k2p9qz",
    "orders-9f86d081-884c-4d65-9a2f-eaa0c55ad015",
]


@pytest.mark.parametrize("name", [name for name in SAME if "run" not in name])
def test_the_same_job_has_the_same_key(name: str) -> None:
    assert beam_workload_key(name) == "beam/orders"


def test_a_counted_run_is_the_same_workload_each_time() -> None:
    assert beam_workload_key("orders-run-17") == beam_workload_key("orders-run-18")


@pytest.mark.parametrize("name", ["orders", "orders-v2", "orders-daily", "orders-eu", "s3-copy"])
def test_words_are_kept(name: str) -> None:
    assert beam_workload_key(name) == f"beam/{name}"


def test_a_name_that_beam_made_up_is_replaced_by_the_script() -> None:
    made_up = "beamapp-ann-1125070312-123456-x1y2z3w4"
    assert beam_workload_key(made_up, script="/srv/etl.py") == "beam/etl"
    assert beam_workload_key("", script="etl.py") == "beam/etl"
    assert beam_workload_key("orders", script="etl.py") == "beam/orders"
    assert beam_workload_key("", script="/tmp/tmpab12cd34") == "beam/pipeline"
    assert beam_workload_key("") == "beam/pipeline"


def test_a_name_of_nothing_but_a_date_is_still_a_name() -> None:
    assert beam_workload_key("2026-11-25") == "beam/2026-11-25"


@given(name=st.text(max_size=200), script=st.text(max_size=60))
def test_any_text_becomes_an_allowed_key(name: str, script: str) -> None:
    key = beam_workload_key(name, script=script)
    assert check_name(key) == key
    assert key.startswith("beam/")
