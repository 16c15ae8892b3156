"""The service policy: what it answers, when it holds, and which step of the fallback spoke."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ullage.core.service import Direction, ModelStep
from ullage.core.units import MIB
from ullage.policies import services
from ullage.policies.services import UllageServicePolicy
from ullage.testing.usage import service_question, target_history


def wanted(peaks: list[float], **options: object) -> int:
    history = target_history(peaks, ooms=options.pop("ooms", ()))  # type: ignore[arg-type]
    question = service_question(history, **options)  # type: ignore[arg-type]
    answer = UllageServicePolicy().recommend(history, question).wanted_bytes
    assert answer is not None
    return answer


def test_steady_need_is_given_little_more() -> None:
    answer = wanted([1000.0 * MIB] * 200)
    assert 1000 * MIB <= answer <= 1100 * MIB


def test_a_daily_spike_is_remembered_where_ooms_are_dear() -> None:
    day = [100.0 * MIB] * 47 + [1000.0 * MIB]
    history = target_history(day * 7)
    quiet = service_question(history, preset="service-critical")
    answer = UllageServicePolicy().recommend(history, quiet)
    assert answer.wanted_bytes is not None
    assert answer.wanted_bytes >= 1000 * MIB


def test_dearer_ooms_get_no_less() -> None:
    peaks = np.random.default_rng(2).lognormal(20, 0.3, 300).tolist()
    answers = [wanted(peaks, preset=name) for name in ("service-tolerant", "service-critical")]
    assert answers[0] <= answers[1]


@pytest.mark.parametrize(("peaks", "readings"), [([100.0] * 5, 200), ([100.0] * 100, 99), ([], 0)])
def test_thin_history_holds(peaks: list[float], readings: int) -> None:
    history = target_history(peaks, readings=readings)
    answer = UllageServicePolicy().recommend(history, service_question(history))
    assert answer.direction is Direction.HOLD
    assert answer.wanted_bytes is None
    assert answer.reason == "thin_history"
    assert answer.step is ModelStep.KEEP


@pytest.mark.parametrize(
    ("group_mib", "limit_mib", "expected_mib"),
    [
        ([100, 100, 110, 200], 150, 295),  # 200 + (200 - 105)
        ([100, 100], 100, 120),
        ([100, 100], 130, None),  # a bound never cuts
        ([500], 100, None),  # one says nothing about the others
        ([], 100, None),
    ],
)
def test_a_new_replica_gets_what_the_hottest_of_its_group_may_need(
    group_mib: list[int], limit_mib: int, expected_mib: int | None
) -> None:
    history = target_history([50.0 * MIB])
    question = replace(
        service_question(history, limit_bytes=limit_mib * MIB),
        group_needs_bytes=tuple(each * MIB for each in group_mib),
    )
    answer = UllageServicePolicy().recommend(history, question)
    assert answer.wanted_bytes == (None if expected_mib is None else expected_mib * MIB)
    assert answer.direction is (Direction.HOLD if expected_mib is None else Direction.GROW)


def test_direction_follows_the_limit() -> None:
    history = target_history([1000.0 * MIB] * 100)

    def direction(limit_bytes: int) -> Direction:
        question = service_question(history, limit_bytes=limit_bytes)
        return UllageServicePolicy().recommend(history, question).direction

    assert direction(4000 * MIB) is Direction.CUT
    assert direction(500 * MIB) is Direction.GROW
    assert direction(wanted([1000.0 * MIB] * 100)) is Direction.HOLD


def test_never_below_what_is_needed_now_nor_above_the_ceiling() -> None:
    history = target_history([100.0 * MIB] * 100)
    answer = UllageServicePolicy().recommend(
        history, service_question(history, need_bytes=900 * MIB)
    )
    assert (answer.wanted_bytes, answer.step) == (900 * MIB, ModelStep.MODEL)
    assert wanted([1000.0 * MIB] * 100, ceiling_bytes=1010 * MIB) <= 1010 * MIB


def test_a_steady_answer_says_its_rule_and_its_evidence() -> None:
    history = target_history([1000.0 * MIB] * 200)
    answer = UllageServicePolicy().recommend(history, service_question(history, need_bytes=7))
    assert answer.step is ModelStep.MODEL
    assert " x 1" in answer.reason
    assert "cheapest of its rules" in answer.evidence
    assert answer.policy == "ullage"
    assert answer.evidence_bytes == 7


def test_an_oom_lifts_the_peak_of_its_interval_to_what_it_took_at_least() -> None:
    """The latest peak counts as 1.2 x 2000 MiB, and no rule is below the latest peak."""
    assert wanted([1000.0 * MIB] * 100, ooms=[(99.5, 2000 * MIB)]) >= 2400 * MIB


def test_of_the_rules_near_the_cheapest_the_one_that_moves_least() -> None:
    costs = np.array([100.0, 100.5, 102.0])
    limits = np.array([10.0, 20.0, 30.0])
    assert services._nearest(costs, limits, None) == 0
    assert services._nearest(costs, limits, 30) == 1
    assert services._nearest(costs, limits, 9) == 0


def test_sums_of_another_past_or_floor_are_not_gone_on_with() -> None:
    spiky, calm = target_history([100.0, 900.0] * 50), target_history([100.0] * 100)
    policy, new = UllageServicePolicy(), UllageServicePolicy()
    question = service_question(calm)
    policy.recommend(spiky, question)
    for asked in (question, replace(question, floor_bytes=500)):
        policy.recommend(calm, asked)
        new.recommend(calm, asked)
        kept = [each._sums[asked.target_id, False].scores for each in (policy, new)]
        np.testing.assert_array_equal(kept[0].reserved, kept[1].reserved)
    assert kept[0].reserved.min() == pytest.approx(500 * kept[0].hours)


def test_more_ooms_than_announced_is_an_alarm() -> None:
    """Two kills in a week where the rule announced none: the largest need x 1.15 at least."""
    history = target_history([1000.0 * MIB] * 300, ooms=[(200.5, 1100 * MIB), (290.5, 1200 * MIB)])
    answer = UllageServicePolicy(price_hours=0.01).recommend(history, service_question(history))
    assert answer.wanted_bytes is not None
    assert answer.wanted_bytes >= 1.15 * 1200 * MIB
    assert answer.reason == "alarm"
    assert answer.step is ModelStep.EMPIRICAL


def test_fallback_by_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """S14: nonsense now -> what was said an interval ago -> largest x 1.15 -> keep."""
    history = target_history([1000.0 * MIB] * 50)
    question = service_question(history)
    policy = UllageServicePolicy()
    choose = policy._cheapest

    def broken(kept, asked, at_s):  # type: ignore[no-untyped-def]
        found = choose(kept, asked, at_s)
        return found if len(kept.peak_at_s) < 50 else replace(found, wanted=float("nan"))

    monkeypatch.setattr(policy, "_cheapest", broken)
    assert policy.recommend(history, question).step is ModelStep.LAST_GOOD
    monkeypatch.setattr(policy, "_cheapest", lambda *_: None)
    answer = policy.recommend(history, question)
    assert (answer.step, answer.wanted_bytes) == (ModelStep.EMPIRICAL, int(1150 * MIB))
    absurd = replace(history, peak_bytes=np.full(50, 1 << 50))
    assert policy.recommend(absurd, question).step is ModelStep.KEEP


def test_idle_target_is_answered() -> None:
    history = target_history([0.0] * 100)
    answer = UllageServicePolicy().recommend(history, service_question(history))
    assert answer.wanted_bytes == 0
    assert answer.step is ModelStep.EMPIRICAL


def test_memory_is_bounded_over_a_year_and_over_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_REMEMBERED_TARGETS", 5)
    policy = UllageServicePolicy()
    peaks = np.random.default_rng(4).lognormal(20, 0.3, 366 * 48)
    for upto in range(2000, len(peaks), 997):
        history = target_history(peaks[max(0, upto - 1680) : upto].tolist(), shift_s=upto * 1800.0)
        for name in ("a", "b"):
            policy.recommend(history, service_question(history, target_id=f"{name}{upto}"))
        assert len(policy._sums) <= 10
    kept = next(iter(policy._sums.values()))
    assert kept.scores.reserved.nbytes + kept.scores.ooms.nbytes + 8 * len(kept.tail) < 2000
