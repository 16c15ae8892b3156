"""A file of recorded runs, Parquet or CSV, as a RunsTable: what was read, left out, put in.

Schema (docs/benchmarks.md): `workload` and `peak_bytes` are needed; dataset, run_id,
execution_id, order, started_at, input_bytes, input_kind, cpus, attempt, params (JSON),
requested_bytes, limit_bytes, runtime_s, machine, outcome are known by name and may be
missing; every other column is a feature. Not here: the timeline, the policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ullage.simulation.run_features import (
    FeatureNote,
    FeatureScope,
    RunFeatures,
    cgroup_limit_sql,
    read_features,
)
from ullage.simulation.runs_columns import KeptRuns, keep_rows
from ullage.simulation.runs_source import Counts, open_runs
from ullage.simulation.runs_table import RunsTable


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFile:
    """The runs of one file, and the account of what was done to them.

    rejected: reason -> rows that are not scored. replaced: what -> values put in for others.
    features: the features report.
    """

    runs: RunsTable
    sha256: str
    rejected: Counts
    replaced: Counts
    features: tuple[FeatureNote, ...]


def read_runs(
    path: Path, *, features: FeatureScope = "apriori", limit_rows: int | None = None
) -> RunsFile:
    """Read a file of runs.

    features: `apriori` = only what was known before a run started, `all` = every column.
    limit_rows: only the first so many rows in their order. Rows without a workload or a
    believable peak, and copies, are counted in `rejected`. Raises ConfigError, in one line,
    where the file cannot be read, lacks a needed column, or has no run that counts.
    """
    with open_runs(Path(path)) as raw:
        kept = keep_rows(raw, limit_rows=limit_rows, limit_sql=cgroup_limit_sql(raw))
        known = read_features(raw, scope=features, rows_count=len(kept.run_ids))
        return RunsFile(
            runs=_table(kept, known),
            sha256=raw.sha256,
            rejected=kept.rejected,
            replaced=kept.replaced,
            features=known.notes,
        )


def _table(kept: KeptRuns, known: RunFeatures) -> RunsTable:
    return RunsTable(
        workload_names=kept.workload_names,
        workload=kept.workload,
        run_ids=kept.run_ids,
        started_at_s=kept.started_at_s,
        peak_bytes=kept.peak_bytes,
        runtime_s=kept.runtime_s,
        has_runtime=kept.has_runtime,
        request_bytes=kept.request_bytes,
        is_error=kept.is_error,
        is_saturated=kept.is_saturated,
        numbers=known.numbers,
        labels=known.labels,
    )
