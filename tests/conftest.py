"""Every test has its own home, state, ledger and settings: none touches the user's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# No example fails because the machine was slow.
settings.register_profile("ullage", deadline=None)
settings.load_profile("ullage")

SLOW = "ULLAGE_SLOW_TESTS"

# The worker agent starts when it is imported: not in the process of the tests.
os.environ["ULLAGE_AGENT"] = "off"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the slow tests out, visibly, unless they are asked for."""
    if os.environ.get(SLOW) == "1":
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason=f"slow: {SLOW}=1 runs it"))


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("ULLAGE_", "XDG_"))]:
        if name != SLOW:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("ULLAGE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ULLAGE_LEDGER", str(tmp_path / "ledger.db"))


@pytest.fixture
def ullage_bin() -> list[str]:
    """Return the words that start `ullage`: the installed command, or the module."""
    command = Path(sys.executable).with_name("ullage")
    return [str(command)] if command.exists() else [sys.executable, "-m", "ullage"]


@pytest.fixture
def cgroup1() -> str:
    """Return the directory in which `ullage run` makes its cgroups, or skip and say why."""
    from ullage.actuators.cgroup1 import find_parent

    parent, why_not = find_parent()
    if parent is None:
        pytest.skip(f"no cgroup v1 to write to: {why_not}")
    return parent
