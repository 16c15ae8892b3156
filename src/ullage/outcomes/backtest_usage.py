"""A backtest of services as a table for people and as a document (JSON). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ullage.outcomes.backtest_document import Document, figure_text
from ullage.outcomes.tables import Table
from ullage.simulation.usage_backtest import UsageWorld
from ullage.simulation.usage_compare import Cell, against_ours

PROTOCOL = "D"


def usage_document(
    *,
    file: str,
    sha256: str,
    settings: Mapping[str, object],
    worlds: Sequence[UsageWorld],
    rejected: Mapping[str, int],
    cells: Sequence[Cell],
) -> Document:
    """Return plain values only, the same for the same work."""
    return {
        "file": file,
        "sha256": sha256,
        "protocol": PROTOCOL,
        "settings": dict(settings),
        "worlds": [asdict(world) for world in worlds],
        "rejected": dict(rejected),
        "results": [cell.figures() for cell in cells],
        "ours_over_policy": dict(against_ours(cells)),
    }


def usage_table(cells: Sequence[Cell]) -> Table:
    """Return one row for each policy, price and decision interval.

    ours_over_policy_ratio: our cost / the policy's, below 1 = ours is cheaper.
    """
    ours = {(c.price_hours, c.decide_every_s): c.cost_gbh for c in cells if c.policy == "ullage"}
    return Table(
        columns=(
            "policy",
            "decide_every_minutes",
            "price_hours",
            "instance_hours",
            "slack_gbh",
            "ooms_per_1000_hours",
            "changes_per_hour",
            "cost_gbh",
            "ours_over_policy_ratio",
        ),
        rows=tuple(_row(cell, ours.get((cell.price_hours, cell.decide_every_s))) for cell in cells),
        empty="no policy was asked for: --policy ullage,vpa or --policy all",
    )


def _row(cell: Cell, ours: float | None) -> dict[str, str]:
    figures = cell.figures()

    def text(name: str) -> str:
        value = figures[name]
        return figure_text(value if isinstance(value, int | float) else None)

    ratio = ours / cell.cost_gbh if ours is not None and cell.cost_gbh > 0 else None
    return {
        "policy": cell.policy,
        "decide_every_minutes": f"{cell.decide_every_s / 60:g}",
        "price_hours": f"{cell.price_hours:g}",
        "instance_hours": text("scored_hours"),
        "slack_gbh": text("slack_gbh"),
        "ooms_per_1000_hours": text("ooms_per_1000_hours"),
        "changes_per_hour": text("changes_per_hour"),
        "cost_gbh": text("cost_gbh"),
        "ours_over_policy_ratio": figure_text(ratio),
    }
