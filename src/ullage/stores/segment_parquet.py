"""The Parquet of a segment, written and read by DuckDB in memory.

DuckDB sees descriptors that we have opened, inside the folder of segments, and nothing else:
no other file, no network, no extension, no change of settings; values are bound. Version 2 of
Parquet, because its integers are differences packed into bits. Not here: which file, and
whether it is whole (`stores.segments`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ullage.core.errors import DataError, PermanentError
from ullage.core.stored_samples import absolute_us
from ullage.stores.segment_columns import Longs, SampleColumns, elapsed_bits, elapsed_of

ROW_GROUP_ROWS = 20_480
"""Small, so that one attempt or one workload unpacks little; larger ones gained nothing."""
_LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "memory_limit": "2GiB",
    "threads": 2,
}
_WRITE = (
    "COPY (SELECT workload_key, run_id, attempt, make_timestamp(started_us) AS started_at, "
    'make_timestamp(at_us) AS "at", elapsed_bits, need_bytes, usage_bytes, '
    "nullif(limit_bytes, -1) AS limit_bytes FROM samples) TO '/dev/fd/{descriptor:d}' "
    "(FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 9, "
    "ROW_GROUP_SIZE {rows:d}, DICTIONARY_SIZE_LIMIT 2000, USE_TMP_FILE false)"
)
_READ = (
    'SELECT file_row_number AS number, epoch_us(started_at) AS started_us, epoch_us("at") AS at_us,'
    " elapsed_bits, need_bytes, usage_bytes, coalesce(limit_bytes, -1) AS limit_bytes"
    " FROM read_parquet(?, file_row_number = true) WHERE file_row_number BETWEEN ? AND ?"
)
_READ_ATTEMPTS = (
    "SELECT run_id::VARCHAR, attempt::BIGINT, count(*) FROM read_parquet(?) GROUP BY ALL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSamples:
    """The samples of one attempt, and whose they are."""

    workload_key: str
    run_id: str
    attempt: int
    started_us: int
    samples: SampleColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRows:
    """Consecutive rows of a segment. row: int64[n], the number of each in the file."""

    row: Longs
    at_us: Longs
    samples: SampleColumns


class SegmentEngine:
    """DuckDB in memory, locked to one folder. Close it; not for several threads."""

    def __init__(self, folder: Path) -> None:
        import duckdb

        self._connection = duckdb.connect(":memory:", config=dict(_LOCKED))
        ask = self._connection.execute
        # it remembers files by name, and a descriptor's number comes again for another file
        ask("SET enable_external_file_cache = false")
        place = os.path.realpath(folder).replace("'", "''")
        ask(f"SET allowed_directories = ['{place}']")
        ask("SET enable_external_access = false")
        ask("SET lock_configuration = true")

    def close(self) -> None:
        """Give the memory back."""
        self._connection.close()

    def write(self, descriptor: int, attempts: Sequence[AttemptSamples]) -> None:
        """Write the attempts in their order into the open file. PermanentError if it fails."""
        import duckdb

        try:
            self._connection.register("samples", _columns(attempts))
            try:
                self._connection.execute(_WRITE.format(descriptor=descriptor, rows=ROW_GROUP_ROWS))
            finally:
                self._connection.unregister("samples")
        except duckdb.Error as error:
            raise PermanentError(one_line(error)) from error

    def rows(self, descriptor: int, first: int, last: int) -> SegmentRows:
        """Return the rows numbered first to last. DataError if the file is no segment."""
        with _told():
            place = f"/dev/fd/{descriptor:d}"
            found = self._connection.execute(_READ, [place, first, last]).fetchnumpy()
        named = {name: np.ma.getdata(column) for name, column in found.items()}
        if np.any(named["number"][1:] < named["number"][:-1]):  # DuckDB keeps their order
            order = np.argsort(named["number"], kind="stable")
            named = {name: column[order] for name, column in named.items()}
        return SegmentRows(
            row=named["number"],
            at_us=named["at_us"],
            samples=SampleColumns(
                elapsed_ms=elapsed_of(named["started_us"], named["at_us"], named["elapsed_bits"]),
                need_bytes=named["need_bytes"],
                usage_bytes=named["usage_bytes"],
                limit_bytes=named["limit_bytes"],
            ),
        )

    def attempts(self, descriptor: int) -> list[tuple[str, int, int]]:
        """Return (run_id, attempt, number of samples). DataError if the file is no segment."""
        with _told():
            place = f"/dev/fd/{descriptor:d}"
            return self._connection.execute(_READ_ATTEMPTS, [place]).fetchall()


@contextmanager
def _told() -> Iterator[None]:
    """Raise what DuckDB says about a file as DataError."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise DataError(f"it cannot be read as a segment ({one_line(error)})") from error


def one_line(error: Exception) -> str:
    """Return the first line of DuckDB's words, without what a terminal would obey."""
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    line = re.sub(r"(file )?['\"]?/dev/fd/\d+['\"]?", "the file", line)
    return "".join(c if c.isprintable() else "?" for c in line)[:160]


def _columns(attempts: Sequence[AttemptSamples]) -> dict[str, Any]:
    counts = np.array([len(each.samples) for each in attempts])

    def spread(values: list[Any], kind: Any) -> Any:
        return np.repeat(np.array(values, kind), counts)

    started_us = spread([each.started_us for each in attempts], np.int64)
    elapsed_ms = np.concatenate([each.samples.elapsed_ms for each in attempts])
    at_us = absolute_us(started_us, elapsed_ms)
    return {
        "workload_key": spread([each.workload_key for each in attempts], object),
        "run_id": spread([each.run_id for each in attempts], object),
        "attempt": spread([each.attempt for each in attempts], np.int64),
        "started_us": started_us,
        "at_us": at_us,
        "elapsed_bits": elapsed_bits(started_us, at_us, elapsed_ms),
        "need_bytes": np.concatenate([each.samples.need_bytes for each in attempts]),
        "usage_bytes": np.concatenate([each.samples.usage_bytes for each in attempts]),
        "limit_bytes": np.concatenate([each.samples.limit_bytes for each in attempts]),
    }
