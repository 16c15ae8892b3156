"""policies.cold_start: no known peak of the workload's own."""

from __future__ import annotations

import pytest

from ullage.core.decide import decide_run
from ullage.core.decision import Reason, RunDecision
from ullage.core.units import GIB, MIB
from ullage.core.view import RunHistory
from ullage.policies.cold_start import pooled_peak
from ullage.policies.runs import UllageRunPolicy
from ullage.testing.histories import run_history, run_question

NOTHING = run_history([])


def _decide(history: RunHistory = NOTHING, related: RunHistory | None = None, **asked: object
            ) -> RunDecision:  # fmt: skip
    return decide_run(history, run_question(**asked), UllageRunPolicy(), related=related)


@pytest.mark.parametrize("can_grow", [True, False])
def test_the_request_is_where_to_start(can_grow: bool) -> None:
    decision = _decide(request_bytes=3 * GIB, can_grow=can_grow)
    assert decision.limit_bytes == 3 * GIB
    assert decision.reasons == (Reason.REQUEST,)
    assert decision.ladder.limit_bytes[1] == 4.5 * GIB
    assert decision.ladder.limit_bytes[-1] == 64 * GIB


def test_without_anything_a_run_that_grows_starts_small() -> None:
    decision = _decide(can_grow=True)
    assert decision.limit_bytes == 512 * MIB
    assert decision.reasons == (Reason.NO_EVIDENCE,)


def test_without_anything_a_run_that_cannot_grow_gets_the_ceiling() -> None:
    assert _decide().limit_bytes == 64 * GIB
    assert _decide(attempts_left=0).limit_bytes == 64 * GIB
    assert Reason.NO_RETRY_LEFT in _decide(attempts_left=0).reasons


def test_the_request_does_not_outrank_the_last_attempt() -> None:
    assert _decide(request_bytes=GIB, attempts_left=0).limit_bytes == 64 * GIB


def test_related_workloads_give_a_prior() -> None:
    related = run_history([(100 + i) * MIB for i in range(30)])
    decision = _decide(related=related)
    assert decision.reasons == (Reason.POOLED_PRIOR,)
    assert 120 * MIB < decision.limit_bytes < 4 * GIB
    assert decision.ladder.limit_bytes[-1] > 200 * MIB


def test_related_workloads_scale_with_the_input() -> None:
    x = [1e8 * (1 + i % 10) for i in range(100)]
    related = run_history([3 * size for size in x], numbers={"input_bytes": x})
    small, large = pooled_peak(related, 1e8), pooled_peak(related, 2e10)
    assert small is not None
    assert large is not None
    assert large.quantile(0.6) == pytest.approx(6e10)
    # Shrunk towards plain peaks: the ratio holds 100 / (100 + 20) of the weight at most.
    assert large.quantile(0.1) < 4e9
    assert small.quantile(0.5) == pytest.approx(3e8)


def test_a_ratio_of_unlike_programs_asks_for_no_terabytes() -> None:
    # One needs 1 GB for a kilobyte, the others the same 1 GB for 10 GB: the input says nothing.
    x = [1e3 if i % 2 else 1e10 for i in range(100)]
    related = run_history([1e9 + i for i in range(100)], numbers={"input_bytes": x})
    pooled = pooled_peak(related, 1e10)
    assert pooled is not None
    assert pooled.quantile(0.9) < 1.1e9


def test_many_strangers_do_not_thin_the_tail() -> None:
    pooled = pooled_peak(run_history([100.0] * 5000), None)
    assert pooled is not None
    assert pooled.prob[pooled.points_bytes > 100].sum() == pytest.approx(1 / 21)
    assert pooled.prob.sum() == pytest.approx(1)
    assert pooled_peak(run_history([]), None) is None


def test_runs_that_were_killed_are_a_lower_bound() -> None:
    killed = run_history([2 * GIB, 1 * GIB], censored=[0, 1])
    assert _decide(killed, can_grow=True).limit_bytes == 3 * GIB
    assert _decide(killed, can_grow=True, request_bytes=GIB).limit_bytes == 3 * GIB
    related = run_history([100 * MIB] * 30)
    assert _decide(killed, related).limit_bytes >= 3 * GIB
