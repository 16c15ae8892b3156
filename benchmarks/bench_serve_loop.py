"""What the service loop costs: passes over 2,000 workloads in virtual time, and rescue latency.

    python benchmarks/bench_serve_loop.py [--targets 2000] [--hours 2] [--month]

Virtual time: a pass does all its work at once, and nothing waits in between, so "share of a core"
is CPU seconds per second of virtual time. Readings come from memory and the journal is kept in
memory (cut off now and then); what kernels, Docker and disks add is measured elsewhere. The policy
is a stand-in (largest need x 1.2). `--month` lets 30 days pass with a reading every 15 minutes:
for the memory, which rings of fixed size hold, not for the time.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np

from ullage.control.reconcile import Controller
from ullage.core.service import (
    EventKind,
    ServeSettings,
    ServiceSpec,
    TargetEvent,
    TargetKind,
    UpdateMode,
)
from ullage.core.units import GIB, MIB
from ullage.simulation.world import World
from ullage.simulation.world_daemons import WorldRun
from ullage.simulation.world_ports import WorldActuator
from ullage.testing.doubles import LargestNeed

SETTINGS = ServeSettings(is_acting=True)


def make_world(targets_count: int) -> tuple[World, list[ServiceSpec]]:
    """Return a world with that many targets, and their 100 workloads."""
    world = World(host_bytes=targets_count * 16 * GIB)
    for number in range(targets_count):
        world.add(
            f"{number % 100:02d}-{number}", limit_bytes=4 * GIB, need_bytes=(1 + number % 3) * GIB
        )
    kind = TargetKind.CGROUP1
    specs = [
        ServiceSpec(
            workload_key=f"w{number:02d}",
            kind=kind,
            selector=f"{kind}:/{number:02d}-*",
            mode=UpdateMode.IN_PLACE,
            max_bytes=12 * GIB,
        )
        for number in range(100)
    ]
    return world, specs


def make_run(targets_count: int, settings: ServeSettings) -> WorldRun:
    """Return a world with that many targets of 100 workloads, and a daemon."""
    world, specs = make_world(targets_count)
    run = WorldRun(world, specs, settings, lambda: [LargestNeed()])
    run.start()
    return run


def passes(run: WorldRun, hours: float, settings: ServeSettings) -> Iterator[float]:
    """Let time pass; yield the CPU seconds of each pass."""
    interval_s = settings.sample_interval.total_seconds()
    controller, clock = run.daemons[0].controller, run.world.clock
    chance = random.Random(1)
    targets = list(run.world.targets.values())
    for number in range(int(hours * 3600 / interval_s)):
        clock.advance(interval_s)
        wave = 1 + 0.2 * math.sin(number * interval_s / 86400 * 2 * math.pi)
        for target in targets:
            wanted = int(GIB * wave * (0.95 + 0.1 * chance.random()))
            target.need_bytes = target.demand_bytes = min(wanted, (target.limit_bytes or 0))
        began_s = time.process_time()
        controller.run_once(clock.now())
        yield time.process_time() - began_s
        del run.records[:-1]
        run.world.log.clear()
        run.actuator.written.clear()


def rss_mib() -> float:
    """Return what this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize() / MIB


def rescue_latencies_s(
    world: World,
    actuator: WorldActuator,
    controller: Controller,
    clock_s: Callable[[], float],
    rounds: int = 10,
    in_trouble: int = 100,
) -> list[float]:
    """Return, for targets in trouble at once, the seconds from the event to the written limit."""
    clock = world.clock
    latencies: list[float] = []
    targets = list(world.targets.values())
    for number in range(rounds):
        clock.advance(1.0)
        controller.keep_lease(clock.now())
        hungry = targets[number * in_trouble % len(targets) :][:in_trouble]
        for target in hungry:
            target.need_bytes = int((target.limit_bytes or 0) * 0.97)
        events = [
            TargetEvent(target_id=one.target_id, kind=EventKind.PRESSURE, at=clock.now())
            for one in hungry
        ]
        written: list[float] = []
        actuator.witness = lambda change, w=written: w.append(clock_s())  # type: ignore[misc]
        began_s = clock_s()
        controller.on_events(events, clock.now())
        latencies += [at_s - began_s for at_s in written]
    actuator.witness = lambda change: None
    return latencies


def report_passes(name: str, took: list[float], settings: ServeSettings) -> None:
    """Print one line about passes."""
    interval_s = settings.sample_interval.total_seconds()
    share = 100 * sum(took) / (len(took) * interval_s)
    p50, p99, most = np.percentile(took, [50, 99, 100]) * 1000
    print(
        f"{name:<34} {len(took)} passes: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {most:.0f} ms; "
        f"{share:.1f} % of a core; RSS {rss_mib():.0f} MiB"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--month", action="store_true")
    given = parser.parse_args()
    run = make_run(given.targets, SETTINGS)
    before_mib = rss_mib()
    took = list(passes(run, given.hours, SETTINGS))
    report_passes(f"{given.targets} targets every 30 s", took, SETTINGS)
    print(f"{'before the first pass':<34} RSS {before_mib:.0f} MiB")
    for name, clock_s in (("", time.perf_counter), (", CPU alone", time.process_time)):
        latencies = rescue_latencies_s(run.world, run.actuator, run.daemons[0].controller, clock_s)
        p50, p99 = np.percentile(latencies, [50, 99]) * 1000
        print(f"{f'100 rescues at once{name}':<34} {len(latencies)} writes: ", end="")
        print(f"event to written limit p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    if given.month:
        slow = replace(SETTINGS, sample_interval=timedelta(minutes=15))
        run = make_run(given.targets, slow)
        took = list(passes(run, 24, slow))
        report_passes("a day, a reading every 15 min", took, slow)
        took = list(passes(run, 29 * 24, slow))
        report_passes("30 days, a reading every 15 min", took, slow)


if __name__ == "__main__":
    main()
