"""One workload summed up: runs, memory, OOM kills, features, cost. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ullage.core.prices import MemoryPrice, format_gib_hours, format_usd, memory_cost_usd
from ullage.core.stages import StageUse
from ullage.core.units import format_bytes, format_duration
from ullage.core.workload import Run, Workload
from ullage.outcomes.stages import stages_plain, stages_sentence
from ullage.outcomes.tables import is_peak_cut, outcome_of, peak_of, total


def describe_workload(
    workload: Workload,
    runs: Sequence[Run],
    *,
    price: MemoryPrice,
    stages: Sequence[StageUse] = (),
) -> dict[str, Any]:
    """Return what is known of `workload` from `runs` (newest first), plain values.

    stages: of its latest execution, where it is a pipeline that tells them.

    Figures of memory are over the runs that have them; peaks of runs that were cut short
    are lower bounds and counted apart (censored_runs_count). Unknown is None.
    """
    peaks = [peak for run in runs if not is_peak_cut(run) and (peak := peak_of(run)) is not None]
    censored = [peak for run in runs if is_peak_cut(run) and (peak := peak_of(run)) is not None]
    runtimes_s = [run.attempts[-1].runtime.total_seconds() for run in runs if run.attempts]
    measured = [
        (reserved, used)
        for run in runs
        if (reserved := total(a.reserved_byte_seconds for a in run.attempts)) is not None
        and (used := total(a.used_byte_seconds for a in run.attempts)) is not None
    ]
    reserved_total = sum(reserved for reserved, _ in measured) if measured else None
    used_total = sum(used for _, used in measured) if measured else None
    return {
        "workload": workload.key,
        "key_reason": workload.key_reason,
        "command": list(workload.command),
        "runs_count": len(runs),
        "outcomes_count": dict(Counter(outcome_of(run) for run in runs).most_common()),
        "oom_kills_count": sum(run.oom_kills for run in runs),
        "raises_count": sum(run.raises for run in runs),
        "peak_min_bytes": min(peaks, default=None),
        "peak_median_bytes": median(peaks) if peaks else None,
        "peak_max_bytes": max(peaks, default=None),
        "censored_runs_count": len(censored),
        "censored_peak_max_bytes": max(censored, default=None),
        "runtime_median_s": median(runtimes_s) if runtimes_s else None,
        "features": _features(runs),
        "reserved_byte_seconds": reserved_total,
        "used_byte_seconds": used_total,
        "reserved_usd": None if reserved_total is None else memory_cost_usd(reserved_total, price),
        "price": price.in_words(),
        "stages": stages_plain(stages),
        "stages_sentence": stages_sentence(stages) or None,
    }


def description_text(description: Mapping[str, Any]) -> list[str]:
    """Return the description as lines of plain text (not yet escaped for a terminal)."""
    d = description
    outcomes = ", ".join(f"{count} {name}" for name, count in d["outcomes_count"].items())
    peaks = "unknown: no run has ended well yet"
    if d["peak_max_bytes"] is not None:
        peaks = (
            f"{format_bytes(d['peak_min_bytes'])} .. {format_bytes(d['peak_max_bytes'])}, "
            f"median {format_bytes(d['peak_median_bytes'])}"
        )
    if d["censored_runs_count"]:
        peaks += (
            f"; at least {format_bytes(d['censored_peak_max_bytes'])} in "
            f"{d['censored_runs_count']} cut short"
        )
    lines = [d["workload"], f"  key       {d['key_reason']}"]
    if d["command"]:
        lines.append(f"  command   {' '.join(d['command'])}")
    runtime = "unknown"
    if d["runtime_median_s"] is not None:
        runtime = f"median {format_duration(d['runtime_median_s'])}"
    lines += [
        f"  runs      {d['runs_count']} ({outcomes})",
        f"  peak      {peaks}",
        f"  runtime   {runtime}",
        f"  ooms      {d['oom_kills_count']} killed; limit raised {d['raises_count']} times",
        f"  features  {', '.join(d['features']) or 'none known before the start'}",
        f"  cost      {_cost(d)}",
        *([f"  stages    {d['stages_sentence']}"] if d["stages_sentence"] else []),
        f"  next      see `ullage explain {d['workload']}`",
    ]
    return lines


def _cost(description: Mapping[str, Any]) -> str:
    reserved, used = description["reserved_byte_seconds"], description["used_byte_seconds"]
    if reserved is None or used is None:
        return "unknown: no run was limited and measured all the time yet"
    share = f" ({used / reserved * 100:.0f} %)" if reserved > 0 else ""
    return (
        f"{format_gib_hours(reserved)} reserved, {format_gib_hours(used)} used{share}; "
        f"{format_usd(description['reserved_usd'])} at {description['price']}"
    )


def _features(runs: Sequence[Run]) -> dict[str, str]:
    """Return feature name -> where its latest value came from, in words."""
    found: dict[str, str] = {}
    for run in runs:
        for name in (*run.features.numbers, *run.features.labels):
            found.setdefault(name, run.features.sources.get(name, "not said"))
    return found
