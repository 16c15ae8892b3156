"""Masks the parts of text that change from run to run: dates, ids, temporary names, counters.

Pure text, in time linear in its length. A mask is a word in angle brackets: <date>, <time>,
<id> (a UUID or a hash), <tmp>, <n> (a counter or a long number).
"""

from __future__ import annotations

import re
from posixpath import splitext

_NOT_BEFORE = r"(?<![0-9A-Za-z])"
_NOT_AFTER = r"(?![0-9A-Za-z])"
_YEAR, _MONTH, _DAY = r"(?:19|20)[0-9]{2}", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"[0-9]{2}[:-]?[0-9]{2}(?:[:-]?[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_DATES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.ASCII), name)
    for pattern, name in (
        (rf"(?<![0-9]){_YEAR}([-_./]?){_MONTH}\1{_DAY}[T _-]?{_CLOCK}(?![0-9])", "<time>"),
        (rf"(?<![0-9]){_YEAR}([-_./]?){_MONTH}\1{_DAY}(?![0-9])", "<date>"),
        (rf"(?<![0-9]){_DAY}([-_./]){_MONTH}\1{_YEAR}(?![0-9])", "<date>"),
        (rf"(?<![0-9]){_MONTH}([-_./]){_DAY}\1{_YEAR}(?![0-9])", "<date>"),
        (rf"(?<![0-9]){_YEAR}-(?:{_MONTH}|W[0-5][0-9]|Q[1-4])(?![0-9-])", "<date>"),
        (r"(?<![0-9:])[0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?Z?(?![0-9:])", "<time>"),
        (r"(?<![0-9])1[0-9]{9}(?:[0-9]{3}){0,3}(?:\.[0-9]+)?(?![0-9])", "<time>"),
    )
)
_UUID = re.compile(
    rf"{_NOT_BEFORE}[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}{_NOT_AFTER}",
    re.ASCII | re.IGNORECASE,
)
_HEX = re.compile(rf"{_NOT_BEFORE}(?:0x)?[0-9a-f]{{8,}}{_NOT_AFTER}", re.ASCII | re.IGNORECASE)
_TEMP_ROOT = r"/(?:private/)?(?:var/)?tmp|/dev/shm|/var/folders|/run/user/[0-9]+"
_TEMP_PATH = re.compile(rf"(?<![\w.])(?:{_TEMP_ROOT})/[^\s'\",;:|&<>()]+", re.ASCII)
_IN_TEMP = re.compile(rf"(?:{_TEMP_ROOT})(?:/|$)", re.ASCII)
_MKTEMP = re.compile(
    rf"{_NOT_BEFORE}(?:[Tt]e?mp[._-][A-Za-z0-9_]{{6,}}|tmp(?=[a-z0-9_]*[0-9_])[a-z0-9_]{{8}})"
    rf"{_NOT_AFTER}",
    re.ASCII,
)
_COUNTED = re.compile(
    r"(?<![A-Za-z])(run|job|task|attempt|try|part|shard|batch|chunk|pid|build|exec)"
    r"([-_:#=.]?)[0-9]+(?![0-9A-Za-z])",
    re.ASCII | re.IGNORECASE,
)
_LONG_NUMBER = re.compile(r"[0-9]{5,}", re.ASCII)
_VERSION = re.compile(r"[-_]v?[0-9]+(?:\.[0-9A-Za-z]+)+(?:-SNAPSHOT)?(?=[-_]|$)", re.ASCII)
_COUNTER_END = re.compile(r"[-_.][0-9]+(?=/|$)", re.ASCII)


def mask_code(text: str) -> str:
    """Mask temporary paths, dates, ids; numbers stay: two programs may differ by one."""
    return _HEX.sub(_hex, _mask_dates(_UUID.sub("<id>", _TEMP_PATH.sub("<tmp>", text))))


def _mask_dates(text: str) -> str:
    for pattern, name in _DATES:
        text = pattern.sub(name, text)
    return text


def mask_word(text: str) -> str:
    """Mask what changes inside a word that is no path and no number."""
    text = _MKTEMP.sub("<tmp>", mask_code(text))
    return _LONG_NUMBER.sub("<n>", _COUNTED.sub(r"\1\2<n>", text))


def _hex(match: re.Match[str]) -> str:
    text = match.group()
    is_mixed = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    return "<id>" if is_mixed else text


def mask_place(path: str) -> str:
    """Return a path that says which script: folders masked, the name kept.

    A date, a hash, an id in a folder's name is a release of the same script, and so is the
    version of a jar or wheel. Below a temporary folder counters and mktemp names are
    masked too, also in the name.
    """
    folders, _, name = path.rpartition("/")
    folders = _HEX.sub(_hex, _mask_dates(_UUID.sub("<id>", folders)))
    folders = _MKTEMP.sub("<tmp>", folders)
    if _IN_TEMP.match(path):
        folders = _COUNTER_END.sub("-<n>", folders)
        stem, end = splitext(name)
        is_random = is_random_name(name)
        name = "<tmp>" if is_random else ("<tmp>" if is_random_name(stem) else stem) + end
    if name.endswith((".jar", ".war", ".whl")):
        name = _VERSION.sub("", splitext(name)[0]) + splitext(name)[1]
    return f"{folders}/{name}" if folders or path.startswith("/") else name


def mask_folder(path: str) -> str:
    """Return a working folder: all temporary ones are alike."""
    return "<tmp>" if _IN_TEMP.match(path) else mask_place(f"{path}/")


def is_random_name(text: str) -> bool:
    """Say whether `text` is a name that mktemp or a UUID generator made up."""
    return bool(_MKTEMP.fullmatch(text) or _UUID.fullmatch(text))
