"""The options of local workers: what a pipeline's words become, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ullage.core.errors import ConfigError

pytestmark = pytest.mark.beam

ARGV = ("/srv/etl.py",)


@pytest.fixture(autouse=True)
def _needs_beam() -> None:
    pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")


def settings(*words: str, argv: tuple[str, ...] = ARGV, cwd: str = "/") -> Any:
    from apache_beam.options.pipeline_options import PipelineOptions

    from ullage.beam.local_options import worker_settings

    options = PipelineOptions(list(words))
    return worker_settings(options, runner="local", argv=argv, cwd=cwd)


def test_the_key_is_the_users_else_the_jobs_else_the_scripts() -> None:
    assert settings().workload_key == "beam/etl"
    assert settings("--job_name=orders-2026-11-25").workload_key == "beam/orders"
    assert settings("--job_name=orders", "--ullage_name=own").workload_key == "own"


def test_the_number_of_workers_is_ours_else_beams() -> None:
    assert settings().workers_count == 1
    assert settings("--direct_num_workers=3").workers_count == 3
    assert settings("--direct_num_workers=3", "--ullage_workers=2").workers_count == 2
    assert settings("--direct_num_workers=0").workers_count == os.cpu_count()


def test_features_are_what_is_known_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(b"x" * 1234)
    argv = (*ARGV, "--input", "orders.csv", "--rows", "500", "--ullage_workers=7", "--we$ird=5")
    found = settings("--ullage_workers=2", argv=argv, cwd=str(tmp_path)).features
    assert {"input_bytes=1234.0", "arg_rows=500.0", "workers_count=2.0"} <= set(found)
    assert {"threads_count=1.0", "runner=local", "sdk=python"} <= set(found)
    assert not [feature for feature in found if "ullage" in feature or "$" in feature]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--ullage_request=4"], "no unit"),
        (["--ullage_max_memory=much"], "--ullage_max_memory: 'much' is not a quantity"),
        (["--ullage_worker_limit=1GiB", "--ullage_max_memory=2GiB"], "fixes the memory"),
        (["--ullage_worker_limit=1GiB", "--ullage_observe"], "exclude each other"),
        (["--ullage_workers=257"], r"use 1\.\.256 workers"),
        (["--direct_num_workers=-1"], "--direct_num_workers=-1"),
        (["--ullage_name=../x"], "--ullage_name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(words: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        settings(*words)


def test_workers_are_told_the_options_that_are_plain() -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    from ullage.beam.local_runner import _provision

    words = ["--beam_plugin=ullage_agent", "--ullage_workers=2", "--runner=x.Y"]
    told = dict(_provision(PipelineOptions(words)).provision_info.pipeline_options)
    assert list(told["beam:option:beam_plugins:v1"]) == ["ullage_agent"]
    assert not [name for name in told if "ullage_" in name or "runner" in name]
