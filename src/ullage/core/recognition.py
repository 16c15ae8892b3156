"""Which workload a command is: a key that stays the same while dates and inputs change.

Pure: nothing is looked up on disk. What says *which* program runs is kept (the script,
the module, option names, words); what differs between two runs of the same thing is
masked (dates, ids, temporary names, numbers, input and output paths). Numbers and inputs
are not lost: they become features of the run (see `sources.inputs`).

Two different scripts never share a key, but for copies of one script whose *place*
differs by a date, a hash or a temporary name. Where the guess is wrong, `--name` decides.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from posixpath import basename, isabs, join, normpath, splitext

from ullage.core.command_line import Role, Word, dissect, is_interpreter, program_name
from ullage.core.ids import check_name
from ullage.core.masking import mask_command
from ullage.core.suffixes import CODE_SUFFIXES, CONFIG_SUFFIXES, DATA_SUFFIXES, suffix
from ullage.core.volatile import is_random_name, mask_code, mask_folder, mask_place, mask_word
from ullage.core.workload import Workload

_MAX_WORD = 4_096
"""Characters of an ordinary word that count; code and scripts count wholly."""
_SHOWN_WORDS = 64
_SHOWN_WORD = 200

_NUMBER = re.compile(
    r"[-+]?[0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?(?:[KMGTP]i?B?|B|%|ms|s|m|h|d)?", re.ASCII
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20})://([^/?#]*)([^?#]*)", re.ASCII)

_FREE_OPTION = re.compile(
    r"(?i)(?:.*[-_.])?(date|day|month|year|hour|time|timestamp|since|until|from|to|start|end|seed|"
    r"run[-_]?id|job[-_]?(?:id|name)|task[-_]?id|execution[-_]?date|pid|port|threads?|jobs|cpus|"
    r"workers|j|uuid|request[-_]?id|trace[-_]?id)"
)
_FILE_OPTION = re.compile(r"(?i)(?:^|[-_.])(?:in|input|out|output|file|path|data|src|dest)")
_SYSTEM_FOLDERS = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/")


def recognise(name: str | None, argv: Sequence[str], cwd: str) -> Workload:
    """Return the workload that `argv`, started in `cwd`, is a run of.

    With a `name` that is the key (ConfigError if it is not allowed). Without one the key
    is 'w-' + a readable slug + 10 hexadecimal digits of what was kept. `key_reason` says
    in words what was kept and what was masked; `command` is the masked command line.
    Never fails on hostile words: surrogates, newlines, a megabyte of text.

    >>> a = recognise(None, ["python3", "etl.py", "--day", "2026-11-23"], "/srv")
    >>> b = recognise(None, ["/opt/py/bin/python3.11", "etl.py", "--day", "2026-11-24"], "/srv")
    >>> a.key == b.key, a.command
    (True, ('python', '/srv/etl.py', '--day', '<value>'))
    """
    words = dissect(mask_command(list(argv)))
    tokens, masked = _tokens(words, cwd)
    command = _shown(tokens)
    if name is not None:
        return Workload(key=check_name(name), key_reason="named by --name", command=command)
    place = "" if _has_own_place(words) else mask_folder(normpath(cwd))
    parts = [place, *tokens]
    joined = b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
    digest = hashlib.sha256(joined).hexdigest()[:10]
    return Workload(
        key=f"w-{_slug(words)}-{digest}",
        key_reason=_key_reason(words, place, masked),
        command=command,
    )


def _tokens(words: Sequence[Word], cwd: str) -> tuple[list[str], Counter[str]]:
    tokens: list[str] = []
    masked: Counter[str] = Counter()
    paths: list[str] = []  # consecutive paths are one token: a glob gives 1 or 1,000 of them
    for word in words:
        if word.role is Role.PREFIX:
            continue
        token = _token(word, cwd)
        for kind in re.findall(r"<([a-z]+)", token) if token != word.text else ():
            masked[kind] += 1
        if word.role is Role.POSITIONAL and token.startswith("<path"):
            paths.append(token)
            continue
        tokens.extend(sorted(set(paths)))
        paths = []
        tokens.append(token)
    tokens.extend(sorted(set(paths)))
    return tokens, masked


def _token(word: Word, cwd: str) -> str:
    match word.role:
        case Role.PROGRAM:
            return _program(word.text, cwd)
        case Role.SCRIPT:
            return mask_place(_absolute(word.text, cwd))
        case Role.CODE:
            return mask_code(word.text)
        case Role.VALUE if _varies(word):
            return "<value>"
        case Role.VALUE | Role.POSITIONAL:
            return _shape(word.text[:_MAX_WORD], word.option, cwd)
        case Role.ENVIRONMENT:
            return f"{word.option}={_shape(word.text[:_MAX_WORD], word.option, cwd)}"
        case _:
            return word.text[:_MAX_WORD]


def names_occasion(option: str) -> bool:
    """Say whether an option's value tells one run from another: dates, ids, ports, threads.

    >>> names_occasion("execution_date"), names_occasion("mode")
    (True, False)
    """
    return _FREE_OPTION.fullmatch(option) is not None


def _varies(word: Word) -> bool:
    has_digit = any(character.isdigit() for character in word.text[:_MAX_WORD])
    return has_digit and names_occasion(word.option) and not _is_path(word.text)


def _program(text: str, cwd: str) -> str:
    if "/" not in text or is_interpreter(text) or text.startswith(_SYSTEM_FOLDERS):
        return program_name(text)
    return mask_place(_absolute(text, cwd))


def _absolute(path: str, cwd: str) -> str:
    return normpath(path if isabs(path) else join(cwd, path))


def _shape(text: str, option: str, cwd: str) -> str:
    """Return what of an argument recurs: its kind for numbers and paths, else its words."""
    if len(text) <= 40 and _NUMBER.fullmatch(text):
        return "<number>"
    parts = text.split(",")
    if len(parts) > 1 and all(_is_path(part) for part in parts if part):
        return "|".join(sorted({_path_shape(part, cwd) for part in parts if part})) or "<path>"
    url = _URL.fullmatch(text)
    if url and url.group(1) != "file":
        end = suffix(url.group(3))
        return f"<url {url.group(1)}://{mask_word(url.group(2))}{' ' + end if end else ''}>"
    if _is_path(text) or (_names_file(option) and suffix(text)):
        return _path_shape(text, cwd)
    return mask_word(text)


def _path_shape(path: str, cwd: str) -> str:
    end = suffix(path)
    if end in CODE_SUFFIXES or end in CONFIG_SUFFIXES:
        return mask_place(_absolute(path, cwd))
    return f"<path {end.lower()}>" if end else "<path>"


def _is_path(text: str) -> bool:
    if text.startswith(("/", "./", "../", "~", "file://")):
        return True
    if "://" in text or "\n" in text or len(text) > _MAX_WORD:
        return False
    end = suffix(text)
    known = f".{end.rpartition('.')[2].lower()}" in DATA_SUFFIXES or end in CODE_SUFFIXES
    return known or end in CONFIG_SUFFIXES or ("/" in text and " " not in text)


def _names_file(option: str) -> bool:
    return _FILE_OPTION.search(option) is not None


def _has_own_place(words: Sequence[Word]) -> bool:
    """Say whether a script's absolute path already tells where the command belongs."""
    for word in words:
        if word.role is Role.SCRIPT:
            return True
        if word.role is Role.PROGRAM and "/" in _program(word.text, "/"):
            return True
    return False


def _subject(words: Sequence[Word]) -> Word | None:
    """Return the word that names the thing best: a script, a module, else the program."""
    for role in (Role.SCRIPT, Role.MODULE, Role.PROGRAM):
        for word in words:
            if word.role is role:
                return word
    return None


def _slug(words: Sequence[Word]) -> str:
    subject = _subject(words)
    if subject is None:
        return "command"
    text = basename(mask_place(program_name(subject.text[-_MAX_WORD:])))
    stem = text if subject.role is Role.MODULE else splitext(text)[0]
    if is_random_name(stem):
        stem = "script"
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower(), flags=re.ASCII).strip("-")[:40].strip("-")
    return slug or "command"


def _key_reason(words: Sequence[Word], place: str, masked: Counter[str]) -> str:
    subject = _subject(words)
    kept = "the command line"
    if subject is not None:
        kept = f"the {subject.role.value} {_clip(basename(subject.text) or subject.text, 80)!a}"
    options = list(dict.fromkeys(w.text for w in words if w.role is Role.OPTION))
    if options:
        shown = " ".join(_clip(option, 40) for option in options[:6])
        kept += f", its options ({ascii(shown)[1:-1]}{' ...' if len(options) > 6 else ''})"
    if any(w.role in (Role.POSITIONAL, Role.VALUE) for w in words):
        kept += ", its words"
    if place:
        kept += f" and the folder {_clip(place, 120)!a}"
    names = {"n": "counter", "tmp": "temporary name", "url": "address", "id": "id or hash"}
    masked_words = [
        f"{count} {names.get(kind, kind)}{'s' if count > 1 else ''}"
        for kind, count in sorted(masked.items())
    ]
    return f"kept {kept}; masked " + (", ".join(masked_words) or "nothing")


def _shown(tokens: Sequence[str]) -> tuple[str, ...]:
    shown = [
        _clip(token, _SHOWN_WORD).encode("utf-8", "backslashreplace").decode("utf-8")
        for token in tokens[:_SHOWN_WORDS]
    ]
    if len(tokens) > _SHOWN_WORDS:
        shown.append(f"... {len(tokens) - _SHOWN_WORDS} more")
    return tuple(shown)


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
