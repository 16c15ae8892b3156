"""Section A: protocol A, the field's own benchmark, over several seeds.

Each figure over seeds is the worst one; the note has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quality.curves import (
    Point,
    beats_somewhere,
    best_within,
    compared_at,
    waste_between,
)
from quality.line import Line
from quality.replays import Lab, Replayed, Work

FILE = "sizey"
SEEDS = (1996, 1, 2)
BUDGETS: tuple[float | None, ...] = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1),
    None,
)
"""Settings of our knob, the failure budget; None = failures are free."""
FEW_BUDGETS: tuple[float | None, ...] = (0.002, 0.005, 0.02, 0.05, None)
"""Of a quick run."""
_TIE_RATIO = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """All replays of one seed."""

    work: Work
    curve: Sequence[Replayed]
    peers: Sequence[Replayed]

    @property
    def points(self) -> list[Point]:
        """Return our curve in total."""
        return [each.point for each in self.curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypesShare:
    """In how many task types we waste less than one peer. types_count: without ties.

    A tie is a type whose peaks are all below the platform's floor: everybody gets the floor.
    """

    better_count: int
    types_count: int
    ties_count: int
    unmatched_count: int
    """Types in which no setting of ours fails as seldom; they count as not better."""

    @property
    def ratio(self) -> float:
        """Share of the task types; 1 where all are ties."""
        return self.better_count / self.types_count if self.types_count else 1.0

    @property
    def strict_ratio(self) -> float:
        """Share of all task types, in which a tie is not better."""
        return self.better_count / max(self.types_count + self.ties_count, 1)


def field_benchmark(
    lab: Lab,
    peer_ids: Sequence[str],
    *,
    seeds: Iterable[int] = SEEDS,
    budgets: Sequence[float | None] = BUDGETS,
    limit_rows: int | None = None,
) -> tuple[list[Line], list[Seeded]]:
    """Return the lines of section A, and what they were made from.

    limit_rows: of a part of the file no target in GB-hours can be said to be reached.
    """
    seeded = []
    for seed in seeds:
        work = lab.work(FILE, protocol="sizey", features="all", seed=seed, limit_rows=limit_rows)
        curve, peers = lab.curve(work, budgets), lab.peers(work, peer_ids)
        seeded.append(Seeded(work=work, curve=curve, peers=peers))
    in_total = [
        _waste_within(seeded, 0.02, 700),
        _waste_within(seeded, 0.005, 950),
        _waste_free(seeded, 600),
    ]
    if limit_rows is not None:
        in_total = [replace(line, is_reached=None) for line in in_total]
    lines = [*in_total, _dominance(seeded)]
    lines += [_types_line(seeded, at) for at in range(len(peer_ids))]
    return lines, seeded


def _waste_within(seeded: Sequence[Seeded], failures_ratio: float, target_gbh: float) -> Line:
    """The line's figure is that of settings that were run; what lies between is in the note."""
    best = [best_within(each.points, failures_ratio) for each in seeded]
    between = [waste_between(each.points, failures_ratio) for each in seeded]
    told = [
        f"seed {each.work.seed}: "
        + ("no setting fails so seldom" if point is None or waste is None else _told(point, waste))
        for each, point, waste in zip(seeded, best, between, strict=True)
    ]
    return _worst(
        f"waste at <= {failures_ratio * 100:g} % failed first attempts",
        [None if point is None else point.waste_gbh for point in best],
        target_gbh,
        "; ".join(told),
    )


def _told(point: Point, waste_gbh: float) -> str:
    return (
        f"{point.waste_gbh:,.0f} ({point.name}, fails {point.failures_ratio * 100:.2f} %), "
        f"{waste_gbh:,.0f} between settings"
    )


def _waste_free(seeded: Sequence[Seeded], target_gbh: float) -> Line:
    free = [each.points[-1] for each in seeded]
    told = "; ".join(
        f"seed {each.work.seed}: {point.waste_gbh:,.0f} (fails {point.failures_ratio * 100:.1f} %)"
        for each, point in zip(seeded, free, strict=True)
    )
    return _worst("waste, failures free", [point.waste_gbh for point in free], target_gbh, told)


def _worst(figure: str, wastes: Sequence[float | None], target_gbh: float, note: str) -> Line:
    known = [waste for waste in wastes if waste is not None]
    is_told = len(known) == len(wastes)
    return Line(
        section="A",
        figure=figure,
        target=f"<= {target_gbh:,.0f} GBh",
        seen=f"{max(known):,.0f} GBh" if is_told else "no setting fails so seldom",
        is_reached=is_told and max(known) <= target_gbh,
        note=note,
    )


def _dominance(seeded: Sequence[Seeded]) -> Line:
    found = [
        f"{peer.setting.name} (seed {each.work.seed})"
        for each in seeded
        for peer in each.peers
        if beats_somewhere(peer.point, each.points)
    ]
    return Line(
        section="A",
        figure="peers with less waste at the same or fewer failures, somewhere on the curve",
        target="none",
        seen=", ".join(found) or "none",
        is_reached=not found,
        note=f"{len(seeded[0].peers)} peers; below 0.2 % failures they are compared at 0.2 %",
    )


def _types_line(seeded: Sequence[Seeded], at: int) -> Line:
    peer_id = seeded[0].peers[at].setting.policy_id
    target = 0.95 if peer_id == "ponder" else 0.80
    shares = [share_of_types(each, each.peers[at]) for each in seeded]
    same_setting = [share_of_types(each, each.peers[at], one_setting=True) for each in seeded]
    worst = min(shares, key=lambda share: share.ratio)
    total = seeded[0].peers[at].point
    return Line(
        section="A",
        figure=f"task types with less waste than {peer_id} at no more failures, ties left out",
        target=f">= {target * 100:.0f} %",
        seen=f"{worst.ratio * 100:.1f} %",
        is_reached=worst.ratio >= target,
        note=f"{worst.better_count} of {worst.types_count} types and {worst.ties_count} ties "
        f"(with ties as not better {min(share.strict_ratio for share in shares) * 100:.1f} %), "
        f"{worst.unmatched_count} unmatched; by one setting of as many failures in total: "
        f"{min(share.ratio for share in same_setting) * 100:.1f} %; the peer in total: "
        f"{total.waste_gbh:,.0f} GBh, fails {total.failures_ratio * 100:.2f} %",
    )


def share_of_types(seeded: Seeded, peer: Replayed, *, one_setting: bool = False) -> TypesShare:
    """Return in how many task types we waste less than the peer.

    In each type our curve of that type is read at the peer's failures there (0.2 % at
    least), between settings. one_setting: the setting that wastes least in total at no more
    failures in total instead, as it is, whatever it fails in a type.
    """
    curve = seeded.curve
    if one_setting:
        best = best_within(seeded.points, compared_at(peer.point))
        curve = [each for each in curve if best is not None and each.point.name == best.name]
    is_of_type = _types(seeded.work)
    better = ties = unmatched = 0
    for of_type in is_of_type:
        theirs = peer.point_of(of_type(peer))
        points = [each.point_of(of_type(each)) for each in curve]
        granted = 1.0 if one_setting else compared_at(theirs)
        ours = waste_between(points, granted)
        if ours is not None and abs(ours - theirs.waste_gbh) <= _TIE_RATIO * theirs.waste_gbh:
            ties += 1
        elif ours is None:
            unmatched += 1
        else:
            better += ours < theirs.waste_gbh
    return TypesShare(
        better_count=better,
        types_count=len(is_of_type) - ties,
        ties_count=ties,
        unmatched_count=unmatched,
    )


def _types(work: Work) -> list[Callable[[Replayed], np.ndarray[tuple[int], np.dtype[np.bool_]]]]:
    """Return for each task type what tells its runs among those of a replay."""
    workload = work.timeline.runs.workload
    scored = np.unique(workload[work.timeline.is_scored])

    def told(number: int) -> Callable[[Replayed], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        return lambda replayed: workload[replayed.results.row] == number

    return [told(int(number)) for number in scored]
