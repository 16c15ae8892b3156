"""benchmarks/decision_quality.py: what it compares, on curves and runs made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from house_source import ROOT

from ullage import bootstrap
from ullage.core.scoring import Outcomes
from ullage.simulation.backtest import Results, World, backtest_workload, rows_by_workload
from ullage.simulation.timeline import in_order
from ullage.testing.runs_tables import runs_table

sys.path.insert(0, str(ROOT / "benchmarks"))

from quality.curves import (
    Point,
    beats_somewhere,
    best_within,
    geometric_mean,
    not_dominated,
    waste_between,
)
from quality.field_benchmark import Seeded, share_of_types
from quality.honest_order import against_best_peers
from quality.line import Line
from quality.promises import LEVELS, QuantileProbe, covered, repeated_share
from quality.replays import Lab, Replayed, Setting, Work, code_digest
from quality.report import as_json, as_markdown, as_text, pasted


def at(failures_ratio: float, waste_gbh: float, name: str = "") -> Point:
    return Point(name=name, failures_ratio=failures_ratio, waste_gbh=waste_gbh)


CURVE = [at(0.03, 6, "loose"), at(0.01, 10, "tight"), at(0.02, 9, "bulge"), at(0.05, 7, "worse")]


def test_best_within_takes_only_what_was_run() -> None:
    best = best_within(CURVE, 0.025)
    assert best is not None
    assert best.name == "bulge"
    assert best_within(CURVE, 0.009) is None


@pytest.mark.parametrize(
    ("failures_ratio", "waste_gbh"), [(0.01, 10), (0.02, 8), (0.03, 6), (0.9, 6), (0.0099, None)]
)
def test_waste_between_settings_is_on_the_lower_hull(
    failures_ratio: float, waste_gbh: float | None
) -> None:
    assert waste_between(CURVE, failures_ratio) == pytest.approx(waste_gbh)


def test_what_another_point_beats_in_both_is_left_out() -> None:
    kept = not_dominated([*CURVE, at(0.01, 11), at(0.03, 6, "equal")])
    assert [point.name for point in kept] == ["tight", "bulge", "loose"]


@pytest.mark.parametrize(
    ("peer", "is_better"),
    [
        (at(0.02, 7.9), True),
        (at(0.02, 8.1), False),
        (at(0.5, 5.9), True),
        (at(0.5, 6.1), False),
        (at(0.0, 9.9), True),
        (at(0.0, 10.1), False),
    ],
)
def test_a_peer_is_held_against_the_curve_at_its_own_failures(peer: Point, is_better: bool) -> None:
    assert beats_somewhere(peer, CURVE) is is_better


def test_a_peer_that_hardly_ever_fails_is_compared_at_two_in_a_thousand() -> None:
    curve = [at(0.002, 10), at(0.01, 5)]
    assert not beats_somewhere(at(0.0, 10.5), curve)
    assert beats_somewhere(at(0.0, 9.5), curve)
    (against,) = against_best_peers(curve, [at(0.0, 40, "safe"), at(0.001, 20, "best")])
    assert (against.peer.name, against.ratio) == ("best", 0.5)


def test_a_ratio_is_of_settings_that_were_run_and_none_where_all_fail_more() -> None:
    seldom, often = against_best_peers(CURVE, [at(0.004, 30), at(0.025, 12)])
    assert seldom.ratio is None
    assert seldom.between_ratio is None
    assert often.ratio == 9 / 12
    assert often.between_ratio == pytest.approx(7 / 12)


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([]) is None


# -- task types ----------------------------------------------------------------------------

# Four types of two runs each: we are better, worse, tied, and never fail as seldom.
TABLE = runs_table([1e9] * 8, workload=[0, 0, 1, 1, 2, 2, 3, 3])


def replayed(setting: Setting, waste_gbh: list[float], ooms: list[int]) -> Replayed:
    n = len(waste_gbh)
    used = np.full(n, 3.6e12)
    return Replayed(
        setting=setting,
        seconds=1.5,
        results=Results(
            row=np.arange(n),
            known_count=np.arange(n),
            first_limit_bytes=np.full(n, 2e9),
            oom_prob=np.zeros(n),
            decision_ms=np.zeros(n),
            outcomes=Outcomes(
                used_byte_seconds=used,
                reserved_byte_seconds=used + np.array(waste_gbh) * 3.6e12,
                failed_byte_seconds=np.zeros(n),
                ooms_count=np.array(ooms, float),
                lost_s=np.zeros(n),
            ),
        ),
    )


def work() -> Work:
    return Work(
        name="made",
        protocol="order",
        features="apriori",
        seed=None,
        limit_rows=None,
        sha256="0" * 64,
        timeline=in_order(TABLE),
    )


def test_share_of_task_types_at_no_more_failures_in_each() -> None:
    ours = replayed(Setting(policy_id="ullage"), [1, 1, 5, 5, 3, 3, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0])
    peer = replayed(Setting(policy_id="krr"), [2, 2, 4, 4, 3, 3, 9, 9], [0] * 8)
    share = share_of_types(Seeded(work=work(), curve=[ours], peers=[peer]), peer)
    assert (share.better_count, share.types_count) == (1, 3)
    assert (share.ties_count, share.unmatched_count) == (1, 1)
    assert share.ratio == pytest.approx(1 / 3)
    assert share.strict_ratio == 1 / 4


def test_share_of_task_types_of_one_setting_takes_the_failures_as_they_fall() -> None:
    ours = replayed(Setting(policy_id="ullage"), [1, 1, 5, 5, 3, 3, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0])
    peer = replayed(Setting(policy_id="krr"), [2, 2, 4, 4, 3, 3, 9, 9], [1, 0, 0, 0, 0, 0, 0, 0])
    seeded = Seeded(work=work(), curve=[ours], peers=[peer])
    share = share_of_types(seeded, peer, one_setting=True)
    assert (share.better_count, share.types_count, share.unmatched_count) == (2, 3, 0)


# -- promises ------------------------------------------------------------------------------


def test_repeated_peaks_count_within_a_workload_only() -> None:
    table = runs_table([5e8, 5e8, 6e8, 6e8], workload=[0, 0, 0, 1])
    assert repeated_share(in_order(table)) == 0.5


def test_a_probe_changes_no_answer_and_its_quantiles_rise() -> None:
    rng = np.random.default_rng(3)
    timeline = in_order(runs_table((1e9 * np.exp(rng.normal(0, 0.3, 60))).tolist()))
    (rows,) = rows_by_workload(timeline)
    probe = QuantileProbe(every=1)
    probed = backtest_workload(timeline, rows, probe, World())
    plain = backtest_workload(timeline, rows, bootstrap.backtest_policy("ullage"), World())
    assert np.array_equal(probed.first_limit_bytes, plain.first_limit_bytes)
    assert [number for number, _, _ in probe.asked] == list(range(5, 60))
    for _, limits, levels in probe.asked:
        assert limits == sorted(limits)
        assert all(said >= asked - 1e-9 for said, asked in zip(levels, LEVELS, strict=True))


def test_quantiles_cover_what_they_say_on_runs_that_are_alike() -> None:
    rng = np.random.default_rng(5)
    table = runs_table((1e9 * np.exp(rng.normal(0, 0.3, 400))).tolist())
    seen, announced = covered(in_order(table), every=1)
    assert seen.shape == announced.shape == (395, len(LEVELS))
    assert np.abs(seen.mean(axis=0) - LEVELS).max() < 0.06


# -- kept results and the report -----------------------------------------------------------


def lab(folder: Path, **more: bool) -> Lab:
    return Lab(folder, folder / "kept", **more)


def test_a_result_is_made_once_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = lab(tmp_path).replay(work(), Setting(policy_id="max-1.1"))
    (file,) = (tmp_path / "kept").iterdir()
    made_at = file.stat().st_mtime_ns
    again = lab(tmp_path).replay(work(), Setting(policy_id="max-1.1"))
    assert file.stat().st_mtime_ns == made_at
    assert again.point == first.point
    assert again.seconds == first.seconds
    assert "max-1.1" in capsys.readouterr().err


def test_a_damaged_kept_result_is_made_again(tmp_path: Path) -> None:
    first = lab(tmp_path).replay(work(), Setting(policy_id="krr"))
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert lab(tmp_path).replay(work(), Setting(policy_id="krr")).point == first.point


def test_results_of_other_code_are_taken_of_peers_alone_and_when_asked(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for policy_id in ("krr", "ullage"):
        lab(tmp_path).replay(work(), Setting(policy_id=policy_id))
    for file in list(kept.iterdir()):
        file.rename(kept / f"{file.name.partition('-')[0]}-{'f' * 16}.npz")
    lab(tmp_path, is_any_code=True).replay(work(), Setting(policy_id="krr"))
    assert len(list(kept.iterdir())) == 2
    lab(tmp_path, is_any_code=True).replay(work(), Setting(policy_id="ullage"))
    assert len(list(kept.iterdir())) == 3
    lab(tmp_path).replay(work(), Setting(policy_id="krr"))
    assert len(list(kept.iterdir())) == 4
    assert code_digest("krr") != code_digest("ullage")


def test_a_page_is_changed_between_its_marks_alone() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    once = pasted(page, "| first |\n")
    assert "\n| first |\n" in once
    assert pasted(pasted(once, "| second |\n"), "| first |\n") == once
    assert once.partition("## Results")[0] == page.partition("## Results")[0]
    assert once.partition("## Where")[2] == page.partition("## Where")[2]
    assert pasted("no marks", "text\n") == "text\n"


def test_the_report_says_what_was_reached_in_every_form() -> None:
    lines = [
        Line(section="A", figure="waste | there", target="<= 1", seen="2", is_reached=False),
        Line(section="C", figure="ratio", target="<= 1", seen="0.5", is_reached=True, note="n"),
        Line(section="E", figure="speed", seen="3 ms"),
    ]
    curves = {"made": [at(0.02, 1234.5, "krr")]}
    text = as_text(lines)
    assert "1 of 2 targets reached" in text
    assert "[ no] waste" in text
    page = as_markdown(lines, curves, {"version": "1"})
    assert "| waste \\| there | <= 1 | 2 | no |  |" in page
    assert "| krr | 2.00 % | 1,234.5 |" in page
    document = json.loads(as_json(lines, curves, {}, []))
    assert [line["reached"] for line in document["lines"]] == [False, True, None]
    assert document["curves"]["made"][0]["oom_run_share"] == 0.02
