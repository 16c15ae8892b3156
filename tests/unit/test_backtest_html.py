"""The page of a backtest: what it says, that it is sound HTML, and that hostile names stay text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from ullage.outcomes.backtest_chart import (
    HEIGHT,
    LEAST_SHARE,
    LEFT,
    RIGHT,
    WIDTH,
    chart,
    failure_axis,
    round_step,
    waste_axis,
)
from ullage.outcomes.backtest_html import MOST_WORKLOADS, headline, render

HOSTILE = "</title><script>alert(1)</script>\"' onload=x <img src=x onerror=y> \x1b[31m\u202e&amp;"
VOID = {"meta", "input", "br", "img", "link"}


def figures(**changes: Any) -> dict[str, Any]:
    plain = {
        "runs_scored": 200, "oom_run_share": 0.02, "ooms_per_run": 0.021,
        "attempts_per_run": 1.021, "waste_gbh": 120.0, "waste_over_used": 0.5,
        "reserved_over_used": 1.5, "lost_hours": 3.5, "cost_usd": 1.25,
    }  # fmt: skip
    return plain | changes


def result(policy: str, **changes: Any) -> dict[str, Any]:
    return {
        "policy": policy,
        **figures(**changes),
        "warm": figures(waste_gbh=77.0),
        "saturated_excluded": figures(waste_gbh=66.0),
        "per_workload_geomean_reserved_over_used": 1.75,
        "decision_ms_p50": 0.5,
        "decision_ms_p99": 0.75,
        "seconds": 1.0,
        "peak_rss_mib": 50.0,
    }


def document(results: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    plain = {
        "file": "runs.parquet",
        "sha256": "ab" * 32,
        "protocol": "order",
        "settings": {"preset": "batch", "failure_budget": 0.02, "features_report": []},
        "rejected": {},
        "results": results,
        "curves": [],
        "workloads": [],
        "command": "ullage backtest runs runs.parquet",
    }
    return plain | changes


class Balance(HTMLParser):
    """Collects the tags that are open, and the text of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Balance:
    found = Balance()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


TWO = [
    result("ullage"),
    result("krr", oom_run_share=0.0, waste_gbh=480.0, cost_usd=None),
    result("hasty", oom_run_share=0.3, waste_gbh=60.0),
]


def test_the_page_says_who_wastes_how_much() -> None:
    page = render(document(TWO))
    text = " ".join(parsed(page).text)
    assert "4.00 times our waste" in text
    for shown in ("ullage", "krr", "hasty", "120", "480", "30.0 %", "ab" * 32, "77.0", "66.0"):
        assert shown in text, shown
    assert "ullage backtest runs runs.parquet" in text
    assert render(document(TWO)) == page


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([], "No policy was replayed"),
        ([result("ullage", runs_scored=0, oom_run_share=None, waste_gbh=None)], "No run"),
        ([result("ullage")], "No peer was replayed"),
        ([result("krr")], "Least waste: krr"),
        ([result("ullage"), result("krr", oom_run_share=0.5)], "Every peer fails more often"),
        ([result("ullage", waste_gbh=0.0), result("krr", oom_run_share=0.0)], "the best is krr"),
        ([result("ullage", oom_run_share=0.0), result("krr", oom_run_share=0.001)], "best is krr"),
        ([result("ullage"), result("oracle", oom_run_share=0.0)], "No peer was replayed"),
    ],
)
def test_the_headline_of_every_case(results: list[dict[str, Any]], words: str) -> None:
    assert words in headline(results)
    assert words in " ".join(parsed(render(document(results))).text)


def test_names_from_outside_stay_text() -> None:
    settings = {
        "features_report": [
            {"name": HOSTILE, "kind": "label", "source": HOSTILE, "rows_count": 3,
             "left_out": HOSTILE}
        ],
        "price": HOSTILE,
        "replaced": {HOSTILE: 2},
    }  # fmt: skip
    workload = {
        "workload": HOSTILE,
        "runs_scored": 3,
        "used_gbh": 1.0,
        "policies": {HOSTILE: {"waste_gbh": 1.0, "oom_run_share": 0.0}},
    }
    curve = {
        "policy": HOSTILE,
        "knob": HOSTILE,
        "points": [{"value": 0.02, "oom_run_share": 0.02, "waste_gbh": 100.0}],
    }
    hostile = document(
        [result(HOSTILE)],
        file=HOSTILE,
        sha256=HOSTILE,
        settings=settings,
        rejected={HOSTILE: 1},
        workloads=[workload],
        curves=[curve],
        command=HOSTILE,
    )
    page = render(hostile)
    found = parsed(page)
    assert found.seen.count("script") == 1
    assert "img" not in found.seen
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_nothing_but_the_page_itself_may_be_loaded_or_run() -> None:
    page = render(document(TWO))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="', page)
    assert not re.findall(r' style="', page), "the policy forbids inline styles"


def test_the_chart_places_points_on_its_axes() -> None:
    x, y = failure_axis([0.0, 0.1]), waste_axis([10.0, 1000.0])
    assert x.at(0.0) == LEFT
    assert x.at(0.1) == pytest.approx(WIDTH - RIGHT)
    assert x.at(0.01) == pytest.approx(LEFT + (WIDTH - RIGHT - LEFT) * 2 / 3)
    assert LEAST_SHARE == 1e-4
    assert y.is_log
    middle = (y.at(10.0) + y.at(1000.0)) / 2
    assert y.at(100.0) == pytest.approx(middle)
    assert y.at(1000.0) < y.at(10.0) < HEIGHT
    even = waste_axis([80.0, 100.0])
    assert not even.is_log
    assert even.ticks() == [0.0, 50.0, 100.0]
    assert [round_step(least) for least in (0.7, 1.0, 1.1, 3.0, 7.0)] == [1, 1, 2, 5, 10]


def test_the_chart_is_sound_xml_with_every_policy_and_its_curve() -> None:
    points = [{"value": b, "oom_run_share": b, "waste_gbh": 100 / b} for b in (0.01, 0.02, 0.05)]
    curve = {"policy": "ullage", "knob": "failure_budget", "points": points}
    drawn = ElementTree.fromstring(chart(TWO, [curve]))
    space = "{http://www.w3.org/2000/svg}"
    groups = drawn.findall(f"{space}g")
    assert [group.findtext(f"{space}text") for group in groups] == ["1", "2", "3"]
    assert [group.get("class") for group in groups] == ["ours", "peer", "peer"]
    titles = [circle.findtext(f"{space}title") for circle in drawn.findall(f"{space}circle")]
    assert titles[1] == "ullage at failure budget 2 %: 2.00 % fail, 5,000.0 GBh wasted"


def test_numbers_of_policies_at_one_place_do_not_cover_each_other() -> None:
    drawn = ElementTree.fromstring(chart([result(f"p{i}") for i in range(4)], []))
    space = "{http://www.w3.org/2000/svg}"
    places = {(t.get("x"), t.get("y")) for t in drawn.findall(f"{space}g/{space}text")}
    assert len(places) == 4


def test_the_oracle_does_not_stretch_the_chart() -> None:
    drawn = chart([*TWO, result("oracle", oom_run_share=0.0, waste_gbh=1e-6)], [])
    assert "oracle" in drawn
    assert re.findall(r'class="tick side"[^>]*>([^<]+)<', drawn) == ["0", "200", "400"]


def test_a_hundred_thousand_workloads_make_no_endless_page() -> None:
    workloads = [
        {
            "workload": f"w{at}-" + "x" * 5000,
            "runs_scored": 1,
            "used_gbh": 1.0,
            "policies": {"ullage": {"waste_gbh": 1.0, "oom_run_share": 0.0}},
        }
        for at in range(100_000)
    ]
    page = render(document([result("ullage")], workloads=workloads))
    assert len(page) < 500_000
    assert f"The {MOST_WORKLOADS} that used most" in page


def test_what_was_left_out_is_told() -> None:
    settings = {
        "features_report": [
            {"name": "rchar", "kind": "number", "source": "params key rchar", "rows_count": 9,
             "left_out": "measured during or after the run"},
            {"name": "input_bytes", "kind": "number", "source": "column", "rows_count": 9,
             "left_out": None},
        ],
        "replaced": {"runtime_zero": 195},
    }  # fmt: skip
    page = render(document(TWO, settings=settings, rejected={"peak_missing": 129}))
    text = " ".join(parsed(page).text)
    for shown in ("left out: measured during", "peak missing", "129", "runtime zero", "195"):
        assert shown in text
