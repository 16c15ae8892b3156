"""Waste against failures: points, the curve through them, and who is better where. Pure.

Not here: where the points come from (quality.replays), the targets (quality.sections).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_FAILURES_RATIO = 0.002
"""Peers that fail less often are compared at this share of first attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One policy at one setting. failures_ratio: share of runs whose first attempt failed."""

    name: str
    failures_ratio: float
    waste_gbh: float


def compared_at(peer: Point) -> float:
    """Return the share of failures that is granted in a comparison with `peer`."""
    return max(peer.failures_ratio, LEAST_FAILURES_RATIO)


def best_within(curve: Iterable[Point], failures_ratio: float) -> Point | None:
    """Return the point of least waste that fails no more often; None where all fail more."""
    fitting = [point for point in curve if point.failures_ratio <= failures_ratio]
    return min(fitting, key=lambda point: point.waste_gbh, default=None)


def waste_between(curve: Iterable[Point], failures_ratio: float) -> float | None:
    """Return the waste on the lower convex hull at `failures_ratio`; None left of all points.

    A point between two settings is what one gets by using each for a part of the runs.
    Right of the cheapest point it stays at that point's waste.

    Worked: (1 %, 10 GBh), (3 %, 6 GBh) -> 8 GBh at 2 %, 6 at 9 %, None at 0.5 %.
    """
    hull = _hull(curve)
    if not hull or failures_ratio < hull[0].failures_ratio:
        return None
    left = hull[0]
    for right in hull[1:]:
        if failures_ratio < right.failures_ratio:
            span = right.failures_ratio - left.failures_ratio
            share = (failures_ratio - left.failures_ratio) / span
            return left.waste_gbh + share * (right.waste_gbh - left.waste_gbh)
        left = right
    return left.waste_gbh


def not_dominated(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other one beats or equals in both, fewest failures first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.failures_ratio, each.waste_gbh)):
        if not kept or point.waste_gbh < kept[-1].waste_gbh:
            kept.append(point)
    return kept


def beats_somewhere(peer: Point, curve: Sequence[Point]) -> bool:
    """Whether `peer` has less waste at the same or fewer failures than some point on the curve.

    Its failures count as LEAST_FAILURES_RATIO at least. The curve falls, so that its point
    at just so many failures is the one to look at; left of the curve, its first point.
    """
    granted = compared_at(peer)
    waste = waste_between(curve, granted)
    if waste is None:
        hull = _hull(curve)
        return bool(hull) and peer.waste_gbh < hull[0].waste_gbh
    return peer.waste_gbh < waste


def geometric_mean(values: Iterable[float]) -> float | None:
    """Return the geometric mean; None of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _hull(points: Iterable[Point]) -> list[Point]:
    """Return the lower convex hull of the points that are not dominated, from left to right."""
    hull: list[Point] = []
    for point in not_dominated(points):
        while len(hull) > 1 and not _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_up(first: Point, second: Point, third: Point) -> bool:
    """Whether `second` lies below the line from `first` to `third`."""
    right = (second.failures_ratio - first.failures_ratio) * (third.waste_gbh - first.waste_gbh)
    left = (second.waste_gbh - first.waste_gbh) * (third.failures_ratio - first.failures_ratio)
    return left < right
