"""Settings of the service loop: what is read, what is refused, and with which words."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from ullage.config import load_settings
from ullage.core.errors import ConfigError
from ullage.core.serve_settings import ServeSettings, history_bytes
from ullage.core.service import TargetKind, UpdateMode
from ullage.core.units import GIB, MIB
from ullage.policies.services import PRICE_HOURS
from ullage.serve_config import BOUNDS, PRESETS, ServeConfig, changed_keys, load_serve

WEB = '[[serve.workload]]\nname = "web"\nkind = "cgroup1"\nselector = "/web/*"\n'


def loaded(tmp_path: Path, text: str) -> ServeConfig:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_serve(load_settings({"ULLAGE_CONFIG": str(file), "HOME": str(tmp_path)}))


def test_without_a_table_all_is_as_the_contract_says(tmp_path: Path) -> None:
    config = loaded(tmp_path, "")
    assert config.settings == ServeSettings()
    assert not config.settings.is_acting
    assert config.specs == ()
    assert "run --service" in config.warnings[0]


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        '[serve]\nact = true\nsample_interval = "10s"\nwatch = "20min"\nblast_ratio = 0.1\n'
        'live_floor_room = "256MiB"\n'
        '[serve.metrics]\nlisten = "127.0.0.1:9999"\nhosts = ["Ops"]\n'
        '[serve.notices.alertmanager]\nurl = "http://127.0.0.1:9093"\n'
        '[serve.notices.webhook]\nurl = "https://example.org/x"\nsecret_env = "S"\n'
        '[serve.docker]\nsocket = "/run/d.sock"\n[serve.journal]\nkeep = "90d"\n'
        f'{WEB}mode = "in_place"\nfloor = "64MiB"\nmax = "2GiB"\ngroup = "g"\n'
        'preset = "service-critical"\n',
    )
    assert config.settings.is_acting
    assert config.settings.sample_interval == timedelta(seconds=10)
    assert config.settings.live_floor_room_bytes == 256 * MIB
    [spec] = config.specs
    assert (spec.kind, spec.mode) == (TargetKind.CGROUP1, UpdateMode.IN_PLACE)
    assert (spec.floor_bytes, spec.max_bytes) == (64 * MIB, 2 * GIB)
    assert (config.metrics.port, config.metrics.hosts) == (9999, ("ops",))
    assert config.notices.webhook_secret_env == "S"
    assert config.journal_kept == timedelta(days=90)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[serve]\nwach = '15min'", "unknown key serve.'wach': did you mean 'watch'"),
        ("[serve]\nwatch = 15", "is no span"),
        ("[serve]\nact = 1", "neither true nor false"),
        ("[serve]\ncut_step_ratio = 0.5", r"outside 0.05..0.2"),
        ("[serve]\nlive_floor_ratio = 1.0", "outside 1.1"),
        ("[serve]\nlive_floor_room = 128", "needs a unit"),
        ("[serve]\nlease_span = '60s'", "at most 15s"),
        ("[serve]\nsample_interval = '10min'", "shorter than"),
        ("serve = 3", r"write a table \[serve\]"),
        ("[serve]\nworkload = 3", "serve.workload"),
        (WEB + "floor = 64\n", "needs a unit"),
        (WEB + "mod = 'off'\n", "did you mean 'mode'"),
        (WEB + "mode = 'inplace'\n", "is none of off, in_place: did you mean 'in_place'"),
        (WEB + "max = '1MiB'\n", "max is below floor"),
        (WEB + WEB, "two policies for workload 'web'"),
        (WEB + WEB.replace('"web"', '"other"'), "have one selector"),
        (WEB.replace("/web/*", "web"), "begin with /"),
        (WEB.replace("cgroup1", "docker"), "write a label with its value"),
        (WEB.replace('selector = "/web/*"\n', ""), "selector lacks"),
        ("[serve.metrics]\nlisten = '0.0.0.0:1'", "reached from outside"),
        ("[serve.metrics]\nlisten = '127.0.0.1'", "is no address"),
        ("[serve.notices.webhook]\nurl = 'http://example.org/'\nsecret_env='S'", "https"),
        ("[serve.notices.webhook]\nurl = 'https://a:b@example.org/'", "no passwords"),
        ("[serve.notices.webhook]\nurl = 'https://example.org/'", "secret_file or secret_env"),
        ("[serve.notices.webhok]\nurl = 'x'", "did you mean 'webhook'"),
        ("[serve.docker]\nsocket = 'x'", "not an absolute path"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        loaded(tmp_path, text)
    assert "config.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_empty_selector_is_said_aloud(tmp_path: Path) -> None:
    config = loaded(tmp_path, WEB.replace("/web/*", " "))
    assert any("nobody is meant" in words for words in config.warnings)


def test_acting_on_nobody_is_said_aloud(tmp_path: Path) -> None:
    config = loaded(tmp_path, "[serve]\nact = true\n" + WEB)
    assert any("nothing moves" in words for words in config.warnings)


def test_a_run_does_not_stumble_over_the_services_settings(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[serve]\nnonsense = true\n")
    settings = load_settings({"ULLAGE_CONFIG": str(file), "HOME": str(tmp_path)})
    assert settings.serve_table == {"nonsense": True}


def test_every_number_has_a_range_that_the_default_lies_in() -> None:
    for one in fields(ServeSettings):
        value = getattr(ServeSettings(), one.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not one.name.endswith("_bytes"):
            low, high = BOUNDS[one.name]
            assert low <= value <= high, one.name


def test_a_past_that_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    words = "peaks_kept / serve.peak_interval.* would take .* at most 2.00 GiB"
    with pytest.raises(ConfigError, match=words):
        loaded(tmp_path, '[serve]\npeak_interval = "500ms"\n')
    few = loaded(tmp_path, '[serve]\npeak_interval = "500ms"\npeaks_kept = "1h"\n'
                 "targets_max_count = 100\n")  # fmt: skip
    assert few.settings.targets_max_count == 100


def test_the_default_past_of_all_targets_fits() -> None:
    assert history_bytes(ServeSettings()) == 44_160
    assert history_bytes(ServeSettings()) * ServeSettings().targets_max_count < 512 * MIB


def test_the_policy_has_a_price_for_every_preset() -> None:
    assert set(PRESETS) == set(PRICE_HOURS)


def test_what_waits_for_the_next_start_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    running = loaded(tmp_path, WEB)
    new = loaded(
        tmp_path,
        '[serve]\nact = true\nlive_floor_room = "1GiB"\n[serve.journal]\nkeep = "1d"\n'
        + WEB.replace("web/*", "other/*"),
    )
    assert changed_keys(running, running) == []
    assert changed_keys(running, new) == ["serve.act", "serve.live_floor_room", "serve.journal"]
