"""What is loaded into memory by the paths where each millisecond and MiB is paid on every run."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

LIST_MODULES = """
import atexit, os, sys
ours = os.getpid()
target = sys.argv.pop(1)
def write():
    if os.getpid() == ours:
        with open(target, "w") as out:
            out.write("\\n".join(sorted(sys.modules)))
atexit.register(write)
from ullage.__main__ import main
main()
"""

TYPER_AND_ITS_OWN = {"typer", "click", "shellingham", "annotated_doc", "typing_extensions"}
START_UP = {"sitecustomize", "usercustomize", "_distutils_hack", "_virtualenv", "coverage"}
"""What an interpreter's own site configuration may load before any program."""


def loaded(tmp_path: Path, *args: str) -> set[str]:
    """Run `ullage ARGS` in an interpreter of its own; return the names of what it has loaded."""
    listing = tmp_path / "modules.txt"
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, str(listing), *args],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(listing.read_text().split())


def foreign(names: set[str]) -> set[str]:
    """Return the top-level names that are neither the standard library's nor start-up's."""
    top = {name.partition(".")[0] for name in names} - {"__main__", "__mp_main__"}
    editable = {name for name in top if name.startswith("__editable__")}
    return top - sys.stdlib_module_names - START_UP - editable - _path_entries()


def _path_entries() -> set[str]:
    """Return the modules that .pth files import, which are not ours to choose."""
    lines = [
        line
        for folder in sys.path
        if folder.endswith("site-packages")
        for file in Path(folder).glob("*.pth")
        for line in file.read_text(errors="replace").splitlines()
    ]
    words = [word for line in lines if line.startswith("import ") for word in line.split()]
    return {word.strip(";,").partition(".")[0] for word in words}


def test_a_run_loads_typer_and_numpy_only(tmp_path: Path) -> None:
    names = loaded(tmp_path, "run", "--quiet", "--", "true")
    assert foreign(names) <= {"ullage", "numpy", *TYPER_AND_ITS_OWN}
    assert "numpy" in names


def test_a_run_loads_no_markup_and_no_test_kit(tmp_path: Path) -> None:
    names = loaded(tmp_path, "run", "--quiet", "--", "true")
    heavy = {"rich", "psutil", "ullage.testing", "ullage.demo", "asyncio", "unittest", "http"}
    assert not names & heavy


def test_help_loads_neither_numpy_nor_a_database(tmp_path: Path) -> None:
    names = loaded(tmp_path, "--help")
    assert foreign(names) <= {"ullage", *TYPER_AND_ITS_OWN}
    assert not names & {"sqlite3", "numpy", "rich", "json", "ullage.bootstrap", "ullage.stores"}


def test_the_sentinel_is_forked_before_typer_is_loaded() -> None:
    """Its memory is what the interpreter holds at that moment."""
    code = "import sys; import ullage.cli.early; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    names = set(done.stdout.split())
    assert "ullage.cli.early" in names, done.stderr
    assert not names & {"typer", "click", "numpy", "sqlite3", "dataclasses", "subprocess"}


def test_base_dependencies_are_installed_here() -> None:
    """Else the tests above would prove nothing: what is not there cannot be loaded."""
    missing = []
    for name in ("numpy", "typer", "rich", "psutil"):
        try:
            distribution(name)
        except PackageNotFoundError:
            missing.append(name)
    assert not missing
