"""A file of recorded memory usage of running services, Parquet or CSV, as a UsageTable.

Schema (docs/benchmarks.md): `workload`, `ts` and `bytes_used` are needed; `dataset` and
`instance` may be missing; other columns are not read. It is opened with the same care as a file
of runs (runs_source). Not here: the replay (simulation.usage_backtest).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ullage.core.errors import ConfigError
from ullage.core.units import MAX_BYTES
from ullage.simulation.runs_columns import LATEST_START_S, number_sql, quoted, text_sql
from ullage.simulation.runs_source import LINE, Counts, RawRuns, open_runs
from ullage.simulation.runs_table import Floats, Ints

REQUIRED = ("workload", "ts", "bytes_used")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsageTrace:
    """The usage of one instance. at_s: float64, rising; need_bytes: int64; both of length n."""

    name: str
    workload: str
    at_s: Floats
    need_bytes: Ints

    def __len__(self) -> int:
        return len(self.at_s)

    @property
    def span_hours(self) -> float:
        """From the first sample to the last."""
        return float(self.at_s[-1] - self.at_s[0]) / 3600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsageFile:
    """The traces of one file, and the account of what was left out (reason -> rows)."""

    traces: tuple[UsageTrace, ...]
    sha256: str
    rejected: Counts


def read_usage(path: Path, *, limit_rows: int | None = None) -> UsageFile:
    """Read a file of usage samples.

    limit_rows: only the first so many rows. Of several samples of an instance at one moment the
    largest counts. Raises ConfigError, in one line, where the file cannot be read, lacks a needed
    column, or has no sample that counts.
    """
    with open_runs(Path(path)) as raw:
        _check_columns(raw)
        limit = "" if limit_rows is None else f" LIMIT {int(limit_rows)}"
        raw.connection.execute(
            f"CREATE TEMP TABLE judged AS SELECT {_judged_sql(raw)} "  # noqa: S608
            f"FROM raw ORDER BY {LINE}{limit}"
        )
        rejected = dict(raw.rejected) | _rejected(raw)
        traces = tuple(_traces(raw))
        if not traces:
            told = ", ".join(f"{reason} {rows}" for reason, rows in rejected.items())
            raise ConfigError(f"no sample is left to replay: {told or 'the file has no rows'}")
        return UsageFile(traces=traces, sha256=raw.sha256, rejected=rejected)


def _check_columns(raw: RawRuns) -> None:
    for name in REQUIRED:
        if name in raw.types:
            continue
        names = [ascii(column[:60])[1:-1] for column in raw.types]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        nearest = f" (nearest: {close[0]!r})" if close else ""
        raise ConfigError(
            f"no column {name!r}{nearest}: rename or add it; there are {', '.join(names[:40])}"
        )


def _judged_sql(raw: RawRuns) -> str:
    kind = raw.types["ts"]
    at = number_sql(raw, "ts")
    if kind.startswith(("TIMESTAMP", "DATE")):
        at = f"epoch({quoted('ts')}::TIMESTAMP)"
    elif kind == "VARCHAR":
        at = f"coalesce({at}, epoch(try_cast({quoted('ts')} AS TIMESTAMP)))"
    used, told = number_sql(raw, "bytes_used"), text_sql(raw, "bytes_used")
    return f"""
        {text_sql(raw, "dataset")} AS dataset, {text_sql(raw, "workload")} AS workload,
        {text_sql(raw, "instance")} AS instance, {at} AS moment, {used} AS used,
        CASE WHEN coalesce(trim({text_sql(raw, "workload")}), '') = '' THEN 'workload_missing'
             WHEN {at} IS NULL OR NOT isfinite({at}) THEN 'ts_unreadable'
             WHEN {at} < 0 OR {at} > {LATEST_START_S} THEN 'ts_out_of_range'
             WHEN {told} IS NULL THEN 'bytes_used_missing'
             WHEN {used} IS NULL THEN 'bytes_used_not_a_number'
             WHEN NOT isfinite({used}) THEN 'bytes_used_not_finite'
             WHEN {used} < 0 THEN 'bytes_used_negative'
             WHEN {used} > {MAX_BYTES} THEN 'bytes_used_above_1_pib'
        END AS reason
    """


def _rejected(raw: RawRuns) -> dict[str, int]:
    counted = raw.connection.execute(
        "SELECT reason, count(*) FROM judged WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    found = {str(reason): int(rows) for reason, rows in counted}
    copies = raw.connection.execute(
        "SELECT count(*) - count(DISTINCT (dataset, workload, instance, moment)) "
        "FROM judged WHERE reason IS NULL"
    ).fetchone()
    if copies and copies[0]:
        found["same_moment"] = int(copies[0])
    return found


def _traces(raw: RawRuns) -> Iterator[UsageTrace]:
    columns = raw.connection.execute(
        """
        WITH one AS (SELECT dataset, workload, instance, moment, max(used) AS used
                     FROM judged WHERE reason IS NULL GROUP BY ALL)
        SELECT dense_rank() OVER (ORDER BY dataset NULLS FIRST, workload, instance NULLS FIRST)
               AS code, concat_ws('/', dataset, workload) AS workload,
               coalesce(instance, '') AS instance, moment, used
        FROM one ORDER BY code, moment
        """
    ).fetchnumpy()
    code = np.asarray(columns["code"])
    if len(code) == 0:
        return
    begins = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    at_s, used = np.asarray(columns["moment"], float), np.asarray(columns["used"], float)
    for begin, end in zip(begins, np.append(begins[1:], len(code)), strict=True):
        workload, instance = str(columns["workload"][begin]), str(columns["instance"][begin])
        yield UsageTrace(
            name=f"{workload}/{instance}" if instance else workload,
            workload=workload,
            at_s=at_s[begin:end],
            need_bytes=np.ceil(used[begin:end]).astype(np.int64),
        )
