"""Laws of the service policy: OOM kills, time, scale, what is known, and running sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.policies.service_bases import base_rows
from ullage.policies.services import UllageServicePolicy
from ullage.testing.usage import INTERVAL_S, service_question, target_history

peaks_lists = st.lists(st.integers(1, 10**6), min_size=6, max_size=120)
prices = st.sampled_from([0.5, 2.0, 10.0, 50.0])


def ask(history, policy=None, *, price=10.0, **options):  # type: ignore[no-untyped-def]
    policy = policy or UllageServicePolicy(price_hours=price)
    return policy.recommend(history, service_question(history, **options))


@settings(max_examples=100, deadline=None)
@given(peaks_lists, prices, st.data())
def test_an_oom_never_lowers_an_answer(peaks: list[int], price: float, data: st.DataObject) -> None:
    plain = target_history(peaks)
    ooms = data.draw(
        st.lists(st.tuples(st.floats(0, len(peaks) - 0.01), st.integers(1, 10**7)), max_size=4).map(
            sorted
        )
    )
    without, with_ooms = ask(plain, price=price), ask(target_history(peaks, ooms=ooms), price=price)
    assert with_ooms.wanted_bytes >= without.wanted_bytes


@settings(max_examples=60, deadline=None)
@given(peaks_lists, prices, st.integers(-(10**8), 10**8))
def test_shifting_all_times_shifts_nothing_else(
    peaks: list[int], price: float, shift_s: int
) -> None:
    ooms = [(len(peaks) / 2, 2.0 * max(peaks))]
    here = ask(target_history(peaks, ooms=ooms), price=price)
    there = ask(target_history(peaks, ooms=ooms, shift_s=float(shift_s)), price=price)
    assert here == there


@settings(max_examples=60, deadline=None)
@given(peaks_lists, prices, st.sampled_from([2, 16, 1024]))
def test_scaling_need_scales_the_answer(peaks: list[int], price: float, scale: int) -> None:
    one = ask(target_history(peaks), price=price).wanted_bytes
    many = ask(target_history([scale * peak for peak in peaks]), price=price).wanted_bytes
    assert abs(many - scale * one) <= scale  # whole bytes, rounded up


@settings(max_examples=60, deadline=None)
@given(peaks_lists, st.lists(st.integers(1, 10**9), min_size=1, max_size=20), prices)
def test_what_comes_later_is_not_known(peaks: list[int], later: list[int], price: float) -> None:
    past = target_history(peaks)
    question = service_question(past)
    whole = target_history([*peaks, *later], ooms=[(len(peaks) + 0.5, 1e9)])
    whole = replace(
        whole, at_s=np.append(past.at_s, past.at_s + 10**6), need_bytes=np.tile(past.need_bytes, 2)
    )
    answer = UllageServicePolicy(price_hours=price).recommend(whole, question)
    # The interval that begins at the very moment of the question has no readings yet.
    cut = replace(whole, peak_at_s=whole.peak_at_s.copy())
    cut.peak_at_s[len(peaks) :] += 1.0
    assert UllageServicePolicy(price_hours=price).recommend(cut, question) == UllageServicePolicy(
        price_hours=price
    ).recommend(past, question)
    assert answer.target_id == question.target_id


@settings(max_examples=60, deadline=None)
@given(peaks_lists, st.data())
def test_no_base_falls_when_a_peak_is_raised(peaks: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(peaks) - 1))
    raised = np.array(peaks, float)
    raised[at] += data.draw(st.integers(1, 10**6))
    before = base_rows(np.array(peaks, float), INTERVAL_S, first=1)
    after = base_rows(raised, INTERVAL_S, first=1)
    assert (after >= before * (1 - 1e-12)).all()


@settings(max_examples=40, deadline=None)
@given(peaks_lists, prices, st.integers(0, 2**32 - 1))
def test_a_policy_that_was_asked_before_answers_as_a_new_one(
    peaks: list[int], price: float, seed: int
) -> None:
    """Running sums are the sums from scratch, whatever was asked in between, also of others."""
    asked = UllageServicePolicy(price_hours=price)
    draw = np.random.default_rng(seed)
    for upto in sorted(set(draw.integers(1, len(peaks) + 1, 6).tolist())):
        ask(target_history(peaks[:upto]), asked)
        ask(target_history([7 * peak for peak in peaks]), asked, target_id="other")
    if draw.random() < 0.3:  # another life under the same id
        ask(target_history([peak + 1 for peak in peaks]), asked)
    history = target_history(peaks, ooms=[(len(peaks) - 1.5, 2.0 * max(peaks))])
    again, new = ask(history, asked), ask(history, price=price)
    assert abs(again.wanted_bytes - new.wanted_bytes) <= 1
    assert again.reason == new.reason


@settings(max_examples=20, deadline=None)
@given(peaks_lists, prices)
def test_same_question_same_answer(peaks: list[int], price: float) -> None:
    policy = UllageServicePolicy(price_hours=price)
    history = target_history(peaks)
    question = service_question(history, later_s=300.0)
    first = policy.recommend(history, question)
    older = replace(question, asked_at=question.asked_at - timedelta(hours=2))
    policy.recommend(history, older)
    assert policy.recommend(history, question) == first
