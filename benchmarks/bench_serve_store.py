"""What the service loop costs with its real store and policy: start, passes, disk, memory.

    python benchmarks/bench_serve_store.py [--targets 2000] [--interval 30] [--hours 2] [--days 35]

A month of made-up history is written into a real SQLite store (`--dir`, a folder of its own by
default), a controller with the service policy starts on it and makes passes in virtual time:
as many as fit into the hours, one after the other, so "share of a core" is CPU seconds per second
of virtual time, and a pass is late where it takes longer than the interval. Readings come from
memory: what kernels and Docker add is measured elsewhere (docs/benchmarks.md).
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bench_serve_loop import make_world, rescue_latencies_s, rss_mib
from ullage.bootstrap import service_policy
from ullage.control.reconcile import Controller
from ullage.control.tracked import ServeParts
from ullage.core.service import LiveReading, ServeSettings, ServiceSpec, TargetKind
from ullage.core.units import GIB, MIB
from ullage.simulation.world import World
from ullage.simulation.world_ports import (
    WorldActuator,
    WorldFaults,
    WorldFinder,
    WorldHost,
    WorldSource,
)
from ullage.stores.service import SqliteServiceStore

DAY_S = 86_400.0


def need_bytes(number: int, at_s: float, chance: random.Random) -> int:
    """Return what a target needs then: a daily wave with a phase and a size of its own, noise."""
    wave = 1 + 0.3 * math.sin(2 * math.pi * (at_s / DAY_S + number / 7))
    return int(GIB * (1 + number % 3) * wave * (0.97 + 0.06 * chance.random()))


def write_history(
    store: SqliteServiceStore, world: World, settings: ServeSettings, days: float
) -> None:
    """Fill the store with the readings of so many days; the last hours as densely as live."""
    now, chance = world.clock.now(), random.Random(1)
    recent_s = settings.recent_samples_count * settings.sample_interval.total_seconds()
    dense_at = now - timedelta(seconds=recent_s)
    at = now - timedelta(days=days)
    while at < now:
        store.readings.add(
            [
                _reading(name, at, need_bytes(number, at.timestamp(), chance))
                for number, name in enumerate(world.targets)
            ]
        )
        if store.readings.waiting_count > 100_000:
            store.flush(at)
        at += settings.sample_interval if at >= dense_at else settings.peak_interval
    store.flush(now)


def _reading(target_id: str, at: datetime, bytes_: int) -> LiveReading:
    return LiveReading(
        target_id=target_id,
        at=at,
        known_at=at,
        usage_bytes=bytes_,
        need_bytes=bytes_,
        limit_bytes=8 * GIB,
        oom_kills=0,
        is_waiting=False,
        psi_full_avg10_ratio=None,
        node_bytes=None,
    )


class BenchClock:
    """The world's clock, plus the time that really passes: a pass takes as long as it takes."""

    def __init__(self, world: World) -> None:
        self._clock = world.clock

    def now(self) -> datetime:
        """Return the world's wall clock."""
        return self._clock.now()

    def monotonic_s(self) -> float:
        """Return virtual and real seconds together."""
        return self._clock.monotonic_s() + time.perf_counter()


class BenchRun:
    """A controller with the real store and policy over targets that exist in memory."""

    def __init__(
        self, world: World, specs: list[ServiceSpec], settings: ServeSettings, path: Path
    ) -> None:
        self.world, faults = world, WorldFaults()
        self.actuator = WorldActuator(world, faults, settings)
        self.store = SqliteServiceStore.open(path, settings)
        kinds = [TargetKind.CGROUP1]
        parts = ServeParts(
            clock=BenchClock(world),
            finders={kind: WorldFinder(world, faults) for kind in kinds},
            sources={kind: WorldSource(world, faults) for kind in kinds},
            actuators=dict.fromkeys(kinds, self.actuator),
            host=WorldHost(world),
            lease=self.store.lease(holder="bench", monotonic_s=world.clock.monotonic_s),
            journal=self.store,
            store=self.store,
            policies=[service_policy()],
        )
        self.controller = Controller(parts, specs, settings, owner="bench")

    def passes(self, hours: float, settings: ServeSettings) -> tuple[list[float], list[float]]:
        """Let time pass; return the elapsed and the CPU seconds of each pass."""
        interval_s, chance = settings.sample_interval.total_seconds(), random.Random(2)
        elapsed, busy = [], []
        for _ in range(int(hours * 3600 / interval_s)):
            self.world.clock.advance(interval_s)
            now = self.world.clock.now()
            for number, target in enumerate(self.world.targets.values()):
                wanted = need_bytes(number, now.timestamp(), chance)
                target.need_bytes = target.demand_bytes = min(wanted, target.limit_bytes or wanted)
            began_s, cpu_s = time.perf_counter(), time.process_time()
            self.controller.run_once(now)
            elapsed.append(time.perf_counter() - began_s)
            busy.append(time.process_time() - cpu_s)
            self.world.log.clear()
            self.actuator.written.clear()
        return elapsed, busy


def report(took: tuple[list[float], list[float]], interval_s: float) -> None:
    """Print what passes took."""
    for name, spans in zip(("elapsed", "CPU"), took, strict=True):
        p50, p99, most = np.percentile(spans, [50, 99, 100]) * 1000
        print(f"  pass, {name:<8} p50 {p50:6.0f} ms, p99 {p99:6.0f} ms, max {most:6.0f} ms")
    late = sum(span > interval_s for span in took[0])
    share = 100 * sum(took[1]) / (len(took[1]) * interval_s)
    print(f"  {len(took[0])} passes, {late} late; {share:.2f} % of a core")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--interval", type=float, default=30.0, help="seconds between passes")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--days", type=float, default=35.0, help="days of history")
    parser.add_argument("--dir", type=Path, help="an empty folder for the store")
    given = parser.parse_args()
    settings = ServeSettings(is_acting=True, sample_interval=timedelta(seconds=given.interval))
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        path = Path(folder) / "state.db"
        world, specs = make_world(given.targets)
        for target in world.targets.values():
            target.limit_bytes = 8 * GIB
        store = SqliteServiceStore.open(path, settings)
        write_history(store, world, settings, given.days)
        store.close()
        print(f"{given.targets} targets every {given.interval:g} s, {given.days:g} days known")
        before_mib, began_s = rss_mib(), time.perf_counter()
        run = BenchRun(world, specs, replace(settings), path)
        run.controller.keep_lease(world.clock.now())
        run.controller.run_once(world.clock.now())
        print(f"  start to the end of the first pass {time.perf_counter() - began_s:.2f} s")
        gc.freeze()  # as the daemon does
        for _ in range(2):  # growth of memory shows in the second half
            report(run.passes(given.hours, settings), given.interval)
            print(
                f"  RSS {rss_mib():.0f} MiB, of it {before_mib:.0f} before there was a controller"
            )
        for count in (1, 100):
            latencies = rescue_latencies_s(
                world, run.actuator, run.controller, time.perf_counter, in_trouble=count
            )
            p50, p99 = np.percentile(latencies, [50, 99]) * 1000
            print(f"  {count} in trouble: event to written limit ", end="")
            print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        sizes = run.store.file_bytes()
        size = run.store.journal_size()
        print(
            f"  store {sizes['database'] / MIB:.0f} MiB + log {sizes['log'] / MIB:.0f} MiB, "
            f"{size.records_count} rows of the journal"
        )
        run.store.close()


if __name__ == "__main__":
    main()
