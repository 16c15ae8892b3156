"""ullage.beam.LocalRunner and DaskRunner: real pipelines, real SDK workers, real OOM kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from ullage.testing.sandbox_contract import wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.beam,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("cgroup1", "no_cgroup_left"),
]

MIB = 1 << 20
EXAMPLES = Path(__file__).parents[2] / "examples"
PIPELINE = Path(__file__).with_name("beam_group_pipeline.py")
DASK_PIPELINE = Path(__file__).with_name("beam_dask_pipeline.py")


class Pipelines:
    """Runs pipelines with a private record, and reads what they leave."""

    def __init__(self, cli: Cli, lines: Path) -> None:
        self.cli = cli
        self.lines = lines

    def command(self, *options: str, script: Path = PIPELINE, runner: str = "Local") -> list[str]:
        """Return the command line of a pipeline over the lines."""
        words = [sys.executable, str(script), "--input", str(self.lines)]
        return [*words, f"--runner=ullage.beam.{runner}Runner", "--job_name=group", *options]

    def __call__(self, *options: str, **which: Any) -> subprocess.CompletedProcess[str]:
        """Run a pipeline to its end."""
        return subprocess.run(
            self.command(*options, **which),
            env=self.cli.env,
            capture_output=True,
            text=True,
            timeout=200,
        )

    def runs(self, key: str = "beam/group") -> list[dict[str, Any]]:
        """Return the recorded runs of a workload, newest first."""
        return list(json.loads(self.cli("get", "runs", key, "-o", "json").stdout))

    def described(self, key: str = "beam/group") -> dict[str, Any]:
        """Return what `ullage describe` tells."""
        return dict(json.loads(self.cli("describe", key, "-o", "json").stdout))


@pytest.fixture
def pipelines(tmp_path: Path, cli: Cli) -> Pipelines:
    """Return a runner of pipelines over 12 MB of lines, all but a few under one key."""
    pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")
    file = tmp_path / "lines.txt"
    file.write_text(("a" + "x" * 1199 + "\n") * 10_000 + "b\nc\n")
    cli.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return Pipelines(cli, file)


def test_workers_die_under_a_fixed_limit_and_only_the_hungry_one_grows_under_ullage(
    pipelines: Pipelines,
) -> None:
    fixed = pipelines("--ullage_workers=2", "--ullage_worker_limit=300MiB")
    assert fixed.returncode != 0
    last = fixed.stderr.strip().splitlines()[-1]
    assert "of beam/group was OOM-killed at its limit of 300 MiB in stage 'group + weigh" in last
    assert sorted(run["oom_kills_count"] for run in pipelines.runs()) == [0, 1]

    kept = pipelines("--ullage_workers=2", "--ullage_request=300MiB")
    assert kept.returncode == 0, kept.stderr
    assert "a: 480000000" in kept.stdout
    hungry, modest = sorted(pipelines.runs()[:2], key=lambda run: -run["peak_bytes"])
    assert (hungry["outcome"], modest["outcome"]) == ("ok", "ok")
    assert (hungry["oom_kills_count"], modest["oom_kills_count"]) == (0, 0)
    assert hungry["raises_count"] >= 1
    assert hungry["final_limit_bytes"] > hungry["start_limit_bytes"]
    assert hungry["peak_bytes"] > 500 * MIB
    assert modest["raises_count"] == 0

    again = pipelines("--ullage_workers=2")
    assert again.returncode == 0, again.stderr
    learned = pipelines.runs()[0]
    assert learned["start_limit_bytes"] != 300 * MIB, "the third execution is sized from history"


def test_every_stage_of_every_worker_is_recorded(pipelines: Pipelines) -> None:
    done = pipelines("--ullage_workers=2", "--ullage_request=300MiB")
    assert done.returncode == 0, done.stderr
    found = pipelines.described()
    stages = found["stages"]
    assert {stage["run_id"] for stage in stages} == {run["run_id"] for run in pipelines.runs()}
    assert {"(start of the worker)", "lines + by letter + group", "group + weigh + print"} <= {
        stage["stage"] for stage in stages
    }
    hungry = max(stages, key=lambda stage: stage["grown_bytes"] or 0)
    assert hungry["stage"] == "group + weigh + print"
    assert hungry["peak_bytes"] > 500 * MIB
    assert hungry["used_byte_seconds"] > 0
    assert "the memory goes into group + weigh + print" in found["stages_sentence"]
    assert "group + weigh + print" in pipelines.cli("describe", "beam/group").stdout
    features = found["features"]
    assert {"input_bytes", "workers_count", "threads_count", "runner", "sdk"} <= set(features)


def test_a_fault_of_the_program_is_no_death(pipelines: Pipelines) -> None:
    done = pipelines("--fail")
    assert done.returncode != 0
    assert "ValueError: the program's own fault" in done.stderr
    assert "WorkerDiedError" not in done.stderr
    assert [run["oom_kills_count"] for run in pipelines.runs()] == [0]


def test_a_worker_that_kills_itself_ends_the_pipeline_with_one_line(pipelines: Pipelines) -> None:
    done = pipelines("--ullage_workers=2", "--die")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "WorkerDiedError: worker_" in last
    assert "not for want of memory" in last


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ullage_request=300"], "--ullage_request: '300' has no unit"),
        (["--ullage_workers=0"], "--ullage_workers=0: use 1..256 workers"),
        (["--ullage_worker_limit=1GiB", "--ullage_request=1GiB"], "fixes the memory"),
        (["--ullage_name=a b"], "--ullage_name 'a b' is not allowed"),
        (["--ullage_request=900TiB"], "was not started: --request 900TiB is above this host"),
    ],
)
def test_bad_options_are_clear(pipelines: Pipelines, options: list[str], words: str) -> None:
    done = pipelines(*options)
    assert done.returncode != 0
    assert words in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_program_ends_its_workers(pipelines: Pipelines, number: signal.Signals) -> None:
    """Sent to the program alone; on a terminal everybody gets Ctrl-C."""
    program = subprocess.Popen(
        pipelines.command("--ullage_workers=2", "--sleep"),
        env=pipelines.cli.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None

    def workers() -> list[int]:
        return _pids_with(f"{pipelines.lines.parent}", "sdk_worker_main")

    assert wait_until(lambda: len(workers()) == 2, patience_s=60)
    time.sleep(0.5)
    program.send_signal(number)
    program.communicate(timeout=60)
    assert program.returncode != 0
    assert wait_until(lambda: not workers(), patience_s=30)


def _pids_with(state: str, word: str) -> list[int]:
    """Return processes whose command has `word` and whose environment names the folder `state`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        is_worker = word.encode() in command and b"ullage\0run" not in command
        if is_worker and state.encode() in environment:
            found.append(int(entry.name))
    return found


def test_inside_an_outer_run(pipelines: Pipelines) -> None:
    """Program and workers are one family: the outer run grows with what is inside."""
    command = pipelines.command("--ullage_request=300MiB")
    done = pipelines.cli.run("--name", "outer", "--request", "400MiB", "--", *command)
    assert (done.code, done.result["oom_kills"]) == (0, 0), done.err
    (inner,) = pipelines.runs()
    assert (inner["outcome"], inner["oom_kills_count"]) == ("ok", 0)
    assert done.result["attempts"][0]["peak_bytes"] > inner["peak_bytes"]


def test_only_measured(pipelines: Pipelines) -> None:
    done = pipelines("--ullage_observe")
    assert done.returncode == 0, done.stderr
    (run,) = pipelines.runs()
    assert run["start_limit_bytes"] is None
    assert run["peak_bytes"] > 500 * MIB


def test_nothing_is_recorded_where_nothing_shall_be(pipelines: Pipelines) -> None:
    done = pipelines("--ullage_no_record", "--ullage_request=900MiB")
    assert done.returncode == 0, done.stderr
    assert json.loads(pipelines.cli("get", "workloads", "-o", "json").stdout) == []


def test_dask_gives_up_after_four_deaths_and_needs_none_under_ullage(
    pipelines: Pipelines,
) -> None:
    pytest.importorskip("distributed", reason="needs Dask: run `make test-beam`")
    fixed = pipelines(
        "--ullage_workers=2", "--ullage_worker_limit=300MiB", script=DASK_PIPELINE, runner="Dask"
    )
    assert fixed.returncode != 0
    last = fixed.stderr.strip().splitlines()[-1]
    assert "Dask gave up on beam/group after 4 worker deaths: 4 OOM kills" in last
    assert sum(run["oom_kills_count"] for run in pipelines.runs()) == 4

    kept = pipelines(
        "--ullage_workers=2", "--ullage_request=300MiB", script=DASK_PIPELINE, runner="Dask"
    )
    assert kept.returncode == 0, kept.stderr
    assert "('a', 480400000)" in kept.stdout
    hungry, modest = sorted(pipelines.runs()[:2], key=lambda run: -run["peak_bytes"])
    assert (hungry["outcome"], hungry["oom_kills_count"]) == ("ok", 0)
    assert hungry["raises_count"] >= 1
    assert (modest["outcome"], modest["raises_count"]) == ("ok", 0)


def test_dask_with_a_scheduler_of_its_own_is_refused(pipelines: Pipelines) -> None:
    pytest.importorskip("distributed", reason="needs Dask: run `make test-beam`")
    done = pipelines("--dask_client_address=tcp://x:1", script=DASK_PIPELINE, runner="Dask")
    assert "leave out --dask_client_address" in done.stderr.strip().splitlines()[-1]


def test_the_guide_names_every_option_and_no_other() -> None:
    pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")
    import argparse
    import re

    from ullage.beam.local_options import UllageLocalOptions

    parser = argparse.ArgumentParser(add_help=False)
    UllageLocalOptions._add_argparse_args(parser)
    real = {word for action in parser._actions for word in action.option_strings}
    guide = (EXAMPLES.parent / "docs" / "beam.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(--ullage_[a-z_]+)`", guide, flags=re.MULTILINE)) == real


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with real flights, planes and weather."""
    from ullage.core.errors import ConfigError
    from ullage.demo.flights import find_flights, write_months

    try:
        source = find_flights()
    except ConfigError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("flights")
    write_months(source, folder, (2,)).get(2)
    for name in ("planes.csv", "weather.csv"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("skewed_key", ["--planes", "planes.csv"]),
        ("large_side_input", ["--weather", "weather.csv"]),
        ("growing_cache", []),
    ],
)
def test_the_examples_finish_under_ullage(
    pipelines: Pipelines, flights: Path, name: str, more: list[str]
) -> None:
    pipelines.lines = flights / "flights-first-2-months.csv"
    words = [str(flights / word) if "." in word else word for word in more]
    script = EXAMPLES / "beam" / f"{name}.py"
    done = pipelines(*words, "--ullage_workers=2", "--ullage_request=100MiB", script=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert [run["oom_kills_count"] for run in pipelines.runs()] == [0, 0]


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
import ullage.beam
try:
    getattr(ullage.beam, sys.argv[2])
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [("apache_beam", "LocalRunner", "beam"), ("distributed", "DaskRunner", "dask")],
)
def test_what_is_not_installed_is_named(package: str, name: str, extra: str) -> None:
    if package != "apache_beam":
        pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, name], capture_output=True, text=True
    )
    assert f"ullage.beam.{name} needs {package}: pip install 'ullage[{extra}]'" in told.stdout
