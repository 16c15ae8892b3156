"""Nextflow's trace file (`nextflow run -with-trace`): one row for each task.

Tab separated; which columns there are is the user's choice (`trace.fields`). Sizes are
powers of 1024 ("1.2 GB"), spans are in words ("1h 2m 3s"); with `trace.raw = true` they are
bytes and milliseconds. Times have no zone. A task that was retried is one row, and so one
run, for each try. Not here: what is believed (core.recorded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from ullage.core.recorded import FoundRun, ReadOptions, RejectedRow, clean_features
from ullage.core.workload import Features, Outcome
from ullage.sources.trace_table import Row, each_found, each_row, header_of
from ullage.sources.trace_values import (
    NOTHING,
    binary_size,
    exit_code,
    moment,
    plain_number,
    span_s,
)

KILLED = 137
"""128 + SIGKILL: what the task of a full container ends with."""
_NAMES = frozenset({"process", "name"})
_KNOWN = frozenset(
    {"task_id", "hash", "native_id", "status", "realtime", "peak_rss", "rss", "duration", "submit"}
)
_IDENTITY = ("hash", "native_id", "process", "name", "attempt", "submit", "start", "exit")
_ENDED = {"COMPLETED": Outcome.OK, "FAILED": Outcome.ERROR, "ABORTED": Outcome.INTERRUPTED}


class NextflowTraceReader:
    """Implements core.ports.HistoryReader."""

    format_id = "nextflow"

    def recognises(self, head: bytes) -> bool:
        """Say whether the header has a task's name and three more of a trace's columns."""
        names = set(header_of(head, "\t"))
        return bool(names & _NAMES) and len(names & _KNOWN) >= 3

    def read(
        self, path: str, *, options: ReadOptions, tell: Callable[[int, int], None]
    ) -> Iterator[FoundRun | RejectedRow]:
        """Yield a run for each task that was really run: not for those taken from the cache."""
        rows = each_row(path, "\t", tell)
        yield from each_found(rows, lambda row: _found(row, options))


def process_of(cells: Mapping[str, str]) -> str:
    """Return the process of a task: its column, else the name before the tag in brackets.

    >>> process_of({"name": "RNASEQ:STAR (sample 1)"})
    'RNASEQ:STAR'
    """
    process = cells.get("process", "").strip()
    if process and process not in NOTHING:
        return process
    name = cells.get("name", "").strip()
    return name[: name.index(" (")] if name.endswith(")") and " (" in name else name


def _found(row: Row, options: ReadOptions) -> FoundRun | str:
    cells = row.cells
    status = cells.get("status", "COMPLETED").strip().upper()
    if status == "CACHED":
        return "taken_from_the_cache"
    if status not in _ENDED and status not in NOTHING:
        return "not_ended"
    code = exit_code(cells.get("exit", ""))
    outcome = _ENDED.get(status, Outcome.OK if not code else Outcome.ERROR)
    if code == KILLED and outcome is not Outcome.OK:
        outcome = Outcome.OOM_KILLED
    peak = cells.get("peak_rss", cells.get("rss", ""))
    runtime_s = span_s(cells.get("realtime", cells.get("walltime", "")))
    return FoundRun(
        line=row.line,
        name=process_of(cells),
        identity=(*(cells.get(name, "") for name in _IDENTITY), peak),
        started_at=_started_at(cells, runtime_s, options),
        runtime_s=runtime_s or span_s(cells.get("duration", "")),
        peak_bytes=binary_size(peak),
        limit_bytes=binary_size(cells.get("memory", "")),
        outcome=outcome,
        exit_code=code,
        features=_features(cells),
    )


def _started_at(
    cells: Mapping[str, str], runtime_s: float | None, options: ReadOptions
) -> datetime | None:
    start = moment(cells.get("start", ""), options.zone)
    complete = moment(cells.get("complete", ""), options.zone)
    if start is None and complete is not None and runtime_s is not None:
        start = complete - timedelta(seconds=min(runtime_s, 1e9))
    return start or moment(cells.get("submit", ""), options.zone)


def _features(cells: Mapping[str, str]) -> Features:
    cpus = plain_number(cells.get("cpus", ""))
    tag = cells.get("tag", "").strip()
    name = cells.get("name", "").strip()
    if not tag and name.endswith(")") and " (" in name:
        tag = name[name.index(" (") + 2 : -1]
    return clean_features(
        {} if cpus is None or cpus <= 0 else {"threads_count": cpus},
        {} if tag in NOTHING or tag.isdigit() else {"tag": tag},
        source="the Nextflow trace",
    )
