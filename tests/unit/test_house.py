"""The rules of the house that a machine can check: docs, names, units, sizes, purity, strings.

Import layers are checked by import-linter (`make lint`), documents by test_docs.py.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from house_source import (
    PACKAGE,
    ROOT,
    Module,
    dataclass_fields,
    definitions,
    lines_of,
    modules,
    public_definitions,
    size_report,
)

FUNCTION_LINES, FILE_LINES = 80, 500

UNIT_SUFFIXES = (
    *("bytes", "kib", "mib", "gib", "gbh", "byte_seconds"),
    *("s", "ms", "us", "hours", "ticks", "at", "months"),
    *("ratio", "prob", "usd", "count"),
)
"""How the name of a number ends: its unit, after an underscore."""

DIMENSIONLESS = {
    "number": "ordinal of an attempt, a migration, a signal, a record of the journal",
    "attempt": "ordinal of an attempt",
    "attempts_left": "a count, by its plural",
    "retries": "a count, by its plural",
    "kills": "a count, by its plural",
    "oom_kills": "a count, by its plural",
    "raises": "a count, by its plural",
    "waits": "a count, by its plural",
    "quarantines": "a count, by its plural",
    "breaker_ooms": "a count, by its plural",
    "token": "a fencing token: only its order means something",
    "runs_used": "a count",
    "months": "a count, by its plural",
    "unreadable": "a count of files",
    "max_entries": "a count, by its plural",
    "exit_code": "the kernel's number",
    "pid": "the kernel's number",
    "status": "HTTP's number",
    "sentinel_pid": "the kernel's number",
    "rho": "a price relative to another: no unit (algorithm's own symbol)",
    "ooms_per_run": "a count per count",
    "attempts_per_run": "a count per count",
    "feature_value": "in whatever unit the feature has",
    "numbers": "features, each in its own unit",
    "labels": "codes that stand for texts",
    "workload": "an index into the names",
    "row": "an index into the arrays",
    "own_start": "an index into words",
    "own_end": "an index into words",
    "line": "ordinal of a line of a file",
    "holds": "a count, by its plural",
    "seen_kills": "a count, by its plural",
    "unsaved": "a count",
    "clock_jumps": "a count, by its plural",
    "fenced": "a count",
    "tick_number": "ordinal of a pass of the loop",
    "counts": "counts by name",
    "port": "the network's number",
    "life": "ordinal of a target's life",
    "crash_after": "ordinal of a write",
    "first_line": "ordinal of a line of a file",
}
"""Numbers without a unit, and why."""

ABSTRACT = ("core/statistics.py", "policies/")
"""Mathematics over arrays: x, y and weights in whatever unit the caller has."""

BANNED_WORDS = frozenset({"manager", "helper", "helpers", "util", "utils", "data", "info"})
BANNED_BUT_AGREED = frozenset({"DataError"})
"""In the error tree of docs/architecture.md: the cause lies in the numbers, not in us."""

PURE_IMPORTS = frozenset(
    {
        *("__future__", "abc", "collections", "collections.abc", "dataclasses", "enum", "types"),
        *("array", "bisect", "functools", "itertools", "math", "operator", "typing"),
        *("datetime", "decimal", "hashlib", "json", "numpy", "numpy.typing"),
        *("difflib", "posixpath", "re", "shlex", "string", "unicodedata"),
    }
)
"""What the core and the policies may import besides the core: nothing with a clock, a file, a
random number or a process in it."""


def _named(where: Module, node: ast.stmt, name: str) -> str:
    return f"{where.name}:{node.lineno} {name}"


def test_every_module_says_what_it_covers() -> None:
    silent = [module.name for module in modules() if not ast.get_docstring(module.tree)]
    assert not silent, f"no module docstring: {silent}"


def test_every_public_function_and_class_has_a_docstring() -> None:
    silent = [
        _named(module, node, node.name)
        for module in modules()
        for node in public_definitions(module)
        if not ast.get_docstring(node)
    ]
    assert not silent, "no docstring:\n" + "\n".join(silent)


def test_no_name_says_nothing() -> None:
    def words(name: str) -> set[str]:
        return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}

    empty = [
        _named(module, node, node.name)
        for module in modules()
        for node in definitions(module)
        if words(node.name) & BANNED_WORDS and node.name not in BANNED_BUT_AGREED
    ]
    empty += [module.name for module in modules() if words(module.name[:-3]) & BANNED_WORDS]
    assert not empty, f"name the thing, not {sorted(BANNED_WORDS)}: {empty}"


def test_every_number_in_a_record_names_its_unit() -> None:
    number = re.compile(r"\b(int|float|float64|int64)\b")
    units = re.compile(rf"(^|_)({'|'.join(UNIT_SUFFIXES)})$")
    unclear = [
        f"{field.where}: {field.annotation}"
        for field in dataclass_fields()
        if number.search(re.sub(r"Callable\[\[int\]|dict\[int,", "", field.annotation))
        and not field.where.startswith(ABSTRACT)
        and not units.search(field.name)
        and field.name not in DIMENSIONLESS
        and not field.name.endswith(("_costs", "_ticks"))
    ]
    assert not unclear, (
        "end the name with its unit (or say in DIMENSIONLESS why it has none):\n"
        + "\n".join(unclear)
    )


def test_moments_end_with_at_and_spans_have_no_unit() -> None:
    wrong = []
    for field in dataclass_fields():
        annotation = field.annotation.replace("Callable[[datetime]", "")  # takes one, is none
        is_moment = re.search(r"\bdatetime\b", annotation) is not None
        if is_moment != (re.search(r"(^|_)at$", field.name) is not None):
            wrong.append(f"{field.where}: {field.annotation}: moments, and only they, end with _at")
        if "timedelta" in field.annotation and re.search(r"_(s|ms|hours)$", field.name):
            wrong.append(f"{field.where}: a timedelta knows its unit, its name has none")
    assert not wrong, "\n".join(wrong)


def test_no_parameter_hides_its_unit() -> None:
    bare = {"timeout", "delay", "interval", "duration", "elapsed", "size", "memory", "age"}
    hidden = [
        _named(module, node, f"{node.name}({arg.arg})")
        for module in modules()
        for node in definitions(module)
        if not isinstance(node, ast.ClassDef)
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if arg.arg in bare
        and arg.annotation is not None
        and ast.unparse(arg.annotation).split(" ")[0] in ("int", "float")
    ]
    assert not hidden, f"say the unit in the name: {hidden}"


def test_nothing_is_larger_than_the_hard_stops() -> None:
    large = [
        f"{module.name}: {module.lines_count} lines"
        for module in modules()
        if module.lines_count > FILE_LINES
    ]
    large += [
        _named(module, node, f"{node.name}: {lines_of(node)} lines")
        for module in modules()
        for node in definitions(module)
        if not isinstance(node, ast.ClassDef) and lines_of(node) > FUNCTION_LINES
    ]
    print("over the reported budgets:", *size_report(), sep="\n  ")
    assert not large, f"split by meaning: {large}"


def _imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}:{node.lineno}: relative import"
            yield node, node.module or ""


def test_core_and_policies_import_nothing_that_could_look_at_the_world() -> None:
    impure = [
        _named(module, node, name)
        for module in modules()
        if module.in_package("core", "policies")
        for node, name in _imports(module)
        if name not in PURE_IMPORTS
        and not name.startswith(("ullage.core",))
        and not (module.in_package("policies") and name.startswith("ullage.policies"))
    ]
    assert not impure, f"time, randomness and I/O come in from outside: {impure}"


def test_core_and_policies_read_no_clock_file_or_chance() -> None:
    impure = re.compile(r"\b(now|utcnow|today|open|input|print|random|default_rng)$")
    calls = [
        _named(module, node, ast.unparse(node.func))  # type: ignore[arg-type]
        for module in modules()
        if module.in_package("core", "policies")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and impure.search(ast.unparse(node.func))
    ]
    assert not calls, f"time, randomness and I/O come in from outside: {calls}"


OPENED_BY_THE_USER = {
    "notices/posting.py": "posts to the sinks that the settings name",
    "notices/metrics_page.py": "listens where the settings say",
    "bootstrap_serve.py": "asks for this host's name, nothing else",
}
"""Of `ullage serve` alone: what opens or serves a connection, because a person has said so."""

UNIX_SOCKET_ONLY = ("access/docker.py", "testing/docker_world.py")
"""Speak HTTP over a unix socket of this machine, and over nothing else."""


def test_nothing_opens_a_connection_a_pickle_or_a_shell() -> None:
    banned = {"socket", "ssl", "http", "urllib.request", "ftplib", "smtplib", "asyncio"}
    banned |= {"pickle", "marshal", "shelve", "requests", "httpx"}
    found = [
        _named(module, node, name)
        for module in modules()
        if not module.in_package("testing")  # its fake of a service listens on the loopback
        for node, name in _imports(module)
        if (name in banned or name.partition(".")[0] in banned)
        and not (module.name in UNIX_SOCKET_ONLY and name in ("socket", "http.client"))
        and module.name not in OPENED_BY_THE_USER
    ]
    found += [
        _named(module, node.value, "shell=True")  # type: ignore[arg-type]
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert not found, f"docs/safety.md promises that there is none: {found}"


def test_the_door_to_docker_is_a_unix_socket() -> None:
    families = [
        _named(module, node, ast.unparse(node))
        for module in modules()
        if module.name in UNIX_SOCKET_ONLY
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("socket.socket", "socket.create_connection")
        and not ast.unparse(node).startswith("socket.socket(socket.AF_UNIX")
    ]
    assert not families, f"docs/safety.md promises that nothing leaves the machine: {families}"


def test_every_setting_is_read_somewhere() -> None:
    """A setting that changes nothing is a lie to whoever sets it."""
    from dataclasses import fields

    from ullage.config import Settings

    read = {
        node.attr
        for module in modules()
        if module.name != "config.py"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
    }
    told = {"preset"}  # stands for rho and failure_budget_ratio, which are read
    dead = {field.name for field in fields(Settings)} - read - told
    assert not dead, f"nobody reads {sorted(dead)}"


def test_package_is_typed_and_has_a_version() -> None:
    from ullage import __version__

    assert re.fullmatch(r"\d+\.\d+\.\d+([ab]\d+|rc\d+)?", __version__)
    assert (PACKAGE / "py.typed").exists()


FORBIDDEN = {
    "a registry's address": re.compile(r"py[p]i\.org/simple|py[p]i\.org/pypi|pythonhoste[d]\.org"),
    "a path of somebody's machine": re.compile(
        r"(?<![\w.])(/home/[a-z]{2,}/|/wor[k]/[a-z.]|/roo[t]/[\w.])"
    ),
}


def _tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    folders = ("src", "tests", "docs", "benchmarks", "requirements")
    return [path for name in folders for path in (ROOT / name).rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found = []
    for path in _tracked_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line[:100]}"
            for number, line in enumerate(lines, 1)
            if FORBIDDEN[what].search(line)
        ]
    assert not found, f"{what}:\n" + "\n".join(found)


def test_requirements_are_pinned_with_hashes() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert {file.stem for file in files} == {"base", "beam", "dataflow", "demo", "dev"}
    for file in files:
        for block in re.split(r"\n(?=\S)", file.read_text(encoding="utf-8").strip()):
            pinned = re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+", block)
            assert pinned, f"{file.name}: {block[:80]!r} is not pinned"
            assert "--hash=sha256:" in block, f"{file.name}: {pinned.group()} has no hash"


LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_import_layers_hold() -> None:
    """The same contracts as in `make lint`, so that a bare pytest finds a breach too."""
    done = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout, "import-linter did not run"
