"""Takes over what another system recorded: from a reader's rows to runs in the record.

Batch by batch, each in one transaction: an import that is cut short is finished by doing it
again, because what is recorded already is left alone. Not here: files (the readers), what is
believed (core.recorded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from ullage.core.ports import RunArchive
from ullage.core.recorded import (
    FoundRun,
    ImportedRun,
    Naming,
    RejectedRow,
    import_run,
)

BATCH_RUNS = 5_000


@dataclass(slots=True)
class ReasonCount:
    """How often something happened, and where first."""

    rows_count: int = 0
    first_line: int = 0

    def add(self, line: int) -> None:
        """Count one more."""
        self.rows_count += 1
        self.first_line = self.first_line or line


@dataclass(slots=True)
class WorkloadCount:
    """What came of one workload."""

    runs_count: int = 0
    new_count: int = 0
    oom_kills_count: int = 0
    largest_peak_bytes: int = 0


@dataclass(slots=True)
class ImportTally:
    """The account of an import: nothing that was in the file is missing from it.

    workloads: key -> what came of it. rejected, stand_ins: reason -> how often. names: how
    the file calls the workloads that were taken (at most a few, for a warning).
    """

    workloads: dict[str, WorkloadCount] = field(default_factory=dict)
    rejected: dict[str, ReasonCount] = field(default_factory=dict)
    stand_ins: dict[str, ReasonCount] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    others_count: int = 0
    """Runs of other workloads than the one that was asked for."""
    tried_ids: set[str] = field(default_factory=set)
    """In a dry run: the runs that would be recorded by now."""

    @property
    def runs_count(self) -> int:
        """All runs that were found, new or not."""
        return sum(each.runs_count for each in self.workloads.values())

    @property
    def new_count(self) -> int:
        """Runs that were not recorded before."""
        return sum(each.new_count for each in self.workloads.values())

    @property
    def rejected_count(self) -> int:
        """Rows that are no runs."""
        return sum(each.rows_count for each in self.rejected.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """How to take over. archive: None = as if nothing were recorded. on_rejected: told of each."""

    format_id: str
    naming: Naming
    imported_at: datetime
    archive: RunArchive | None
    is_dry: bool = False
    on_rejected: Callable[[RejectedRow], None] = lambda row: None


def import_rows(
    rows: Iterable[FoundRun | RejectedRow], plan: ImportPlan, tally: ImportTally
) -> None:
    """Record the runs among `rows`, and count everything into `tally`.

    Raises what the archive raises; batches recorded before stay recorded.
    """
    accepted = _accepted(rows, plan, tally)
    while batch := list(islice(accepted, BATCH_RUNS)):
        new_ids = _record(batch, plan)
        if plan.is_dry:  # what a batch would have recorded is known to the next one
            new_ids -= tally.tried_ids
            tally.tried_ids |= new_ids
        for each in batch:
            count = tally.workloads.setdefault(each.run.workload.key, WorkloadCount())
            count.runs_count += 1
            if each.run.run_id in new_ids:
                new_ids.discard(each.run.run_id)
                count.new_count += 1
            count.oom_kills_count += each.run.oom_kills
            peaks = [a.peak_bytes for a in each.run.attempts if a.peak_bytes]
            count.largest_peak_bytes = max(count.largest_peak_bytes, *peaks, 0)


def _accepted(
    rows: Iterable[FoundRun | RejectedRow], plan: ImportPlan, tally: ImportTally
) -> Iterator[ImportedRun]:
    for row in rows:
        if isinstance(row, RejectedRow):
            _reject(row, plan, tally)
            continue
        if plan.naming.only is not None and row.name != plan.naming.only:
            tally.others_count += 1
            continue
        imported = import_run(
            row, format_id=plan.format_id, naming=plan.naming, now=plan.imported_at
        )
        if isinstance(imported, str):
            text = row.name[:200]
            _reject(RejectedRow(line=row.line, reason=imported, text=text), plan, tally)
            continue
        if len(tally.names) < 100:
            tally.names.add(row.name)
        for what in imported.stand_ins:
            tally.stand_ins.setdefault(what, ReasonCount()).add(row.line)
        yield imported


def _reject(row: RejectedRow, plan: ImportPlan, tally: ImportTally) -> None:
    tally.rejected.setdefault(row.reason, ReasonCount()).add(row.line)
    plan.on_rejected(row)


def _record(batch: list[ImportedRun], plan: ImportPlan) -> set[str]:
    """Return the ids of those that are new, recorded now unless it is only a try."""
    if plan.archive is None or plan.is_dry:
        ids = [each.run.run_id for each in batch]
        known = set() if plan.archive is None else plan.archive.known_run_ids(ids)
        return set(ids) - known
    ooms = [oom for each in batch for oom in each.ooms]
    return plan.archive.add_ended([each.run for each in batch], ooms)
