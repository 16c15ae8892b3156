"""Recorded runs of many workloads as parallel arrays: what a backtest replays.

Not here: reading files (simulation.runs_file), who knows what when (simulation.timeline).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsTable:
    """n recorded runs in the order of their file, all arrays of length n.

    workload: index into workload_names. run_ids: n texts.
    started_at_s: float64 epoch seconds, NaN where it is not recorded.
    peak_bytes: float64 > 0. runtime_s: float64 > 0.
    has_runtime: bool, the runtime was recorded (else 1 s or 3600 s stand in for it).
    request_bytes: float64, NaN where nothing was requested.
    is_error: bool, ended otherwise than well: its peak is a lower bound.
    is_saturated: bool, the peak is at >= 0.98 of the recorded limit: page cache, or cut off.
    numbers: feature -> float64, NaN where it is lacking.
    labels: feature -> n texts or None (an object array).
    """

    workload_names: tuple[str, ...]
    workload: Ints
    run_ids: tuple[str, ...]
    started_at_s: Floats
    peak_bytes: Floats
    runtime_s: Floats
    has_runtime: Bools
    request_bytes: Floats
    is_error: Bools
    is_saturated: Bools
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.run_ids)

    def take(self, rows: Ints) -> RunsTable:
        """Return the rows with these indices, in this order."""
        return RunsTable(
            workload_names=self.workload_names,
            workload=self.workload[rows],
            run_ids=tuple(self.run_ids[row] for row in rows),
            started_at_s=self.started_at_s[rows],
            peak_bytes=self.peak_bytes[rows],
            runtime_s=self.runtime_s[rows],
            has_runtime=self.has_runtime[rows],
            request_bytes=self.request_bytes[rows],
            is_error=self.is_error[rows],
            is_saturated=self.is_saturated[rows],
            numbers={name: x[rows] for name, x in self.numbers.items()},
            labels={name: x[rows] for name, x in self.labels.items()},
        )
