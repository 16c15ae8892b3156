"""What the service policy costs: one answer by the days known, and 2,000 workloads at a tick.

    .venv/bin/python benchmarks/bench_service_policy.py
    .venv/bin/python benchmarks/bench_service_policy.py --workloads 500

Histories are made up: a daily wave, noise, a spike a day, interval peaks of 30 minutes. A tick
asks about every workload (as every five minutes in the live loop); one tick in six also ends an
interval, which scores 72 rules for it. The first tick scores the whole past of every workload.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from datetime import UTC, datetime, timedelta

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ullage.core.service import ServiceQuestion, TargetHistory
from ullage.core.units import GIB, MIB
from ullage.policies.services import UllageServicePolicy

INTERVAL_S = 1800.0
BEGAN_AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 48


def history(intervals: int, *, seed: int = 0, upto: int | None = None) -> TargetHistory:
    """Return a made-up history of so many interval peaks; `upto` keeps only the first ones."""
    draw = np.random.default_rng(seed)
    at = np.arange(intervals)
    wave = 1 + 0.3 * np.sin(2 * np.pi * at / DAY) + 0.05 * draw.standard_normal(intervals)
    peaks = (GIB * wave * np.where(at % DAY == 20, 1.5, 1.0)).astype(np.int64)[:upto]
    began_s = BEGAN_AT.timestamp()
    end_s = began_s + INTERVAL_S * len(peaks)
    return TargetHistory(
        at_s=end_s - 30.0 * np.arange(720, 0, -1),
        need_bytes=np.full(720, peaks[-1]),
        limit_bytes=np.full(720, 2 * GIB),
        peak_at_s=began_s + INTERVAL_S * np.arange(len(peaks)),
        peak_bytes=peaks,
        peak_interval_s=INTERVAL_S,
        oom_at_s=np.zeros(0),
        oom_at_least_bytes=np.zeros(0, np.int64),
        first_seen_at=BEGAN_AT,
    )


def question(intervals: int, name: str, later_s: float = 0.0) -> ServiceQuestion:
    """Return a question at the end of so many intervals."""
    return ServiceQuestion(
        target_id=name,
        workload_key=name,
        asked_at=BEGAN_AT + timedelta(seconds=INTERVAL_S * intervals + later_s),
        need_bytes=GIB,
        usage_bytes=GIB,
        limit_bytes=2 * GIB,
        floor_bytes=64 * MIB,
        ceiling_bytes=64 * GIB,
    )


def spans_us(policy: UllageServicePolicy, past: TargetHistory, asked: ServiceQuestion) -> float:
    """Return the microseconds of one answer."""
    began = time.perf_counter()
    policy.recommend(past, asked)
    return 1e6 * (time.perf_counter() - began)


def one_answer() -> None:
    """Print what one answer costs: at first, with a new interval, with nothing new."""
    print(f"{'days known':>10}  {'first us':>9}  {'new interval us':>15}  {'nothing new us':>14}")
    for days in (1, 7, 35):
        count = days * DAY
        first, new, same = [], [], []
        for seed in range(15):
            policy = UllageServicePolicy()
            longer = history(count + 1, seed=seed)
            past = history(count + 1, seed=seed, upto=count)
            first.append(spans_us(policy, past, question(count, "a")))
            same.append(spans_us(policy, past, question(count, "a", 300.0)))
            new.append(spans_us(policy, longer, question(count + 1, "a")))
        print(
            f"{days:>10}  {statistics.median(first):>9,.0f}  "
            f"{statistics.median(new):>15,.0f}  {statistics.median(same):>14,.0f}"
        )


def many(workloads: int) -> None:
    """Print what ticks over many workloads with five weeks each cost."""
    policy = UllageServicePolicy()
    count = 35 * DAY
    pasts = [history(count + 1, seed=seed, upto=count) for seed in range(min(workloads, 50))]
    longer = [history(count + 1, seed=seed) for seed in range(min(workloads, 50))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for words, histories, shift in (
        ("first tick", pasts, (0, 0.0)),
        ("nothing new", pasts, (0, 300.0)),
        ("an interval has ended", longer, (1, 0.0)),
    ):
        began = time.perf_counter()
        for number in range(workloads):
            asked = question(count + shift[0], f"w{number}", shift[1])
            policy.recommend(histories[number % len(histories)], asked)
        span_s = time.perf_counter() - began
        each_us = 1e6 * span_s / workloads
        print(f"{workloads} workloads, {words}: {span_s:.2f} s, {each_us:,.0f} us each")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory of the policy for {workloads} workloads: {grown / 1024:.0f} MiB more at most")


def main() -> None:
    """Time answers and ticks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", type=int, default=2000)
    one_answer()
    many(parser.parse_args().workloads)


if __name__ == "__main__":
    main()
