"""From what became of the runs to the published figures: every policy by the same definitions.

The definitions are core.scoring's; this says over which runs: all, those with a warm
history, those whose recorded peak was not cut off by their limit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ullage.core.prices import GIB_HOUR, MemoryPrice, gib_hours, memory_cost_usd
from ullage.core.replay import GB_HOUR
from ullage.core.scoring import Outcomes, score
from ullage.simulation.compare import PolicyRun
from ullage.simulation.timeline import Timeline

WARM_RUNS = 5
"""A history is warm from so many known runs of the workload on."""

Figures = dict[str, float | int | None]


def figures_of(outcomes: Outcomes, price: MemoryPrice) -> Figures:
    """Return the figures of these runs; None where there is none to divide by.

    oom_run_share: share of runs with an OOM kill, 0..1. waste_gbh: GB-hours (1e9 bytes x
    3600 s) reserved and not used. cost_usd: of what was reserved. See core.scoring.
    """
    got = score(outcomes, usd_per_gbh=price.gib_hour_usd * GB_HOUR / GIB_HOUR)
    return {
        "runs_scored": got.runs_count,
        "oom_run_share": got.oom_run_share_ratio,
        "ooms_per_run": got.ooms_per_run,
        "attempts_per_run": got.attempts_per_run,
        "waste_gbh": got.waste_gbh,
        "waste_over_used": got.waste_over_used_ratio,
        "reserved_over_used": got.reserved_over_used_ratio,
        "lost_hours": got.lost_hours,
        "cost_usd": got.cost_usd,
    }


def policy_figures(run: PolicyRun, timeline: Timeline, price: MemoryPrice) -> dict[str, object]:
    """Return one entry of `results`: all runs, `warm`, `saturated_excluded`, speed and memory."""
    results, outcomes = run.results, run.results.outcomes
    is_sound = ~timeline.runs.is_saturated[results.row]
    macro = geomean_reserved_over_used(outcomes, timeline.runs.workload[results.row])
    return {
        "policy": run.policy_id,
        **figures_of(outcomes, price),
        "warm": figures_of(outcomes.where(results.known_count >= WARM_RUNS), price),
        "saturated_excluded": figures_of(outcomes.where(is_sound), price),
        "per_workload_geomean_reserved_over_used": macro,
        "decision_ms_p50": _percentile(results.decision_ms, 50),
        "decision_ms_p99": _percentile(results.decision_ms, 99),
        "seconds": run.elapsed_s,
        "peak_rss_mib": run.peak_rss_mib,
    }


def held_figures(outcomes: Outcomes, price: MemoryPrice) -> Figures:
    """Return what the runs would have cost in the terms of a bill: OOMs, GiB-hours, USD."""
    reserved, used = outcomes.reserved_byte_seconds.sum(), outcomes.used_byte_seconds.sum()
    return {
        "runs_scored": len(outcomes),
        "ooms_count": int(outcomes.ooms_count.sum()),
        "reserved_gib_hours": gib_hours(float(reserved)),
        "waste_gib_hours": gib_hours(float(reserved - used)),
        "cost_usd": memory_cost_usd(float(reserved), price),
    }


def geomean_reserved_over_used(outcomes: Outcomes, workload: NDArray[np.int64]) -> float | None:
    """Return core.scoring.macro_reserved_over_used, in one pass over a million workloads."""
    used = np.bincount(workload, outcomes.used_byte_seconds)
    reserved = np.bincount(workload, outcomes.reserved_byte_seconds)
    counted = (used > 0) & (reserved > 0)
    if not counted.any():
        return None
    return float(np.exp(np.mean(np.log(reserved[counted] / used[counted]))))


def workload_figures(
    runs: Sequence[PolicyRun], timeline: Timeline, *, most: int = 100
) -> list[dict[str, object]]:
    """Return one entry for each of the `most` workloads that used most, most used first.

    {workload, runs_scored, used_gbh, policies: {id: {waste_gbh, oom_run_share}}}.
    """
    if not runs:
        return []
    names = timeline.runs.workload_names
    workload = timeline.runs.workload[runs[0].results.row]
    counts = np.bincount(workload, minlength=len(names))
    used = np.bincount(workload, runs[0].results.outcomes.used_byte_seconds, len(names)) / GB_HOUR
    order = [at for at in np.argsort(-used, kind="stable")[:most].tolist() if counts[at]]
    waste, failed = {}, {}
    for run in runs:
        mine, outcomes = timeline.runs.workload[run.results.row], run.results.outcomes
        over = outcomes.reserved_byte_seconds - outcomes.used_byte_seconds
        waste[run.policy_id] = np.bincount(mine, over, len(names)) / GB_HOUR
        failed[run.policy_id] = np.bincount(mine, outcomes.ooms_count > 0, len(names))
    return [
        {
            "workload": names[at],
            "runs_scored": int(counts[at]),
            "used_gbh": float(used[at]),
            "policies": {
                name: {
                    "waste_gbh": float(waste[name][at]),
                    "oom_run_share": float(failed[name][at] / counts[at]),
                }
                for name in waste
            },
        }
        for at in order
    ]


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if len(values) else None
