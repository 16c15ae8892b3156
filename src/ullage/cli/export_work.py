"""The work of `ullage export`: which rows, in which format, where to."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from ullage import bootstrap
from ullage.cli.reading import find_workload, say
from ullage.cli.spans import span_of
from ullage.core.errors import ConfigError, DataError
from ullage.core.ports import RunArchive, RunReader, SampleArchive
from ullage.core.telemetry import SampleSeries
from ullage.core.workload import Run
from ullage.outcomes.exports import (
    DECISION_COLUMNS,
    RUN_COLUMNS,
    SAMPLE_COLUMNS,
    Export,
    Rows,
    decision_row,
    run_row,
    sample_rows,
)

_SHOWN_FAULTS = 5
_COLUMNS = {"runs": RUN_COLUMNS, "samples": SAMPLE_COLUMNS, "decisions": DECISION_COLUMNS}


class Record(RunReader, RunArchive, SampleArchive, Protocol):
    """What an export needs of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options as they were typed. format_id: None = by the ending of the file, else csv."""

    what: str
    format_id: str | None = None
    file: Path | None = None
    workload: str | None = None
    since: str | None = None


def export_to(record: Record | None, options: ExportOptions) -> None:
    """Write what is asked for. Raises ConfigError for options that cannot be."""
    format_id = options.format_id or _by_ending(options.file)
    since = parse_since(options.since, now=bootstrap.SystemClock().now())
    if options.workload is not None:
        find_workload(record, options.workload)
    write = bootstrap.export_writer(format_id)
    export = _export(record, options, since)
    try:
        with _stream(options.file, format_id) as stream:
            count = write(stream, export.columns, export.rows)
    except BrokenPipeError:  # whoever reads has enough: `ullage export runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    where = "" if options.file is None else f" to {str(options.file)!a}"
    say(f"{count:,} {options.what} written{where} as {format_id}")


def parse_since(text: str | None, *, now: datetime) -> datetime | None:
    """Return the moment that --since names: a date, a time (UTC unless it says), a span ago.

    >>> parse_since("36h", now=datetime(2026, 11, 23, 12, tzinfo=UTC)).isoformat()
    '2026-11-22T00:00:00+00:00'
    """
    if text is None:
        return None
    span = span_of(text)
    try:
        if span is not None:
            return now - span
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"--since {text[:40]!a}: write a date (2026-11-01), a time, or a span (30d, 12h)"
        ) from error


def _by_ending(file: Path | None) -> str:
    ending = "" if file is None else file.suffix.lower().lstrip(".")
    return ending if ending in bootstrap.export_formats() else "csv"


def _export(record: Record | None, options: ExportOptions, since: datetime | None) -> Export:
    columns = _COLUMNS[options.what]
    if record is None:
        return Export(columns=columns, rows=iter(()))
    if options.what == "runs":
        rows = _run_rows(record, record.each_run(options.workload, since=since))
    elif options.what == "samples":
        rows = _sample_rows(record, options.workload, since)
    else:
        decisions = record.each_decision(options.workload, since=since)
        rows = (decision_row(each, to_json=bootstrap.record_json) for each in decisions)
    return Export(columns=columns, rows=rows)


def _run_rows(record: Record, runs: Iterator[Run]) -> Rows:
    running_count = 0
    for run in runs:
        if run.known_at is None:
            running_count += 1
            continue
        decision = record.decision(run.decision_id) if run.decision_id else None
        request_bytes = None if decision is None else decision.question.request_bytes
        yield run_row(run, request_bytes=request_bytes, to_json=bootstrap.record_json)
    if running_count:
        say(f"{running_count:,} runs have not ended yet and are left out")


def _sample_rows(record: Record, workload_key: str | None, since: datetime | None) -> Rows:
    """Yield the samples wherever they lie, one attempt after another; tell what is lacking."""
    faults: list[str] = []
    unread_count = 0
    for run in record.each_run(workload_key, since=since):
        for attempt in run.attempts:
            try:
                samples = record.samples(run.run_id, attempt.number)
            except DataError as error:
                unread_count += 1
                faults += [str(error)] if str(error) not in faults else []
                samples = SampleSeries()
            yield from sample_rows(run, attempt.number, samples)
    if unread_count:
        say(f"the samples of {unread_count:,} attempts cannot be read and are left out:")
        for fault in faults[:_SHOWN_FAULTS]:
            say(fault)
    dropped_count = record.dropped_attempts_count(workload_key, since=since)
    if dropped_count:
        say(f"the samples of {dropped_count:,} attempts were given up by retention")


@contextmanager
def _stream(file: Path | None, format_id: str) -> Iterator[IO[bytes]]:
    """Yield where to write: stdout, or a new file that takes its place when it is whole."""
    if file is None:
        if format_id == "parquet" and sys.stdout.isatty():
            raise ConfigError("Parquet is not for a terminal: add --output FILE, or redirect")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    shown = ascii(str(file))
    if file.is_dir():
        raise ConfigError(f"--output {shown} is a folder: name a file in it")
    try:
        with tempfile.NamedTemporaryFile(
            dir=file.parent, prefix=".ullage-", suffix=".part", delete=False
        ) as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(stream.name, file)
            except BaseException:
                os.unlink(stream.name)
                raise
    except OSError as error:
        raise ConfigError(f"--output {shown} cannot be written: {error.strerror}") from error
