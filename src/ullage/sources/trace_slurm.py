"""Slurm's accounting (`sacct --parsable2`): a row for each job, and below it one for each step.

Memory is in the steps (MaxRSS: the largest task of the step), what was asked for and how it
ended is in the job; rows of one job stand together. Sizes are powers of 1024 ("145792K"),
ReqMem is a node's ("4G", "4Gn") or a processor's ("4Gc"). Not here: what is believed
(core.recorded), jobs of many tasks on one node (their peaks are not added up).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ullage.core.recorded import FoundRun, ReadOptions, RejectedRow, clean_features
from ullage.core.workload import Features, Outcome
from ullage.sources.trace_table import Row, each_row, header_of, rejected
from ullage.sources.trace_values import (
    NOTHING,
    BadValueError,
    binary_size,
    clock_s,
    moment,
    plain_number,
)

_KNOWN = frozenset({"State", "MaxRSS", "ReqMem", "Elapsed", "ElapsedRaw", "ExitCode", "JobName"})
_OUTCOMES = {
    "COMPLETED": Outcome.OK,
    "OUT_OF_MEMORY": Outcome.OOM_KILLED,
    **dict.fromkeys(("FAILED", "NODE_FAIL", "BOOT_FAIL"), Outcome.ERROR),
    **dict.fromkeys(("CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED"), Outcome.INTERRUPTED),
}
_STEPS_MOST = 10_000
"""A job with more steps than this is cut there: one name could fill the memory."""


class SlurmAccountingReader:
    """Implements core.ports.HistoryReader."""

    format_id = "slurm"

    def recognises(self, head: bytes) -> bool:
        """Say whether the header is divided by bars and has JobID and two more of sacct's names."""
        names = set(header_of(head, "|"))
        return bool(names & {"JobID", "JobIDRaw"}) and len(names & _KNOWN) >= 2

    def read(
        self, path: str, *, options: ReadOptions, tell: Callable[[int, int], None]
    ) -> Iterator[FoundRun | RejectedRow]:
        """Yield a run for each job, its steps joined to it."""
        for item in _each_job(each_row(path, "|", tell)):
            if isinstance(item, RejectedRow):
                yield item
                continue
            try:
                found = _found(item, options)
            except BadValueError as error:
                found = str(error)
            yield rejected(item[0], found) if isinstance(found, str) else found


def job_of(job_id: str) -> str:
    """Return the job that a job or a step belongs to.

    >>> job_of("123.batch"), job_of("123_4.0"), job_of("123+0")
    ('123', '123_4', '123+0')
    """
    return job_id.partition(".")[0]


def requested_bytes(text: str, cpus: float | None, nodes: float | None) -> float | None:
    """Return the memory that a job asked for on one node.

    >>> requested_bytes("4G", 8, 1), requested_bytes("4Gn", 8, 1), requested_bytes("1Gc", 8, 2)
    (4294967296.0, 4294967296.0, 4294967296.0)
    """
    text = text.strip()
    if text.endswith("c"):
        each = binary_size(text[:-1])
        return None if each is None or not cpus else (each * cpus / max(nodes or 1, 1)) or None
    return binary_size(text.removesuffix("n")) or None


def _each_job(rows: Iterator[Row | RejectedRow]) -> Iterator[list[Row] | RejectedRow]:
    job: list[Row] = []
    for row in rows:
        if isinstance(row, RejectedRow):
            yield row
            continue
        if job and (job_of(_id(row)) != job_of(_id(job[0])) or "." not in _id(row)):
            yield job
            job = []
        if len(job) < _STEPS_MOST:
            job.append(row)
    if job:
        yield job


def _id(row: Row) -> str:
    return row.cells.get("JobID") or row.cells.get("JobIDRaw", "")


def _found(rows: Sequence[Row], options: ReadOptions) -> FoundRun | str:
    job, steps = rows[0].cells, [row.cells for row in rows[1:]]
    if not _id(rows[0]).strip():
        return "job_id_missing"
    if "." in _id(rows[0]):
        return "step_without_its_job"
    outcome = _outcome([job, *steps])
    if isinstance(outcome, str) and not isinstance(outcome, Outcome):
        return outcome
    elapsed_s = clock_s(job.get("Elapsed", ""))
    if elapsed_s is None:
        elapsed_s = plain_number(job.get("ElapsedRaw", ""))
    peaks = [binary_size(cells.get("MaxRSS", "")) for cells in (job, *steps)]
    cpus = _first_number(job, ("AllocCPUS", "NCPUS", "ReqCPUS"))
    nodes = _first_number(job, ("AllocNodes", "NNodes", "ReqNodes"))
    start = moment(job.get("Start", ""), options.zone)
    return FoundRun(
        line=rows[0].line,
        name=job.get("JobName", ""),
        identity=(_id(rows[0]), *(job.get(name, "") for name in ("Submit", "Start", "Elapsed"))),
        started_at=start or _start_by_end(job, elapsed_s, options),
        runtime_s=elapsed_s,
        peak_bytes=max((peak for peak in peaks if peak is not None), default=None),
        limit_bytes=requested_bytes(job.get("ReqMem", ""), cpus, nodes),
        outcome=outcome,
        exit_code=_exit_code(job.get("ExitCode", "")),
        features=_features(cpus),
    )


def _outcome(rows: Sequence[Mapping[str, str]]) -> Outcome | str:
    """Return how a job ended: out of memory if any of its rows says so; else as the job says."""
    states = [cells.get("State", "").strip().upper().partition(" ")[0] for cells in rows]
    if "OUT_OF_MEMORY" in states:
        return Outcome.OOM_KILLED
    state = states[0].rstrip("+")
    if state in NOTHING or not state:
        return "state_missing"
    return _OUTCOMES.get(state, "not_ended")


def _start_by_end(
    job: Mapping[str, str], elapsed_s: float | None, options: ReadOptions
) -> datetime | None:
    end = moment(job.get("End", ""), options.zone)
    if end is not None and elapsed_s is not None:
        return end - timedelta(seconds=min(elapsed_s, 1e9))
    return moment(job.get("Submit", ""), options.zone)


def _exit_code(text: str) -> int | None:
    """Return the code of "code:signal"; 128 + signal where a signal ended it."""
    code, _, signal = text.strip().partition(":")
    if not code.isascii() or not code.isdigit() or len(code) > 9:
        return None
    if signal.isascii() and signal.isdigit() and 0 < int(signal[:9]) < 65 and code == "0":
        return 128 + int(signal)
    return int(code)


def _first_number(cells: Mapping[str, str], names: Sequence[str]) -> float | None:
    for name in names:
        number = plain_number(cells.get(name, ""))
        if number is not None and number > 0:
            return number
    return None


def _features(cpus: float | None) -> Features:
    return clean_features(
        {} if cpus is None else {"threads_count": cpus}, {}, source="Slurm's accounting"
    )
