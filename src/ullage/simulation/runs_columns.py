"""What the columns of a runs file mean: which rows count, and what stands in for what lacks.

A row counts where it has a workload and a believable peak; everything else is optional.
All of it is SQL over the table `raw`, which gives the table `kept`. Not here: features.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.errors import ConfigError
from ullage.core.units import MAX_BYTES
from ullage.simulation.runs_source import LINE, Counts, RawRuns
from ullage.simulation.runs_table import Bools, Floats, Ints

REQUIRED = ("workload", "peak_bytes")
SCHEMA = (
    *("dataset", "workload", "run_id", "execution_id", "order", "started_at"),
    *("input_bytes", "input_kind", "cpus", "attempt", "params"),
    *("peak_bytes", "requested_bytes", "limit_bytes", "runtime_s", "machine", "outcome"),
)
"""The columns that mean something by their name; all others are features."""

NUMERIC_TYPES = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    *("FLOAT", "DOUBLE", "DECIMAL"),
)

NO_RUNTIME_S = 3600.0
"""Each run of a file in which no run has a runtime: GB-hours are then GB."""
LEAST_RUNTIME_S = 1.0
"""A run whose own runtime is missing, zero or nonsense in a file that has some."""
SATURATED_RATIO = 0.98
LATEST_START_S = 1e11
"""Starts beyond the year 5138 are milliseconds, or no times."""
LONGEST_RUNTIME_S = 1e10


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRuns:
    """The rows that count, in order, all arrays of length n; see RunsTable.

    rejected: reason -> rows left out. replaced: what -> values that could not be meant.
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
    rejected: Counts
    replaced: Counts


def quoted(name: str) -> str:
    """Return a column's name as SQL reads it back, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def number_sql(raw: RawRuns, name: str) -> str:
    """Return SQL for a column as DOUBLE; NULL where it is lacking or no number."""
    kind = raw.types.get(name)
    if kind is None:
        return "NULL::DOUBLE"
    if kind.partition("(")[0] in NUMERIC_TYPES:
        return f"{quoted(name)}::DOUBLE"
    return f"try_cast(trim({text_sql(raw, name)}) AS DOUBLE)"


def text_sql(raw: RawRuns, name: str) -> str:
    """Return SQL for a column as text; NULL where it is lacking or empty."""
    if name not in raw.types:
        return "NULL::VARCHAR"
    return f"nullif({quoted(name)}::VARCHAR, '')"


def keep_rows(raw: RawRuns, *, limit_rows: int | None, limit_sql: str) -> KeptRuns:
    """Make the table `kept` (pos, line, workload, peak ...) of the rows that count; return them.

    limit_rows: only so many first rows, in their order, bad ones included.
    limit_sql: SQL over `raw` for the limit that a run had, besides the column limit_bytes.
    Raises ConfigError where a needed column is lacking, or no row is left.
    """
    _check_columns(raw)
    connection = raw.connection
    limit = "" if limit_rows is None else f" LIMIT {int(limit_rows)}"
    connection.execute(
        f"CREATE TEMP TABLE judged AS SELECT {_judged_sql(raw, limit_sql)} "  # noqa: S608
        f"FROM raw ORDER BY ord NULLS LAST, line{limit}"
    )
    connection.execute(
        f"CREATE TEMP TABLE kept AS SELECT *, row_number() OVER (ORDER BY ord NULLS LAST, line) "  # noqa: S608
        f"- 1 AS pos FROM ({_without_copies_sql(raw)}) WHERE reason IS NULL"
    )
    rejected = dict(raw.rejected)
    counted = connection.execute(
        f"SELECT reason, count(*) FROM ({_without_copies_sql(raw)}) "  # noqa: S608
        "WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    rejected |= {str(reason): int(rows) for reason, rows in counted}
    _check_any_left(raw, rejected)
    return _fetched(raw, rejected)


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
    kind = raw.types["peak_bytes"].partition("(")[0]
    if kind not in (*NUMERIC_TYPES, "VARCHAR"):
        raise ConfigError(f"column peak_bytes holds {kind}, not numbers: give bytes")


def _judged_sql(raw: RawRuns, limit_sql: str) -> str:
    """Return the select list: every column that means something, and why a row is left out."""
    peak, peak_text = number_sql(raw, "peak_bytes"), text_sql(raw, "peak_bytes")
    kind = raw.types.get("started_at", "")
    started = number_sql(raw, "started_at")
    if kind.startswith(("TIMESTAMP", "DATE")):
        started = f"epoch({quoted('started_at')}::TIMESTAMP)"
    elif kind == "VARCHAR":
        started = f"coalesce({started}, epoch(try_cast({quoted('started_at')} AS TIMESTAMP)))"
    return f"""
        {LINE} AS line, {number_sql(raw, "order")} AS ord,
        {text_sql(raw, "dataset")} AS dataset, {text_sql(raw, "workload")} AS workload,
        {text_sql(raw, "execution_id")} AS execution_id, {text_sql(raw, "run_id")} AS run_id,
        {number_sql(raw, "attempt")} AS attempt, {started} AS started,
        {text_sql(raw, "started_at")} IS NOT NULL AS told_start,
        {peak} AS peak, {number_sql(raw, "runtime_s")} AS runtime,
        {number_sql(raw, "requested_bytes")} AS request,
        coalesce({number_sql(raw, "limit_bytes")}, {limit_sql}) AS had_limit,
        lower(trim({text_sql(raw, "outcome")})) AS outcome,
        CASE WHEN coalesce(trim({text_sql(raw, "workload")}), '') = '' THEN 'workload_missing'
             WHEN {peak_text} IS NULL THEN 'peak_missing'
             WHEN {peak} IS NULL THEN 'peak_not_a_number'
             WHEN NOT isfinite({peak}) THEN 'peak_not_finite'
             WHEN {peak} <= 0 THEN 'peak_not_above_zero'
             WHEN {peak} > {MAX_BYTES} THEN 'peak_above_1_pib'
        END AS reason
    """


def _without_copies_sql(raw: RawRuns) -> str:
    """Return SQL for `judged` in which all rows of a key but one are `duplicate_key`.

    The key is (dataset, workload, execution_id, run_id); of several attempts the last stays.
    In a file without executions, ids may begin again with each of them: only a row that is
    the same in its times and its peak is a copy there.
    """
    key = "dataset, workload, execution_id, run_id"
    if "execution_id" not in raw.types:
        key += ", started, runtime, peak"
    return f"""
        SELECT * REPLACE (CASE WHEN reason IS NULL AND run_id IS NOT NULL AND row_number() OVER (
            PARTITION BY {key}, reason ORDER BY attempt DESC NULLS LAST, ord NULLS LAST, line) > 1
            THEN 'duplicate_key' ELSE reason END AS reason)
        FROM judged
    """  # noqa: S608


def _check_any_left(raw: RawRuns, rejected: Mapping[str, int]) -> None:
    found = raw.connection.execute("SELECT count(*) FROM kept").fetchone()
    if found and found[0]:
        return
    if rejected.get("peak_not_a_number"):
        row = raw.connection.execute(
            f"SELECT {text_sql(raw, 'peak_bytes')} FROM raw WHERE "  # noqa: S608
            f"{number_sql(raw, 'peak_bytes')} IS NULL AND "
            f"{text_sql(raw, 'peak_bytes')} IS NOT NULL LIMIT 1"
        ).fetchone()
        example = ascii(str(row[0])[:40]) if row else "text"
        raise ConfigError(f"column peak_bytes holds {example}: write plain bytes, without a unit")
    told = ", ".join(f"{reason} {rows}" for reason, rows in rejected.items()) or "it has no rows"
    raise ConfigError(f"no run is left to score: {told}")


def _fetched(raw: RawRuns, rejected: Counts) -> KeptRuns:
    connection = raw.connection
    connection.execute(
        "CREATE TEMP TABLE names AS SELECT dataset, workload, "
        "row_number() OVER (ORDER BY min(pos)) - 1 AS code FROM kept GROUP BY ALL"
    )
    columns = connection.execute(
        """
        SELECT code, coalesce(run_id, 'row ' || line) AS run_id, told_start, started, peak,
               runtime, request, had_limit,
               coalesce(outcome NOT IN ('ok', 'exit:0', 'completed', '')
                        AND NOT starts_with(outcome, 'completed:'), false) AS is_error
        FROM kept JOIN names ON kept.workload = names.workload
             AND kept.dataset IS NOT DISTINCT FROM names.dataset
        ORDER BY pos
        """
    ).fetchnumpy()
    replaced: dict[str, int] = {}
    started = _within(columns["started"], 0.0, LATEST_START_S)
    _count(replaced, "started_at_unreadable", np.isnan(started) & _plain(columns["told_start"]))
    runtime, has_runtime = _runtimes(columns["runtime"], replaced)
    request = _within(columns["request"], 1.0, float(MAX_BYTES))
    limit = _within(columns["had_limit"], 1.0, float(MAX_BYTES))
    limit = np.where(np.isnan(limit), request, limit)
    peak = np.asarray(columns["peak"], float)
    return KeptRuns(
        workload_names=_names(raw),
        workload=np.asarray(columns["code"], np.int64),
        run_ids=tuple(columns["run_id"].tolist()),
        started_at_s=started,
        peak_bytes=peak,
        runtime_s=runtime,
        has_runtime=has_runtime,
        request_bytes=request,
        is_error=np.asarray(columns["is_error"], bool),
        is_saturated=peak >= SATURATED_RATIO * limit,
        rejected=rejected,
        replaced=replaced,
    )


def _names(raw: RawRuns) -> tuple[str, ...]:
    """Return the name of each workload; with its data set where the file has several."""
    rows = raw.connection.execute(
        "SELECT CASE WHEN dataset IS NULL OR (SELECT count(DISTINCT coalesce(dataset, '')) "
        "FROM names) = 1 THEN workload ELSE dataset || '/' || workload END "
        "FROM names ORDER BY code"
    ).fetchall()
    return tuple(str(row[0]) for row in rows)


def _runtimes(column: NDArray[np.float64], replaced: dict[str, int]) -> tuple[Floats, Bools]:
    """Return (runtime_s, has_runtime): 3600 s where the file has none, 1 s where a run has none."""
    told = _plain_floats(column)
    runtime = _within(told, np.nextafter(0, 1), LONGEST_RUNTIME_S)
    has_runtime = ~np.isnan(runtime)
    if np.isnan(told).all():
        _count(replaced, "runtime_unknown", ~has_runtime)
        return np.full(len(runtime), NO_RUNTIME_S), has_runtime
    _count(replaced, "runtime_missing", np.isnan(told))
    _count(replaced, "runtime_zero", told == 0)
    _count(replaced, "runtime_nonsense", ~has_runtime & ~np.isnan(told) & (told != 0))
    return np.where(has_runtime, runtime, LEAST_RUNTIME_S), has_runtime


def _within(column: NDArray[np.float64], least: float, most: float) -> Floats:
    values = _plain_floats(column)
    with np.errstate(invalid="ignore"):
        return np.where((values >= least) & (values <= most), values, np.nan)


def _plain_floats(column: NDArray[np.float64]) -> Floats:
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def _plain(column: NDArray[np.bool_]) -> Bools:
    return np.ma.filled(np.ma.asarray(column, dtype=bool), False)


def _count(counts: dict[str, int], name: str, where: Bools) -> None:
    if where.any():
        counts[name] = int(where.sum())
