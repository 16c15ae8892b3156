"""The cost of jobs against bills worked by hand, and laws that hold for all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.errors import DataError
from ullage.core.job_cost import (
    JobMetrics,
    at_shape,
    gib_hours_of_gb_s,
    gib_hours_of_mb_s,
    job_cost,
    oom_cost,
)
from ullage.core.machines import parse_machine_type
from ullage.core.prices import DATAFLOW
from ullage.core.units import GIB

BATCH = JobMetrics(
    vcpu_hours=100, memory_gib_hours=375, disk_gib_hours=2500, shuffle_bytes=50 * GIB
)
STREAMING = JobMetrics(
    vcpu_hours=96,
    memory_gib_hours=360,
    disk_gib_hours=720,
    streaming_bytes=1000 * GIB,
    is_streaming=True,
)


def test_a_batch_job_by_hand() -> None:
    cost = job_cost(BATCH, DATAFLOW)
    assert {part.name: part.cost_usd for part in cost.parts} == pytest.approx(
        {"vCPU": 5.60, "memory": 1.333875, "disk": 0.135, "shuffle": 0.55}
    )
    assert cost.total_usd == pytest.approx(7.618875)
    assert cost.is_complete


def test_a_streaming_job_by_hand() -> None:
    """96 x 0.069 = 6.624; 360 x 0.003557 = 1.28052; 720 x 0.000054 = 0.03888; 18.00."""
    cost = job_cost(STREAMING, DATAFLOW)
    assert cost.total_usd == pytest.approx(6.624 + 1.28052 + 0.03888 + 18.0)


def test_prime_is_billed_by_the_dcu_alone_and_says_that_its_price_is_unverified() -> None:
    metrics = replace(BATCH, dcu_hours=10.0, is_prime=True)
    cost = job_cost(metrics, DATAFLOW)
    assert [(part.name, part.is_verified) for part in cost.parts] == [("DCU", False)]
    assert cost.total_usd == pytest.approx(0.60)
    assert job_cost(replace(metrics, is_streaming=True), DATAFLOW).total_usd == pytest.approx(0.89)


def test_flexrs_has_its_own_prices() -> None:
    cost = job_cost(replace(BATCH, is_flexrs=True), DATAFLOW)
    assert {part.name: part.cost_usd for part in cost.parts} == pytest.approx(
        {"vCPU": 3.36, "memory": 0.800325, "disk": 0.135, "shuffle": 0.55}
    )


def test_what_was_not_reported_is_missing_and_not_zero() -> None:
    cost = job_cost(JobMetrics(vcpu_hours=1), DATAFLOW)
    assert cost.missing == ("memory", "disk")
    assert not cost.is_complete
    assert cost.total_usd == pytest.approx(0.056)
    unknown = replace(DATAFLOW, prime_batch_dcu_hour_usd=None)
    prime = job_cost(JobMetrics(dcu_hours=1, is_prime=True), unknown)
    assert (prime.parts[0].cost_usd, prime.is_complete) == (None, False)


def test_the_two_units_of_memory() -> None:
    """A worker of 15 GiB for two hours, as REST (MB.s) and as Monitoring (GBy.s) count it."""
    assert gib_hours_of_mb_s(15 * 1024 * 7200) == gib_hours_of_gb_s(15 * 7200) == 30


def test_memory_is_a_fifth_so_halving_it_saves_a_tenth() -> None:
    """4 -> 2 GiB a vCPU: (0.056 + 2 x 0.003557) / (0.056 + 4 x 0.003557) = 0.899."""
    metrics = JobMetrics(vcpu_hours=100, memory_gib_hours=400, disk_gib_hours=0)
    half = at_shape(metrics, parse_machine_type("n2-custom-8-16384"))
    assert half is not None
    saved = 1 - job_cost(half, DATAFLOW).total_usd / job_cost(metrics, DATAFLOW).total_usd
    assert saved == pytest.approx(0.101, abs=0.001)


def test_another_shape_keeps_the_vcpu_hours_and_halves_the_disks_of_twice_the_worker() -> None:
    before, after = map(parse_machine_type, ("n2-standard-4", "n2-highmem-8"))
    metrics = at_shape(BATCH, after, before=before)
    assert metrics is not None
    assert (metrics.vcpu_hours, metrics.memory_gib_hours) == (100, 800)
    assert metrics.disk_gib_hours == 1250
    assert metrics.shuffle_bytes == BATCH.shuffle_bytes
    assert at_shape(replace(BATCH, is_prime=True), after) is None
    assert at_shape(JobMetrics(), after) is None


def test_lost_attempts_by_hand() -> None:
    """5 of 100 vCPU-hours: 5 % of 5.60 + 1.333875 + 0.135; the shuffled data is kept."""
    cost = oom_cost(BATCH, DATAFLOW, lost_vcpu_hours=5, is_job_lost=False)
    assert cost is not None
    assert cost.lost_usd == pytest.approx(0.05 * 7.068875)
    assert (cost.lost_vcpu_hours, cost.is_job_lost) == (5, False)


def test_a_job_that_failed_has_cost_all_for_nothing() -> None:
    cost = oom_cost(BATCH, DATAFLOW, lost_vcpu_hours=5, is_job_lost=True)
    assert cost is not None
    assert (cost.lost_vcpu_hours, cost.lost_usd) == (100, pytest.approx(7.618875))
    assert oom_cost(BATCH, DATAFLOW, lost_vcpu_hours=None, is_job_lost=False) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_no_quantity_is_refused(value: float) -> None:
    with pytest.raises(DataError):
        JobMetrics(vcpu_hours=value)
    with pytest.raises(DataError):
        oom_cost(BATCH, DATAFLOW, lost_vcpu_hours=value, is_job_lost=False)


amounts = st.one_of(st.none(), st.floats(0, 1e9))
jobs = st.builds(
    JobMetrics,
    vcpu_hours=amounts,
    memory_gib_hours=amounts,
    disk_gib_hours=amounts,
    ssd_gib_hours=amounts,
    shuffle_bytes=amounts,
    streaming_bytes=amounts,
    dcu_hours=amounts,
    is_streaming=st.booleans(),
    is_prime=st.booleans(),
    is_flexrs=st.booleans(),
)
QUANTITIES = [name for name in JobMetrics.__slots__ if not name.startswith("is_")]


def _scaled(job: JobMetrics, factor: float) -> JobMetrics:
    values = {name: getattr(job, name) for name in QUANTITIES}
    return replace(job, **{n: None if v is None else v * factor for n, v in values.items()})


@given(jobs)
def test_cost_is_a_finite_sum_of_its_parts_and_doubles_with_the_work(job: JobMetrics) -> None:
    cost = job_cost(job, DATAFLOW)
    assert math.isfinite(cost.total_usd)
    assert cost.total_usd >= 0
    assert cost.total_usd == pytest.approx(sum(part.cost_usd or 0 for part in cost.parts))
    assert job_cost(_scaled(job, 2), DATAFLOW).total_usd == pytest.approx(2 * cost.total_usd)
    assert job_cost(_scaled(job, 0), DATAFLOW).total_usd == 0


@given(jobs, st.sampled_from(QUANTITIES), st.floats(0, 1e6))
def test_more_of_anything_never_costs_less(job: JobMetrics, name: str, more: float) -> None:
    larger = replace(job, **{name: (getattr(job, name) or 0.0) + more})
    assert job_cost(larger, DATAFLOW).total_usd >= job_cost(job, DATAFLOW).total_usd


@given(jobs, st.floats(0, 1e9), st.booleans())
def test_what_is_lost_is_never_more_than_what_was_paid(
    job: JobMetrics, lost_hours: float, is_job_lost: bool
) -> None:
    cost = oom_cost(job, DATAFLOW, lost_vcpu_hours=lost_hours, is_job_lost=is_job_lost)
    if cost is not None:
        assert 0 <= cost.lost_usd <= job_cost(job, DATAFLOW).total_usd * (1 + 1e-9)
        assert cost.lost_vcpu_hours <= max(job.vcpu_hours or 0, job.dcu_hours or 0) * (1 + 1e-9)
