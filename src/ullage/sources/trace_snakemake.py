"""Snakemake's benchmark files (`benchmark:` of a rule): one row for each run of a job.

Tab separated: s, h:m:s, max_rss, max_vms ... in MiB and seconds, "-" or "NA" for what could
not be measured. With --benchmark-extended also rule_name, wildcards, threads, resources and
input_size_mb. There is no time in it: a run ended when the file was written. A file is
written only where the job went well. Not here: what is believed (core.recorded).
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from ullage.core.errors import ConfigError
from ullage.core.recorded import FoundRun, ReadOptions, RejectedRow, clean_features
from ullage.core.units import MIB
from ullage.sources.trace_table import Row, each_found, each_row, header_of
from ullage.sources.trace_text import modified_at_s
from ullage.sources.trace_values import NOTHING, plain_number

_FOLDERS = frozenset({"benchmark", "benchmarks", "bench"})
_ENDINGS = re.compile(r"(?:[._-](?:benchmark|bench|tsv|txt|csv|log|gz|zst))+$", re.IGNORECASE)
_WILDCARD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?:,[^{}]*)?\}")
_NAMING = ("workload", "rule")
_LONGEST_OBJECT = 100_000


class SnakemakeBenchmarkReader:
    """Implements core.ports.HistoryReader."""

    format_id = "snakemake"

    def recognises(self, head: bytes) -> bool:
        """Say whether the header is s, h:m:s, max_rss ..."""
        names = header_of(head, "\t")
        return names[:2] == ["s", "h:m:s"] and "max_rss" in names

    def read(
        self, path: str, *, options: ReadOptions, tell: Callable[[int, int], None]
    ) -> Iterator[FoundRun | RejectedRow]:
        """Yield a run for each row; name and wildcards are the row's own, else the path's."""
        name, labels = named_by_path(os.path.abspath(path), options.path_pattern)
        ended_at = datetime.fromtimestamp(modified_at_s(path), UTC)
        seen: Counter[bytes] = Counter()

        def found_of(row: Row) -> FoundRun | str:
            digest = blake2b(row.text.encode("utf-8", "replace"), digest_size=10).digest()
            seen[digest] += 1
            return _found(row, name, labels, ended_at=ended_at, occurrence=seen[digest])

        yield from each_found(each_row(path, "\t", tell), found_of)


def named_by_path(path: str, pattern: str | None) -> tuple[str, dict[str, str]]:
    """Return (rule, wildcards) that the path of a benchmark file tells.

    With a `pattern` its {rule} or {workload} and its other {names}. Without one the folder
    below `benchmarks` is the rule; a file right in it, or anywhere else, is named like it.
    ConfigError for a pattern that does not fit.

    >>> named_by_path("/p/benchmarks/map/A.tsv", None), named_by_path("/p/bench/map.txt", None)
    (('map', {}), ('map', {}))
    >>> named_by_path("/p/benchmarks/A.map.txt", "benchmarks/{sample}.{rule}.txt")
    ('map', {'sample': 'A'})
    """
    if pattern is not None:
        return _fitted(path, pattern)
    folders, _, file = path.rpartition("/")
    parts = folders.split("/")
    for at in range(len(parts) - 2, -1, -1):
        if parts[at].lower() in _FOLDERS:
            return parts[at + 1], {}
    return _ENDINGS.sub("", file) or file, {}


def _fitted(path: str, pattern: str) -> tuple[str, dict[str, str]]:
    names = [match.group(1) for match in _WILDCARD.finditer(pattern)]
    rule = next((name for name in _NAMING if name in names), None)
    if rule is None or len(set(names)) != len(names) or len(pattern) > 1_000:
        raise ConfigError(
            f"--pattern {pattern[:80]!a}: name {{rule}} and each wildcard once, for example "
            "'benchmarks/{rule}/{sample}.tsv'"
        )
    pieces = _WILDCARD.split(pattern)
    expression = "".join(
        f"(?P<{piece}>[^/]+?)" if at % 2 else re.escape(piece) for at, piece in enumerate(pieces)
    )
    match = re.search(rf"(?:^|/){expression}\Z", path)
    if match is None:
        raise ConfigError(f"--pattern {pattern[:80]!a} does not fit {path[-120:]!a}")
    found = match.groupdict()
    return found.pop(rule), found


def _found(
    row: Row, name: str, labels: Mapping[str, str], *, ended_at: datetime, occurrence: int
) -> FoundRun | str:
    cells = row.cells
    runtime_s = plain_number(cells.get("s", ""))
    peak_mib = plain_number(cells.get("max_rss", ""))
    own_name = cells.get("rule_name", "").strip()
    resources = _object(cells.get("resources", ""))
    numbers: dict[str, float] = {}
    threads = plain_number(cells.get("threads", ""))
    if threads is not None and threads > 0:
        numbers["threads_count"] = threads
    sizes = [_number(size) for size in _object(cells.get("input_size_mb", "")).values()]
    if sizes and all(size is not None for size in sizes):
        numbers["input_bytes"] = sum(size or 0.0 for size in sizes) * MIB
    own = {k: str(v) for k, v in _object(cells.get("wildcards", "")).items()}
    memory_mib = _number(resources.get("mem_mib"))
    memory_mb = _number(resources.get("mem_mb"))
    limit_bytes = memory_mib * MIB if memory_mib else (memory_mb or math.nan) * 1e6
    return FoundRun(
        line=row.line,
        name=own_name if own_name not in NOTHING else name,
        identity=(row.text, str(occurrence)),
        started_at=ended_at - timedelta(seconds=min(max(runtime_s or 0.0, 0.0), 1e9)),
        is_start_guessed=True,
        runtime_s=runtime_s,
        peak_bytes=None if peak_mib is None else peak_mib * MIB,
        limit_bytes=limit_bytes if math.isfinite(limit_bytes) else None,
        exit_code=0,
        features=clean_features(numbers, {**labels, **own}, source="the Snakemake benchmark"),
    )


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]


def _object(text: str) -> Mapping[str, object]:
    """Return what a cell of the extended format holds: JSON, or Python's own notation."""
    text = text.strip()
    if not text.startswith("{") or len(text) > _LONGEST_OBJECT:
        return {}
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, OverflowError):
            continue
        if isinstance(value, dict):
            return {str(key): each for key, each in value.items()}
    return {}
