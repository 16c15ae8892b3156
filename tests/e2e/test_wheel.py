"""The wheel: what is in it, and that it works in an environment that has nothing else of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as `make dist` does: with the environment's own hatchling, offline."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].split("-")[0] for name in names} == {"ullage"}
    assert {"ullage/py.typed", "ullage/__main__.py", "ullage/core/units.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.rpartition("/")[2].startswith(("test_", "conftest"))]
    here = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= set(names), "files of the package are missing from the wheel"


def test_wheel_names_its_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(name).decode().splitlines()
    needs = [line.split(" ", 1)[1] for line in lines if line.startswith("Requires-Dist: ")]
    base = {need.split(">")[0].split("<")[0].strip() for need in needs if "extra ==" not in need}
    assert base == {"numpy", "typer", "rich", "psutil", "duckdb"}
    assert "License-Expression: Apache-2.0" in lines


def test_wheel_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment by a path entry, so that nothing is downloaded."""
    target = tmp_path / "empty"
    venv.create(target, with_pip=False, symlinks=True)
    python = target / "bin" / "python"
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(target), "platbase": str(target)})
    )
    zipfile.ZipFile(wheel).extractall(packages)
    _add_dependencies(packages)

    assert _run(python, "-m", "ullage", "--version", cwd=tmp_path).startswith("ullage ")
    assert "run" in _run(python, "-m", "ullage", "--help", cwd=tmp_path)
    where = _run(python, "-c", "import ullage; print(ullage.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(target), "the source tree was used, not the wheel"
    out = _run(python, "-m", "ullage", "run", "--quiet", "--", "echo", "wrapped", cwd=tmp_path)
    assert out == "wrapped\n"


def _add_dependencies(packages: Path) -> None:
    """Link each installed distribution but ours: a whole path entry would bring our sources."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.suffix == ".pth" or entry.name.lower().startswith(("ullage", "_editable", "__")):
            continue
        if not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)


def _run(*words: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
