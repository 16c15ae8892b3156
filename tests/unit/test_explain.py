"""Sentences and figures about a decision."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_builders import WORKLOAD, attempt, decision, run

from ullage.core.decision import Reason
from ullage.core.prices import DEFAULT_MEMORY_PRICE, MemoryPrice
from ullage.core.units import GIB, MIB
from ullage.core.workload import Outcome, Run
from ullage.outcomes.explain import (
    EXPERT_WORDS,
    Explanation,
    expected_byte_seconds,
    explain_decision,
    explanation_json,
    explanation_text,
    format_prob,
    why,
)
from ullage.policies.experts import EXPERTS


def explained(*runs: Run, **changes: object) -> Explanation:
    made = decision(**changes)  # type: ignore[arg-type]
    return explain_decision(made, runs, workload=WORKLOAD, price=DEFAULT_MEMORY_PRICE)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words_in_one_sentence(reason: Reason) -> None:
    sentence = why(decision(reason))
    assert sentence.startswith("1.07 GiB ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert reason.value not in sentence or "_" not in reason.value
    if reason is not Reason.LEARNED:
        assert sentence != why(decision(Reason.LEARNED))


@pytest.mark.parametrize("expert", EXPERTS, ids=lambda e: e.name)
def test_every_expert_has_words(expert: object) -> None:
    name = expert.name  # type: ignore[attr-defined]
    assert name in EXPERT_WORDS
    sentence = why(decision(expert=name, feature="input_bytes"))
    follows = expert.follows_feature  # type: ignore[attr-defined]
    assert ("input_bytes (2.00 GiB this time)" in sentence) == follows


def test_an_expert_without_words_keeps_its_name() -> None:
    assert "'boosted {x}'" in why(decision(expert="boosted {x}"))


def test_several_reasons_are_all_told() -> None:
    sentence = why(decision(Reason.LEARNED, Reason.REGIME_CHANGE, Reason.CLAMPED_TO_CEILING))
    assert "learned from 12 past runs" in sentence
    assert "older runs are left out" in sentence
    assert "cut to the ceiling" in sentence


def test_the_deciding_runs_are_named_with_peak_and_feature() -> None:
    small, big = (
        run(run_id="r-small"),
        run(attempt(peak_bytes=2 * GIB, outcome=Outcome.OOM_KILLED, oom_kills=1), run_id="r-big"),
    )
    found = explained(small, big, deciding=("r-big", "r-gone", "r-small"), feature="input_bytes")
    assert [each.run_id for each in found.deciding] == ["r-big", "r-small"]
    text = "\n".join(explanation_text(found))
    assert "r-big, peak at least 2.00 GiB, input_bytes 1.00 GiB" in text
    assert "r-small, peak 1000 MiB" in text
    assert "named by --name" in text
    assert "python etl.py" in text


def test_the_expected_cost_by_hand() -> None:
    rungs = {"limits": (GIB, 2 * GIB), "probs": (0.1, 0.0)}
    retries = decision(**rungs, can_grow=False)
    growth = decision(**rungs, can_grow=True)
    hour = GIB * 3600
    assert expected_byte_seconds(retries, runtime_s=3600) == pytest.approx(1.2 * hour)
    assert expected_byte_seconds(growth, runtime_s=3600) == pytest.approx(1.1 * hour)


def test_cost_is_of_the_median_run_that_ended_well_and_names_its_price() -> None:
    runs = [
        run(attempt(runtime=timedelta(seconds=seconds), outcome=outcome), run_id=f"r-{seconds}")
        for seconds, outcome in [
            (10, Outcome.OK),
            (20, Outcome.OK),
            (90, Outcome.OK),
            (1, Outcome.ERROR),
        ]
    ]
    found = explained(*runs, limits=(GIB,), probs=(0.0,))
    assert found.runtime_s == 20
    assert found.cost_usd == pytest.approx(20 / 3600 * 0.003557)
    assert "0.003557 USD per GiB-hour (Dataflow memory" in explanation_text(found)[-1]


def test_cost_without_a_good_run_is_unknown_not_zero() -> None:
    found = explained(run(attempt(outcome=Outcome.ERROR)))
    assert found.cost_usd is None
    assert "unknown" in explanation_text(found)[-1]
    assert explanation_json(found)["cost_usd"] is None


def test_other_workloads_runtimes_do_not_count() -> None:
    from dataclasses import replace

    other = replace(run(), workload=replace(WORKLOAD, key="other"))
    assert explained(other).runtime_s is None


def test_the_chance_of_each_rung_is_shown() -> None:
    lines = explanation_text(explained(run(), can_grow=False))
    rungs = [line for line in lines if "OOM-killed at" in line]
    assert len(rungs) == 2
    assert "1.07 GiB" in rungs[0]
    assert "1.8 %" in rungs[0]
    assert "none seen" in rungs[1]
    assert not [line for line in explanation_text(explained(run())) if "OOM-killed at" in line]


def test_json_is_json() -> None:
    found = explained(run(), deciding=(run().run_id,))
    data = json.loads(json.dumps(explanation_json(found), allow_nan=False))
    assert data["ladder_bytes"] == [1100 * MIB, 1600 * MIB]
    assert data["oom_prob"] == [0.018, 0.0]
    assert data["deciding_runs"][0]["run_id"] == run().run_id
    assert data["price"].startswith("0.003557")


@given(st.floats(0, 1))
def test_a_chance_that_is_not_certain_is_never_shown_as_such(prob: float) -> None:
    text = format_prob(prob)
    if 0 < prob < 1:
        assert text not in ("0 %", "0.0 %", "100 %", "100.0 %", "none seen")


def test_prices_are_those_given() -> None:
    price = MemoryPrice(gib_hour_usd=1.0, name="own")
    made = decision(limits=(GIB,), probs=(0.0,))
    runs = [run(attempt(runtime=timedelta(hours=1)))]
    found = explain_decision(made, runs, workload=WORKLOAD, price=price)
    assert found.cost_usd == pytest.approx(1.0)


def test_the_ceiling_at_once_is_not_called_learned() -> None:
    sentence = why(decision(Reason.NO_RETRY_LEFT, Reason.LEARNED))
    assert "ceiling at once" in sentence
    assert "learned" not in sentence


def test_one_run_is_no_comparison_of_rules() -> None:
    sentence = why(decision(runs_used=1))
    assert "1 past run: the only peak known so far" in sentence
    assert "cost least" not in sentence
