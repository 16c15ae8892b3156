"""The published figures against a calculation by hand, and policies dealt out to processes."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.core.allocation import Bounds
from ullage.core.errors import ConfigError, PermanentError
from ullage.core.ports import RunPolicy
from ullage.core.prices import MemoryPrice
from ullage.core.scoring import Outcomes, macro_reserved_over_used
from ullage.core.units import GIB
from ullage.peers.registry import make_peer
from ullage.simulation.backtest import World
from ullage.simulation.compare import ORACLE, PolicyRun, compare
from ullage.simulation.figures import (
    geomean_reserved_over_used,
    held_figures,
    policy_figures,
    workload_figures,
)
from ullage.simulation.timeline import Timeline, in_order
from ullage.testing.runs_tables import runs_table

PRICE = MemoryPrice(gib_hour_usd=1.0, name="test")
GB = 1e9


def _one(timeline: Timeline, policy_id: str, **world: object) -> PolicyRun:
    found = compare(
        timeline,
        [policy_id],
        make_policy=make_peer,
        world=World(**world),  # type: ignore[arg-type]
    )
    return next(found)


@pytest.fixture
def six() -> Timeline:
    """Six runs of an hour: peaks 1 2 3 1 1 6 GB, 4 GB asked for, the last saturated."""
    return in_order(
        runs_table(
            [1 * GB, 2 * GB, 3 * GB, 1 * GB, 1 * GB, 6 * GB],
            request_bytes=[4 * GB] * 6,
            saturated=[5],
        )
    )


def test_every_figure_of_the_request_by_hand(six: Timeline) -> None:
    """Used 14 GBh. Reserved 5 x 4 + (4 failed + 8) = 32. Waste 18. One run of six fails."""
    got = policy_figures(_one(six, "request"), six, PRICE)
    assert got["runs_scored"] == 6
    assert got["oom_run_share"] == pytest.approx(1 / 6)
    assert got["ooms_per_run"] == pytest.approx(1 / 6)
    assert got["attempts_per_run"] == pytest.approx(7 / 6)
    assert got["waste_gbh"] == pytest.approx(18)
    assert got["waste_over_used"] == pytest.approx(18 / 14)
    assert got["reserved_over_used"] == pytest.approx(32 / 14)
    assert got["lost_hours"] == pytest.approx(1)
    assert got["cost_usd"] == pytest.approx(32e9 / GIB)
    assert got["per_workload_geomean_reserved_over_used"] == pytest.approx(32 / 14)
    assert got["warm"]["runs_scored"] == 1  # type: ignore[index]
    assert got["warm"]["waste_gbh"] == pytest.approx(6)  # type: ignore[index]
    assert got["saturated_excluded"]["waste_gbh"] == pytest.approx(12)  # type: ignore[index]
    assert got["saturated_excluded"]["oom_run_share"] == 0  # type: ignore[index]


def test_time_to_failure_belongs_to_the_world(six: Timeline) -> None:
    got = policy_figures(_one(six, "request", ttf_ratio=0.25), six, PRICE)
    assert got["waste_gbh"] == pytest.approx(15)
    assert got["lost_hours"] == pytest.approx(0.25)


def test_the_same_figures_in_the_terms_of_a_bill(six: Timeline) -> None:
    got = held_figures(_one(six, "request").results.outcomes, PRICE)
    assert got["ooms_count"] == 1
    assert got["reserved_gib_hours"] == pytest.approx(32e9 / GIB)
    assert got["waste_gib_hours"] == pytest.approx(18e9 / GIB)
    assert got["cost_usd"] == pytest.approx(32e9 / GIB)


def test_the_oracle_wastes_nothing_above_the_floor_and_never_fails(six: Timeline) -> None:
    got = policy_figures(_one(six, ORACLE), six, PRICE)
    assert got["waste_gbh"] == pytest.approx(0, abs=1e-6)
    assert got["oom_run_share"] == 0


def test_the_bounds_hold_for_the_oracle_too() -> None:
    timeline = in_order(runs_table([1.0, 5 * GIB]))
    results = _one(timeline, ORACLE, bounds=Bounds(ceiling_bytes=4 * GIB)).results
    assert results.first_limit_bytes.tolist() == [64 * 2**20, 4 * GIB]
    assert results.outcomes.ooms_count.tolist() == [0, 1]


def test_workloads_come_by_use_with_the_part_of_every_policy() -> None:
    timeline = in_order(
        runs_table([1 * GB, 5 * GB, 5 * GB], workload=[0, 1, 1], request_bytes=[2 * GB] * 3)
    )
    found = list(compare(timeline, ["request", ORACLE], make_policy=make_peer, world=World()))
    first, second = workload_figures(found, timeline)
    assert (first["workload"], first["runs_scored"], first["used_gbh"]) == ("w1", 2, 10)
    assert first["policies"]["request"] == {  # type: ignore[index]
        "waste_gbh": pytest.approx(18),
        "oom_run_share": 1.0,
    }
    assert second["policies"][ORACLE]["oom_run_share"] == 0  # type: ignore[index]
    assert len(workload_figures(found, timeline, most=1)) == 1


def test_the_geometric_mean_is_the_one_of_scoring() -> None:
    rng = np.random.default_rng(0)
    used = rng.uniform(1, 9, 50)
    used[7] = 0
    zeros = np.zeros(50)
    outcomes = Outcomes(
        used_byte_seconds=used,
        reserved_byte_seconds=used + rng.uniform(0, 9, 50),
        failed_byte_seconds=zeros,
        ooms_count=zeros,
        lost_s=zeros,
    )
    workload = rng.integers(0, 12, 50) * 3
    assert geomean_reserved_over_used(outcomes, workload) == pytest.approx(
        macro_reserved_over_used(outcomes, workload), rel=1e-12
    )
    assert geomean_reserved_over_used(outcomes.where(used == 0), workload[used == 0]) is None


@pytest.mark.parametrize("policy_id", ["tovar", ORACLE])
def test_results_do_not_depend_on_the_number_of_processes(policy_id: str) -> None:
    rng = np.random.default_rng(5)
    timeline = in_order(
        runs_table(rng.uniform(1e8, 9e9, 1500), workload=rng.integers(0, 60, 1500).tolist())
    )
    one, three = (
        next(compare(timeline, [policy_id], make_policy=make_peer, world=World(), jobs=jobs))
        for jobs in (1, 3)
    )
    assert (one.results.row == np.arange(1500)).all()
    for name in ("row", "known_count", "first_limit_bytes"):
        assert (getattr(one.results, name) == getattr(three.results, name)).all()
    for name in ("reserved_byte_seconds", "used_byte_seconds", "ooms_count", "lost_s"):
        assert (getattr(one.results.outcomes, name) == getattr(three.results.outcomes, name)).all()
    assert one.peak_rss_mib > 10


def test_progress_is_told_to_the_end_over_all_policies() -> None:
    told: list[tuple[int, int]] = []
    timeline = in_order(runs_table([1e9] * 40, workload=list(range(40))))
    list(
        compare(
            timeline,
            ["max-1.1", ORACLE],
            make_policy=make_peer,
            world=World(),
            on_progress=lambda done, total: told.append((done, total)),
        )
    )
    assert told[-1] == (80, 80)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


class _Broken:
    policy_id, is_guarded = "broken", False

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def recommend(self, *_: object, **__: object) -> object:
        if self._error is None:
            import os

            os._exit(3)
        raise self._error


def _broken(error: BaseException | None) -> RunPolicy:
    return _Broken(error)  # type: ignore[return-value]


def test_a_dead_worker_is_an_error_and_no_endless_wait(six: Timeline) -> None:
    with pytest.raises(PermanentError, match="--jobs"):
        list(compare(six, ["x"], make_policy=lambda _: _broken(None), world=World()))


def test_an_error_in_a_worker_is_the_parents(six: Timeline) -> None:
    with pytest.raises(ConfigError, match="of the policy"):
        list(
            compare(
                six,
                ["x"],
                make_policy=lambda _: _broken(ConfigError("of the policy")),
                world=World(),
            )
        )
