"""Which stage of a pipeline needed the memory: the times of stages joined with a run's samples.

A stage is a part of a pipeline that its runner executes as one (in Beam: fused transforms).
The runner knows when each stage had work, a worker's samples say what that worker needed
then. Pure. Not here: where the times come from (`beam`), where the result is kept (`stores`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from ullage.core.telemetry import SampleSeries
from ullage.core.workload import Attempt

MAX_STAGE_NAME = 300
"""Characters of a stage's name that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpan:
    """One span in which a stage had work. A stage may have several."""

    name: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUse:
    """What one worker needed while one stage had work.

    execution_id: what all workers of one execution of the pipeline share.
    start_bytes: need when the stage began; what is above it came with the stage.
    peak_bytes, used_byte_seconds: over the stage's spans. None = not measured then.
    """

    run_id: str
    execution_id: str
    name: str
    started_at: datetime
    ended_at: datetime
    start_bytes: int | None = None
    peak_bytes: int | None = None
    used_byte_seconds: float | None = None


def stage_uses(
    run_id: str,
    attempts: Sequence[tuple[Attempt, SampleSeries]],
    spans: Iterable[StageSpan],
    *,
    execution_id: str,
) -> list[StageUse]:
    """Return one StageUse for each stage, in order of start, from one worker's samples.

    Need between two samples is a straight line. Of an attempt's peak, which may lie between
    two readings, the stage of the largest sample is the owner.

    Worked: samples 100 at 0 s, 100 at 2 s, 500 at 4 s, 500 at 6 s; stage A 0..2 s, B 2..5 s:
    A starts at 100, peak 100, used 200; B starts at 100, peak 500, used 600 + 500 = 1,100.
    """
    found: dict[str, StageUse] = {}
    for span in sorted(spans, key=lambda each: each.started_at):
        use = StageUse(
            run_id=run_id,
            execution_id=execution_id,
            name=span.name[:MAX_STAGE_NAME],
            started_at=span.started_at,
            ended_at=max(span.started_at, span.ended_at),
        )
        for attempt, samples in attempts:
            use = _with_attempt(use, attempt, samples)
        known = found.get(use.name)
        found[use.name] = use if known is None else _merged(known, use)
    return sorted(found.values(), key=lambda each: each.started_at)


def hungriest(uses: Iterable[StageUse]) -> StageUse | None:
    """Return the stage during which need grew most above what it found, None if unmeasured."""
    measured = [use for use in uses if use.peak_bytes is not None]
    return max(measured, key=lambda use: (grown_bytes(use) or 0, use.peak_bytes or 0), default=None)


def grown_bytes(use: StageUse) -> int | None:
    """Return by how much need rose above what the stage began with."""
    if use.peak_bytes is None or use.start_bytes is None:
        return None
    return max(0, use.peak_bytes - use.start_bytes)


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names with a number behind those that have occurred before.

    >>> distinct_names(["Read", "Group", "Read"])
    ['Read', 'Group', 'Read (2)']
    """
    counts: dict[str, int] = {}
    taken = set(names)
    unique: list[str] = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        number, candidate = counts[name], name
        while number > 1 and (candidate := f"{name} ({number})") in taken:
            number += 1
        counts[name] = number
        taken.add(candidate)
        unique.append(candidate)
    return unique


def stage_name(transforms: Iterable[str]) -> str:
    """Return what a person calls a stage: the outermost names of its transforms, in order.

    >>> stage_name(["flights/Read/SplitAndSize", "by tail", "flights/Read/Process"])
    'flights + by tail'
    """
    return " + ".join(dict.fromkeys(outermost_name(name) for name in transforms if name))


def outermost_name(name: str) -> str:
    """Return what stands before the first "/" that no bracket encloses.

    >>> outermost_name("flights/Read"), outermost_name("Map(<lambda at jobs/etl.py:7>)/Map")
    ('flights', 'Map(<lambda at jobs/etl.py:7>)')

    Beam names a transform without a label by its source, "Map(<lambda at jobs/etl.py:7>)".
    """
    depth = 0
    for index, character in enumerate(name):
        depth += (character in "(<[") - (character in ")>]")
        if character == "/" and depth <= 0 and index:
            return name[:index]
    return name


def _with_attempt(use: StageUse, attempt: Attempt, samples: SampleSeries) -> StageUse:
    """Return `use` with what `attempt` needed during its span added."""
    begin_ms = _ms_since(attempt, use.started_at)
    end_ms = _ms_since(attempt, use.ended_at)
    if not len(samples) or end_ms < samples.elapsed_ms[0] or begin_ms > samples.elapsed_ms[-1]:
        return use  # this attempt was not there yet, or no more
    begin_ms = max(begin_ms, samples.elapsed_ms[0])
    end_ms = min(end_ms, samples.elapsed_ms[-1])
    first = bisect_left(samples.elapsed_ms, begin_ms)
    last = bisect_right(samples.elapsed_ms, end_ms)
    points = [
        (begin_ms, _need_at(samples, begin_ms)),
        *((samples.elapsed_ms[i], float(samples.need_bytes[i])) for i in range(first, last)),
        (end_ms, _need_at(samples, end_ms)),
    ]
    peak_bytes = round(max(need for _, need in points))
    largest = max(range(len(samples)), key=samples.need_bytes.__getitem__)
    if first <= largest < last and attempt.peak_bytes is not None:
        peak_bytes = max(peak_bytes, attempt.peak_bytes)
    used = sum(
        (later - earlier) / 1000 * (low + high) / 2
        for (earlier, low), (later, high) in pairwise(points)
    )
    mine = replace(
        use,
        start_bytes=round(points[0][1]),
        peak_bytes=peak_bytes,
        used_byte_seconds=used,
    )
    return mine if use.peak_bytes is None else _merged(use, mine)


def _need_at(samples: SampleSeries, at_ms: float) -> float:
    """Return the need at a moment between the first and the last sample, on a straight line."""
    right = bisect_left(samples.elapsed_ms, at_ms)
    if right == 0 or samples.elapsed_ms[right] == at_ms:
        return float(samples.need_bytes[right])
    left_ms, right_ms = samples.elapsed_ms[right - 1], samples.elapsed_ms[right]
    share_ratio = (at_ms - left_ms) / (right_ms - left_ms)
    low, high = samples.need_bytes[right - 1], samples.need_bytes[right]
    return low + share_ratio * (high - low)


def _ms_since(attempt: Attempt, at: datetime) -> float:
    return (at - attempt.started_at) / timedelta(milliseconds=1)


def _merged(first: StageUse, later: StageUse) -> StageUse:
    """Return two uses of one stage, the later one behind the first, as one."""
    return replace(
        first,
        started_at=min(first.started_at, later.started_at),
        ended_at=max(first.ended_at, later.ended_at),
        start_bytes=later.start_bytes if first.start_bytes is None else first.start_bytes,
        peak_bytes=_largest(first.peak_bytes, later.peak_bytes),
        used_byte_seconds=_sum(first.used_byte_seconds, later.used_byte_seconds),
    )


def _largest(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _sum(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each is not None]
    return sum(known) if known else None


def by_run(uses: Iterable[StageUse]) -> Mapping[str, list[StageUse]]:
    """Return the uses of each worker's run, runs in order of their first stage."""
    found: dict[str, list[StageUse]] = {}
    for use in uses:
        found.setdefault(use.run_id, []).append(use)
    return found
