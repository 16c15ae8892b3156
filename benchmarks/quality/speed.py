"""Section E: how long a decision takes, and a backtest of half a million runs.

Decisions are timed where they are made, in the replays of section A; the long backtest is
benchmarks/bench_backtest.py. Both compiled, if numba is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

import bench_backtest
from quality.line import Line
from quality.replays import Replayed

DECISION_MS = 0.4
BACKTEST_S, BACKTEST_MIB = 150.0, 2048.0
_AROUND_300 = (250, 350)


def decision_speed(curve: Sequence[Replayed]) -> list[Line]:
    """Return the line of one decision, from replays by this machine with the default budget."""
    replayed = next(each for each in curve if each.setting.failure_budget_ratio == 0.02)
    known, took = replayed.results.known_count, replayed.results.decision_ms
    some = took[(known >= _AROUND_300[0]) & (known <= _AROUND_300[1])]
    kind = "compiled" if find_spec("numba") else "plain: numba is not installed"
    figure = "decision p50, 250..350 past runs"
    if not len(some):
        return [Line(section="E", figure=figure, seen="no such run in these rows")]
    p50, p99 = np.percentile(some, [50, 99])
    return [
        Line(
            section="E",
            figure=figure,
            target=f"<= {DECISION_MS} ms compiled",
            seen=f"{p50:.3f} ms",
            is_reached=bool(p50 <= DECISION_MS) if find_spec("numba") else None,
            note=f"{kind}; p99 {p99:.3f} ms, {len(some):,} decisions",
        )
    ]


def backtest_speed(workloads_count: int, jobs: int) -> list[Line]:
    """Return the lines of the long backtest; the targets are those of all its workloads."""
    took = bench_backtest.measure(workloads_count, jobs=jobs)
    is_whole = workloads_count == bench_backtest.ALL_WORKLOADS
    n = f"{took.runs_count:,} runs of {workloads_count} workloads, {jobs} processes"
    return [
        Line(
            section="E",
            figure=f"backtest of {n}",
            target=f"<= {BACKTEST_S:g} s for 500,000 on 2 cores",
            seen=f"{took.elapsed_s:.1f} s",
            is_reached=took.elapsed_s <= BACKTEST_S if is_whole and jobs == 2 else None,
            note=f"decision p50 {took.decision_ms_p50:.3f} ms, p99 {took.decision_ms_p99:.3f} ms",
        ),
        Line(
            section="E",
            figure=f"memory of the backtest of {n}",
            target="<= 2 GiB for 500,000",
            seen=f"{took.peak_rss_mib:,.0f} MiB",
            is_reached=took.peak_rss_mib <= BACKTEST_MIB if is_whole else None,
        ),
    ]
