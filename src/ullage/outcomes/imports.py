"""What came of an import, in words and as a table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ullage.control.importing import ImportTally, ReasonCount
from ullage.outcomes.render import plural
from ullage.outcomes.tables import Table

MEANING = {
    "start_missing": "the file's own time stands in for a start",
    "runtime_missing": "1 s stands in for a runtime",
}


def import_table(tally: ImportTally, *, limit: int | None = None) -> Table:
    """Return one row for each workload, most runs first; at most `limit`."""
    rows = sorted(tally.workloads.items(), key=lambda each: (-each[1].runs_count, each[0]))
    return Table(
        columns=(
            "workload",
            "runs_count",
            "new_count",
            "oom_kills_count",
            "largest_peak_bytes",
        ),
        rows=tuple(
            {
                "workload": key,
                "runs_count": count.runs_count,
                "new_count": count.new_count,
                "oom_kills_count": count.oom_kills_count,
                "largest_peak_bytes": count.largest_peak_bytes or None,
            }
            for key, count in rows[:limit]
        ),
        empty="no run was found",
    )


def account_lines(tally: ImportTally, *, formats: str, where: str, is_dry: bool) -> Iterator[str]:
    """Yield what was done, what was put in, what was left out and what was rejected, in words.

    where: what the readers count by, "line" or "row".
    """
    known_count = tally.runs_count - tally.new_count
    done = "would be new (dry run: nothing is recorded)" if is_dry else "new"
    yield (
        f"{formats}: {plural(tally.runs_count, 'run')} of "
        f"{plural(len(tally.workloads), 'workload')}, "
        f"{tally.new_count:,} {done}, {known_count:,} recorded before"
    )
    if tally.others_count:
        yield f"{plural(tally.others_count, 'run')} of other names left out"
    for what, count in tally.stand_ins.items():
        yield f"{MEANING.get(what, what)}: {_counted(count, where)}"
    if tally.rejected:
        yield f"{tally.rejected_count:,} rejected:"
        yield from _reasons(tally.rejected, where)


def _reasons(reasons: Mapping[str, ReasonCount], where: str) -> Iterator[str]:
    for reason, count in sorted(reasons.items(), key=lambda each: -each[1].rows_count):
        yield f"  {reason}: {_counted(count, where)}"


def _counted(count: ReasonCount, where: str) -> str:
    return f"{count.rows_count:,} (first at {where} {count.first_line})"
