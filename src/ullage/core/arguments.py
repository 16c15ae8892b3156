"""What a command line tells before the start: which words may be inputs, numbers, threads.

Pure text. Looking at the files is `sources.inputs`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from ullage.core.command_line import Role, Word, program_name
from ullage.core.errors import ConfigError
from ullage.core.masking import mask_command
from ullage.core.recognition import names_occasion
from ullage.core.suffixes import CODE_SUFFIXES, CONFIG_SUFFIXES, suffix
from ullage.core.units import parse_bytes
from ullage.core.volatile import mask_code

MAX_PATH = 4_096
"""Longest text that may be a path (as the kernel has it)."""
MAX_NUMBER_ARGUMENTS = 8
"""A policy looks at a few features only; the first ones are the likeliest."""
_INPUT_OPTION = re.compile(
    r"(?i)(?:.*[-_.])?(?:inputs?|infiles?|in|i|data|dataset|files?|src|source|if|<)(?:[-_.].*)?"
)
_OUTPUT_OPTION = re.compile(
    r"(?i)(?:.*[-_.])?(?:output.*|out.*|o|of|dest|destination|sink|target|logs?|logfile|te?mp|"
    r"te?mpdir|temp[-_]location|staging[-_]location|cache|cachedir|work[-_]?dir|chdir|cwd|c|config|"
    r"conf|classpath|cp|lib|jars?|requirements|venv|prefix|pidfile|checkpoint.*|"
    r"[&0-9]?>{1,2}[|&]?|&>>?)"
)
_NO_INPUT = CODE_SUFFIXES | CONFIG_SUFFIXES
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


def input_candidates(words: Sequence[Word]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (named by an input option, everything else) as (text, option or "").

    Programs, scripts, code, settings and outputs are left out.
    """
    explicit: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    destinations = _destinations(words)
    for at, word in enumerate(words):
        if word.role not in (Role.VALUE, Role.POSITIONAL) or len(word.text) > MAX_PATH:
            continue
        if not word.text or suffix(word.text) in _NO_INPUT or at in destinations:
            continue
        if word.role is Role.VALUE and _OUTPUT_OPTION.fullmatch(word.option):
            continue
        is_named = word.role is Role.VALUE and _INPUT_OPTION.fullmatch(word.option)
        (explicit if is_named else others).append((word.text, word.option))
    return explicit, others


def _destinations(words: Sequence[Word]) -> set[int]:
    """Return where the last positionals of copying programs are: they are written to."""
    found: set[int] = set()
    is_copying, last = False, -1
    for at, word in enumerate(words):
        if word.role is Role.PROGRAM:
            is_copying, last = program_name(word.text) in _COPIES, -1
        elif word.role is Role.POSITIONAL and is_copying:
            found.discard(last)
            found.add(at)
            last = at
    return found


def number_arguments(words: Sequence[Word]) -> Iterator[tuple[str, float, str]]:
    """Yield (name, value, source) of up to MAX_NUMBER_ARGUMENTS numbers among the arguments.

    Recognition masks them, so that a run on more rows is the same workload; here they
    come back as what they are. Dates, ids and thread counts are none.
    """
    found: set[str] = set()
    bare_count = 0
    for word in words:
        if word.role not in (Role.VALUE, Role.POSITIONAL) or len(word.text) > 40:
            continue
        if names_occasion(word.option) or mask_code(word.text) != word.text:
            continue
        number = number_of(word.text)
        if number is None:
            continue
        if word.role is Role.POSITIONAL:
            bare_count += 1
        option = re.sub(r"[^a-z0-9]+", "_", word.option[:60].lower()).strip("_")
        name = f"arg_{option or bare_count}"
        if name not in found:
            found.add(name)
            yield name, number, label_of(word.text, word.option)
        if len(found) >= MAX_NUMBER_ARGUMENTS:
            return


def number_of(text: str) -> float | None:
    """Return the number that `text` is, quantities in bytes; None for anything else."""
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    try:
        return float(parse_bytes(text))
    except ConfigError:
        return None


def threads_count(words: Sequence[Word], environ: Mapping[str, str]) -> tuple[float, str] | None:
    """Return (threads, where it was said) from options, else the environment, else None."""
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


def label_of(text: str, option: str) -> str:
    """Return an argument as a person would name it, secrets masked: '--input orders.csv'."""
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    if not option:
        return shown
    name = option if option.startswith("<") else f"{'-' if len(option) == 1 else '--'}{option}"
    return f"{name} {mask_command([name, shown])[1]}"
