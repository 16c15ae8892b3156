"""The report as a table for a terminal, as Markdown and as JSON. Pure but for the machine's name.

Not here: the figures (the sections).
"""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quality.curves import Point
from quality.line import Line

TITLES: Mapping[str, str] = {
    "A": "A: the field's benchmark (protocol sizey, features all)",
    "B": "B: the same runs in the order in which they happened (features apriori)",
    "C": "C: other files in order (features apriori)",
    "D": "D: asked and kept (warm runs, in order, features apriori)",
    "E": "E: speed",
}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Curves = Mapping[str, Sequence[Point]]
"""Title of a file and protocol -> all points of ours and of the peers."""


def reached(line: Line) -> str:
    """Return yes, no, or - where there is nothing to say."""
    return "-" if line.is_reached is None else "yes" if line.is_reached else "no"


def as_text(lines: Sequence[Line]) -> str:
    """Return a table for people, a section after the other; notes indented below."""
    blocks = []
    for section, title in TITLES.items():
        mine = [line for line in lines if line.section == section]
        if not mine:
            continue
        blocks.append(f"\n{title}")
        for line in mine:
            aim = f"  (target {line.target})" if line.target else ""
            blocks.append(f"  [{reached(line):>3}] {line.figure}: {line.seen}{aim}")
            blocks += textwrap.indent(textwrap.fill(line.note, 90), " " * 10).splitlines()
    counted = [line for line in lines if line.is_reached is not None]
    good = sum(bool(line.is_reached) for line in counted)
    return "\n".join([*blocks, f"\n{good} of {len(counted)} targets reached"]).lstrip("\n")


def as_markdown(lines: Sequence[Line], curves: Curves, facts: Mapping[str, object]) -> str:
    """Return what docs/benchmarks.md has between its two marks."""
    blocks = [f"{key}: {value}  " for key, value in facts.items()]
    for section, title in TITLES.items():
        mine = [line for line in lines if line.section == section]
        if not mine:
            continue
        blocks += ["", f"### {title}", "", "| figure | target | seen | reached | how |"]
        blocks.append("| --- | --- | --- | --- | --- |")
        blocks += [
            f"| {_cell(each.figure)} | {_cell(each.target)} | {_cell(each.seen)} "
            f"| {reached(each)} | {_cell(each.note)} |"
            for each in mine
        ]
    blocks += ["", "### Curves", ""]
    for title, points in curves.items():
        blocks += [f"{title}:", "", "| policy | failed first attempts | waste GBh |"]
        blocks.append("| --- | ---: | ---: |")
        blocks += [
            f"| {_cell(each.name)} | {each.failures_ratio * 100:.2f} % | {each.waste_gbh:,.1f} |"
            for each in points
        ]
        blocks.append("")
    return "\n".join(blocks).rstrip() + "\n"


def pasted(page: str, text: str) -> str:
    """Return `page` with `text` between its two marks; `text` alone where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{text}{end}{after}" if begin and end else text


def as_json(
    lines: Sequence[Line],
    curves: Curves,
    facts: Mapping[str, object],
    timings: Sequence[Mapping[str, object]],
) -> str:
    """Return everything as JSON."""
    document = {
        "facts": dict(facts),
        "lines": [
            {
                "section": each.section,
                "figure": each.figure,
                "target": each.target or None,
                "seen": each.seen,
                "reached": each.is_reached,
                "note": each.note,
            }
            for each in lines
        ],
        "curves": {
            title: [
                {
                    "policy": each.name,
                    "oom_run_share": each.failures_ratio,
                    "waste_gbh": each.waste_gbh,
                }
                for each in points
            ]
            for title, points in curves.items()
        },
        "timings": [dict(each) for each in timings],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def machine() -> dict[str, object]:
    """Return what the figures of speed depend on."""
    packages = []
    for name in ("numpy", "numba", "scikit-learn", "duckdb"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    return {
        "machine": f"{os.cpu_count()} CPUs ({_processor()}), Linux {platform.release()}",
        "python": f"{platform.python_version()}, {', '.join(packages)}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
