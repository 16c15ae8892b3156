"""`ullage run` before a launch, without Beam: what is planned, recorded, rewritten, refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conftest import Cli

ECHO = "import sys; print('\\n'.join(sys.argv[1:]))"


@pytest.fixture
def launcher(tmp_path: Path) -> list[str]:
    """Return a Python script that prints its arguments, as a launch of Dataflow."""
    script = tmp_path / "orders.py"
    script.write_text(ECHO)
    return [sys.executable, str(script), "--runner=DataflowRunner", "--region=europe-west1"]


def test_the_command_gets_the_plan(cli: Cli, launcher: list[str]) -> None:
    done = cli.run(*["--quiet", "--", *launcher, "--worker_machine_type=n2-standard-4", "--", "x"])
    assert done.code == 0, done.err
    words = done.out.splitlines()
    assert words[-2:] == ["--", "x"]
    labels = dict(word[9:].split("=") for word in words if word.startswith("--labels="))
    assert labels["ullage-workload"] == "orders"
    assert "ullage plan for orders (python, europe-west1)" in done.err
    assert "prices in 'europe-west1' are not known here" in done.err
    listed = json.loads(cli("get", "runs", "beam/orders", "-o", "json").stdout)
    assert len(listed) == 1
    assert done.result["workload"].startswith("w-orders-")


def test_a_launch_is_the_same_workload_whatever_is_planned(cli: Cli, launcher: list[str]) -> None:
    first = cli.run("--quiet", "--", *launcher)
    second = cli.run("--quiet", "--", *launcher)
    assert first.result["workload"] == second.result["workload"]


def test_a_plan_starts_and_records_nothing(cli: Cli, launcher: list[str], tmp_path: Path) -> None:
    done = cli("run", "--plan", "-o", "json", "--", *launcher)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["workload"] == "beam/orders"
    assert plan["command"][: len(launcher)] == launcher
    assert not (tmp_path / "state").exists()
    text = cli("run", "--plan", "--", *launcher)
    assert text.stdout.startswith("ullage plan for orders")
    own = cli("run", "--plan", "--", *launcher, "--runner=ullage.beam.DataflowRunner")
    assert own.stdout.startswith("ullage plan for orders")


def test_a_plan_of_another_command_is_refused(cli: Cli) -> None:
    done = cli("run", "--plan", "--", "true")
    assert done.returncode == 125
    assert "ullage explain" in done.stderr
    assert done.stdout == ""


def test_what_is_not_certain_is_started_as_it_is(cli: Cli) -> None:
    done = cli.run("--quiet", "--", "echo", "--runner=DataflowRunner")
    assert (done.code, done.out) == (0, "--runner=DataflowRunner\n")
    assert "left as it is" in done.err
    plan = cli("run", "--plan", "--", "echo", "--runner=DataflowRunner")
    assert plan.returncode == 125
    assert "nothing to plan" in plan.stderr


@pytest.mark.parametrize("options", [("--observe",), ("--no-record",)])
def test_options_of_the_run_hold_for_the_launch(
    cli: Cli, launcher: list[str], options: tuple[str, ...], tmp_path: Path
) -> None:
    done = cli.run("--quiet", *options, "--", *launcher)
    assert done.code == 0, done.err
    is_sized = any("ullage-decision" in word for word in done.out.splitlines())
    assert is_sized is ("--observe" not in options)
    if "--no-record" in options:
        assert not (tmp_path / "state" / "state.db").exists()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--worker_machine_type=n9-standard-4", "n9"),
        ("--resource_hints=min_ram=12", "no unit"),
        ("--num_workers=x", "no whole number"),
        ("--labels={", "cannot be read"),
    ],
)
def test_what_cannot_be_ends_before_the_command_starts(
    cli: Cli, launcher: list[str], flag: str, words: str
) -> None:
    done = cli.run("--quiet", "--", *launcher, flag)
    assert done.code == 125
    assert done.out == ""
    assert words in done.err
    assert done.err.count("\n") == 1
    assert done.result["outcome"] == "refused"


def test_gcloud_is_told_what_to_add(cli: Cli, tmp_path: Path) -> None:
    gcloud = tmp_path / "gcloud"
    gcloud.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    gcloud.chmod(0o755)
    done = cli.run("--quiet", "--", gcloud, "dataflow", "flex-template", "run", "orders")
    assert done.code == 0, done.err
    assert done.out.split() == ["dataflow", "flex-template", "run", "orders"]
    assert "--additional-user-labels=ullage-workload=orders" in done.err
    assert json.loads(cli("get", "runs", "beam/orders", "-o", "json").stdout or "[]") == []


def test_the_next_run_does_not_close_a_launched_one(cli: Cli, launcher: list[str]) -> None:
    cli.run("--quiet", "--", *launcher)
    cli.run("--quiet", "--", "true")
    (run,) = json.loads(cli("get", "runs", "beam/orders", "-o", "json").stdout)
    assert run["outcome"] in (None, "running")
