"""What the worker agent costs its worker: import, CPU, memory, a bundle. `make bench` runs it.

Each figure is of a fresh process. The worker sleeps, allocates (the agent samples four times a
second), or does nothing but short bundles.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "agent" / "src"
SECONDS = 20.0

BEGIN = """
import json, logging, os, resource, sys, threading, time, types
logging.basicConfig(stream=open(os.devnull, "w"), level=logging.INFO)
import importlib, json, re, atexit
def cpu_s():
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime
def rss():
    text = open("/proc/self/status").read()
    return int(re.search(r"RssAnon:\\s*(\\d+)", text)[1]) * 1024
before, began = rss(), time.perf_counter()
import ullage_agent
import_ms = (time.perf_counter() - began) * 1000
"""
QUIET = """
time.sleep(2)
spent = cpu_s()
time.sleep({seconds})
print(json.dumps(dict(import_ms=import_ms, cpu_ratio=(cpu_s() - spent) / {seconds},
                      memory_bytes=rss() - before)))
"""
GROWING = """
from ullage_agent import agent
sampler = agent._agent.sampler
end, hold, count = time.monotonic() + {seconds}, [], 0
real = sampler._sample_process
def counted(at_s):
    global count
    count += 1
    real(at_s)
    sampler.interval_s = 0.25  # as if the need had grown
sampler._sample_process = counted
spent = cpu_s()
while time.monotonic() < end:
    time.sleep(1)
print(json.dumps(dict(cpu_ratio=(cpu_s() - spent) / {seconds}, samples_count=count)))
"""
BUNDLES = """
from ullage_agent import agent, beam_metrics
class BundleProcessor:
    ops = {{}}
    def process_bundle(self): return None
module = types.ModuleType("apache_beam.runners.worker.bundle_processor")
module.BundleProcessor = BundleProcessor
def each_us():
    processor, began = BundleProcessor(), time.perf_counter()
    for _ in range(100_000): processor.process_bundle()
    return (time.perf_counter() - began) * 10
plain = each_us()
sys.modules[module.__name__] = module
assert beam_metrics.install(agent._agent.sampler)
print(json.dumps(dict(bundle_us=each_us() - plain)))
"""


def _measure(code: str) -> dict[str, float]:
    """Return what a fresh worker measured of itself."""
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    env.pop("ULLAGE_AGENT", None)
    words = [sys.executable, "-S", "-c", BEGIN + code.format(seconds=SECONDS)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print the figures."""
    quiet, growing, bundles = _measure(QUIET), _measure(GROWING), _measure(BUNDLES)
    imports = [_measure(QUIET.replace("{seconds}", "0.1"))["import_ms"] for _ in range(5)]
    print("worker agent (agent/), in a worker that has logging and json already:")
    print(f"  import, start of the thread  {statistics.median(imports):6.2f} ms")
    print(f"  memory                       {quiet['memory_bytes'] / 2**20:6.2f} MiB")
    print(f"  CPU at rest                  {quiet['cpu_ratio'] * 100:6.3f} % of a core")
    rate = growing["samples_count"] / SECONDS
    print(
        f"  CPU while the need grows     {growing['cpu_ratio'] * 100:6.3f} % of a core"
        f" ({rate:.1f} samples a second)"
    )
    print(f"  each bundle                  {bundles['bundle_us']:6.2f} us")


if __name__ == "__main__":
    main()
