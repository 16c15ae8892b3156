"""Settings: where they come from, and what is refused with which words."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

import ullage.config
from ullage.config import Settings, load_settings
from ullage.core.errors import ConfigError
from ullage.core.units import GIB


def settings(tmp_path: Path, text: str | None = None, **environ: str) -> Settings:
    env = {"HOME": str(tmp_path), **environ}
    if text is not None:
        file = tmp_path / "own.toml"
        file.write_text(text)
        env["ULLAGE_CONFIG"] = str(file)
    return load_settings(env)


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.state_dir == tmp_path / ".local/state/ullage"
    assert found.failure_budget_ratio == 0.02
    assert found.rho == 1.0
    assert found.reserve_min_bytes == GIB
    assert found.prices.gib_hour_usd == 0.003557


def test_the_environment_places_state_and_ledger(tmp_path: Path) -> None:
    xdg = settings(tmp_path, XDG_STATE_HOME="/x/state")
    assert xdg.state_dir == Path("/x/state/ullage")
    own = settings(tmp_path, ULLAGE_STATE_DIR="/y", ULLAGE_LEDGER="/z/l.db", XDG_STATE_HOME="/x")
    assert (own.state_dir, own.ledger_path) == (Path("/y"), Path("/z/l.db"))
    assert settings(tmp_path, XDG_STATE_HOME="relative").state_dir.is_relative_to(tmp_path)


def test_the_ledger_has_a_place_that_all_runs_of_the_user_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    shared = settings(tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert shared.ledger_path == tmp_path / "ullage/ledger.db"
    lonely = settings(tmp_path, ULLAGE_STATE_DIR="/y")
    assert lonely.ledger_path == Path("/y/ledger.db")


def test_a_file_in_the_usual_place_is_read(tmp_path: Path) -> None:
    file = tmp_path / ".config/ullage/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('rho = 2\nreserve_min = "2GiB"\nstate_dir = "/s"\nwait_for_memory_s = 5\n')
    found = settings(tmp_path)
    assert (found.rho, found.reserve_min_bytes, found.wait_for_memory_s) == (2.0, 2 * GIB, 5.0)
    assert found.state_dir == Path("/s")
    assert str(file) in found.source
    assert settings(tmp_path, ULLAGE_STATE_DIR="/e").state_dir == Path("/e")


def test_prices_of_ones_own(tmp_path: Path) -> None:
    text = '[prices]\ngib_hour_usd = 0.01\nname = "rack 7"\nas_of = 2026-10-01\n'
    price = settings(tmp_path, text).prices
    assert (price.gib_hour_usd, price.name, price.as_of) == (0.01, "rack 7", date(2026, 10, 1))
    assert "rack 7, 2026-10-01" in price.in_words()
    over = settings(tmp_path, text, ULLAGE_PRICE_GIB_HOUR_USD="0.5").prices
    assert over.gib_hour_usd == 0.5
    assert "ULLAGE_PRICE_GIB_HOUR_USD" in over.in_words()


def test_presets_set_price_and_budget_and_single_keys_outrank_them(tmp_path: Path) -> None:
    critical = settings(tmp_path, 'preset = "batch-critical"')
    assert (critical.rho, critical.failure_budget_ratio) == (20.0, 0.005)
    mixed = settings(tmp_path, 'preset = "batch-critical"\nrho = 50')
    assert (mixed.rho, mixed.failure_budget_ratio) == (50.0, 0.005)
    typed = settings(tmp_path, "rho = 50").with_preset("batch-tolerant")
    assert (typed.rho, typed.preset) == (1.0, "batch-tolerant")


WRONG = [
    ("roh = 4", "did you mean 'rho'"),
    ("zzz = 4", "known keys"),
    ('rho = "4"', "not a number"),
    ("rho = true", "not a number"),
    ("rho = nan", "outside"),
    ("failure_budget_ratio = 2", "outside"),
    ("reserve_min = 1", 'write "1GiB"'),
    ('reserve_min = "1"', "no unit"),
    ('reserve_min = "1GX"', "unknown unit"),
    ('preset = "batchy"', "batch-critical"),
    ('state_dir = ""', "empty"),
    ("prices = 3", "write a table"),
    ("[prices]\nname = 'x'", "needs gib_hour_usd"),
    ("[prices]\ngib_hour_usd = 1\nregon = 'x'", "did you mean 'region'"),
    ("[prices]\ngib_hour_usd = -1", "outside"),
    ("rho = = 4", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_wrong_files_say_what_and_where(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("'", ".")) as caught:
        settings(tmp_path, text)
    assert "own.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_environments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        settings(tmp_path, ULLAGE_CONFIG=str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="USD per GiB-hour"):
        settings(tmp_path, ULLAGE_PRICE_GIB_HOUR_USD="cheap")
    with pytest.raises(ConfigError, match="cannot read"):
        settings(tmp_path, ULLAGE_CONFIG=str(tmp_path))
    with pytest.raises(ConfigError, match="unknown preset"):
        settings(tmp_path).with_preset("x")


def test_every_setting_says_its_unit_and_reason() -> None:
    tree = ast.parse(Path(ullage.config.__file__).read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings").body
    for field, words in pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(words, ast.Expr), ast.unparse(field)
            assert isinstance(words.value, ast.Constant)


def test_toml_is_loaded_only_for_a_file(tmp_path: Path) -> None:
    code = "import sys, ullage.config as c; c.load_settings(); print('tomllib' in sys.modules)"
    env = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
