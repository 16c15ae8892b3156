"""The agent's wheel: what is in it, and that it needs nothing but Python."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parents[2] / "agent"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as `make dist` does: with the environment's own hatchling, offline."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=AGENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


def test_wheel_holds_the_agent_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith("ullage_agent-")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].split("-")[0] for name in names} == {"ullage_agent"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    here = {
        path.relative_to(AGENT / "src").as_posix()
        for path in (AGENT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= set(names), "files of the agent are missing from the wheel"


def test_wheel_needs_nothing(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(name).decode().splitlines()
    assert not [line for line in lines if line.startswith("Requires-Dist")]
    assert "Requires-Python: >=3.10" in lines
    assert "License-Expression: Apache-2.0" in lines


def test_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Imported with every warning an error, from a place where nothing else can be imported."""
    target = tmp_path / "empty"
    venv.create(target, with_pip=False, symlinks=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(target), "platbase": str(target)})
    zipfile.ZipFile(wheel).extractall(packages)
    code = (
        "import ullage_agent, threading, sys; "
        "print(ullage_agent.__version__, ullage_agent.start(), ullage_agent.__file__)"
    )
    done = subprocess.run(
        [target / "bin" / "python", "-I", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={},
    )
    assert (done.returncode, done.stderr) == (0, "")
    version, is_running, where = done.stdout.split()
    assert version.count(".") == 2
    assert is_running == "True"
    assert Path(where).is_relative_to(target), "the source tree was used, not the wheel"
