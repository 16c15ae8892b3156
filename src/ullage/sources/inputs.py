"""What can be known of a run before it starts: sizes of its inputs, threads, user features.

Looks at the files that a command line names; opens none of them. Not covered: inputs
that the program finds by itself, and remote ones (gs://, s3://): give those by
`--feature input_bytes=12GiB`.
"""

from __future__ import annotations

import glob
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from posixpath import join
from urllib.parse import unquote

from ullage.core.command_line import Role, Word, dissect, program_name
from ullage.core.errors import ConfigError
from ullage.core.ids import check_name
from ullage.core.masking import mask_command
from ullage.core.suffixes import CODE_SUFFIXES, CONFIG_SUFFIXES, suffix
from ullage.core.units import parse_bytes
from ullage.core.workload import Features

MAX_ENTRIES = 20_000
"""Directory entries and matches looked at, over all arguments: bounds the cost."""
MAX_S = 0.5
"""Seconds after which the search stops, whatever is left."""
_MAX_WORDS = 5_000
_MAX_PATH = 4_096

_INPUT_OPTION = re.compile(
    r"(?i)(?:.*[-_.])?(?:inputs?|infiles?|in|i|data|dataset|files?|src|source|if|<)(?:[-_.].*)?"
)
_OUTPUT_OPTION = re.compile(
    r"(?i)(?:.*[-_.])?(?:output.*|out.*|o|of|dest|destination|sink|target|logs?|logfile|te?mp|"
    r"te?mpdir|temp[-_]location|staging[-_]location|cache|cachedir|work[-_]?dir|chdir|cwd|c|config|"
    r"conf|classpath|cp|lib|jars?|requirements|venv|prefix|pidfile|checkpoint.*|"
    r"[&0-9]?>{1,2}[|&]?|&>>?)"
)
_COPIES = frozenset({"cp", "mv", "install", "ln", "rsync", "scp"})
"""Programs whose last argument is where they write to."""
_THREADS_OPTION = re.compile(
    r"(?i)(?:t|j|threads?|jobs|n[-_]?jobs|num[-_]threads|nthreads|cpus|ncpus|cores|nproc|n[-_]?proc|"
    r"workers|num[-_]workers|parallel|parallelism|direct[-_]num[-_]workers|"
    r"number[-_]of[-_]worker[-_]harness[-_]threads)"
)
_THREADS_VARIABLES = (
    "OMP_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_LOOKS_NUMERIC = re.compile(r"[-+]?(?:nan|inf|infinity)", re.IGNORECASE)


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
        threads_count; each only where something was found. sources says from what, what
        was cut short after `max_entries` or `max_s`, and what could not be read.
    environ: where OMP_NUM_THREADS and its like are looked up, if given.
    stdin_fd: counted too where it is a regular file (`ullage run -- sort < big.csv`).

    Where options such as --input name existing files only those (and standard input)
    count, else every argument that is a file, a folder or a glob. Scripts, code, settings
    and outputs do not count, nor do devices, sockets and pipes. Never fails.
    """
    words = dissect(argv[:_MAX_WORDS])
    search = _Search(cwd=cwd, max_entries=max_entries, deadline_s=time.monotonic() + max_s)
    search.standard_input(stdin_fd)
    explicit, others = _candidates(words)
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
    threads = _threads(words, environ or {})
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
    masked = mask_command([f"--{name}={value}"])[0].partition("=")[2]
    return Features(labels={name: masked}, sources=sources)


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
    if _LOOKS_NUMERIC.fullmatch(value):
        raise ConfigError(f"--feature {name}: {value} is not finite; leave the feature out")
    if _NUMBER.fullmatch(value):
        number = float(value)
        if not math.isfinite(number):
            raise ConfigError(f"--feature {name}: {value[:40]} is too large")
        return number
    try:
        return float(parse_bytes(value))
    except ConfigError:
        return None


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
        """Count what each (text, how it was named) points at."""
        for text, label in candidates:
            before = self.files_count + self.unreadable
            for path in _paths(text):
                self._visit(path if path.startswith("/") else join(self.cwd, path))
            if self.files_count + self.unreadable > before and len(self.found_at) < 4:
                self.found_at.append(label)

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


def _candidates(words: Sequence[Word]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (named by an input option, everything else) as (text, how it was named)."""
    explicit: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for at, word in enumerate(words):
        if word.role not in (Role.VALUE, Role.POSITIONAL) or len(word.text) > _MAX_PATH:
            continue
        if not word.text or suffix(word.text) in CODE_SUFFIXES | CONFIG_SUFFIXES:
            continue
        if word.role is Role.POSITIONAL:
            if not _is_destination(words, at):
                others.append((word.text, _label("", word.text)))
        elif _OUTPUT_OPTION.fullmatch(word.option):
            continue
        elif _INPUT_OPTION.fullmatch(word.option):
            explicit.append((word.text, _label(word.option, word.text)))
        else:
            others.append((word.text, _label(word.option, word.text)))
    return explicit, others


def _is_destination(words: Sequence[Word], at: int) -> bool:
    """Say whether the positional `words[at]` is where a copying program writes to."""
    program = next((w for w in reversed(words[:at]) if w.role is Role.PROGRAM), None)
    if program is None or program_name(program.text) not in _COPIES:
        return False
    rest = words[at + 1 :]
    end = next((i for i, w in enumerate(rest) if w.role is Role.OPERATOR), len(rest))
    return all(w.role is not Role.POSITIONAL for w in rest[:end])


def _label(option: str, text: str) -> str:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    if not option:
        return shown
    dashes = "" if option.startswith("<") else "-" if len(option) == 1 else "--"
    return mask_command([f"{dashes}{option}", shown])[1].join((f"{dashes}{option} ", ""))


def _paths(text: str) -> Iterator[str]:
    """Yield the paths that one argument may name: itself, a file:// address, a comma list."""
    for part in [text] if "," not in text or os.path.lexists(text) else text.split(","):
        if part.startswith("file://"):
            address = part.removeprefix("file://")
            yield unquote(address.removeprefix("localhost"))
        elif part and "://" not in part:
            yield os.path.expanduser(part) if part.startswith("~") else part


def _threads(words: Sequence[Word], environ: Mapping[str, str]) -> tuple[float, str] | None:
    for word in words:
        if word.role is Role.VALUE and _THREADS_OPTION.fullmatch(word.option):
            count = _count_of(word.text)
            if count is not None:
                return count, f"option {word.option}"
    given = {w.option: w.text for w in words if w.role is Role.ENVIRONMENT}
    for name in _THREADS_VARIABLES:
        count = _count_of(given.get(name, environ.get(name, "")))
        if count is not None:
            return count, f"environment variable {name}"
    return None


def _count_of(text: str) -> float | None:
    is_count = text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_536
    return float(text) if is_count else None
