"""core.decide: what the guards make of a policy's answer, whatever it is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest

from ullage.core.allocation import Ladder
from ullage.core.decide import decide_run
from ullage.core.decision import Reason, Recommendation, RunDecision, RunQuestion
from ullage.core.units import GIB, MIB
from ullage.core.view import RunHistory
from ullage.policies.runs import UllageRunPolicy
from ullage.testing.histories import ASKED_AT, run_history, run_question

HISTORY = run_history([200 * MIB, 300 * MIB, 250 * MIB])
NAN = float("nan")


@dataclass
class Says:
    """A policy that answers what it is told to."""

    limits: tuple[float, ...]
    probs: tuple[float, ...] | None = None
    policy_id: str = "says"
    is_guarded: bool = True

    def recommend(
        self, history: RunHistory, question: RunQuestion, *, related: RunHistory | None = None
    ) -> Recommendation:
        probs = self.probs or tuple(0.5**i for i in range(len(self.limits)))
        ladder = Ladder(limit_bytes=self.limits, oom_prob=probs)  # type: ignore[arg-type]
        return Recommendation(
            ladder=ladder, reasons=(Reason.LEARNED,), expert="says", runs_used=len(history)
        )


def _decide(*limits: float, probs: tuple[float, ...] | None = None, **asked: object
            ) -> RunDecision:  # fmt: skip
    return decide_run(HISTORY, run_question(**asked), Says(limits, probs))


def test_a_sound_answer_stands() -> None:
    decision = _decide(GIB, 2 * GIB)
    assert decision.ladder == Ladder(limit_bytes=(GIB, 2 * GIB), oom_prob=(1.0, 0.5))
    assert decision.reasons == (Reason.LEARNED,)
    assert decision.policy == "says"
    assert decision.limit_bytes == GIB


@pytest.mark.parametrize(
    "limits", [(), (NAN,), (float("inf"),), (2 * GIB, GIB), (-1,), (0,), (1 << 62,)]
)
def test_nonsense_falls_back_to_the_largest_peak(limits: tuple[float, ...]) -> None:
    decision = _decide(*limits)
    assert decision.ladder.limit_bytes == (345 * MIB,)
    assert decision.reasons == (Reason.MODEL_FALLBACK,)


def test_nonsense_chances_fall_back_too() -> None:
    assert _decide(GIB, probs=(NAN,)).reasons == (Reason.MODEL_FALLBACK,)
    assert _decide(GIB, 2 * GIB, probs=(0.1, 0.9)).reasons == (Reason.MODEL_FALLBACK,)


def test_a_policy_that_breaks_is_heard() -> None:
    class Broken(Says):
        def recommend(self, *_: object, **__: object) -> Recommendation:
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        decide_run(HISTORY, run_question(), Broken((1,)))


def test_a_policy_that_overspends_its_budget_falls_back_if_that_is_safer() -> None:
    history = run_history([300 * MIB] * 20, first_failed=range(15, 20), first_oom_prob=(0.01,) * 20)
    low = decide_run(history, run_question(), Says((310 * MIB, GIB)))
    assert low.ladder.limit_bytes == (345 * MIB,)
    assert low.reasons == (Reason.MODEL_FALLBACK,)
    high = decide_run(history, run_question(), Says((GIB,)))
    assert high.limit_bytes == GIB
    growing = decide_run(history, run_question(can_grow=True), Says((310 * MIB,)))
    assert growing.limit_bytes == 310 * MIB


def test_fallback_obeys_the_other_guards() -> None:
    assert _decide(NAN, ceiling_bytes=300 * MIB).limit_bytes == 300 * MIB
    assert _decide(NAN, failed_limits_bytes=(345 * MIB,)).limit_bytes > 345 * MIB
    assert _decide(NAN, attempts_left=0).limit_bytes == 64 * GIB


def test_a_retry_is_above_every_limit_that_failed() -> None:
    decision = _decide(GIB, 3 * GIB, failed_limits_bytes=(2 * GIB, GIB))
    assert decision.ladder.limit_bytes == (3 * GIB,)
    assert Reason.RAISED_ABOVE_FAILED in decision.reasons
    assert _decide(GIB, failed_limits_bytes=(2 * GIB,)).limit_bytes == 3 * GIB


def test_a_retry_at_the_ceiling_stays_at_the_ceiling() -> None:
    decision = _decide(GIB, failed_limits_bytes=(2 * GIB,), ceiling_bytes=2 * GIB)
    assert decision.ladder.limit_bytes == (2 * GIB,)
    assert Reason.RAISED_ABOVE_FAILED not in decision.reasons


def test_bounds_come_last() -> None:
    assert _decide(GIB, 9 * GIB, ceiling_bytes=4 * GIB).ladder.limit_bytes == (GIB, 4 * GIB)
    over = _decide(9 * GIB, ceiling_bytes=4 * GIB)
    assert over.ladder.limit_bytes == (4 * GIB,)
    assert over.reasons == (Reason.LEARNED, Reason.CLAMPED_TO_CEILING)
    under = _decide(MIB)
    assert under.ladder.limit_bytes == (64 * MIB,)
    assert under.reasons == (Reason.LEARNED, Reason.CLAMPED_TO_FLOOR)


def test_the_ceiling_without_retry_or_growth() -> None:
    decision = _decide(GIB, attempts_left=0)
    assert decision.ladder.limit_bytes == (64 * GIB,)
    assert decision.reasons == (Reason.LEARNED, Reason.NO_RETRY_LEFT)
    assert _decide(GIB, attempts_left=0, can_grow=True).limit_bytes == GIB


def test_whole_mib() -> None:
    assert _decide(GIB + 1).limit_bytes == GIB + MIB


def test_the_id_is_a_digest_of_inputs_and_answer() -> None:
    first = _decide(GIB)
    assert first.decision_id == _decide(GIB).decision_id
    assert first.decision_id.startswith("d-")
    assert len(first.decision_id) == 34
    others = [
        _decide(2 * GIB),
        _decide(GIB, attempts_left=1),
        _decide(GIB, asked_at=ASKED_AT + timedelta(seconds=1)),
        decide_run(run_history([200 * MIB]), run_question(), Says((GIB,))),
        decide_run(HISTORY, run_question(), Says((GIB,), policy_id="other")),
        decide_run(replace(HISTORY, run_ids=("a", "b", "c")), run_question(), Says((GIB,))),
        decide_run(
            replace(HISTORY, spent_prob=np.array([[0.1], [np.nan], [np.nan]])),
            run_question(),
            Says((GIB,)),
        ),
    ]
    ids = {first.decision_id} | {other.decision_id for other in others}
    assert len(ids) == 1 + len(others)


_PROGRAM = """
from ullage.core.decide import decide_run
from ullage.policies.runs import UllageRunPolicy
from ullage.testing.histories import run_history, run_question
x = [1e8, 2e8, 5e8, 3e8]
history = run_history([2 * size for size in x], numbers={"input_bytes": x, "b": x, "a": x},
                      labels={"kind": ("p", None, "q", "p")})
question = run_question(numbers={"input_bytes": 4e8, "a": 1.0, "b": 2.0})
print(decide_run(history, question, UllageRunPolicy()).decision_id)
"""


def test_the_id_is_the_same_in_every_process() -> None:
    ids = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(ids) == 1


def test_the_real_policy_passes_through() -> None:
    decision = decide_run(HISTORY, run_question(), UllageRunPolicy())
    assert decision.policy == "ullage"
    assert decision.reasons == (Reason.LEARNED,)
