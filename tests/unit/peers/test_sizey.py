"""peers.sizey against worked values, and on the slice that its authors published."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ullage.core.errors import ConfigError
from ullage.peers import sizey_models
from ullage.peers.sizey import SizeyPolicy, interpolated_bytes, offsets
from ullage.testing.histories import run_history, run_question

pytest.importorskip("sklearn", reason="sizey needs scikit-learn: ullage[benchmarks]")

NAN = float("nan")


def _limit(
    x: Sequence[float],
    peaks: Sequence[float],
    asked: float | None,
    *,
    sized_from: int | None = None,
    policy: SizeyPolicy | None = None,
    **more: Any,
) -> int:
    """Ask with runs whose limits are recorded from number `sized_from` on."""
    n = len(peaks)
    limits = np.where(np.arange(n) >= (n if sized_from is None else sized_from), 1.0, NAN)
    history = run_history(peaks, numbers={"input_bytes": x}, limit_bytes=limits)
    numbers = {} if asked is None else {"input_bytes": asked}
    question = run_question(numbers=numbers, **more)
    answer = (policy or SizeyPolicy()).recommend(history, question)
    return answer.ladder.limit_bytes[0]


def test_models_are_weighted_by_their_accuracy() -> None:
    # weights 1, 1/e = 0.36788, 1, 1: (300 + 73.576)/3.36788 = 110.923
    foretold, accuracies = np.array([100.0, 200, 100, 100]), np.array([0.0, -1, 0, 0])
    assert interpolated_bytes(foretold, accuracies, np.zeros(4)) == pytest.approx(110.923, abs=1e-3)
    assert interpolated_bytes(foretold, accuracies, np.full(4, 0.05)) == pytest.approx(
        116.469, abs=1e-3
    )


@pytest.mark.parametrize(
    ("peaks", "offset"),
    [
        # e 0.5, 0, 0.2: std 0.2055 -> waste 232.7; 0.35 -> 305; 0.2 -> 210 + 20 + 0 = 230;
        # 0.15 -> 195 + 15 + 225 = 435
        ([150, 100, 120], 0.2),
        # e -0.5, -0.1, -0.3: std 0.163, median of |e| 0.3, no under-errors: 0
        ([50, 90, 70], 0.0),
        # e 0.5: std 0, median 0.5: 300 - 150 against 0
        ([150], 0.5),
        ([], 0.05),
    ],
)
def test_the_offset_that_would_have_wasted_least(peaks: list[float], offset: float) -> None:
    foretold = np.full((2, len(peaks)), 100.0)
    assert offsets(foretold, np.array(peaks, float)) == pytest.approx([offset] * 2)


def test_predictions_that_are_not_above_zero_do_not_count() -> None:
    foretold = np.array([[100.0, 0.0], [-5.0, 0.0]])
    assert offsets(foretold, np.array([150.0, 9.0])) == pytest.approx([0.5, 0.05])


def test_without_errors_five_percent() -> None:
    # peaks alike: all four models are their mean. 1000 x 1.05
    assert _limit([1, 2, 3, 4], [1000] * 4, 9) == 1050
    assert _limit([1, 2], [1000, 3000], 9) == 2100  # fewer than three: the mean


def test_errors_are_those_of_runs_that_were_sized() -> None:
    # inputs alike, so all models are means. Five runs of 1000, the sixth was sized: foretold
    # 1000, was 1500: e = 0.5, offset 0.5 (wastes 0). Now the mean of six is 1083.33:
    # foretold in whole bytes, 1083 x 1.5 = 1624.5
    assert _limit([7] * 6, [1000] * 5 + [1500], 7, sized_from=5) == 1625
    # not sized: 1083 x 1.05 = 1137.15
    assert _limit([7] * 6, [1000] * 5 + [1500], 7) == 1138
    # sized from the first on: runs 3, 4, 5 are foretold, with errors 0, 0, 0.5: std
    # 0.2357, medians 0.5 and 0, std of one under-error 0. Waste per model: 0.2357:
    # 235.7 x 2 + (3 x 1235.7 - 1500) = 2678; 0.5: 500 + 500 + 0 = 1000; 0: 3000 - 1500 = 1500
    assert _limit([7] * 6, [1000] * 5 + [1500], 7, sized_from=0) == 1625


def test_refits_after_five_percent() -> None:
    # 40 runs of 1000, then one of 3000: the fit of 40 is in force until there are 42: foretold
    # 1000, e = 2, offset 2
    assert _limit([7] * 41, [1000] * 40 + [3000], 7, sized_from=40) == 3000
    # 42: the mean of all, (40 x 1000 + 2 x 3000)/42 = 1095.24, offset 2 of the errors 2, 2
    assert _limit([7] * 42, [1000] * 40 + [3000] * 2, 7, sized_from=40) == 3285


def test_models_follow_the_input() -> None:
    x = [float(i) for i in range(1, 41)]
    peaks = [1e9 * i for i in x]
    low, high = (_limit(x, peaks, asked) for asked in (10.0, 30.0))
    assert 10e9 * 1.0 < low < 10e9 * 1.2
    assert 30e9 * 1.0 < high < 30e9 * 1.2
    # without an input: the mean, 20.5e9 x 1.05
    assert _limit(x, peaks, None) == pytest.approx(20.5e9 * 1.05)


def test_a_prediction_below_zero_is_a_twentieth_of_the_smallest() -> None:
    models = sizey_models.FittedModels(lambda asked: np.array([[-5.0], [7.4], [0.0], [9.0]]))
    got = models.peaks_bytes(np.array([1.0]), least_bytes=1000.0)
    assert got.tolist() == [[50.0], [7.0], [0.0], [9.0]]


def test_accuracies_are_of_runs_left_out() -> None:
    # inputs alike: each fold is foretold by the mean of the others: runs 0..2 of 100, 100, 400.
    # 0: 250, error 1.5, counts 1; 1: the same; 2: 100, error 0.75: -(1 + 1 + 0.75)/3
    got = sizey_models.accuracies(np.zeros(3), np.array([100.0, 100.0, 400.0]))
    assert got == pytest.approx([-2.75 / 3] * 4)


def test_after_an_oom() -> None:
    x, peaks = [1, 2, 3, 4], [1000, 3000, 2000, 1500]
    # the largest, 3000 > 1.05 x 2000; tau of (1,3,2,1.5) over 1..4: 3 up, 3 down: 0
    assert _limit(x, peaks, 9, failed_limits_bytes=(2000,)) == 3000
    assert _limit(x, peaks, 9, failed_limits_bytes=(2900,)) == 5800  # 3000 < 3045
    # rising peaks: tau 1, and x above that of the largest
    assert _limit([1, 2, 3], [1000, 2000, 3000], 9, failed_limits_bytes=(2000,)) == 4000
    assert _limit([1, 2, 3], [1000, 2000, 3000], 3, failed_limits_bytes=(2000,)) == 3000
    assert _limit([], [], 3, failed_limits_bytes=(2000,)) == 4000


def test_the_first_run_gets_the_request() -> None:
    assert _limit([], [], 3, request_bytes=77) == 77


def _noisy(n: int) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(5)
    x = generator.uniform(1, 10, n)
    return x.tolist(), (1e9 * x + generator.exponential(3e8, n)).tolist()


def test_what_is_kept_changes_no_answer() -> None:
    x, peaks = _noisy(30)
    kept = SizeyPolicy()
    for n in (10, 12, 13, 20, 30, 30):
        warm = _limit(x[:n], peaks[:n], 5.0, sized_from=10, policy=kept)
        assert warm == _limit(x[:n], peaks[:n], 5.0, sized_from=10)
    other = [2 * peak for peak in peaks]
    assert _limit(x, other, 5.0, sized_from=10, policy=kept) == _limit(x, other, 5.0, sized_from=10)


def test_error_lists_may_be_shared() -> None:
    alike, wild = [1000.0] * 5, [1000.0] * 5 + [3000.0]
    limits = []
    for is_shared in (False, True):
        policy = SizeyPolicy(is_shared=is_shared)
        # a workload whose one sized run needed thrice what was foretold
        _limit([7] * 6, wild, 7, sized_from=5, policy=policy, workload_key="wild")
        limits.append(_limit([7] * 5, alike, 7, policy=policy, workload_key="alike"))
    assert limits == [1050, 3000]  # 5 % without errors; the other's error, 2


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizey_models, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ullage\[benchmarks\]'"):
        SizeyPolicy()


def test_scikit_learn_is_loaded_when_it_is_needed() -> None:
    listed = "import sys; import ullage.peers.sizey; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
