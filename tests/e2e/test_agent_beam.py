"""The worker agent in real SDK worker processes of Apache Beam, loaded by `--beam_plugin`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.beam]

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = Path(__file__).with_name("agent_pipeline.py")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _beam() -> None:
    pytest.importorskip("apache_beam", reason="needs Apache Beam: run `make test-beam`")


def _run(mib: int, *options: str) -> tuple[dict[str, dict[str, int]], list[dict[str, object]]]:
    """Run the pipeline; return its user metrics and the agent's log lines."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "agent" / "src")}
    env.pop("ULLAGE_AGENT", None)
    words = [sys.executable, str(PIPELINE), str(mib), *options]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    told = [
        json.loads(line.partition("ullage_agent:ullage_agent ")[2])
        for line in done.stderr.splitlines()
        if line.startswith("INFO:ullage_agent:")
    ]
    return json.loads(done.stdout.splitlines()[-1]), told


def test_its_line_and_its_metric_tell_what_the_function_took() -> None:
    """300 MiB that were there for some 0.1 s: the metric has them, and so has the log."""
    metrics, told = _run(300, "--beam_plugin=ullage_agent")
    idle = told[0]["need_bytes"]
    assert isinstance(idle, int)
    peak = metrics["need_bytes"]["max"]
    assert 300 * MIB <= peak <= idle + 400 * MIB
    assert metrics["worker_usage_bytes"]["max"] > 0
    # the log is a tenth behind the peak at most while the process lives
    logged = max(int(str(each["need_peak_bytes"])) for each in told)
    assert peak * 0.9 <= logged <= peak * 1.1
    pids = {each["pid"] for each in told}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_without_the_option_there_is_no_agent() -> None:
    assert _run(10) == ({}, [])


def test_switched_off_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_AGENT", "off")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "agent" / "src")}
    words = [sys.executable, str(PIPELINE), "10", "--beam_plugin=ullage_agent"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=150)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "{}"), done.stderr


def test_a_runner_that_asks_for_the_metrics_of_the_process_gets_the_peak() -> None:
    """Beam's local runner does not ask; the answer is what Beam's own worker would send."""
    code = """
import logging, time
import apache_beam.runners.worker.sdk_worker
import ullage_agent
from ullage_agent import agent
from apache_beam.metrics.execution import MetricsEnvironment
end = time.monotonic() + 20
infos = {}
while not infos and time.monotonic() < end:
    time.sleep(0.05)
    infos = MetricsEnvironment.process_wide_container().to_runner_api_monitoring_infos(None)
(info,) = infos.values()
print(info.urn, dict(info.labels))
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "agent" / "src")}
    env.pop("ULLAGE_AGENT", None)
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert "beam:metric:user:distribution_int64:v1" in done.stdout
    assert "'NAMESPACE': 'ullage'" in done.stdout
    assert "'NAME': 'need_bytes'" in done.stdout
