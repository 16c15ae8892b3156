"""Reads the package's own source, for the tests of the house's rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ullage"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path
    tree: ast.Module
    lines_count: int

    @property
    def name(self) -> str:
        """Path within the package, for messages: "core/units.py"."""
        return self.path.relative_to(PACKAGE).as_posix()

    def in_package(self, *names: str) -> bool:
        """Whether the module lies in one of the package's folders `names`."""
        return self.name.split("/")[0] in names


@dataclass(frozen=True)
class Field:
    """One annotated field of a public dataclass."""

    where: str
    name: str
    annotation: str


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Module(path, ast.parse(text), text.count("\n")))
    assert len(found) > 40, f"only {len(found)} modules below {PACKAGE}: is the test misplaced?"
    return tuple(found)


def definitions(module: Module) -> Iterator[Definition]:
    """Yield every function and class of a module, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, Definition):
            yield node


def public_definitions(module: Module) -> Iterator[Definition]:
    """Yield the public functions and classes at the top, and their public methods."""
    for node in module.tree.body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Definition) and not inner.name.startswith("_"):
                    yield inner


def lines_of(node: Definition) -> int:
    """Return how many lines a definition takes, its docstring included."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's parameters without self and cls."""
    args = node.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def dataclass_fields() -> Iterator[Field]:
    """Yield the fields of every public dataclass of the package."""
    for module in modules():
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if not any("dataclass" in ast.unparse(mark) for mark in node.decorator_list):
                continue
            for inner in node.body:
                if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                    where = f"{module.name} {node.name}.{inner.target.id}"
                    yield Field(where, inner.target.id, ast.unparse(inner.annotation))


def size_report() -> list[str]:
    """Return what is over the budgets that are reported, not enforced; largest first."""
    rows: list[tuple[int, str]] = []
    for module in modules():
        if module.lines_count > 300:
            rows.append((module.lines_count, f"{module.name}: {module.lines_count} lines (300)"))
        for node in definitions(module):
            if isinstance(node, ast.ClassDef):
                continue
            lines, params = lines_of(node), len(parameters_of(node))
            if lines > 40:
                rows.append((lines, f"{module.name} {node.name}: {lines} lines (40)"))
            if params > 6:
                rows.append((params, f"{module.name} {node.name}: {params} parameters (6)"))
    core = sum(module.lines_count for module in modules() if module.in_package("core"))
    if core > 2500:
        rows.append((core, f"core/: {core} lines (2,500)"))
    return [text for _, text in sorted(rows, reverse=True)]


if __name__ == "__main__":
    print("over the reported budgets (of):", *(size_report() or ["nothing"]), sep="\n  ")
