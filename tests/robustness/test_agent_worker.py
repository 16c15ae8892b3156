"""The worker agent in real processes: whatever is broken around it, the worker goes on.

Each test runs a worker of its own, a small program that loads the agent as Beam does (by
importing it), and looks at how it ends. Shown for every Python that the agent promises and that
is found here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

SOURCES = Path(__file__).resolve().parents[2] / "agent" / "src"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
BEGIN = """
import logging, os, sys, threading, time
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s: %(message)s")
import ullage_agent
from ullage_agent import agent
def say(*words):
    # in one piece, so that no line of the log comes between
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
def wait():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if agent._agent.sampler.need_peak_bytes and agent._agent.sampler._told_peak_bytes:
            return
        time.sleep(0.01)
"""


def _interpreter(version: str) -> str:
    """Return a Python of this version, or skip."""
    beside = Path(sys.base_prefix).parent.glob(f"{version}*/bin/python3")
    for each in (shutil.which(f"python{version}"), *map(str, sorted(beside))):
        if each is None:
            continue
        asked = subprocess.run([each, "-c", "import sys; print(sys.version)"], capture_output=True)
        if asked.returncode == 0 and asked.stdout.decode().startswith(f"{version}."):
            return each
    pytest.skip(f"no Python {version} was found here")


def _work(
    code: str, *, python: str = sys.executable, agent: str | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a worker whose warnings are errors."""
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    env.pop("ULLAGE_AGENT", None)
    if agent is not None:
        env["ULLAGE_AGENT"] = agent
    words = [python, "-W", "error", "-S", "-c", BEGIN + code]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        words, env=env, text=True, timeout=60, **{"capture_output": True, **options}
    )


def _told(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    lines = [line for line in done.stdout.splitlines() if line.startswith("ullage_agent: ")]
    return [json.loads(line.removeprefix("ullage_agent: ullage_agent ")) for line in lines]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_that_is_promised(version: str) -> None:
    done = _work(
        "wait()\nhold = bytearray(100 << 20)\ntime.sleep(0.6)\nprint('worked')",
        python=_interpreter(version),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "worked" in done.stdout
    told = _told(done)
    assert (told[0]["reason"], told[-1]["reason"]) == ("start", "exit")
    peak = told[-1]["need_peak_bytes"]
    assert isinstance(peak, int)
    assert 100 << 20 <= peak < 200 << 20
    assert "threads_count" in told[-1]


def test_off_is_off() -> None:
    ask = "say([t.name for t in threading.enumerate()][1:], agent._agent is None)"
    assert "['ullage-agent'] False" in _work(ask).stdout
    for word in ("off", "OFF", "0"):
        off = _work(ask, agent=word)
        assert (off.returncode, off.stdout) == (0, "[] True\n")


def test_never_twice() -> None:
    done = _work(
        """
import importlib
for _ in range(20):
    importlib.reload(ullage_agent)
    importlib.reload(agent)
    ullage_agent.start()
say([t.name for t in threading.enumerate() if t.name.startswith("ullage")])
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "['ullage-agent']" in done.stdout


def test_a_forked_child_has_no_agent_and_the_parent_keeps_its_own() -> None:
    done = _work(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of any fork beside threads
wait()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        ok = not ullage_agent.start() and threading.active_count() == 1
        window = agent._agent.sampler.open_window()
        agent._agent.sampler.close_window(window)
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
say("alive", agent._agent.is_running)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "alive True" in done.stdout


def test_a_child_that_ends_as_a_program_does_says_nothing() -> None:
    done = _work(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
wait()
pid = os.fork()
if pid == 0:
    sys.exit(0)
os.waitpid(pid, 0)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [each["reason"] for each in _told(done)] == ["start", "exit"]


@pytest.mark.parametrize(
    "handler",
    [
        "class H(logging.Handler):\n    def emit(self, record): raise RuntimeError('full')",
        "class H(logging.Handler):\n    def emit(self, record): raise KeyboardInterrupt",
        "class H(logging.FileHandler):\n    def __init__(self): super().__init__('/dev/full')",
    ],
    ids=["raises", "interrupts", "disk is full"],
)
def test_a_log_handler_that_fails(handler: str) -> None:
    """Nothing of it is seen, and the agent goes on sampling."""
    code = f"""
{handler}
wait()
logging.raiseExceptions = False
agent.LOGGER.propagate = False
agent.LOGGER.addHandler(H())
agent._agent.sampler._told_peak_bytes = 0
hold = bytearray(100 << 20)
time.sleep(2.5)
say("worked", agent._agent.is_running, agent._agent.sampler.need_peak_bytes > 100 << 20)
"""
    done = _work(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "worked True True" in done.stdout


def test_the_end_waits_a_second_at_most_for_a_log_that_blocks() -> None:
    done = _work(
        """
class H(logging.Handler):
    def handle(self, record): threading.Event().wait()
wait()
agent.LOGGER.propagate = False
agent.LOGGER.addHandler(H())
say('worked')
"""
    )
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "worked", "")


@pytest.mark.parametrize("closed", ["sys.stderr.close()", "os.close(2)", "sys.stderr = None"])
def test_no_stderr(closed: str) -> None:
    done = _work(
        f"""
agent.LOGGER.propagate = False
agent.LOGGER.addHandler(logging.StreamHandler())
{closed}
agent._agent.sampler._told_peak_bytes = 0
time.sleep(0.5)
say('worked')
"""
    )
    assert done.returncode == 0
    assert "worked" in done.stdout


def test_stdout_is_gone() -> None:
    """The lines cannot be written; that is logging's trouble, told on stderr as always."""
    with open("/dev/full", "w") as full:
        done = _work(
            "logging.raiseExceptions = False\nwait()\nsys.stdout = None\nos.close(1)\n"
            "os.open('/dev/null', os.O_WRONLY)",
            stdout=full,
            stderr=subprocess.PIPE,
            capture_output=False,
        )
    assert "ullage" not in (done.stderr or "")


def test_no_thread_can_be_had() -> None:
    done = _work(
        """
for name in [name for name in sys.modules if name.startswith("ullage_agent")]:
    del sys.modules[name]
def refuse(*args, **options): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
import ullage_agent
say("worked", ullage_agent.start())
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "worked False" in done.stdout


def test_readings_that_raise_are_given_up() -> None:
    done = _work(
        """
wait()
def broken(*args): raise OSError("gone")
agent._agent.sampler._sample_process = broken
agent._agent.sampler.interval_s = 0.001
end = time.monotonic() + 20
while agent._agent.is_running and time.monotonic() < end:
    time.sleep(0.01)
say("worked", agent._agent.is_running)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "worked False" in done.stdout


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise SystemExit(3)", "os._exit(3)"])
def test_the_exit_code_is_the_workers(end: str) -> None:
    assert _work(f"wait()\n{end}").returncode == 3


def test_ends_in_the_middle_of_start() -> None:
    """Interpreters that shut down at once, many times: no hang, no word on stderr."""
    for _ in range(10):
        done = _work("")
        assert (done.returncode, done.stderr) == (0, "")


def test_an_import_that_fails_inside_is_silent(tmp_path: Path) -> None:
    copy = tmp_path / "ullage_agent"
    shutil.copytree(SOURCES / "ullage_agent", copy)
    (copy / "sampler.py").write_text("raise RuntimeError('broken wheel')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    env.pop("ULLAGE_AGENT", None)
    code = "import ullage_agent; print('worked', ullage_agent.start())"
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "worked False\n", "")


BUNDLES = """
import types
module = types.ModuleType("apache_beam.runners.worker.bundle_processor")
class BundleProcessor:
    ops = {}
    def process_bundle(self, instruction_id, fail=False):
        if fail:
            raise ValueError(instruction_id)
        return [instruction_id], False
module.BundleProcessor = BundleProcessor
sys.modules[module.__name__] = module
assert agent.beam_metrics.install(agent._agent.sampler)
assert agent.beam_metrics.install(agent._agent.sampler), "twice is once"
"""


@pytest.mark.parametrize(
    "ops",
    ["{}", "None", "{'a': object()}", "{'a': type('DoOperation', (), {'metrics_container': 7})()}"],
)
def test_a_beam_with_other_insides(ops: str) -> None:
    """Bundles go through as they are, results and errors too, whatever their metrics are."""
    done = _work(
        BUNDLES
        + f"""
BundleProcessor.ops = {ops}
assert BundleProcessor().process_bundle("b1") == (["b1"], False)
try:
    BundleProcessor().process_bundle("b2", fail=True)
except ValueError as error:
    say("worked", error)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "worked b2" in done.stdout
