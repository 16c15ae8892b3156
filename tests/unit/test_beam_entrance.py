"""`import ullage.beam` costs nothing, and says what is missing; without Beam installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import ullage.beam
heavy = {"apache_beam", "numpy", "google", "typer", "sqlite3"} & set(sys.modules)
assert not heavy, heavy
for blocked in ("apache_beam",):
    sys.modules[blocked] = None
for name in ("DataflowRunner", "size"):
    try:
        getattr(ullage.beam, name)
    except ImportError as error:
        print(error)
try:
    ullage.beam.Nothing
except AttributeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def told() -> list[str]:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_is_missing_is_named_with_the_way_out(told: list[str]) -> None:
    assert told[0] == "ullage.beam.DataflowRunner needs apache_beam: pip install 'ullage[gcp]'"
    assert told[1] == "ullage.beam.size needs apache_beam: pip install 'ullage[beam]'"


def test_an_unknown_name_is_an_ordinary_attribute_error(told: list[str]) -> None:
    assert "has no attribute 'Nothing'" in told[2]
