"""What is known of a run before it starts: columns and keys of `params`, and where each is from.

Numbers become numbers and text becomes labels, by their type in the file, never by what a
text looks like. Under `apriori` whatever was measured during or after the run is left out.
Everything left out is reported with its reason. Not here: how a policy uses a feature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ullage.simulation.runs_columns import NUMERIC_TYPES, SCHEMA, quoted
from ullage.simulation.runs_source import LINE, RawRuns
from ullage.simulation.runs_table import Floats

FeatureScope = Literal["apriori", "all"]

MAX_KEYS = 200
"""Keys of `params` beyond so many, fewest rows first, are left out: a file could hold millions."""
LABEL_LENGTH = 500
COUNTER_ROWS = 20
ALWAYS_LABELS = frozenset({"tag", "sample", "label", "args"})
"""They name the input: categories, whatever they look like."""

_JSON_NUMBERS = ("BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT", "DOUBLE", "DECIMAL")
_TARGET_WORDS = frozenset({"peak", "rss", "maxrss", "vmem", "vmpeak", "oom"})
_MEASURED_WORDS = frozenset(
    {"rchar", "wchar", "syscr", "syscw", "realtime", "elapsed", "failcnt", "exit", "exitcode"}
)
_MEASURED_NAMES = frozenset(
    {
        *("duration", "runtime", "runtime_ms", "walltime", "complete", "completed_at", "ended_at"),
        *("finished_at", "end", "end_time", "status", "state", "cpu_time", "cputime", "%cpu"),
        *("%mem", "pcpu", "pmem", "read_bytes", "write_bytes"),
    }
)
_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "pid", "hash", "index", "idx", "order"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureNote:
    """One line of the features report.

    source: where it came from, in words. rows_count: kept rows that have it.
    left_out: why it is no feature; None where it is one.
    """

    name: str
    kind: Literal["number", "label", "none"]
    source: str
    rows_count: int
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFeatures:
    """Features of the n kept runs, in their order; see RunsTable."""

    numbers: Mapping[str, Floats]
    labels: Mapping[str, NDArray[np.object_]]
    notes: tuple[FeatureNote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A feature that may be: SQL over `sources` (kept rows with their raw columns)."""

    name: str
    kind: Literal["number", "label", "none"]
    source: str
    sql: str
    left_out: str | None = None
    text_sql: str = "NULL"
    """The same as text, where it may be a label after all."""
    is_plain: bool = False
    """A column of the schema: what it means is known, and its name is not judged."""


def prepare_params(raw: RawRuns) -> str:
    """Return SQL over `raw` for the object in `params`, or NULL where it is none."""
    kind = raw.types.get("params")
    if kind is None:
        return "NULL::JSON"
    text = f"raw.{quoted('params')}"
    if not kind.startswith(("VARCHAR", "JSON")):
        text = f"to_json({text})::VARCHAR"
    return f"CASE WHEN json_valid({text}) AND json_type({text}) = 'OBJECT' THEN {text}::JSON END"


def cgroup_limit_sql(raw: RawRuns) -> str:
    """Return SQL over `raw` for the limit that `params` records, in bytes."""
    return f"try_cast({prepare_params(raw)} ->> '/cgroup_limit' AS DOUBLE)"


def read_features(raw: RawRuns, *, scope: FeatureScope, rows_count: int) -> RunFeatures:
    """Return the features of the rows in `kept` (runs_columns.keep_rows makes it).

    rows_count: number of kept rows. Makes the table `sources`.
    """
    keys = _keys(raw)
    lists = f"json_extract({prepare_params(raw)}, [{', '.join(map(_pointer, keys))}])"
    extra = [name for name in raw.types if name not in SCHEMA]
    plain = ("input_bytes", "input_kind", "cpus", "attempt", "machine")
    columns = ["kept.pos AS pos", "names.code AS code"]
    columns += [f"raw.{quoted(name)} AS {name}" for name in plain if name in raw.types]
    columns += [f"raw.{quoted(name)} AS x{at}" for at, name in enumerate(extra)]
    columns += [f"{lists} AS keys"] if keys else []
    raw.connection.execute(
        f"CREATE TEMP TABLE sources AS SELECT {', '.join(columns)} "  # noqa: S608
        f"FROM raw JOIN kept ON raw.{LINE} = kept.line "
        "JOIN names ON kept.workload = names.workload "
        "AND kept.dataset IS NOT DISTINCT FROM names.dataset"
    )
    candidates = [
        *_schema_candidates(raw, scope),
        *(_column_candidate(raw, name, at) for at, name in enumerate(extra)),
        *(_key_candidate(raw, name, at) for at, name in enumerate(keys)),
    ]
    return _read(raw, [_judged(each, scope) for each in candidates], rows_count)


def _keys(raw: RawRuns) -> list[str]:
    if "params" not in raw.types:
        return []
    rows = raw.connection.execute(
        "SELECT key FROM (SELECT unnest(json_keys(params)) AS key FROM "  # noqa: S608
        f"(SELECT {prepare_params(raw)} AS params FROM raw JOIN kept ON raw.{LINE} = kept.line)) "
        f"GROUP BY key ORDER BY count(*) DESC, key LIMIT {MAX_KEYS}"
    ).fetchall()
    return [str(row[0]) for row in rows]


def _pointer(key: str) -> str:
    """Return a JSON pointer to `key` as an SQL text: any key, whatever is in it."""
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    return "'" + pointer.replace("'", "''") + "'"


def _schema_candidates(raw: RawRuns, scope: FeatureScope) -> list[_Candidate]:
    found = []
    if "input_bytes" in raw.types:
        sql, source = _number_of(raw, "input_bytes"), "column input_bytes"
        if "input_kind" in raw.types and scope == "apriori":
            kind = "lower(coalesce(input_kind::VARCHAR, ''))"
            sql = f"CASE WHEN NOT contains({kind}, 'posthoc') THEN {sql} END"
            source += " (but where input_kind says posthoc)"
        found.append(_Candidate(name="input_bytes", kind="number", source=source, sql=sql))
    for name in ("cpus", "attempt"):
        if name in raw.types:
            sql = _number_of(raw, name)
            found.append(_Candidate(name=name, kind="number", source=f"column {name}", sql=sql))
    if "machine" in raw.types:
        why = "where a run lands is the scheduler's to say, often after its limit is set"
        found.append(
            _Candidate(
                name="machine",
                kind="label",
                source="column machine",
                sql="nullif(trim(machine::VARCHAR), '')",
                left_out=why if scope == "apriori" else None,
            )
        )
    return [replace(each, is_plain=True) for each in found]


def _number_of(raw: RawRuns, name: str) -> str:
    kind = raw.types[name].partition("(")[0]
    number = f"{name}::DOUBLE" if kind in NUMERIC_TYPES else f"try_cast({name}::VARCHAR AS DOUBLE)"
    return f"CASE WHEN {number} >= 0 THEN {number} END"


def _column_candidate(raw: RawRuns, name: str, at: int) -> _Candidate:
    """Return a further column: in a CSV a number is what can be read as one in every row."""
    kind, column, source = raw.types[name].partition("(")[0], f"x{at}", f"column {name}"
    text = f"nullif(trim({column}::VARCHAR), '')"
    is_csv = all(each == "VARCHAR" for each in raw.types.values())
    if kind in NUMERIC_TYPES or (is_csv and _is_all(raw, f"try_cast({column} AS DOUBLE)", column)):
        sql = f"try_cast({column} AS DOUBLE)"
        return _Candidate(name=name, kind="number", source=source, sql=sql, text_sql=text)
    if kind in ("VARCHAR", "BOOLEAN", "ENUM", "UUID"):
        return _Candidate(name=name, kind="label", source=source, sql=text)
    why = f"holds {kind}: neither a number nor text"
    return _Candidate(name=name, kind="none", source=source, sql=column, left_out=why)


def _key_candidate(raw: RawRuns, name: str, at: int) -> _Candidate:
    value, source = f"keys[{at + 1}]", f"params key {name}"
    rows = raw.connection.execute(
        f"SELECT json_type({value}), count(*) FROM sources WHERE {value} IS NOT NULL GROUP BY 1"  # noqa: S608
    ).fetchall()
    types = {str(row[0]) for row in rows} - {"NULL"}
    sql = f"nullif(trim({value} ->> '$'), '')"
    if types <= set(_JSON_NUMBERS):
        number = f"try_cast({sql} AS DOUBLE)"
        return _Candidate(name=name, kind="number", source=source, sql=number, text_sql=sql)
    if types & {"OBJECT", "ARRAY"}:
        why = "holds lists or objects: neither a number nor text"
        return _Candidate(name=name, kind="none", source=source, sql=sql, left_out=why)
    return _Candidate(name=name, kind="label", source=source, sql=sql)


def _is_all(raw: RawRuns, sql: str, column: str) -> bool:
    row = raw.connection.execute(
        f"SELECT count({sql}) > 0 AND count({sql}) = count(nullif(trim({column}), '')) FROM sources"  # noqa: S608
    ).fetchone()
    return bool(row and row[0])


def _judged(candidate: _Candidate, scope: FeatureScope) -> _Candidate:
    """Return the candidate, left out where its name says that it cannot be a feature."""
    if candidate.left_out or candidate.is_plain:
        return candidate
    name = candidate.name.lower()
    words = _words(candidate.name)
    why = None
    if name in ALWAYS_LABELS and candidate.kind == "number":
        return replace(candidate, kind="label", sql=candidate.text_sql)
    if words & _TARGET_WORDS:
        why = "measures what is to be foretold"
    elif scope == "apriori" and name.endswith("_posthoc"):
        why = "measured during or after the run"
    elif scope == "apriori" and (words & _MEASURED_WORDS or name in _MEASURED_NAMES):
        why = "its name says that it was measured during or after the run"
    elif candidate.kind == "number" and words & _ID_WORDS:
        why = "a number that identifies: no quantity"
    return replace(candidate, left_out=why)


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name[:200])}


def _read(raw: RawRuns, candidates: Sequence[_Candidate], rows_count: int) -> RunFeatures:
    numbers: dict[str, Floats] = {}
    labels: dict[str, NDArray[np.object_]] = {}
    notes = []
    for each in candidates:
        name = each.name if each.name not in numbers | labels else f"params.{each.name}"
        count = _rows_with(raw, each.sql)
        why = each.left_out or (None if count else "no run has it")
        if why is None and each.kind == "number":
            numbers[name] = _numbers(raw, each)
            if _is_counter(numbers[name]) and not each.is_plain:
                del numbers[name]
                why = "rises with every run: a counter or a time"
        elif why is None:
            why = _why_no_label(raw, each.sql, count)
            if why is None:
                labels[name] = _labels(raw, each, rows_count)
        notes.append(
            FeatureNote(
                name=name, kind=each.kind, source=each.source, rows_count=count, left_out=why
            )
        )
    return RunFeatures(numbers=numbers, labels=labels, notes=tuple(notes))


def _rows_with(raw: RawRuns, sql: str) -> int:
    row = raw.connection.execute(f"SELECT count({sql}) FROM sources").fetchone()  # noqa: S608
    return int(row[0]) if row else 0


def _numbers(raw: RawRuns, candidate: _Candidate) -> Floats:
    """Return a number of each row, NaN where it has none."""
    sql = f"SELECT {candidate.sql} AS x FROM sources ORDER BY pos"  # noqa: S608
    column = raw.connection.execute(sql).fetchnumpy()["x"]
    values: Floats = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    return np.where(np.abs(values) < 1e300, values, np.nan)


def _is_counter(values: Floats) -> bool:
    told = values[~np.isnan(values)]
    is_whole = bool((told == np.floor(told)).all())
    return len(told) >= COUNTER_ROWS and is_whole and bool((np.diff(told) > 0).all())


def _why_no_label(raw: RawRuns, sql: str, count: int) -> str | None:
    row = raw.connection.execute(
        f"SELECT count(DISTINCT (code, {sql})) FILTER ({sql} IS NOT NULL) FROM sources"  # noqa: S608
    ).fetchone()
    never_again = bool(row and row[0] == count)
    return "another text in each run of a workload: it never comes again" if never_again else None


def _labels(raw: RawRuns, candidate: _Candidate, rows_count: int) -> NDArray[np.object_]:
    """Return a label of each row, None where it has none; equal texts are one object."""
    sql = candidate.sql
    found = raw.connection.execute(
        f"SELECT left({sql}, {LABEL_LENGTH}) AS x, pos FROM sources "  # noqa: S608
        f"WHERE {sql} IS NOT NULL ORDER BY pos"
    ).fetchnumpy()
    once: dict[str, str] = {}
    texts = np.full(rows_count, None, object)
    texts[found["pos"]] = [once.setdefault(text, text) for text in found["x"].tolist()]
    return texts
