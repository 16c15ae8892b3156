"""Tables for people and for files: nothing in a name can act on a terminal or a sheet."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_builders import START, WORKLOAD, attempt, run

from ullage.core.prices import DEFAULT_MEMORY_PRICE
from ullage.core.telemetry import Attribution, OomEvent
from ullage.core.units import GIB, MIB
from ullage.core.workload import Outcome
from ullage.outcomes.description import describe_workload, description_text
from ullage.outcomes.formats import OutputFormat
from ullage.outcomes.render import render, to_yaml, visible
from ullage.outcomes.tables import Table, ooms_table, runs_table, workloads_table

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\x1b[2J\x1b[31mred",
    "[bold red]markup[/]",
    "[/]",
    "\u202egnp.exe",
    "a\nb\tc\rd",
    '"quoted", comma',
    "\udcff",
    "null",
    "no",
    "1e3",
    ": - # & *",
]


def event(**changes: object) -> OomEvent:
    base = OomEvent(
        run_id="r-1",
        workload_key="daily-orders",
        attempt=1,
        at=START,
        at_least_bytes=GIB,
        limit_bytes=GIB,
        kills=2,
        attribution=Attribution.ORGANIC,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def table_of(text: str) -> Table:
    return Table(columns=("workload", "n_count"), rows=({"workload": text, "n_count": 3},))


def test_runs_for_people() -> None:
    text = render(
        runs_table([run(), run(attempts=(), outcome=None, known_at=None)]), OutputFormat.TABLE
    )
    heading, first, second = text.splitlines()
    assert " ".join(heading.split()) == (
        "RUN ID WORKLOAD STARTED OUTCOME START LIMIT FINAL LIMIT PEAK RAISES OOM KILLS RUNTIME"
    )
    assert "1000 MiB" in first
    assert "2026-11-23T06:00:00Z" in first
    assert "running" in second
    assert " - " in second
    wide = render(runs_table([run()]), OutputFormat.WIDE)
    assert "INPUT" in wide.splitlines()[0]
    assert "17 %" in wide


def test_runs_for_files_have_raw_values_and_units_in_names() -> None:
    runs = [run(attempt(limit_bytes=None, final_limit_bytes=None))]
    row = json.loads(render(runs_table(runs), OutputFormat.JSON))[0]
    assert row["peak_bytes"] == 1000 * MIB
    assert row["final_limit_bytes"] is None
    assert row["headroom_ratio"] is None
    assert row["runtime_s"] == 20.0
    assert row["input_bytes"] == GIB
    assert row["started_at"] == "2026-11-23T06:00:00Z"
    lines = list(csv.DictReader(io.StringIO(render(runs_table(runs), OutputFormat.CSV))))
    assert lines[0]["peak_bytes"] == str(1000 * MIB)
    assert lines[0]["final_limit_bytes"] == ""


def test_workloads_sum_up_their_runs() -> None:
    killed = run(attempt(outcome=Outcome.OOM_KILLED, oom_kills=2, peak_bytes=3 * GIB))
    table = workloads_table([(WORKLOAD, 7, [run(), killed])])
    row = table.rows[0]
    assert (row["runs_count"], row["oom_kills_count"], row["last_outcome"]) == (7, 2, "ok")
    assert (row["last_peak_bytes"], row["largest_peak_bytes"]) == (1000 * MIB, 3 * GIB)
    assert workloads_table([(WORKLOAD, 1, [])]).rows[0]["last_outcome"] is None


def test_ooms_show_at_least_and_whose_doing() -> None:
    row = json.loads(render(ooms_table([event(at_least_bytes=None)]), OutputFormat.JSON))[0]
    assert row["at_least_bytes"] is None
    assert (row["kills_count"], row["attribution"]) == (2, "organic")


def test_empty_lists_stay_machine_readable_and_teach() -> None:
    table = runs_table([], of="x")
    assert json.loads(render(table, OutputFormat.JSON)) == []
    assert render(table, OutputFormat.YAML) == "[]\n"
    assert len(render(table, OutputFormat.CSV).splitlines()) == 1
    assert "ullage run --name x" in table.empty
    assert "ullage run" in workloads_table([]).empty


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("on_terminal", [False, True])
def test_terminals_get_only_printable_characters(text: str, on_terminal: bool) -> None:
    drawn = render(table_of(text), OutputFormat.TABLE, on_terminal=on_terminal)
    assert all(line.isprintable() for line in drawn.splitlines())
    drawn.encode("utf-8")
    if text.isprintable():
        assert text in drawn


@pytest.mark.parametrize("text", HOSTILE)
def test_sheets_get_no_formula(text: str) -> None:
    cell = list(csv.reader(io.StringIO(render(table_of(text), OutputFormat.CSV))))[1][0]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == text or not text.isprintable()


@given(st.text(max_size=30))
def test_no_text_becomes_anything_else_in_yaml(text: str) -> None:
    key, _, value = to_yaml({"a": text}).partition(": ")
    assert key == "a"
    assert value.startswith('"')  # quoted as in JSON, which YAML 1.2 contains
    assert json.loads(value) == text


@given(st.text(max_size=40))
def test_visible_text_is_printable_and_keeps_what_was(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in shown)
    if text.isprintable():
        assert shown == text


def test_yaml_in_block_style() -> None:
    value = {"a": [1, None, True, {"b c": "x", "d": []}], "no": {"e": 1.5}, "f": {}}
    assert to_yaml(value) == (
        'a:\n  - 1\n  - null\n  - true\n  - "b c": "x"\n    d: []\n"no":\n  e: 1.5\nf: {}\n'
    )


def test_times_are_shown_in_utc_and_what_is_not_finite_is_unknown() -> None:
    moment = datetime(2026, 11, 23, 1, tzinfo=timezone(timedelta(hours=2)))
    table = Table(columns=("at", "x_ratio"), rows=({"at": moment, "x_ratio": float("nan")},))
    assert render(table, OutputFormat.TABLE).splitlines()[1].split() == [
        "2026-11-22T23:00:00Z",
        "-",
    ]
    assert json.loads(render(table, OutputFormat.JSON)) == [
        {"at": "2026-11-22T23:00:00Z", "x_ratio": None}
    ]


def test_a_description_counts_cut_short_runs_apart() -> None:
    runs = [
        run(),
        run(attempt(peak_bytes=500 * MIB)),
        run(attempt(outcome=Outcome.OOM_KILLED, peak_bytes=GIB, oom_kills=1)),
    ]
    found = describe_workload(WORKLOAD, runs, price=DEFAULT_MEMORY_PRICE)
    assert (found["peak_min_bytes"], found["peak_max_bytes"]) == (500 * MIB, 1000 * MIB)
    assert (found["censored_runs_count"], found["censored_peak_max_bytes"]) == (1, GIB)
    assert found["outcomes_count"] == {"ok": 2, "oom_killed": 1}
    text = "\n".join(description_text(found))
    assert "500 MiB .. 1000 MiB, median 750 MiB; at least 1.00 GiB in 1 cut short" in text
    assert "0.003557 USD per GiB-hour" in text
    nothing = describe_workload(WORKLOAD, [], price=DEFAULT_MEMORY_PRICE)
    assert nothing["reserved_usd"] is None
    assert "unknown" in "\n".join(description_text(nothing))
