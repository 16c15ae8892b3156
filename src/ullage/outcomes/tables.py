"""What `ullage get` lists: records as rows of named values, units in the names.

Pure. A value is text, a number, a time or None (unknown). How they are shown is
`outcomes.render`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ullage.core.telemetry import OomEvent
from ullage.core.workload import Attempt, Outcome, Run, Workload

Value = str | int | float | datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns; `wide` columns are shown by `-o wide` and in files only."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Value], ...]
    wide: frozenset[str] = frozenset()
    empty: str = "nothing recorded yet: try `ullage run -- CMD`"
    """What to tell where there are no rows."""


def workloads_table(found: Iterable[tuple[Workload, int, Sequence[Run]]]) -> Table:
    """Return one row for each (workload, number of runs, its latest runs, newest first)."""
    return Table(
        columns=(
            "workload",
            "runs_count",
            "oom_kills_count",
            "last_outcome",
            "last_peak_bytes",
            "largest_peak_bytes",
            "last_limit_bytes",
            "last_runtime_s",
            "last_started_at",
            "command",
            "key_reason",
        ),
        wide=frozenset({"last_runtime_s", "command", "key_reason"}),
        rows=tuple(_workload_row(*each) for each in found),
        empty="no workloads yet: try `ullage run --name my-job -- CMD`",
    )


def runs_table(runs: Iterable[Run], *, of: str | None = None) -> Table:
    """Return one row for each run; `of` names the workload they were asked for."""
    return Table(
        columns=(
            "run_id",
            "workload",
            "started_at",
            "outcome",
            "exit_code",
            "start_limit_bytes",
            "final_limit_bytes",
            "peak_bytes",
            "headroom_ratio",
            "raises_count",
            "oom_kills_count",
            "attempts_count",
            "runtime_s",
            "waits_count",
            "wait_s",
            "control",
            "input_bytes",
            "reserved_byte_seconds",
            "used_byte_seconds",
        ),
        wide=frozenset(
            {
                "exit_code",
                "headroom_ratio",
                "attempts_count",
                "waits_count",
                "wait_s",
                "control",
                "input_bytes",
                "reserved_byte_seconds",
                "used_byte_seconds",
            }
        ),
        rows=tuple(_run_row(run) for run in runs),
        empty="no runs yet: try `ullage run -- CMD`"
        if of is None
        else f"no runs of {of} yet: try `ullage run --name {of} -- CMD`",
    )


def ooms_table(events: Iterable[OomEvent], *, of: str | None = None) -> Table:
    """Return one row for each OOM event."""
    return Table(
        columns=(
            "at",
            "workload",
            "run_id",
            "attempt",
            "at_least_bytes",
            "limit_bytes",
            "kills_count",
            "attribution",
        ),
        rows=tuple(
            {
                "at": event.at,
                "workload": event.workload_key,
                "run_id": event.run_id,
                "attempt": event.attempt,
                "at_least_bytes": event.at_least_bytes,
                "limit_bytes": event.limit_bytes,
                "kills_count": event.kills,
                "attribution": event.attribution.value,
            }
            for event in events
        ),
        empty="no OOM kills recorded" + ("" if of is None else f" for {of}"),
    )


def peak_of(run: Run) -> int | None:
    """Return the largest need over a run's attempts, or None where none was measured."""
    peaks = [attempt.peak_bytes for attempt in run.attempts if attempt.peak_bytes is not None]
    return max(peaks, default=None)


def is_peak_cut(run: Run) -> bool:
    """Say whether the true peak is *at least* `peak_of(run)`: it did not end well."""
    last = run.attempts[-1] if run.attempts else None
    return last is None or last.outcome is not Outcome.OK or last.oom_kills > 0


def total(parts: Iterable[float | None]) -> float | None:
    """Return the sum; None where a part is unknown or there is none."""
    values = list(parts)
    known = [value for value in values if value is not None]
    return float(sum(known)) if known and len(known) == len(values) else None


def outcome_of(run: Run) -> str:
    """Return how a run ended: an outcome, `running`, or `unknown`."""
    if run.outcome is not None:
        return run.outcome.value
    return "running" if run.known_at is None else Outcome.UNKNOWN.value


def _workload_row(workload: Workload, runs_count: int, runs: Sequence[Run]) -> dict[str, Value]:
    last = runs[0] if runs else None
    attempt = last.attempts[-1] if last is not None and last.attempts else None
    peaks = [peak for peak in map(peak_of, runs) if peak is not None]
    return {
        "workload": workload.key,
        "runs_count": runs_count,
        "oom_kills_count": sum(run.oom_kills for run in runs),
        "last_outcome": None if last is None else outcome_of(last),
        "last_peak_bytes": None if last is None else peak_of(last),
        "largest_peak_bytes": max(peaks, default=None),
        "last_limit_bytes": None if attempt is None else attempt.final_limit_bytes,
        "last_runtime_s": None if attempt is None else attempt.runtime.total_seconds(),
        "last_started_at": None if last is None else last.started_at,
        "command": " ".join(workload.command) or None,
        "key_reason": workload.key_reason,
    }


def _headroom_ratio(attempt: Attempt) -> float | None:
    if not attempt.final_limit_bytes or attempt.peak_bytes is None:
        return None
    return 1 - attempt.peak_bytes / attempt.final_limit_bytes


def _run_row(run: Run) -> dict[str, Value]:
    last = run.attempts[-1] if run.attempts else None
    peak, final = peak_of(run), None if last is None else last.final_limit_bytes
    return {
        "run_id": run.run_id,
        "workload": run.workload.key,
        "started_at": run.started_at,
        "outcome": outcome_of(run),
        "exit_code": run.exit_code,
        "start_limit_bytes": run.attempts[0].limit_bytes if run.attempts else None,
        "final_limit_bytes": final,
        "peak_bytes": peak,
        "headroom_ratio": None if last is None else _headroom_ratio(last),
        "raises_count": run.raises,
        "oom_kills_count": run.oom_kills,
        "attempts_count": len(run.attempts),
        "runtime_s": total(attempt.runtime.total_seconds() for attempt in run.attempts),
        "waits_count": sum(attempt.waits for attempt in run.attempts),
        "wait_s": total(attempt.wait_total.total_seconds() for attempt in run.attempts),
        "control": run.control.value,
        "input_bytes": run.features.numbers.get("input_bytes"),
        "reserved_byte_seconds": total(a.reserved_byte_seconds for a in run.attempts),
        "used_byte_seconds": total(a.used_byte_seconds for a in run.attempts),
    }
