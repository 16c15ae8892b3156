"""The work of `ullage import`: recognise each file, take its runs over, tell what came of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from ullage import bootstrap
from ullage.cli.progress_bar import progress_bar
from ullage.cli.reading import is_on_terminal, put, say
from ullage.config import load_settings
from ullage.control.importing import ImportPlan, ImportTally, import_rows
from ullage.core.errors import ConfigError
from ullage.core.ids import check_name
from ullage.core.recognition import recognise
from ullage.core.recorded import Naming, ReadOptions, RejectedRow
from ullage.core.workload import Workload
from ullage.outcomes.formats import OutputFormat
from ullage.outcomes.imports import account_lines, import_table
from ullage.outcomes.render import csv_cell, render, visible

if TYPE_CHECKING:
    from ullage.config import Settings
    from ullage.core.ports import HistoryReader, RunArchive

AUTO = "auto"
_SHOWN_WORKLOADS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The options as they were typed."""

    format_id: str = AUTO
    workload: str | None = None
    command: str | None = None
    only: str | None = None
    pattern: str | None = None
    timezone: str = "UTC"
    rejects_file: Path | None = None
    is_dry: bool = False
    output: OutputFormat = OutputFormat.TABLE


def import_files(files: Sequence[Path], options: ImportOptions) -> int:
    """Take over the runs of all files; return how many were found, new or not.

    Every file is recognised before anything is recorded. Raises ConfigError for options that
    cannot be and files that cannot be read.
    """
    naming = Naming(workload=named_workload(options), only=options.only)
    reading = ReadOptions(zone=_zone(options.timezone), path_pattern=options.pattern)
    readers = [(file, bootstrap.history_reader(file, options.format_id)) for file in files]
    tally = ImportTally()
    settings = load_settings()
    with _archive(settings, is_dry=options.is_dry) as archive, _rejects(options) as on_rejected:
        for file, reader in readers:
            plan = ImportPlan(
                format_id=reader.format_id,
                naming=naming,
                imported_at=bootstrap.SystemClock().now(),
                archive=archive,
                is_dry=options.is_dry,
                on_rejected=on_rejected(file),
            )
            with progress_bar(f"reading {file.name[:40]!a}", unit="read") as tell:
                import_rows(reader.read(str(file), options=reading, tell=tell), plan, tally)
    _tell(tally, options, [reader for _, reader in readers])
    return tally.runs_count


def named_workload(options: ImportOptions) -> Workload | None:
    """Return the workload that --workload or --command names for all runs, or None."""
    if options.workload is not None and options.command is not None:
        raise ConfigError("--workload and --command exclude each other: give one of them")
    if options.workload is not None:
        key = check_name(options.workload, what="--workload")
        return Workload(key=key, key_reason="named by ullage import --workload")
    if options.command is None:
        return None
    try:
        words = shlex.split(options.command)
    except ValueError as error:
        raise ConfigError(f"--command: {error}; quote it as for a shell") from error
    if not words:
        raise ConfigError("--command is empty: give the command line as after `ullage run --`")
    return recognise(None, words, os.getcwd())


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # also where the system has no list of zones
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--timezone {name[:60]!a} is unknown here: write UTC or for example Europe/Berlin"
        ) from error


@contextmanager
def _archive(settings: Settings, *, is_dry: bool) -> Iterator[RunArchive | None]:
    """Yield the record; None where only a try is asked for and nothing is recorded yet."""
    if is_dry and not (settings.state_dir / "state.db").exists():
        yield None
        return
    store = bootstrap.open_store(settings, read_only=is_dry)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _rejects(
    options: ImportOptions,
) -> Iterator[Callable[[Path], Callable[[RejectedRow], None]]]:
    """Yield what makes, for each file, the function that writes a rejected row down."""
    if options.rejects_file is None:
        yield lambda file: lambda row: None
        return
    import csv

    try:
        stream = options.rejects_file.open("w", newline="", encoding="utf-8")
    except OSError as error:
        shown = ascii(str(options.rejects_file))
        raise ConfigError(f"--rejects {shown} cannot be written: {error.strerror}") from error
    with stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "line", "reason", "text"])

        def on_rejected(file: Path) -> Callable[[RejectedRow], None]:
            name = csv_cell(visible(str(file)))
            return lambda row: writer.writerow(
                [name, row.line, row.reason, csv_cell(visible(row.text))]
            )

        yield on_rejected


def _tell(tally: ImportTally, options: ImportOptions, readers: Sequence[HistoryReader]) -> None:
    formats = ", ".join(dict.fromkeys(reader.format_id for reader in readers))
    where = "row" if formats == "runs" else "line"
    for line in account_lines(tally, formats=formats, where=where, is_dry=options.is_dry):
        say(line)
    if options.workload is not None and options.only is None and len(tally.names) > 1:
        say(
            f"{len(tally.names)} names in the file became one workload: "
            "--only NAME takes just one of them"
        )
    if options.only is not None and not tally.runs_count and tally.others_count:
        say(
            f"--only {options.only[:60]!a}: no run of that name among {tally.others_count:,} others"
        )
    is_for_people = options.output in (OutputFormat.TABLE, OutputFormat.WIDE)
    table = import_table(tally, limit=_SHOWN_WORKLOADS if is_for_people else None)
    if is_for_people and len(tally.workloads) > _SHOWN_WORKLOADS:
        say(f"the {_SHOWN_WORKLOADS} largest of {len(tally.workloads):,} workloads:")
    if table.rows or not is_for_people:
        put(render(table, options.output, on_terminal=is_for_people and is_on_terminal()))
