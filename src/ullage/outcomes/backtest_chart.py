"""The chart of a backtest as SVG: waste against failures. Pure; every text is escaped.

A policy is a numbered point, or a line where its own knob was turned. Not here: the page
around it (backtest_html).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ullage.outcomes.markup import as_markup

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 16, 52
LEAST_SHARE = 1e-4
"""The axis of failures is logarithmic; what fails less (or never) stands at its left end."""
_LOG_FROM = 8.0
"""An axis of waste over a wider range than this is logarithmic."""
_LABEL_PX = (16.0, 13.0)
_AROUND = ((9, -9), (9, 13), (-19, -9), (-19, 13), (14, 2), (-24, 2), (-5, -18), (-5, 24))


class Axis:
    """Where a value lies: low..high is laid on start_px..end_px."""

    def __init__(
        self, low: float, high: float, start_px: float, end_px: float, *, is_log: bool
    ) -> None:
        self.low, self.high = low, high
        self.start_px, self.end_px = start_px, end_px
        self.is_log = is_log

    def at(self, value: float) -> float:
        """Return the place of `value` in px; values outside lie on the edge."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def ticks(self) -> list[float]:
        """Return round values from low to high: 1, 2 and 5 of each power of ten, or even steps."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(powers) <= 4 else (1,)
            found = [step * 10.0**power for power in powers for step in steps]
        else:
            step = round_step((self.high - self.low) / 5)
            found = [step * i for i in range(math.floor(self.high / step) + 1)]
        return [tick for tick in found if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]


def round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 x a power of ten that is not below `least` (> 0)."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def failure_axis(shares: Sequence[float]) -> Axis:
    """Return the horizontal axis for these shares of failed first attempts, 0..1."""
    top = max([*shares, 0.01])
    high = min(next(t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if t >= top * 0.999), 1.0)
    return Axis(LEAST_SHARE, high, LEFT, WIDTH - RIGHT, is_log=True)


def waste_axis(wastes: Sequence[float]) -> Axis:
    """Return the vertical axis for these wastes in GBh."""
    positive = [waste for waste in wastes if waste > 0]
    if not positive:
        return Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP, is_log=False)
    low, high = min(positive), max(positive)
    if high / low > _LOG_FROM:
        return Axis(low / 1.3, high * 1.3, HEIGHT - BOTTOM, TOP, is_log=True)
    return Axis(0.0, high * 1.1, HEIGHT - BOTTOM, TOP, is_log=False)


def chart(results: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> str:
    """Return the chart of these results and curves, "" where no policy has a figure."""
    told = [
        (number, result)
        for number, result in enumerate(results, 1)
        if result["oom_run_share"] is not None and result["waste_gbh"] is not None
    ]
    if not told:
        return ""
    points = [point for curve in curves for point in curve["points"]]
    points = [point for point in points if point["waste_gbh"] is not None]
    every = [result for _, result in told] + points
    x = failure_axis([float(each["oom_run_share"]) for each in every])
    real = [each for each in every if each.get("policy") != "oracle"] or every
    y = waste_axis([float(each["waste_gbh"]) for each in real])
    parts = [*_grid(x, y)]
    for curve in curves:
        parts += _line(curve, x, y)
    parts += _markers(told, x, y)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-labelledby="chart-title chart-words" xmlns="http://www.w3.org/2000/svg">'
        '<title id="chart-title">Waste against failures</title>'
        '<desc id="chart-words">Each policy by its number in the table: to the left fewer first'
        " attempts fail, further down less memory is wasted.</desc>" + "".join(parts) + "</svg>"
    )


def _grid(x: Axis, y: Axis) -> list[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in x.ticks():
        at = f"{x.at(tick):.1f}"
        words = f"{tick * 100:g} %" if tick > LEAST_SHARE else f"≤ {tick * 100:g} %"
        parts.append(f'<path class="grid" d="M{at} {TOP}V{floor}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{floor + 18}">{words}</text>')
    for tick in y.ticks():
        at = f"{y.at(tick):.1f}"
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{right}"/>')
        parts.append(f'<text class="tick side" x="{LEFT - 8}" y="{at}" dy="4">{tick:,.10g}</text>')
    middle = (TOP + floor) / 2
    parts.append(
        f'<text class="axis" x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 12}">'
        "runs whose first attempt fails</text>"
    )
    parts.append(
        f'<text class="axis" transform="rotate(-90 14 {middle:.0f})" x="14" y="{middle:.0f}">'
        "waste, GBh</text>"
    )
    return parts


def _line(curve: Mapping[str, Any], x: Axis, y: Axis) -> list[str]:
    points = [point for point in curve["points"] if point["waste_gbh"] is not None]
    if not points:
        return []
    places = [(x.at(p["oom_run_share"]), y.at(p["waste_gbh"])) for p in points]
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
    parts = [f'<path class="curve" d="M{path}"/>']
    for point, (px, py) in zip(points, places, strict=True):
        words = (
            f"{curve['policy']} at {curve['knob'].replace('_', ' ')} {point['value'] * 100:g} %:"
            f" {point['oom_run_share'] * 100:.2f} % fail, {point['waste_gbh']:,.1f} GBh wasted"
        )
        parts.append(
            f'<circle class="knob" cx="{px:.1f}" cy="{py:.1f}" r="3">'
            f"<title>{as_markup(words)}</title></circle>"
        )
    return parts


def _markers(told: Sequence[tuple[int, Mapping[str, Any]]], x: Axis, y: Axis) -> list[str]:
    """Return a point and a number for each policy; numbers keep out of each other's way."""
    places = [(x.at(r["oom_run_share"]), y.at(r["waste_gbh"])) for _, r in told]
    taken = [(px - 5.0, py - 5.0, 10.0, 10.0) for px, py in places]
    parts = []
    for (number, result), (px, py) in zip(told, places, strict=True):
        width = _LABEL_PX[0] if number > 9 else _LABEL_PX[0] / 2
        boxes = [(px + dx, py + dy - 10, width, _LABEL_PX[1]) for dx, dy in _AROUND]
        box = next((b for b in boxes if not any(_overlap(b, t) for t in taken)), boxes[0])
        taken.append(box)
        kind = "ours" if result["policy"] == "ullage" else "peer"
        words = (
            f"{number} {result['policy']}: {result['oom_run_share'] * 100:.2f} % fail,"
            f" {result['waste_gbh']:,.1f} GBh wasted"
        )
        parts.append(
            f'<g class="{kind}"><title>{as_markup(words)}</title>'
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5"/>'
            f'<text x="{box[0]:.1f}" y="{box[1] + 10:.1f}">{number}</text></g>'
        )
    return parts


Box = tuple[float, float, float, float]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
