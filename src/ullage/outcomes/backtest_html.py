"""A backtest as one HTML file: what it says, the chart, the tables, how to redo it. Pure.

No network, no file beside it, no clock: the same backtest gives the same bytes. Names,
labels and file names are hostile: all text goes through `as_markup`. Not here: the
figures' definitions (core.scoring), the chart (backtest_chart).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ullage.core.prices import format_usd
from ullage.outcomes.backtest_chart import chart
from ullage.outcomes.backtest_document import figure_text, share_text
from ullage.outcomes.backtest_style import SCRIPT, STYLE
from ullage.outcomes.markup import as_markup

MOST_WORKLOADS = 500
_LONG = 20_000
"""What we say ourselves, and the command, is not cut."""
_SMALL_SHARE = 0.002
"""Peers that fail less are compared as if they failed so often."""
_BESIDE = ("features_report", "replaced", "recorded", "policies", "version")
"""Settings that have a place of their own."""


def render(document: Mapping[str, Any]) -> str:
    """Return the page of a backtest document with its `curves`, `workloads` and `command`."""
    results = document["results"]
    settings = document["settings"]
    command = as_markup(document.get("command", ""), most=_LONG)
    body = [
        f"<h1>Backtest of {as_markup(document['file'])}</h1>",
        f'<p class="lead">{as_markup(headline(results), most=_LONG)}</p>',
        _figure(results, document.get("curves", ())),
        _section("Policies", _policies(results)),
        _section("Warm, and without saturated peaks", _parts(results)),
        _section("Workloads", _workloads(document.get("workloads", ()), results)),
        _section("Features", _features(settings.get("features_report", ()))),
        _section("Rows left out and stand-ins", _rejected(document["rejected"], settings)),
        _section("Settings", _settings(document, settings)),
        _section("Redo it", f"<pre><code>{command}</code></pre>"),
        _footnotes(),
    ]
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none';"
        f" style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Ullage: backtest of {as_markup(document['file'])}</title>"
        f"<style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + f"\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def headline(results: Sequence[Mapping[str, Any]]) -> str:
    """Return in one sentence what the backtest says of `ullage` against the best peer."""
    if not results:
        return "No policy was replayed: there were no runs, or none was asked for."
    told = [result for result in results if result["waste_gbh"] is not None]
    if not any(result["runs_scored"] for result in results) or not told:
        return "No run was scored: every figure is empty."
    ours = next((result for result in told if result["policy"] == "ullage"), None)
    peers = [result for result in told if result["policy"] not in ("ullage", "oracle")]
    if ours is None:
        best = min(told, key=lambda result: float(result["waste_gbh"]))
        return f"Least waste: {_words(best)}."
    shown = f"{_words(ours)} over {ours['runs_scored']:,} runs"
    at_most = max(float(ours["oom_run_share"]), _SMALL_SHARE)
    rivals = [peer for peer in peers if peer["oom_run_share"] <= at_most]
    if not peers:
        return f"{shown}. No peer was replayed beside it."
    if not rivals:
        return f"{shown}. Every peer fails more often."
    best = min(rivals, key=lambda peer: float(peer["waste_gbh"]))
    times = _times(best["waste_gbh"], ours["waste_gbh"])
    return f"{shown}. Of the peers that fail no more often the best is {_words(best)}{times}."


def _words(result: Mapping[str, Any]) -> str:
    share, waste = share_text(result["oom_run_share"]), figure_text(result["waste_gbh"])
    return f"{result['policy']} (wastes {waste} GBh, {share} of first attempts fail)"


def _times(peer: float, ours: float) -> str:
    return f": {peer / ours:.2f} times our waste" if ours > 0 else ""


def _figure(results: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> str:
    drawn = chart(results, curves)
    if not drawn:
        return ""
    line = " The line is <b>ullage</b> over its failure budget." if curves else ""
    caption = f"Down and to the left is better. Numbers are those of the table.{line}"
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def _policies(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return "<p>No policy: <code>--policy ullage,tovar</code> or <code>--policy all</code>.</p>"
    head = (
        "#", "policy", "runs", "first attempts failed", "OOM kills a run", "attempts a run",
        "waste GBh", "waste / used", "reserved / used", "per workload", "lost hours", "cost USD",
        "decision ms",
    )  # fmt: skip
    rows = (
        (
            str(number),
            str(result["policy"]),
            f"{result['runs_scored']:,}",
            *_shares(result),
            figure_text(result["per_workload_geomean_reserved_over_used"]),
            figure_text(result["lost_hours"]),
            _usd(result["cost_usd"]),
            figure_text(result["decision_ms_p50"]),
        )
        for number, result in enumerate(results, 1)
    )
    return _table(head, rows, is_sorted=True)


def _shares(result: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        share_text(result["oom_run_share"]),
        figure_text(result["ooms_per_run"]),
        figure_text(result["attempts_per_run"]),
        figure_text(result["waste_gbh"]),
        figure_text(result["waste_over_used"]),
        figure_text(result["reserved_over_used"]),
    )


def _parts(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return ""
    head = [
        f"{part}: {name}"
        for part in ("warm", "not saturated")
        for name in ("runs", "failed", "waste GBh", "waste / used")
    ]
    rows = (
        (
            str(result["policy"]),
            *(
                cell
                for part in ("warm", "saturated_excluded")
                for cell in (
                    f"{result[part]['runs_scored']:,}",
                    share_text(result[part]["oom_run_share"]),
                    figure_text(result[part]["waste_gbh"]),
                    figure_text(result[part]["waste_over_used"]),
                )
            ),
        )
        for result in results
    )
    return _table(["policy", *head], rows)


def _workloads(workloads: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> str:
    if not workloads:
        return ""
    names = [str(result["policy"]) for result in results]
    shown = workloads[:MOST_WORKLOADS]
    head = ("workload", "runs", "used GBh", *names)
    rows = (
        (
            str(each["workload"]),
            f"{each['runs_scored']:,}",
            figure_text(each["used_gbh"]),
            *(_cell(each["policies"].get(name)) for name in names),
        )
        for each in shown
    )
    return (
        f"<p>The {len(shown):,} that used most, most used first. A cell is the waste in GBh and"
        " the share of runs whose first attempt failed; all others are in the totals above.</p>"
        '<p><label>Show only names with <input id="wanted" type="search"></label></p>'
        + _table(head, rows, is_sorted=True, name="workloads")
    )


def _cell(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "-"
    return f"{figure_text(figures['waste_gbh'])} ({share_text(figures['oom_run_share'])})"


def _features(report: Sequence[Mapping[str, Any]]) -> str:
    if not report:
        return ""
    rows = (
        (
            str(note["name"]),
            str(note["kind"]),
            str(note["source"]),
            f"{note['rows_count']:,}",
            "used" if note["left_out"] is None else f"left out: {note['left_out']}",
        )
        for note in report
    )
    return _table(("feature", "kind", "source", "rows", ""), rows)


def _rejected(rejected: Mapping[str, int], settings: Mapping[str, Any]) -> str:
    counts = [(reason, count, "left out") for reason, count in rejected.items()]
    counts += [(name, count, "stand-in") for name, count in settings.get("replaced", {}).items()]
    if not counts:
        return "<p>None: every row was scored as it stands.</p>"
    rows = ((reason.replace("_", " "), what, f"{count:,}") for reason, count, what in counts)
    return _table(("reason", "", "rows"), rows)


def _settings(document: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    told = {
        "protocol": document["protocol"],
        "SHA-256 of the file": document["sha256"] or "-",
        "version": settings.get("version", "-"),
        **{key: value for key, value in settings.items() if key not in _BESIDE},
    }
    rows = ((key.replace("_", " "), _plain(value)) for key, value in told.items())
    return _table(("setting", "value"), rows)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items()) or "-"
    return "-" if value is None else str(value)


def _footnotes() -> str:
    return (
        "<footer><p>GB is 10<sup>9</sup> bytes; GBh is one GB for an hour. Waste is what was"
        " reserved and not used, failed attempts counted whole. Warm: at least 5 known runs of the"
        " workload before. Not saturated: without runs whose recorded peak reached 98 % of their"
        " limit. Per workload: geometric mean of reserved / used.</p></footer>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{as_markup(title)}</h2>{content}</section>" if content else ""


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, is_sorted: bool = False, name: str = ""
) -> str:
    """Return a table whose cells are plain texts; figures are set to the right."""
    kind = ' class="sorted"' if is_sorted else ""
    label = f' id="{name}"' if name else ""
    top = "".join(f'<th scope="col">{as_markup(cell)}</th>' for cell in head)
    lines = []
    for row in rows:
        cells = "".join(
            f'<td class="figure">{as_markup(cell)}</td>'
            if _is_figure(cell)
            else f"<td>{as_markup(cell)}</td>"
            for cell in row
        )
        lines.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="wide"><table{kind}{label}><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _is_figure(cell: str) -> bool:
    return cell == "-" or cell[:1].isdigit()


def _usd(cost: float | None) -> str:
    return "-" if cost is None else format_usd(cost).removesuffix(" USD")


def _digest(content: str) -> str:
    found = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(found).decode()}"
