"""Files of the `runs_*` schema as history to import: the reader of `ullage backtest runs`, told on.

The one reader of that schema is simulation.runs_file and what it stands on; here its rows
become FoundRun, one by one, with what a backtest does not need (how a run ended, the limit
it had). A file that Ullage wrote has each run whole in one column. Not here: other formats.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ullage.core.errors import DataError
from ullage.core.recorded import FoundRun, ReadOptions, RejectedRow, clean_features
from ullage.core.workload import Features, Outcome, Run
from ullage.simulation.run_features import RunFeatures, cgroup_limit_sql, read_features
from ullage.simulation.runs_columns import keep_rows, text_sql
from ullage.simulation.runs_source import LINE, RawRuns, open_runs

RECORD = "peak_record_json"
"""The column with the whole run. `peak` in its name keeps it out of every feature."""

_PARQUET = b"PAR1"
_DELIMITERS = (",", "\t", ";", "|")
_PAGE_ROWS = 5_000
_FORMULA_CELL = re.compile(r"'+[=+\-@\t\r]")
_EXIT = re.compile(r"(?:[a-z_ ]*:)?\s*(-?[0-9]{1,9})\Z", re.ASCII)
_OOM_WORDS = ("oom", "out_of_memory", "out of memory", "outofmemory")
_CUT_WORDS = ("interrupt", "cancel", "timeout", "aborted", "preempt", "signal")
_GOOD = frozenset({"", "ok", "exit:0", "completed"})


class RunsFileReader:
    """Implements core.ports.HistoryReader. `decode` reads a run that Ullage wrote."""

    format_id = "runs"

    def __init__(self, decode: Callable[[str], Run]) -> None:
        self._decode = decode

    def recognises(self, head: bytes) -> bool:
        """Say whether it is Parquet, or a header has `workload` and `peak_bytes`."""
        if head.startswith(_PARQUET):
            return True
        first = head.lstrip(b"\xef\xbb\xbf").partition(b"\n")[0].decode("utf-8", "replace")
        names = [
            {name.strip().strip('"') for name in first.split(delimiter)}
            for delimiter in _DELIMITERS
        ]
        return any({"workload", "peak_bytes"} <= each for each in names)

    def read(
        self, path: str, *, options: ReadOptions, tell: Callable[[int, int], None]
    ) -> Iterator[FoundRun | RejectedRow]:
        """Yield rejected rows, then a run for each row that a backtest would score.

        Lines are rows here: the first below the header is 1.
        """
        with open_runs(Path(path)) as raw:
            kept = keep_rows(raw, limit_rows=None, limit_sql=cgroup_limit_sql(raw))
            known = read_features(raw, scope="apriori", rows_count=len(kept.run_ids))
            yield from _rejected(raw)
            rows_count = len(kept.run_ids)
            del kept
            modified_at = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
            seen: Counter[tuple[str, ...]] = Counter()
            for at, row in enumerate(_rows(raw)):
                if at % _PAGE_ROWS == 0:
                    tell(at, rows_count)
                guess = modified_at - timedelta(milliseconds=rows_count - at)
                yield self._found(row, _features_of(known, at), guess, seen)
            tell(rows_count, rows_count)

    def _found(
        self,
        row: dict[str, Any],
        features: Features,
        guess: datetime,
        seen: Counter[tuple[str, ...]],
    ) -> FoundRun:
        name = unquoted(row["workload"])
        started_at = _moment(row["started"])
        outcome, exit_code = outcome_of(row["outcome"] or "")
        return FoundRun(
            line=row["line"],
            name=name,
            identity=_identity(row, seen),
            started_at=started_at or guess,
            is_start_guessed=started_at is None,
            runtime_s=row["runtime"],
            peak_bytes=row["peak"],
            limit_bytes=row["had_limit"] or row["request"],
            outcome=outcome,
            exit_code=exit_code,
            features=features,
            recorded=self._recorded(row, name),
        )

    def _recorded(self, row: dict[str, Any], name: str) -> Run | None:
        """Return the whole run where the column has it, and it is the run of this row."""
        if not row["record"]:
            return None
        try:
            run = self._decode(unquoted(row["record"]))
        except DataError:
            return None
        peaks = [a.peak_bytes for a in run.attempts if a.peak_bytes is not None]
        is_same = run.run_id == unquoted(row["run_id"] or "") and run.workload.key == name
        is_ended = run.known_at is not None and run.outcome is not None
        return run if is_same and is_ended and max(peaks, default=0) == row["peak"] else None


def outcome_of(text: str) -> tuple[Outcome, int | None]:
    """Return how a run ended, from the column `outcome`; a backtest reads it the same.

    >>> outcome_of("COMPLETED:0"), outcome_of("exit:137"), outcome_of("oom_killed")[0].value
    ((<Outcome.OK: 'ok'>, 0), (<Outcome.OOM_KILLED: 'oom_killed'>, 137), 'oom_killed')
    """
    text = text.strip().lower()
    match = _EXIT.fullmatch(text)
    code = int(match.group(1)) if match else None
    if text in _GOOD or text.startswith("completed:"):
        return Outcome.OK, code
    if code == 137 or any(word in text for word in _OOM_WORDS):
        return Outcome.OOM_KILLED, code
    if any(word in text for word in _CUT_WORDS):
        return Outcome.INTERRUPTED, code
    return Outcome.ERROR, code


def unquoted(text: str) -> str:
    """Return a cell without the mark that keeps a spreadsheet from running it.

    >>> unquoted("'=1+1"), unquoted("'quoted'")
    ('=1+1', "'quoted'")
    """
    return text[1:] if _FORMULA_CELL.match(text) else text


def _rows(raw: RawRuns) -> Iterator[dict[str, Any]]:
    """Yield the rows that count, in their order, page by page."""
    names = (
        *("line", "dataset", "workload", "execution_id", "run_id", "started", "runtime"),
        *("peak", "request", "had_limit", "outcome"),
    )
    found = raw.connection.execute(
        f"SELECT {', '.join(f'kept.{name}' for name in names)}, {text_sql(raw, RECORD)} "  # noqa: S608
        f"FROM kept JOIN raw ON raw.{LINE} = kept.line ORDER BY kept.pos"
    )
    while page := found.fetchmany(_PAGE_ROWS):
        for row in page:
            yield dict(zip((*names, "record"), row, strict=True))


def _moment(started_s: float | None) -> datetime | None:
    if started_s is None or not 0 <= started_s < 1e11:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=started_s)


def _identity(row: dict[str, Any], seen: Counter[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what tells a run from all others: the key by which copies are found.

    Rows without an id are told apart by all that they say, and by how often it came before.
    """
    key = [str(row["dataset"] or ""), str(row["execution_id"] or ""), str(row["run_id"] or "")]
    if row["run_id"] and row["execution_id"]:
        return tuple(key)
    content = (*key, *(repr(row[name]) for name in ("started", "runtime", "peak")))
    if row["run_id"]:
        return content
    content += (repr(row["request"]), str(row["outcome"] or ""), str(row["workload"]))
    seen[content] += 1
    return (*content, str(seen[content]))


def _features_of(known: RunFeatures, at: int) -> Features:
    numbers = {name: float(x[at]) for name, x in known.numbers.items() if not math.isnan(x[at])}
    labels = {name: str(x[at]) for name, x in known.labels.items() if x[at] is not None}
    return clean_features(numbers, labels, source="the imported file")


def _rejected(raw: RawRuns) -> Iterator[RejectedRow]:
    """Yield the rows that no backtest scores, in their order, and lines that are no rows."""
    connection = raw.connection
    if raw.rejected:
        broken = connection.execute(
            "SELECT line, any_value(left(csv_line, 200)) FROM reject_errors GROUP BY 1 ORDER BY 1"
        ).fetchall()
        yield from (
            RejectedRow(line=int(line), reason="unreadable_line", text=str(text or ""))
            for line, text in broken
        )
    left_out = connection.execute(
        "SELECT line, coalesce(reason, 'duplicate_key'), left(coalesce(workload, ''), 200) "
        "FROM judged WHERE reason IS NOT NULL OR line NOT IN (SELECT line FROM kept) ORDER BY line"
    )
    while page := left_out.fetchmany(_PAGE_ROWS):
        yield from (RejectedRow(line=int(r[0]), reason=str(r[1]), text=str(r[2])) for r in page)
