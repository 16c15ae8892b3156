"""The runs of the record as a timeline: what was asked when, and what was known by then.

The same rules as a live history (core.view.history_of): runs that never ended or have no
peak are left out; a run whose last attempt did not end well is only a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ullage.core.scoring import Outcomes
from ullage.core.view import history_of
from ullage.core.workload import Run
from ullage.simulation.runs_columns import SATURATED_RATIO
from ullage.simulation.runs_table import RunsTable
from ullage.simulation.timeline import Timeline, default_limits


def own_timeline(runs: Sequence[Run], requests: Mapping[str, int]) -> Timeline:
    """Return the runs that say something of their peak, in the order of their starts.

    requests: run id -> bytes that the user asked for. A run is asked about at its start and
    known when its end was recorded.
    """
    said = [run for run in runs if _is_told(run)]
    said.sort(key=lambda run: (run.started_at, run.run_id))
    table = _table(said, requests)
    asked = np.array([run.started_at.timestamp() for run in said], float)
    known = np.array([run.known_at.timestamp() for run in said if run.known_at], float)
    known = np.maximum(known, np.nextafter(asked, np.inf))
    return Timeline(
        runs=table,
        asked_at_s=asked,
        known_at_s=known,
        default_bytes=default_limits(table.peak_bytes, asked, known),
        is_scored=np.ones(len(said), bool),
    )


def recorded_outcomes(runs: Sequence[Run]) -> Outcomes | None:
    """Return what these runs really reserved and failed; None where one had no limit to count.

    runs: those of `own_timeline`. Used is peak x runtime, as for every policy.
    """
    told = [run for run in runs if _is_told(run)]
    attempts = [attempt for run in told for attempt in run.attempts]
    if not told or any(attempt.reserved_byte_seconds is None for attempt in attempts):
        return None
    views = [history_of([run], at=run.known_at) for run in told if run.known_at]
    failed = [[a for a in run.attempts if a.oom_kills] for run in told]
    return Outcomes(
        used_byte_seconds=np.array([v.peak_bytes[0] * v.runtime_s[0] for v in views], float),
        reserved_byte_seconds=np.array(
            [sum(a.reserved_byte_seconds or 0.0 for a in run.attempts) for run in told], float
        ),
        failed_byte_seconds=np.array(
            [sum(a.reserved_byte_seconds or 0.0 for a in each) for each in failed], float
        ),
        ooms_count=np.array([len(each) for each in failed], float),
        lost_s=np.array([sum(a.runtime.total_seconds() for a in each) for each in failed], float),
    )


def _is_told(run: Run) -> bool:
    return run.known_at is not None and len(history_of([run], at=run.known_at)) == 1


def _table(runs: Sequence[Run], requests: Mapping[str, int]) -> RunsTable:
    views = [history_of([run], at=run.known_at) for run in runs if run.known_at]
    keys = {run.workload.key: None for run in runs}
    codes = {key: at for at, key in enumerate(keys)}
    peak = np.array([view.peak_bytes[0] for view in views], float)
    limit = np.array([view.limit_bytes[0] for view in views], float)
    numbers = sorted({name for run in runs for name in run.features.numbers})
    labels = sorted({name for run in runs for name in run.features.labels})
    return RunsTable(
        workload_names=tuple(keys),
        workload=np.array([codes[run.workload.key] for run in runs], np.int64),
        run_ids=tuple(run.run_id for run in runs),
        started_at_s=np.array([run.started_at.timestamp() for run in runs], float),
        peak_bytes=peak,
        runtime_s=np.array([view.runtime_s[0] for view in views], float),
        has_runtime=np.ones(len(runs), bool),
        request_bytes=np.array([requests.get(run.run_id, np.nan) for run in runs], float),
        is_error=np.array([view.is_censored[0] for view in views], bool),
        is_saturated=peak >= SATURATED_RATIO * limit,
        numbers={
            name: np.array([run.features.numbers.get(name, np.nan) for run in runs], float)
            for name in numbers
        },
        labels={name: _texts([run.features.labels.get(name) for run in runs]) for name in labels},
    )


def _texts(values: Sequence[str | None]) -> NDArray[np.object_]:
    texts = np.full(len(values), None, object)
    texts[:] = values
    return texts
