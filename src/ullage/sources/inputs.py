"""What can be known of a run before it starts: sizes of its inputs, threads, user features.

Looks at the files that a command line names; opens none of them. Not covered: inputs
that the program finds by itself, and remote ones (gs://, s3://): give those by
`--feature input_bytes=12GiB`.
"""

from __future__ import annotations

import glob
import math
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from posixpath import join
from urllib.parse import unquote

from ullage.core.arguments import (
    input_candidates,
    label_of,
    number_arguments,
    number_of,
    threads_count,
)
from ullage.core.command_line import dissect
from ullage.core.errors import ConfigError
from ullage.core.ids import check_name
from ullage.core.masking import mask_labels
from ullage.core.workload import Features

MAX_ENTRIES = 20_000
"""Arguments, directory entries and matches looked at: bounds the cost."""
MAX_S = 0.5
"""Seconds after which the search stops, whatever is left."""


def measure_inputs(
    argv: Sequence[str],
    cwd: str,
    *,
    environ: Mapping[str, str] | None = None,
    stdin_fd: int | None = None,
    max_entries: int = MAX_ENTRIES,
    max_s: float = MAX_S,
) -> Features:
    """Return the features that the command line and the files it names tell.

    numbers: input_bytes (total of the input files' sizes), input_files_count,
        threads_count; each only where something was found; and the numbers among the
        arguments, `--rows 1e6` as arg_rows, the first bare number as arg_1. sources says from what,
        what was cut short after `max_entries` or `max_s`, and what could not be read.
    environ: where OMP_NUM_THREADS and its like are looked up, if given.
    stdin_fd: counted too where it is a regular file (`ullage run -- sort < big.csv`).

    Where options such as --input name existing files only those (and standard input)
    count, else every argument that is a file, a folder or a glob. Scripts, code, settings
    and outputs do not count, nor do devices, sockets and pipes. Never fails.
    """
    words = dissect(argv[:MAX_ENTRIES])
    search = _Search(cwd=cwd, max_entries=max_entries, deadline_s=time.monotonic() + max_s)
    search.is_cut = len(argv) > MAX_ENTRIES
    search.standard_input(stdin_fd)
    explicit, others = input_candidates(words)
    search.look_at(explicit)
    if not search.files_count and not search.unreadable:
        search.look_at(others)
    numbers: dict[str, float] = {}
    sources: dict[str, str] = {}
    if search.files_count:
        numbers["input_bytes"] = float(search.total_bytes)
        numbers["input_files_count"] = float(search.files_count)
        sources["input_files_count"] = search.in_words()
    if search.files_count or search.unreadable:
        sources["input_bytes"] = search.in_words()
    for name, number, source in number_arguments(words):
        numbers[name], sources[name] = number, source
    threads = threads_count(words, environ or {})
    if threads is not None:
        numbers["threads_count"], sources["threads_count"] = threads
    return Features(numbers=numbers, sources=sources)


def parse_feature(text: str) -> Features:
    """Return the one feature that `--feature text` gives.

    "rows=1e6" and "size=4GiB" (then in bytes) are numbers, anything else is a label.
    Raises ConfigError without a name or a value, for a name that `check_name` refuses,
    and for values that are not finite, not printable or longer than 200 characters.

    >>> parse_feature("size=4GiB").numbers, parse_feature("mode=full").labels
    ({'size': 4294967296.0}, {'mode': 'full'})
    """
    name, equals, value = text.partition("=")
    value = value.strip()
    if not equals or not name or not value:
        raise ConfigError(
            f"--feature {text[:60]!a}: write NAME=VALUE, for example --feature rows=1e6"
        )
    check_name(name, what="feature name")
    if len(value) > 200 or not value.isprintable():
        raise ConfigError(f"--feature {name}: the value must be printable, 1..200 characters")
    sources = {name: f"--feature {name}"}
    number = _number(value, name)
    if number is not None:
        return Features(numbers={name: number}, sources=sources)
    return Features(labels=mask_labels({name: value}), sources=sources)


def merge_features(base: Features, given: Iterable[Features]) -> Features:
    """Return `base` and all `given` together; where a name occurs twice the later one counts.

    A later label replaces an earlier number of the same name, and the other way round.
    """
    numbers: dict[str, float] = {}
    labels: dict[str, str] = {}
    sources: dict[str, str] = {}
    for each in (base, *given):
        for name in (*each.numbers, *each.labels):
            numbers.pop(name, None)
            labels.pop(name, None)
        numbers.update(each.numbers)
        labels.update(each.labels)
        sources.update(each.sources)
    return Features(numbers=numbers, labels=labels, sources=sources)


def _number(value: str, name: str) -> float | None:
    try:
        is_finite = math.isfinite(float(value))
    except ValueError:
        is_finite = True
    if not is_finite:
        raise ConfigError(f"--feature {name}: {value[:40]} is not finite; leave the feature out")
    return number_of(value)


@dataclass(slots=True, kw_only=True)
class _Search:
    """The files found so far, and the means left to find more."""

    cwd: str
    max_entries: int
    deadline_s: float
    total_bytes: int = 0
    files_count: int = 0
    unreadable: int = 0
    is_cut: bool = False
    found_at: list[str] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)
    _entries: int = 0

    def look_at(self, candidates: Iterable[tuple[str, str]]) -> None:
        """Count what each (text, option that names it) points at."""
        for text, option in candidates:
            before = self.files_count + self.unreadable
            for path in _paths(text):
                if self._may_go_on():
                    self._visit(path if path.startswith("/") else join(self.cwd, path))
            if self.files_count + self.unreadable > before and len(self.found_at) < 4:
                self.found_at.append(label_of(text, option))

    def standard_input(self, fd: int | None) -> None:
        """Count a regular file given as standard input."""
        if fd is None:
            return
        try:
            status = os.fstat(fd)
        except OSError:
            return
        if stat.S_ISREG(status.st_mode) and self._count(status):
            self.found_at.append("standard input")

    def in_words(self) -> str:
        """Return what was found where, in words."""
        text = ", ".join(self.found_at) or "the arguments"
        if self.files_count:
            text += f": {self.files_count} file{'s' if self.files_count > 1 else ''}"
        if self.unreadable:
            text += f", {self.unreadable} unreadable"
        if self.is_cut:
            text += f"; at least: the search was cut after {self._entries} entries"
        return text

    def _visit(self, path: str) -> None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            if glob.has_magic(path):
                self._visit_matches(path)
            return
        except PermissionError:
            self.unreadable += 1
            return
        except (OSError, ValueError):  # too long a name, a loop of links, a null byte
            return
        if stat.S_ISDIR(status.st_mode):
            self._visit_folder(path)
        elif stat.S_ISREG(status.st_mode):
            self._count(status)

    def _visit_matches(self, pattern: str) -> None:
        matches = glob.iglob(pattern, recursive=True)
        for path in islice(matches, self.max_entries):
            if not self._may_go_on():
                return
            try:
                status = os.stat(path)
            except OSError:
                self.unreadable += 1
                continue
            if stat.S_ISREG(status.st_mode):
                self._count(status)
            elif stat.S_ISDIR(status.st_mode) and "**" not in pattern:
                self._visit_folder(path)

    def _visit_folder(self, folder: str) -> None:
        waiting = [folder]
        while waiting:
            try:
                entries = os.scandir(waiting.pop())
            except OSError:
                self.unreadable += 1
                continue
            with entries:
                for entry in entries:
                    if not self._may_go_on():
                        return
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        elif entry.is_file():
                            self._count(entry.stat())
                    except OSError:
                        self.unreadable += 1

    def _may_go_on(self) -> bool:
        self._entries += 1
        out_of_time = self._entries % 64 == 0 and time.monotonic() > self.deadline_s
        if self._entries > self.max_entries or out_of_time:
            self._entries = min(self._entries, self.max_entries)
            self.is_cut = True
            return False
        return True

    def _count(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        self.total_bytes += status.st_size
        self.files_count += 1
        return True


def _paths(text: str) -> Iterator[str]:
    """Yield the paths that one argument may name: itself, a file:// address, a comma list."""
    for part in [text] if "," not in text or os.path.lexists(text) else text.split(","):
        if part.startswith("file://"):
            address = part.removeprefix("file://")
            yield unquote(address.removeprefix("localhost"))
        elif part and "://" not in part:
            yield os.path.expanduser(part) if part.startswith("~") else part
