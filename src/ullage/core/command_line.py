"""The anatomy of a command line: which word is the program, the script, an option, a value.

Pure text: nothing is looked up on disk. Covers prefixes (env, nice, timeout, uv run),
interpreters (python, sh, java ...), `sh -c 'text'` (whose words are taken apart too) and
options with their values. It guesses where only the program could know (whether
`--verbose x` gives x to --verbose); both readers, `core.recognition` and
`sources.inputs`, are built to survive a wrong guess. Not covered: expanding variables,
aliases, here-documents.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from posixpath import basename

from ullage.core.suffixes import CODE_SUFFIXES, suffix

MAX_SHELL_TEXT = 16_384
"""Longest `sh -c` text that is taken apart; a longer one is a script of its own."""

_MAX_DEPTH = 3


class Role(StrEnum):
    """What a word does."""

    PREFIX = "prefix"
    """A program (or an option of it) that starts another one: env, nice, timeout."""
    ENVIRONMENT = "environment"
    """NAME=value before a program; `option` is the name."""
    PROGRAM = "program"
    SCRIPT = "script"
    """A file of code that the program runs."""
    MODULE = "module"
    CODE = "code"
    """Program text given on the command line."""
    OPTION = "option"
    VALUE = "value"
    """The value of the option or key named in `option`."""
    POSITIONAL = "positional"
    OPERATOR = "operator"
    """A shell operator between two commands: ; | && ||"""


@dataclass(frozen=True, slots=True)
class Word:
    """One word, its role, and for a value the option's name without dashes."""

    text: str
    role: Role
    option: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interpreter:
    """Options of an interpreter that come before its script."""

    takes_value: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    module: frozenset[str] = frozenset()
    script: frozenset[str] = frozenset()
    is_shell: bool = False
    flags_matter: bool = True
    """Whether options before the script may change its memory (java -Xmx4g)."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHELL = _Interpreter(takes_value=_words("-o +o -O --rcfile --init-file"), is_shell=True)
_PYTHON = _Interpreter(
    takes_value=_words("-W -X"), code=_words("-c"), module=_words("-m"), flags_matter=False
)
_INTERPRETERS = {
    "python": _PYTHON,
    "pypy": _PYTHON,
    "bash": _SHELL,
    "sh": _SHELL,
    "dash": _SHELL,
    "zsh": _SHELL,
    "ksh": _SHELL,
    "perl": _Interpreter(takes_value=_words("-I"), code=_words("-e -E -ne -pe -lne")),
    "ruby": _Interpreter(takes_value=_words("-I -r"), code=_words("-e")),
    "node": _Interpreter(takes_value=_words("-r --require"), code=_words("-e -p --eval --print")),
    "Rscript": _Interpreter(code=_words("-e")),
    "julia": _Interpreter(
        takes_value=_words("-t --threads -p -L --load"), code=_words("-e -E --eval")
    ),
    "php": _Interpreter(takes_value=_words("-d -c"), code=_words("-r"), script=_words("-f")),
    "java": _Interpreter(
        takes_value=_words("-cp -classpath --class-path -p --module-path --add-modules"),
        module=_words("-m --module"),
        script=_words("-jar"),
    ),
}
_VERSIONED = re.compile(r"(python|pypy|perl|ruby|php|node)[0-9][0-9.]*[a-z]?", re.ASCII)

_PREFIXES: dict[str, tuple[frozenset[str], int]] = {
    "env": (_words("-u --unset -C --chdir"), 0),
    "nice": (_words("-n --adjustment"), 0),
    "ionice": (_words("-c -n --class --classdata"), 0),
    "timeout": (_words("-s -k --signal --kill-after"), 1),
    "time": (_words("-f -o --format --output"), 0),
    "stdbuf": (_words("-i -o -e --input --output --error"), 0),
    "taskset": (frozenset(), 1),
    "chrt": (frozenset(), 1),
    "numactl": (frozenset(), 0),
    "nohup": (frozenset(), 0),
    "setsid": (frozenset(), 0),
    "exec": (_words("-a"), 0),
    "command": (frozenset(), 0),
    "sudo": (_words("-u -g -C -D -h -p -U --user --group --chdir"), 0),
    "doas": (_words("-u -C"), 0),
    "xvfb-run": (_words("-n -s -e -f"), 0),
}
"""Program -> (its options with a value, how many of its own positionals come first)."""

_RUNNERS = _words("uv poetry pipenv pdm hatch rye conda mamba micromamba pixi")
_RUNNER_VALUES = _words("-n --name -p --prefix --with --python --project --directory --extra -e")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
_KEY_VALUE = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,60})=(.+)", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SHORT_GLUED = re.compile(r"(-[A-Za-z])([0-9]+)", re.ASCII)
_OPERATORS = frozenset({";", "|", "||", "&&", "&", "|&", "(", ")", ";;"})
_REDIRECTIONS = frozenset({"<", ">", ">>", ">|", "&>", ">&", "&>>", "<>"})


def dissect(argv: Sequence[str]) -> list[Word]:
    """Return the words of `argv` with their roles, in order.

    A word `--name=value` becomes two, an option and its value. An empty `argv` gives
    an empty list. Never fails, whatever the words hold.

    >>> [(w.text, w.role.value) for w in dissect(["python3", "etl.py", "--day=3"])]
    [('python3', 'program'), ('etl.py', 'script'), ('--day', 'option'), ('3', 'value')]
    """
    return list(_command(list(argv), 0))


def program_name(text: str) -> str:
    """Return a program's base name; an interpreter's without its version.

    >>> program_name("/usr/bin/python3.11"), program_name("./run.sh")
    ('python', 'run.sh')
    """
    name = basename(text) or text
    match = _VERSIONED.fullmatch(name)
    return match.group(1) if match else name


def is_interpreter(text: str) -> bool:
    """Say whether the program runs a script that is named on its command line."""
    return program_name(text) in _INTERPRETERS


def _command(argv: list[str], depth: int) -> Iterable[Word]:
    start, prefix = _skip_prefixes(argv)
    yield from prefix
    rest = argv[start:]
    if not rest:
        return
    is_script = bool(prefix) and "/" not in rest[0] and suffix(rest[0]) in CODE_SUFFIXES
    yield Word(rest[0], Role.SCRIPT if is_script else Role.PROGRAM)  # uv run train.py
    interpreter = _INTERPRETERS.get(program_name(rest[0]))
    if interpreter is None:
        yield from _arguments(rest[1:], finds_script=True)
    else:
        yield from _interpreted(rest[1:], interpreter, depth)


def _skip_prefixes(argv: list[str]) -> tuple[int, list[Word]]:
    words: list[Word] = []
    at = 0
    while at < len(argv):
        assignment = _ASSIGNMENT.fullmatch(argv[at])
        if assignment and "/" not in assignment.group(1):
            words.append(Word(assignment.group(2), Role.ENVIRONMENT, assignment.group(1)))
            at += 1
            continue
        name = program_name(argv[at])
        if name in _RUNNERS and argv[at + 1 : at + 2] == ["run"]:
            end = _skip_options(argv, at + 2, _RUNNER_VALUES)
        elif name in _PREFIXES:
            values, positionals = _PREFIXES[name]
            end = _skip_options(argv, at + 1, values) + positionals
        else:
            break
        if end >= len(argv):
            break  # it runs nothing else: it is the program itself
        words.extend(Word(text, Role.PREFIX) for text in argv[at:end])
        at = end
    return (at, words) if at < len(argv) else (0, [])


def _skip_options(argv: list[str], at: int, takes_value: frozenset[str]) -> int:
    while at < len(argv) and argv[at].startswith("-"):
        if argv[at] == "--":
            return at + 1
        at += 2 if argv[at] in takes_value else 1
    return at


def _interpreted(rest: list[str], interpreter: _Interpreter, depth: int) -> Iterable[Word]:
    at = 0
    while at < len(rest):
        text = rest[at]
        following = rest[at + 1 : at + 2]
        if interpreter.is_shell and re.fullmatch(r"-[a-z]*c", text) and following:
            yield Word(text, Role.OPTION)
            yield from _shell_text(following[0], depth)
            yield from _arguments(rest[at + 2 :])
            return
        role = _first_role(text, interpreter)
        if role is Role.VALUE and following:
            yield Word(text, Role.OPTION)
            yield Word(following[0], Role.VALUE, text.lstrip("-"))
            at += 2
        elif role is not Role.OPTION and role is not Role.VALUE:
            named = text.startswith("-") and text != "-"
            if named:
                yield Word(text, Role.OPTION)
            if not named or following:
                yield Word(following[0] if named else text, role)
            yield from _arguments(rest[at + (2 if named else 1) :])
            return
        else:
            yield Word(text, Role.OPTION if interpreter.flags_matter else Role.PREFIX)
            at += 1


def _first_role(text: str, interpreter: _Interpreter) -> Role:
    """Return what an interpreter's word is, or what the word after it is."""
    if text in interpreter.code:
        return Role.CODE
    if text in interpreter.module:
        return Role.MODULE
    if text in interpreter.script:
        return Role.SCRIPT
    if text in interpreter.takes_value:
        return Role.VALUE
    if text == "-":
        return Role.POSITIONAL
    return Role.OPTION if text.startswith(("-", "+")) else Role.SCRIPT


def _shell_text(text: str, depth: int) -> Iterable[Word]:
    if len(text) > MAX_SHELL_TEXT or depth >= _MAX_DEPTH:
        yield Word(text, Role.CODE)
        return
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:  # quotes that do not close
        yield Word(text, Role.CODE)
        return
    command: list[str] = []
    for token in tokens:
        if token in _OPERATORS:
            yield from _command(command, depth + 1)
            yield Word(token, Role.OPERATOR)
            command = []
        else:
            command.append(token)
    yield from _command(command, depth + 1)


def _arguments(words: list[str], *, finds_script: bool = False) -> Iterable[Word]:
    pending = ""  # the option or redirection that may own the next word
    only_positionals = False
    for text in words:
        if text in _REDIRECTIONS:
            yield Word(text, Role.OPTION)
            pending = text
        elif text == "--" and not only_positionals:
            only_positionals = True
            pending = ""
        elif not only_positionals and _is_option(text):
            option, equals, value = text.partition("=")
            glued = _SHORT_GLUED.fullmatch(text)
            pending = ""
            if equals:
                yield Word(option, Role.OPTION)
                yield Word(value, Role.VALUE, option.lstrip("-"))
            elif glued:
                yield Word(glued.group(1), Role.OPTION)
                yield Word(glued.group(2), Role.VALUE, glued.group(1)[1:])
            else:
                yield Word(text, Role.OPTION)
                pending = text
        elif pending:
            yield Word(text, Role.VALUE, pending.lstrip("-"))
            pending = ""
        else:
            yield from _positional(text, finds_script)
            finds_script = finds_script and suffix(text) not in CODE_SUFFIXES


def _is_option(text: str) -> bool:
    return len(text) > 1 and text[0] == "-" and _NUMBER.fullmatch(text) is None


def _positional(text: str, finds_script: bool) -> Iterable[Word]:
    pair = _KEY_VALUE.fullmatch(text)
    if pair:
        yield Word(f"{pair.group(1)}=", Role.OPTION)
        yield Word(pair.group(2), Role.VALUE, pair.group(1))
    elif finds_script and suffix(text) in CODE_SUFFIXES:
        yield Word(text, Role.SCRIPT)
    else:
        yield Word(text, Role.POSITIONAL)
