"""The record as a timeline: which runs count, when each was known, and what really happened."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from ullage.core.units import GIB, MIB
from ullage.core.workload import Features, Outcome, Run
from ullage.simulation.own_runs import own_timeline, recorded_outcomes
from ullage.testing.records import START, begun_run, ended, one_attempt


def _run(number: int, **changes: object) -> Run:
    attempt = one_attempt(
        peak_bytes=100 * MIB,
        limit_bytes=GIB,
        final_limit_bytes=GIB,
        reserved_byte_seconds=20.0 * GIB,
    )
    return ended(begun_run(number, **changes), attempt)  # type: ignore[arg-type]


def test_runs_come_by_their_start_and_are_known_at_their_recorded_end() -> None:
    runs = [_run(2), _run(0), _run(1)]
    timeline = own_timeline(runs, {runs[1].run_id: 3 * GIB})
    assert timeline.runs.run_ids == tuple(run.run_id for run in (runs[1], runs[2], runs[0]))
    assert timeline.asked_at_s.tolist() == [START.timestamp() + 60 * n for n in range(3)]
    assert (timeline.known_at_s - timeline.asked_at_s).tolist() == [20.0] * 3
    assert timeline.runs.runtime_s.tolist() == [20.0] * 3
    assert timeline.runs.request_bytes[0] == 3 * GIB
    assert np.isnan(timeline.runs.request_bytes[1:]).all()
    assert timeline.default_bytes.tolist() == [4 * GIB, 200 * MIB, 200 * MIB]


def test_runs_that_say_nothing_of_their_peak_are_left_out() -> None:
    silent = ended(begun_run(1), one_attempt(peak_bytes=None))
    timeline = own_timeline([begun_run(0), silent, _run(2)], {})
    assert timeline.runs.run_ids == (_run(2).run_id,)
    assert len(own_timeline([], {}).runs) == 0
    assert recorded_outcomes([begun_run(0)]) is None


def test_workloads_features_and_lower_bounds_are_those_of_the_record() -> None:
    first = _run(0, key="b", features=Features(numbers={"x": 2.0}, labels={"tag": "t"}))
    killed = one_attempt(outcome=Outcome.OOM_KILLED, oom_kills=1, peak_bytes=GIB)
    second = ended(begun_run(1, key="a"), killed, outcome=Outcome.OOM_KILLED)
    runs = own_timeline([second, first], {}).runs
    assert runs.workload_names == ("b", "a")
    assert runs.workload.tolist() == [0, 1]
    assert runs.numbers["x"][0] == 2.0
    assert np.isnan(runs.numbers["x"][1])
    assert runs.labels["tag"].tolist() == ["t", None]
    assert runs.is_error.tolist() == [False, True]
    assert runs.is_saturated.tolist() == [False, True]


def test_what_really_happened_by_hand() -> None:
    """20 s at 1 GiB; then 5 s at 1 GiB killed and 20 s at 2 GiB."""
    killed = one_attempt(
        outcome=Outcome.OOM_KILLED,
        oom_kills=1,
        runtime=timedelta(seconds=5),
        reserved_byte_seconds=5.0 * GIB,
    )
    well = one_attempt(2, peak_bytes=1500 * MIB, reserved_byte_seconds=40.0 * GIB)
    found = recorded_outcomes([_run(0), ended(begun_run(1), killed, well)])
    assert found is not None
    assert found.reserved_byte_seconds.tolist() == [20.0 * GIB, 45.0 * GIB]
    assert found.used_byte_seconds.tolist() == pytest.approx([2000.0 * MIB, 30000.0 * MIB])
    assert found.ooms_count.tolist() == [0, 1]
    assert found.lost_s.tolist() == [0, 5]


def test_without_a_limit_on_record_nothing_is_claimed_of_what_was() -> None:
    unlimited = ended(begun_run(1), one_attempt(reserved_byte_seconds=None))
    assert recorded_outcomes([_run(0), unlimited]) is None
