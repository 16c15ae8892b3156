"""What `ullage export` gives away: rows of named values of runs, samples and decisions. Pure.

Runs come in the `runs_*` schema (docs/benchmarks.md), so that `ullage backtest runs` and
`ullage import` read them back; one column holds the whole run. Not here: how rows are
written (`stores.export_files`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ullage.core.decision import RunDecision
from ullage.core.telemetry import SampleSeries
from ullage.core.workload import Outcome, Run
from ullage.outcomes.tables import Value, peak_of
from ullage.simulation.recorded_runs import RECORD

TEXT, INTEGER, NUMBER, TIME = "text", "integer", "number", "time"

RUN_COLUMNS = {
    "workload": TEXT,
    "run_id": TEXT,
    "started_at": TIME,
    "input_bytes": NUMBER,
    "params": TEXT,
    "peak_bytes": INTEGER,
    "requested_bytes": INTEGER,
    "limit_bytes": INTEGER,
    "runtime_s": NUMBER,
    "outcome": TEXT,
    RECORD: TEXT,
}
SAMPLE_COLUMNS = {
    "workload": TEXT,
    "run_id": TEXT,
    "attempt": INTEGER,
    "at": TIME,
    "elapsed_ms": NUMBER,
    "need_bytes": INTEGER,
    "usage_bytes": INTEGER,
    "limit_bytes": INTEGER,
}
DECISION_COLUMNS = {
    "decision_id": TEXT,
    "workload": TEXT,
    "asked_at": TIME,
    "policy": TEXT,
    "expert": TEXT,
    "reasons": TEXT,
    "limit_bytes": INTEGER,
    "requested_bytes": INTEGER,
    "ceiling_bytes": INTEGER,
    "runs_used_count": INTEGER,
    "record_json": TEXT,
}

Rows = Iterator[Mapping[str, Value]]
ToJson = Callable[[object], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Rows to be written, one by one. columns: name -> text, integer, number or time."""

    columns: Mapping[str, str]
    rows: Rows


def run_row(run: Run, *, request_bytes: int | None, to_json: ToJson) -> dict[str, Value]:
    """Return an ended run as a row. The limit and the runtime are those of its last attempt."""
    last = run.attempts[-1] if run.attempts else None
    params: dict[str, float | str] = {**run.features.labels, **run.features.numbers}
    input_bytes = params.pop("input_bytes", None)
    return {
        "workload": run.workload.key,
        "run_id": run.run_id,
        "started_at": run.started_at,
        "input_bytes": input_bytes if isinstance(input_bytes, float) else None,
        "params": json.dumps(params) if params else None,
        "peak_bytes": peak_of(run),
        "requested_bytes": request_bytes,
        "limit_bytes": None if last is None else last.final_limit_bytes,
        "runtime_s": None if last is None else last.runtime.total_seconds(),
        "outcome": (run.outcome or Outcome.UNKNOWN).value,
        RECORD: to_json(run),
    }


def sample_rows(run: Run, attempt_number: int, samples: SampleSeries) -> Rows:
    """Yield the samples of one attempt as rows; a limit of -1 (none) is unknown."""
    attempt = next(each for each in run.attempts if each.number == attempt_number)
    for elapsed_ms, need, usage, limit in zip(
        samples.elapsed_ms,
        samples.need_bytes,
        samples.usage_bytes,
        samples.limit_bytes,
        strict=True,
    ):
        yield {
            "workload": run.workload.key,
            "run_id": run.run_id,
            "attempt": attempt_number,
            "at": attempt.started_at + timedelta(milliseconds=elapsed_ms),
            "elapsed_ms": elapsed_ms,
            "need_bytes": need,
            "usage_bytes": usage,
            "limit_bytes": None if limit < 0 else limit,
        }


def decision_row(decision: RunDecision, *, to_json: ToJson) -> dict[str, Value]:
    """Return a decision as a row, with all of it as JSON in the last column."""
    return {
        "decision_id": decision.decision_id,
        "workload": decision.question.workload_key,
        "asked_at": decision.question.asked_at,
        "policy": decision.policy,
        "expert": decision.recommendation.expert,
        "reasons": " ".join(reason.value for reason in decision.reasons),
        "limit_bytes": decision.limit_bytes,
        "requested_bytes": decision.question.request_bytes,
        "ceiling_bytes": decision.question.bounds.ceiling_bytes,
        "runs_used_count": decision.recommendation.runs_used,
        "record_json": to_json(decision),
    }
