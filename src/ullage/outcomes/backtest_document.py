"""A backtest as a document (JSON, a contract) and as a table for people. Pure.

Not here: the page (backtest_html), the figures' definitions (core.scoring).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ullage.core.prices import format_usd
from ullage.outcomes.tables import Table
from ullage.simulation.run_features import FeatureNote

Document = dict[str, Any]


def backtest_document(
    *,
    file: str,
    sha256: str,
    protocol: str,
    settings: Mapping[str, object],
    rejected: Mapping[str, int],
    results: Sequence[Mapping[str, object]],
) -> Document:
    """Return the document: plain values only, the same for the same work and seed.

    But for decision_ms_*, seconds and peak_rss_mib of each result.
    """
    return {
        "file": file,
        "sha256": sha256,
        "protocol": protocol,
        "settings": dict(settings),
        "rejected": dict(rejected),
        "results": [dict(result) for result in results],
    }


def document_text(document: Document) -> str:
    """Return the document as JSON in ASCII with sorted keys and a final newline."""
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def feature_report(notes: Sequence[FeatureNote]) -> list[dict[str, object]]:
    """Return one entry for each column and key that was looked at; left_out None = it is used."""
    return [
        {
            "name": note.name,
            "kind": note.kind,
            "source": note.source,
            "rows_count": note.rows_count,
            "left_out": note.left_out,
        }
        for note in notes
    ]


def results_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row for each policy, in the order in which they were asked for."""
    return Table(
        columns=(
            "policy",
            "runs_count",
            "oom_runs_ratio",
            "attempts_per_run_ratio",
            "waste_gbh",
            "waste_over_used_ratio",
            "warm_waste_gbh",
            "per_workload_ratio",
            "lost_hours",
            "cost_usd",
            "decision_ms",
        ),
        rows=tuple(_row(result) for result in results),
        empty="no policy was asked for: --policy ullage,tovar or --policy all",
    )


def _row(result: Mapping[str, Any]) -> dict[str, str]:
    cost = result["cost_usd"]
    return {
        "policy": str(result["policy"]),
        "runs_count": f"{result['runs_scored']:,}",
        "oom_runs_ratio": share_text(result["oom_run_share"]),
        "attempts_per_run_ratio": figure_text(result["attempts_per_run"]),
        "waste_gbh": figure_text(result["waste_gbh"]),
        "waste_over_used_ratio": figure_text(result["waste_over_used"]),
        "warm_waste_gbh": figure_text(result["warm"]["waste_gbh"]),
        "per_workload_ratio": figure_text(result["per_workload_geomean_reserved_over_used"]),
        "lost_hours": figure_text(result["lost_hours"]),
        "cost_usd": "-" if cost is None else format_usd(cost).removesuffix(" USD"),
        "decision_ms": figure_text(result["decision_ms_p50"]),
    }


def own_table(results: Sequence[Mapping[str, Any]], recorded: Mapping[str, Any] | None) -> Table:
    """Return what each policy would have done on the recorded runs: OOMs, GiB-hours, USD.

    recorded: {runs_scored, ooms_count, reserved_gib_hours, cost_usd} as it really was.
    """
    rows = [] if recorded is None else [_own_row("as it was", recorded)]
    rows += [_own_row(str(result["policy"]), result) for result in results]
    return Table(
        columns=(
            "policy",
            "runs_count",
            "oom_kills_count",
            "reserved_gib_hours",
            "waste_gib_hours",
            "cost_usd",
        ),
        rows=tuple(rows),
        empty="no ended runs yet: try `ullage run --name my-job -- CMD`, "
        "or `ullage backtest runs FILE` on runs that you have recorded elsewhere",
    )


def _own_row(name: str, result: Mapping[str, Any]) -> dict[str, str]:
    cost = result.get("cost_usd")
    return {
        "policy": name,
        "runs_count": f"{result['runs_scored']:,}",
        "oom_kills_count": f"{result['ooms_count']:,}",
        "reserved_gib_hours": figure_text(result["reserved_gib_hours"]),
        "waste_gib_hours": figure_text(result["waste_gib_hours"]),
        "cost_usd": "-" if cost is None else format_usd(cost).removesuffix(" USD"),
    }


def share_text(share: float | None) -> str:
    """Return a share of runs in percent; "-" for none."""
    if share is None:
        return "-"
    return f"{share * 100:.2f} %" if share < 0.0995 else f"{share * 100:.1f} %"


def figure_text(value: float | None) -> str:
    """Return a figure with about three digits; "-" for none."""
    if value is None:
        return "-"
    size = abs(value)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.0995 else 4
    return f"{value:,.{places}f}"
