"""Sections B and C: runs in the order in which they happened, against the best peers.

The ratio is our waste over a peer's, where we fail no more often than it. Each peer that
no other one beats in both counts; the largest ratio is the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quality.curves import (
    Point,
    best_within,
    compared_at,
    geometric_mean,
    not_dominated,
    waste_between,
)
from quality.field_benchmark import BUDGETS
from quality.line import Line
from quality.replays import Lab, Replayed, Work

TARGET_RATIO = 0.6
FILES = ("lotaru", "wfinstances", "galaxy_gke", "tovar", "snakemake_esr", "ksegments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """All replays of one file in order."""

    work: Work
    curve: Sequence[Replayed]
    peers: Sequence[Replayed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Our waste against one peer's. ratio: of settings that were run; None: we fail more
    often at every one. between_ratio: on the curve between settings."""

    peer: Point
    ours: Point | None
    ratio: float | None
    between_ratio: float | None


def replay_in_order(
    lab: Lab,
    name: str,
    peer_ids: Sequence[str],
    *,
    budgets: Sequence[float | None] = BUDGETS,
    limit_rows: int | None = None,
) -> Ordered:
    """Replay one file in order, with what is known before a run."""
    work = lab.work(name, limit_rows=limit_rows)
    return Ordered(work=work, curve=lab.curve(work, budgets), peers=lab.peers(work, peer_ids))


def against_best_peers(points: Sequence[Point], peers: Sequence[Point]) -> list[Against]:
    """Return how our curve does against each peer that is not dominated by another one.

    Peers below 0.2 % failures are compared at 0.2 %: the cheapest of them stands for all.
    """
    granted = [
        Point(name=peer.name, failures_ratio=compared_at(peer), waste_gbh=peer.waste_gbh)
        for peer in peers
    ]
    found = []
    for peer in not_dominated(granted):
        ours = best_within(points, peer.failures_ratio)
        between = waste_between(points, peer.failures_ratio)
        found.append(
            Against(
                peer=peer,
                ours=ours,
                ratio=ours.waste_gbh / peer.waste_gbh if ours else None,
                between_ratio=between / peer.waste_gbh if between is not None else None,
            )
        )
    return found


def chronological(ordered: Ordered) -> list[Line]:
    """Return the line of section B."""
    return [_ratio_line("B", "A chronological", ordered)]


def per_file(several: Sequence[Ordered], missing: Sequence[str]) -> list[Line]:
    """Return the lines of section C: one for each file, and the geometric mean."""
    lines = [_ratio_line("C", each.work.name, each) for each in several]
    lines += [
        Line(section="C", figure=name, seen="not measured", note="the file is not there")
        for name in missing
    ]
    worst = [_worst_ratio(each) for each in several]
    known = [ratio for ratio in worst if ratio is not None]
    mean = geometric_mean(known)
    left_out = len(several) + len(missing) - len(known)
    unmatched = sum(each.ratio is None for ordered in several for each in _against(ordered))
    lines.append(
        Line(
            section="C",
            figure="geometric mean over files of the largest ratio",
            target=f"<= {TARGET_RATIO}",
            seen="cannot tell" if mean is None else f"{mean:.3f}",
            is_reached=mean is not None and mean <= TARGET_RATIO and not (left_out or unmatched),
            note=f"of {len(known)} files, {left_out} without a ratio; {unmatched} peers "
            "that fail more seldom than any setting of ours are in no ratio",
        )
    )
    return lines


def _worst_ratio(ordered: Ordered) -> float | None:
    ratios = [each.ratio for each in _against(ordered)]
    return max((ratio for ratio in ratios if ratio is not None), default=None)


def _against(ordered: Ordered) -> list[Against]:
    return against_best_peers(
        [each.point for each in ordered.curve], [each.point for each in ordered.peers]
    )


def _ratio_line(section: str, title: str, ordered: Ordered) -> Line:
    found = _against(ordered)
    ratios = [each.ratio for each in found if each.ratio is not None]
    is_whole = len(ratios) == len(found)
    seen = "we fail more often at every setting"
    if ratios:
        seen = f"{max(ratios):.3f} (least {min(ratios):.3f})"
        seen += "" if is_whole else f"; {len(found) - len(ratios)} of {len(found)} unmatched"
    return Line(
        section=section,
        figure=f"{title}: our waste / the best peers', at no more failures",
        target=f"<= {TARGET_RATIO}",
        seen=seen,
        is_reached=is_whole and max(ratios) <= TARGET_RATIO,
        note=f"{ordered.work.title}, {len(ordered.work.timeline.runs):,} runs: "
        + "; ".join(_told(each) for each in found),
    )


def _told(each: Against) -> str:
    peer = f"{each.peer.name} {each.peer.waste_gbh:,.1f} GBh at {_percent(each.peer)}"
    if each.ours is None or each.ratio is None:
        return f"{peer}: we have no setting that fails so seldom"
    between = "" if each.between_ratio is None else f", {each.between_ratio:.3f} between settings"
    return (
        f"{peer}: {each.ratio:.3f} ({each.ours.name}, {each.ours.waste_gbh:,.1f} GBh at "
        f"{_percent(each.ours)}{between})"
    )


def _percent(point: Point) -> str:
    return f"{point.failures_ratio * 100:.2f} %"
