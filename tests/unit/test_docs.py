"""What the documents say exists: links, commands, options, make targets, worked examples."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from house_source import ROOT

from ullage.cli.app import app

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
APP_OPTIONS = {"--version", "--help", "--install-completion", "--show-completion"}
VALUES = {"get": {"workloads", "runs", "ooms", "jobs", "decisions"}}
"""Words that a command takes from a fixed list."""


@dataclass(frozen=True)
class Quote:
    """A command that a document quotes, and where."""

    where: str
    words: tuple[str, ...]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _quoted(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, code) of every code line: fenced, and between backticks."""
    is_fenced = False
    joined, joined_at = "", 0
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced:
            joined_at = joined_at if joined else number
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            yield joined_at, joined
            joined = ""
        else:
            for code in re.findall(r"`([^`]+)`", line):
                yield number, code


def _quotes(program: str) -> Iterator[Quote]:
    """Yield the quoted commands that begin with `program`, as words after it."""
    begin = re.compile(rf"(?:\$ )?(?:\S*=\S* |sudo (?:env \S+ )?)*(?:\.venv/bin/)?{program} (.*)")
    for path in DOCUMENTS:
        for number, code in _quoted(path):
            match = begin.fullmatch(code)
            if match:
                words = re.sub(r"\s+#\s.*", "", match.group(1)).split()
                yield Quote(f"{path.relative_to(ROOT)}:{number}", tuple(words))


def test_there_are_documents() -> None:
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= set(NAMES)
    assert {"docs/index.md", "docs/run.md", "docs/safety.md"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_resolves(name: str) -> None:
    path = ROOT / name
    prose = re.sub(r"```.*?```", "", _text(path), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        is_page = linked.suffix == ".md"
        if not linked.exists() or (anchor and is_page and anchor not in _anchors(linked)):
            broken.append(target)
    assert not broken, f"{name} links to nothing: {broken}"


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _text(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_named_in_backticks_exists(name: str) -> None:
    """`tests/...`, `src/...`, `docs/...` in backticks are promises: with ::test, the test too."""
    missing = []
    for _, code in _quoted(ROOT / name):
        match = re.fullmatch(
            r"((?:tests|src|docs|benchmarks|requirements)/[\w./*-]+)(?:::(\w+))?", code
        )
        if not match:
            continue
        file, test = match.groups()
        found = list(ROOT.glob(file))
        if not found or (test and f"def {test}(" not in _text(found[0])):
            missing.append(code)
    assert not missing, f"{name} names what is not there: {missing}"


def test_every_quoted_command_exists() -> None:
    quotes = [quote for quote in _quotes("ullage") if not quote.words[0].startswith(("=", "…"))]
    assert len(quotes) > 10, "the documents quote hardly any command: is the reading broken?"
    wrong = []
    for quote in quotes:
        first, *rest = quote.words
        if first.startswith("-"):
            wrong += [] if first in APP_OPTIONS else [f"{quote.where}: ullage {first}"]
        elif first not in COMMANDS:
            wrong.append(f"{quote.where}: ullage {first}")
        else:
            own = rest[: rest.index("--")] if "--" in rest else rest
            command = COMMANDS[first]
            while own and own[0] in getattr(command, "commands", {}):
                command = command.commands[own.pop(0)]
            known = {name for param in command.params for name in param.opts} | {"--help"}
            options = [word.split("=")[0] for word in own if word.startswith("-")]
            wrong += [f"{quote.where}: {first} {o}" for o in options if o not in known]
            if first in VALUES and own and re.fullmatch(r"[a-z]+", own[0]):
                wrong += [] if own[0] in VALUES[first] else [f"{quote.where}: {first} {own[0]}"]
    assert not wrong, "quoted, but not there:\n" + "\n".join(wrong)


def test_every_quoted_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", _text(ROOT / "Makefile"), flags=re.MULTILINE))
    quotes = list(_quotes("make"))
    assert quotes
    wrong = [
        f"{quote.where}: make {word}"
        for quote in quotes
        for word in quote.words
        if "=" not in word and word not in targets
    ]
    assert not wrong, wrong


def test_run_guide_names_every_option_and_no_other() -> None:
    guide = _text(ROOT / "docs" / "run.md")
    table = set(re.findall(r"^\| `(--[a-z-]+)", guide, flags=re.MULTILINE))
    real = {
        param.opts[0] for param in COMMANDS["run"].params if param.opts and param.opts[0][0] == "-"
    }
    assert table == real


def test_guide_names_every_command() -> None:
    guide = _text(ROOT / "docs" / "index.md") + _text(ROOT / "README.md")
    assert not [name for name in COMMANDS if f"ullage {name}" not in guide]


def test_every_setting_is_in_the_guide() -> None:
    from ullage import config

    guide = _text(ROOT / "docs" / "run.md").partition("\n## Settings")[2]
    named = set(re.findall(r"^\| `([a-z_]+)` \|", guide, flags=re.MULTILINE))
    assert named == set(config._KEYS)


def test_changelog_has_an_unreleased_section() -> None:
    assert re.search(r"^## \[?Unreleased\]?", _text(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_worked_examples_come_out_as_written(name: str) -> None:
    failed, _ = doctest.testfile(str(ROOT / name), module_relative=False, encoding="utf-8")
    assert failed == 0


def test_how_it_decides_has_a_worked_example() -> None:
    assert ">>> " in _text(ROOT / "docs" / "how-it-decides.md")
