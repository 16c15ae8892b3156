"""Runs that another system recorded: as its files tell them, checked, and as runs of ours.

Every reader of such files (core.ports.HistoryReader) yields FoundRun and RejectedRow; what
is believed, and what stands in for what lacks, is decided here alone, for all of them.
Pure. Not here: the files (`sources.trace_*`, `simulation.recorded_runs`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo

from ullage.core.ids import fit_name, make_imported_run_id
from ullage.core.telemetry import Attribution, OomEvent
from ullage.core.units import MAX_BYTES
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload

MAX_RUNTIME_S = 1e9
"""Some 31 years: a longer runtime is no runtime."""
NO_RUNTIME_S = 1.0
"""Stands in for a runtime that is not recorded, as in a backtest."""
FUTURE_SLACK = timedelta(days=1)
"""A start so far ahead may be a time zone that was not told; one further ahead is wrong."""
_MAX_FEATURES = 200
_MAX_LABEL = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """One run as a file tells it. Nothing in it is believed yet; None = the file does not say.

    line: where it stands, from 1. name: of the workload, hostile. identity: texts that tell
    it from every other run of its format, whatever the file is called. is_start_guessed:
    started_at is the file's time, in the order of its rows.
    """

    line: int
    name: str
    identity: tuple[str, ...]
    started_at: datetime | None = None
    is_start_guessed: bool = False
    runtime_s: float | None = None
    peak_bytes: float | None = None
    limit_bytes: float | None = None
    outcome: Outcome = Outcome.OK
    exit_code: int | None = None
    features: Features = field(default_factory=Features)
    recorded: Run | None = None
    """The run itself, where Ullage wrote the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """What is no run, and why. text: what stood there, clipped."""

    line: int
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read what a file leaves open.

    zone: of times that do not say theirs. path_pattern: names in the path of the file, such
    as "benchmarks/{rule}/{sample}.tsv"; None = the format's own rule.
    """

    zone: tzinfo = UTC
    path_pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Which workload found runs belong to: `workload` for all, else by their names.

    only: nothing but runs of this name in the file.
    """

    workload: Workload | None = None
    only: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """A run ready to be stored, its OOM events, and what was put in for what lacks."""

    run: Run
    ooms: tuple[OomEvent, ...] = ()
    stand_ins: tuple[str, ...] = ()


def import_run(
    found: FoundRun, *, format_id: str, naming: Naming, now: datetime
) -> ImportedRun | str:
    """Return the run of ours that `found` becomes, or the reason why it is none.

    Its id is made of the format, the workload and `found.identity`: imported twice it is
    the same run. It counts as known when it ended. A peak that an OOM kill, an error or an
    interruption cut short is a lower bound: its outcome says so, as for runs of our own.
    """
    workload = naming.workload or _workload(found.name, format_id)
    if workload is None:
        return "workload_missing"
    if found.recorded is not None and found.recorded.workload.key == workload.key:
        run = found.recorded
        return ImportedRun(run=run, ooms=oom_events(run))
    started_at = found.started_at or now
    stand_ins = ["start_missing"] if found.started_at is None or found.is_start_guessed else []
    if started_at > now + FUTURE_SLACK:
        return "starts_in_the_future"
    peak_bytes = _peak_bytes(found)
    if isinstance(peak_bytes, str):
        return peak_bytes
    runtime_s = found.runtime_s
    if runtime_s is None or not 0 < runtime_s <= MAX_RUNTIME_S:
        runtime_s, stand_ins = NO_RUNTIME_S, [*stand_ins, "runtime_missing"]
    run = _run(
        found,
        run_id=make_imported_run_id((format_id, workload.key, *found.identity)),
        workload=workload,
        peak_bytes=peak_bytes,
        started_at=min(started_at, now),
        runtime=timedelta(seconds=runtime_s),
    )
    run = _known_by(run, now)
    return ImportedRun(run=run, ooms=oom_events(run), stand_ins=tuple(stand_ins))


def oom_events(run: Run) -> tuple[OomEvent, ...]:
    """Return the OOM events of a run that ended elsewhere: organic, at the end of the attempt."""
    return tuple(
        OomEvent(
            run_id=run.run_id,
            workload_key=run.workload.key,
            attempt=attempt.number,
            at=attempt.started_at + attempt.runtime,
            at_least_bytes=max(
                (x for x in (attempt.peak_bytes, attempt.final_limit_bytes) if x is not None),
                default=None,
            ),
            limit_bytes=attempt.final_limit_bytes,
            kills=attempt.oom_kills,
            attribution=Attribution.ORGANIC,
        )
        for attempt in run.attempts
        if attempt.oom_kills
    )


def believed_bytes(value: float | None) -> int | None:
    """Return a byte count that can be meant, 1 .. 2**50, else None.

    >>> believed_bytes(1.5e9), believed_bytes(float("nan")), believed_bytes(-1)
    (1500000000, None, None)
    """
    if value is None or not math.isfinite(value) or not 1 <= value <= MAX_BYTES:
        return None
    return int(value)


def clean_features(
    numbers: Mapping[str, float], labels: Mapping[str, str], *, source: str
) -> Features:
    """Return features without what is not finite or empty, and not too many of them."""
    kept = {k[:80]: float(v) for k, v in numbers.items() if math.isfinite(v)}
    texts = {k[:80]: v[:_MAX_LABEL] for k, v in labels.items() if v.strip()}
    kept = dict(list(kept.items())[:_MAX_FEATURES])
    texts = dict(list(texts.items())[:_MAX_FEATURES])
    return Features(numbers=kept, labels=texts, sources=dict.fromkeys((*kept, *texts), source))


def _workload(name: str, format_id: str) -> Workload | None:
    key = fit_name(name)
    if not key:
        return None
    shown = ascii(name[:120])
    return Workload(key=key, key_reason=f"imported: {format_id} calls it {shown}")


def _peak_bytes(found: FoundRun) -> int | str:
    """Return the peak, or why it cannot be meant. An OOM kill needed at least its limit."""
    limit_bytes = believed_bytes(found.limit_bytes)
    peak_bytes = found.peak_bytes
    if found.outcome is Outcome.OOM_KILLED and limit_bytes is not None:
        seen = believed_bytes(peak_bytes)
        return limit_bytes if seen is None else max(seen, limit_bytes)
    if peak_bytes is None:
        return "peak_missing"
    if not math.isfinite(peak_bytes):
        return "peak_not_finite"
    if peak_bytes < 1:
        return "peak_not_above_zero"
    return int(peak_bytes) if peak_bytes <= MAX_BYTES else "peak_above_1_pib"


def _run(
    found: FoundRun,
    *,
    run_id: str,
    workload: Workload,
    peak_bytes: int,
    started_at: datetime,
    runtime: timedelta,
) -> Run:
    limit_bytes = believed_bytes(found.limit_bytes)
    attempt = Attempt(
        number=1,
        started_at=started_at,
        limit_bytes=limit_bytes,
        final_limit_bytes=limit_bytes,
        peak_bytes=peak_bytes,
        runtime=runtime,
        outcome=found.outcome,
        exit_code=found.exit_code,
        oom_kills=1 if found.outcome is Outcome.OOM_KILLED else 0,
        reserved_byte_seconds=None
        if limit_bytes is None
        else limit_bytes * runtime.total_seconds(),
    )
    return Run(
        run_id=run_id,
        workload=workload,
        started_at=started_at,
        known_at=started_at + runtime,
        features=found.features,
        control=ControlKind.IMPORTED,
        outcome=found.outcome,
        exit_code=found.exit_code,
        attempts=(attempt,),
    )


def _known_by(run: Run, now: datetime) -> Run:
    """Return the run as known at its end, but never after `now`: it is known already."""
    if run.known_at is None or run.known_at <= now:
        return run
    return replace(run, known_at=now)
