"""Workers as commands under `ullage run`, without Beam: who dies, what is said, what is left."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ullage.beam
from ullage.beam.crew import Crew, WorkerEnd, death_in_words, sigterm_ends_workers, worker_command
from ullage.beam.settings import WorkerSettings
from ullage.testing.sandbox_contract import wait_until

SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def crew() -> Iterator[Crew]:
    settings = WorkerSettings(workload_key="beam/test", workers_count=1, is_observing=True)
    made = Crew("beam/test", settings.run_words())
    yield made
    made.is_failing = True
    made.close()


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_a_worker_that_is_let_go_is_no_death(crew: Crew) -> None:
    crew.start("w", python("pass"), env=os.environ)
    crew.let_go("w")
    crew.end("w")
    crew.close()
    assert crew.death() is None
    (end,) = crew.ends
    assert (end.name, end.exit_code, end.oom_kills) == ("w", 0, 0)
    assert end.run_id is not None


def test_the_first_death_is_kept(crew: Crew) -> None:
    crew.start("w", python("raise SystemExit(7)"), env=os.environ)
    death = crew.death(wait_s=60)
    assert death is not None
    assert (death.name, death.exit_code, death.result["outcome"]) == ("w", 7, "error")
    crew.close()
    assert crew.ends == [death]
    assert crew.death() is death
    line = death_in_words(death, workload_key="beam/test")
    assert line.startswith("w of beam/test ended with exit code 7, not for want of memory")


def test_a_failing_crew_is_ended_at_once_and_recorded(crew: Crew, tmp_path: Path) -> None:
    for number in range(2):
        crew.start(f"w{number}", SLEEP, env=os.environ)
    crew.is_failing = True
    crew.close()
    assert {end.name for end in crew.ends} == {"w0", "w1"}
    assert crew.death() is None, "they were told to end"
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("ullage-beam-*/w0.json"))


def test_a_worker_that_ignores_sigterm_is_killed_with_its_tree_and_recorded(
    crew: Crew, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    stubborn = f"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(up)!r}, "w").close()
time.sleep(90)
"""
    crew.start("w", python(stubborn), env=os.environ)
    assert wait_until(up.exists)
    crew.is_failing = True
    crew.end("w")
    crew.close()
    (end,) = crew.ends
    assert (end.exit_code, end.result["outcome"]) == (137, "interrupted")


def test_what_ullage_run_refuses_is_said(crew: Crew) -> None:
    bad = Crew("beam/test", ["run", "--quiet", "--name", "beam/test", "--limit", "1GiB"])
    with bad:
        bad.start("w", ["no-such-program-anywhere"], env=os.environ)
        death = bad.death(wait_s=60)
    assert death is not None
    line = death_in_words(death, workload_key="beam/test")
    assert "w of beam/test was not started: command 'no-such-program-anywhere' not found" in line


def end(exit_code: int = 1, **result: Any) -> WorkerEnd:
    return WorkerEnd(name="worker_0", exit_code=exit_code, result=result)


def test_an_oom_kill_is_said_with_its_limit_its_need_its_stage_and_the_way_out() -> None:
    attempts = [{"final_limit_bytes": 256 << 20, "peak_bytes": 300 << 20}]
    line = death_in_words(
        end(outcome="oom_killed", oom_kills=1, attempts=attempts),
        workload_key="beam/orders",
        stage="group + sort",
    )
    assert line.startswith(
        "worker_0 of beam/orders was OOM-killed at its limit of 256 MiB in stage 'group + sort' "
        "(it needed at least 300 MiB): leave out --ullage_worker_limit"
    )
    assert "\n" not in line


def test_a_supervisor_that_died_itself_is_said() -> None:
    line = death_in_words(end(-9), workload_key="beam/orders", stage="a\nb")
    assert "ended with signal 9 in stage 'a\\nb' without a result" in line


def test_settings_become_the_words_of_ullage_run() -> None:
    words = WorkerSettings(
        workload_key="beam/orders",
        workers_count=2,
        request="1GiB",
        max_memory="4GiB",
        is_recording=False,
        features=("input_bytes=5.0", "sdk=python"),
    ).run_words()
    assert words[:4] == ["run", "--quiet", "--name", "beam/orders"]
    assert words[4:8] == ["--request", "1GiB", "--max-memory", "4GiB"]
    assert words[8:] == ["--no-record", "--feature", "input_bytes=5.0", "--feature", "sdk=python"]
    fixed = WorkerSettings(workload_key="w", workers_count=1, limit="1GiB", is_observing=True)
    assert fixed.run_words()[4:] == ["--limit", "1GiB", "--observe"]


def test_only_the_worker_finds_the_programs_modules() -> None:
    command = worker_command("some.module", "--word")
    assert command[0] == "env"
    assert command[1].startswith(f"PYTHONPATH={os.path.abspath(sys.path[0] or '.')}")
    assert command[2:] == [sys.executable, "-m", "some.module", "--word"]


def test_sigterm_ends_by_way_of_finally_and_is_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, sigterm_ends_workers():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_beam_the_package_is_there_and_says_what_is_missing() -> None:
    assert {"LocalRunner", "DaskRunner"} <= set(ullage.beam.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ullage.beam.Nothing
    if importlib.util.find_spec("apache_beam") is None:
        with pytest.raises(ImportError, match=r"needs apache_beam: pip install 'ullage\[beam\]'"):
            _ = ullage.beam.LocalRunner
