"""Made-up tables of recorded runs for tests of timelines, backtests and policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ullage.simulation.runs_table import RunsTable

NAN = float("nan")


def runs_table(
    peaks: Sequence[float],
    *,
    workload: Sequence[int] | None = None,
    started_at_s: Sequence[float] | None = None,
    runtime_s: Sequence[float] | None = None,
    has_runtime: Sequence[bool] | None = None,
    request_bytes: Sequence[float] | None = None,
    errors: Sequence[int] = (),
    saturated: Sequence[int] = (),
    numbers: Mapping[str, Sequence[float]] | None = None,
    labels: Mapping[str, Sequence[str | None]] | None = None,
) -> RunsTable:
    """Return a table of runs with these peaks in bytes; an hour each, a day apart, unless told.

    errors, saturated: positions of such runs.
    """
    n = len(peaks)
    at = np.arange(n)
    starts = np.arange(n) * 86_400.0 if started_at_s is None else started_at_s
    code = np.zeros(n, np.int64) if workload is None else np.array(workload, np.int64)
    return RunsTable(
        workload_names=tuple(f"w{number}" for number in range(int(code.max(initial=0)) + 1)),
        workload=code,
        run_ids=tuple(f"run-{number}" for number in range(n)),
        started_at_s=np.array(starts, float),
        peak_bytes=np.array(peaks, float),
        runtime_s=np.full(n, 3600.0) if runtime_s is None else np.array(runtime_s, float),
        has_runtime=np.ones(n, bool) if has_runtime is None else np.array(has_runtime, bool),
        request_bytes=np.full(n, NAN) if request_bytes is None else np.array(request_bytes, float),
        is_error=np.isin(at, list(errors)),
        is_saturated=np.isin(at, list(saturated)),
        numbers={name: np.array(x, float) for name, x in (numbers or {}).items()},
        labels={name: _texts(x) for name, x in (labels or {}).items()},
    )


def _texts(values: Sequence[str | None]) -> NDArray[np.object_]:
    texts = np.full(len(values), None, object)
    texts[:] = list(values)
    return texts
