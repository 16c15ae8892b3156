"""Which stage of a pipeline needs the memory, in a table, a sentence and plain values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ullage.core.stages import StageUse, by_run, grown_bytes, hungriest
from ullage.core.units import format_bytes
from ullage.outcomes.render import utc_text
from ullage.outcomes.tables import Table, Value, total

_SHOWN_NAME = 60


def stages_table(uses: Sequence[StageUse]) -> Table:
    """Return one row for each stage of one execution: its hottest worker, and all together.

    start_s: seconds after the first stage began. grown_bytes: of the worker whose need grew
    most in the stage, above what the stage began with.
    """
    return Table(
        columns=(
            "stage",
            "start_s",
            "span_s",
            "workers_count",
            "peak_bytes",
            "grown_bytes",
            "used_byte_seconds",
            "hottest_run_id",
        ),
        rows=tuple(_rows(uses)),
        empty="no stages recorded: run the pipeline by --runner=ullage.beam.LocalRunner",
    )


def stages_plain(uses: Sequence[StageUse]) -> list[dict[str, Any]]:
    """Return every stage of every worker as plain values."""
    return [
        {
            "stage": use.name,
            "run_id": use.run_id,
            "started_at": utc_text(use.started_at),
            "ended_at": utc_text(use.ended_at),
            "start_bytes": use.start_bytes,
            "peak_bytes": use.peak_bytes,
            "grown_bytes": grown_bytes(use),
            "used_byte_seconds": use.used_byte_seconds,
        }
        for use in uses
    ]


def stages_sentence(uses: Sequence[StageUse]) -> str:
    """Return which stage needs the memory, in words; "" where there are no stages."""
    if not uses:
        return ""
    workers_count = len(by_run(uses))
    workers = f"{workers_count} worker{'s' if workers_count > 1 else ''}"
    hungry = hungriest(uses)
    if hungry is None:
        return f"{_stages(uses)} by {workers}; too short to be measured"
    return (
        f"{_stages(uses)} by {workers}; the memory goes into {_shown(hungry.name)}: "
        f"{format_bytes(hungry.peak_bytes)}, {format_bytes(grown_bytes(hungry))} more than it "
        "began with"
    )


def _stages(uses: Sequence[StageUse]) -> str:
    count = len({use.name for use in uses})
    return f"{count} stage{'s' if count > 1 else ''}"


def _rows(uses: Sequence[StageUse]) -> list[dict[str, Value]]:
    by_name: dict[str, list[StageUse]] = {}
    for use in uses:
        by_name.setdefault(use.name, []).append(use)
    first_at = min((use.started_at for use in uses), default=None)
    rows: list[dict[str, Value]] = []
    for name, same in by_name.items():
        started_at = min(use.started_at for use in same)
        ended_at = max(use.ended_at for use in same)
        measured = [use for use in same if use.peak_bytes is not None]
        hottest = max(measured, key=lambda use: use.peak_bytes or 0, default=None)
        grown = [each for use in measured if (each := grown_bytes(use)) is not None]
        rows.append(
            {
                "stage": _shown(name),
                "start_s": 0.0 if first_at is None else (started_at - first_at).total_seconds(),
                "span_s": (ended_at - started_at).total_seconds(),
                "workers_count": len(measured),
                "peak_bytes": None if hottest is None else hottest.peak_bytes,
                "grown_bytes": max(grown, default=None),
                "used_byte_seconds": total(use.used_byte_seconds for use in measured),
                "hottest_run_id": None if hottest is None else hottest.run_id,
            }
        )
    return rows


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else name[: _SHOWN_NAME - 3] + "..."
