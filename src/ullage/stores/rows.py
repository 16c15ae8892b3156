"""Records of the core as rows of the state store, and back. Secrets are masked on the way in.

Not here: SQL (`stores.state`), the tables (`stores.schema`).
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ullage.core.decision import RunDecision
from ullage.core.errors import DataError, InvariantError
from ullage.core.masking import mask_command, mask_labels, mask_text
from ullage.core.spending import Spending
from ullage.core.stages import StageUse
from ullage.core.telemetry import Attribution, OomEvent
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run, Workload
from ullage.stores.record_json import to_json

Row = dict[str, object]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}
_CONTROLS = {str(control): control for control in ControlKind}


def instant_us(at: datetime) -> int:
    """Return integer microseconds since 1970 UTC. InvariantError without a time zone."""
    if at.tzinfo is None:
        raise InvariantError(f"an instant without a time zone: {at}")
    return (at - _EPOCH) // _MICROSECOND


def instant(at_us: int) -> datetime:
    """Return the aware UTC instant of integer microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=at_us)


_masked_again = lru_cache(maxsize=4_096)(mask_text)
"""For texts that come again with every run of a workload: an import may bring a million."""


@lru_cache(maxsize=4_096)
def _command_json(command: tuple[str, ...]) -> str:
    return to_json(mask_command(command))


# -- masking -------------------------------------------------------------------------------


def masked_features(features: Features) -> Features:
    """Return `features` without secrets in labels and sources."""
    return replace(
        features,
        labels=mask_labels(features.labels),
        sources=dict(
            zip(features.sources, map(_masked_again, features.sources.values()), strict=True)
        ),
    )


def masked_decision(decision: RunDecision) -> RunDecision:
    """Return `decision` without secrets in the features that were asked about."""
    features = masked_features(decision.question.features)
    return replace(decision, question=replace(decision.question, features=features))


# -- into rows -----------------------------------------------------------------------------


def run_row(run: Run, *, owner: str) -> Row:
    """Return the row of `run`, secrets masked."""
    return end_row(run) | {
        "workload_key": run.workload.key,
        "key_reason": _text(_masked_again(run.workload.key_reason)),
        "command_json": _command_json(run.workload.command),
        "started_at_us": instant_us(run.started_at),
        "features_json": to_json(masked_features(run.features)),
        "control": str(run.control),
        "decision_id": run.decision_id,
        "owner": owner,
    }


def end_row(run: Run) -> Row:
    """Return what is known of `run` only at its end. A cost that is no number was not scored."""
    costs_gbh = {name: cost for name, cost in run.expert_costs.items() if math.isfinite(cost)}
    return {
        "run_id": run.run_id,
        "known_at_us": None if run.known_at is None else instant_us(run.known_at),
        "outcome": None if run.outcome is None else str(run.outcome),
        "exit_code": run.exit_code,
        "expert_costs_gbh_json": to_json(costs_gbh) if costs_gbh else "{}",
        "spent_prob_json": to_json(run.spent_prob) if run.spent_prob else "[]",
        "first_oom_prob": run.first_oom_prob,
    }


def decision_row(decision: RunDecision) -> Row:
    """Return the row of `decision`, secrets masked."""
    return {
        "decision_id": decision.decision_id,
        "workload_key": decision.question.workload_key,
        "policy": decision.policy,
        "asked_at_us": instant_us(decision.question.asked_at),
        "limit_bytes": decision.limit_bytes,
        "record_json": to_json(masked_decision(decision)),
    }


def attempt_row(run_id: str, attempt: Attempt) -> Row:
    """Return the row of one attempt."""
    return {
        "run_id": run_id,
        "number": attempt.number,
        "started_at_us": instant_us(attempt.started_at),
        "limit_bytes": attempt.limit_bytes,
        "final_limit_bytes": attempt.final_limit_bytes,
        "peak_bytes": attempt.peak_bytes,
        "runtime_us": attempt.runtime // _MICROSECOND,
        "outcome": str(attempt.outcome),
        "exit_code": attempt.exit_code,
        "oom_kills": attempt.oom_kills,
        "raises": attempt.raises,
        "waits": attempt.waits,
        "wait_total_us": attempt.wait_total // _MICROSECOND,
        "reserved_byte_seconds": _finite(attempt.reserved_byte_seconds),
        "used_byte_seconds": _finite(attempt.used_byte_seconds),
    }


def oom_row(event: OomEvent) -> Row:
    """Return the row of one OOM event."""
    return {
        "run_id": event.run_id,
        "attempt": event.attempt,
        "at_us": instant_us(event.at),
        "workload_key": event.workload_key,
        "at_least_bytes": event.at_least_bytes,
        "limit_bytes": event.limit_bytes,
        "kills": event.kills,
        "attribution": str(event.attribution),
    }


def stage_row(use: StageUse, *, workload_key: str) -> Row:
    """Return the row of what one worker needed in one stage, secrets masked."""
    return {
        "run_id": use.run_id,
        "name": _text(_masked_again(use.name)),
        "workload_key": workload_key,
        "execution_id": use.execution_id,
        "started_at_us": instant_us(use.started_at),
        "ended_at_us": instant_us(use.ended_at),
        "start_bytes": use.start_bytes,
        "peak_bytes": use.peak_bytes,
        "used_byte_seconds": _finite(use.used_byte_seconds),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# -- out of rows ---------------------------------------------------------------------------


@contextmanager
def checked(what: str) -> Iterator[None]:
    """Raise DataError naming `what` where a row holds what cannot have been written."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise DataError(f"{what} is damaged ({str(error)!a:.120}); see `ullage doctor`") from error


def workload_of(row: sqlite3.Row) -> Workload:
    """Return the workload of a run's row."""
    with checked(f"the record of run {row['run_id']!a:.40}"):
        return Workload(
            key=row["workload_key"],
            key_reason=row["key_reason"],
            command=tuple(map(str, json.loads(row["command_json"]))),
        )


def runs_of(rows: Iterable[sqlite3.Row], attempts: Iterable[sqlite3.Row]) -> list[Run]:
    """Return the runs of `rows` in their order, with their attempts (ordered by number)."""
    tried: dict[str, list[Attempt]] = {}
    for row in attempts:
        tried.setdefault(row["run_id"], []).append(_attempt_of(row))
    return [_run_of(row, tuple(tried.get(row["run_id"], ()))) for row in rows]


def oom_of(row: sqlite3.Row) -> OomEvent:
    """Return the OOM event of a row."""
    with checked(f"an OOM event of run {row['run_id']!a:.40}"):
        return OomEvent(
            run_id=row["run_id"],
            workload_key=row["workload_key"],
            attempt=row["attempt"],
            at=instant(row["at_us"]),
            at_least_bytes=row["at_least_bytes"],
            limit_bytes=row["limit_bytes"],
            kills=row["kills"],
            attribution=Attribution(row["attribution"]),
        )


def _run_of(row: sqlite3.Row, attempts: tuple[Attempt, ...]) -> Run:
    with checked(f"the record of run {row['run_id']!a:.40}"):
        return Run(
            run_id=row["run_id"],
            workload=workload_of(row),
            started_at=instant(row["started_at_us"]),
            known_at=None if row["known_at_us"] is None else instant(row["known_at_us"]),
            features=_features_of(json.loads(row["features_json"])),
            control=_CONTROLS[row["control"]],
            outcome=None if row["outcome"] is None else _OUTCOMES[row["outcome"]],
            exit_code=row["exit_code"],
            attempts=attempts,
            decision_id=row["decision_id"],
            expert_costs=_numbers(json.loads(row["expert_costs_gbh_json"])),
            spent_prob=tuple(map(float, json.loads(row["spent_prob_json"]))),
            first_oom_prob=row["first_oom_prob"],
        )


def stage_of(row: sqlite3.Row) -> StageUse:
    """Return the stage of a row."""
    with checked(f"a stage of run {row['run_id']!a:.40}"):
        return StageUse(
            run_id=row["run_id"],
            execution_id=row["execution_id"],
            name=row["name"],
            started_at=instant(row["started_at_us"]),
            ended_at=instant(row["ended_at_us"]),
            start_bytes=row["start_bytes"],
            peak_bytes=row["peak_bytes"],
            used_byte_seconds=row["used_byte_seconds"],
        )


def spending(found: Iterable[sqlite3.Row]) -> Spending:
    """Return what runs spent of the failure budget: their curves, and their first attempts.

    Of curves over different grids only those as long as the first, the latest, count.
    """
    curves: list[list[float]] = []
    failures_count, expected_count = 0, 0.0
    for row in found:
        with checked(f"the record of run {row['run_id']!a:.40}"):
            curve = [float(prob) for prob in json.loads(row["spent_prob_json"])]
        if curve and (not curves or len(curve) == len(curves[0])):
            curves.append(curve)
            failures_count += row["oom_kills"] > 0
            expected_count += row["first_oom_prob"]
    return Spending(
        runs_count=len(curves),
        failures_count=failures_count,
        expected_count=expected_count,
        mean_prob=tuple(sum(column) / len(curves) for column in zip(*curves, strict=True)),
    )


def _features_of(plain: Mapping[str, dict[str, str]]) -> Features:
    return Features(
        numbers=_numbers(plain["numbers"]), labels=plain["labels"], sources=plain["sources"]
    )


def _numbers(plain: Mapping[str, object]) -> dict[str, float]:
    return {name: float(number) for name, number in plain.items()}  # type: ignore[arg-type]


def _attempt_of(row: sqlite3.Row) -> Attempt:
    with checked(f"an attempt of run {row['run_id']!a:.40}"):
        return Attempt(
            number=row["number"],
            started_at=instant(row["started_at_us"]),
            limit_bytes=row["limit_bytes"],
            final_limit_bytes=row["final_limit_bytes"],
            peak_bytes=row["peak_bytes"],
            runtime=timedelta(microseconds=row["runtime_us"]),
            outcome=_OUTCOMES[row["outcome"]],
            exit_code=row["exit_code"],
            oom_kills=row["oom_kills"],
            raises=row["raises"],
            waits=row["waits"],
            wait_total=timedelta(microseconds=row["wait_total_us"]),
            reserved_byte_seconds=row["reserved_byte_seconds"],
            used_byte_seconds=row["used_byte_seconds"],
        )
