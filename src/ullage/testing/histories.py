"""Made-up histories and questions for tests of run policies. No policy in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ullage.core.allocation import Bounds
from ullage.core.decision import RunQuestion
from ullage.core.units import GIB
from ullage.core.view import RunHistory, curves_of, label_code
from ullage.core.workload import Features

ASKED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def run_history(
    peaks: Sequence[float],
    *,
    censored: Sequence[int] = (),
    runtime_s: Sequence[float] | float = 60.0,
    first_failed: Sequence[int] = (),
    numbers: Mapping[str, Sequence[float]] | None = None,
    labels: Mapping[str, Sequence[str | None]] | None = None,
    spent_prob: Sequence[Sequence[float]] = (),
    first_oom_prob: Sequence[float | None] = (),
    **more: Any,
) -> RunHistory:
    """Return a history of runs with these peaks in bytes, one a minute.

    censored, first_failed: positions of such runs. `more` goes to RunHistory as it is.
    """
    n = len(peaks)
    at = np.arange(n)
    return RunHistory(
        run_ids=tuple(f"run-{i}" for i in range(n)),
        known_at_s=np.array(at * 60.0, float),
        peak_bytes=np.array(peaks, float),
        is_censored=np.isin(at, list(censored)),
        runtime_s=np.broadcast_to(np.array(runtime_s, float), (n,)).copy(),
        first_failed=np.isin(at, list(first_failed)),
        numbers={name: np.array(x, float) for name, x in (numbers or {}).items()},
        labels={
            name: np.array([label_code(text) for text in texts], np.int64)
            for name, texts in (labels or {}).items()
        },
        spent_prob=curves_of(spent_prob),
        first_oom_prob=np.array(first_oom_prob, float),
        **more,
    )


def run_question(*, ceiling_bytes: int = 64 * GIB, **changes: Any) -> RunQuestion:
    """Return a question with two retries and no growth, but for `changes`.

    numbers: the run's numeric features.
    """
    numbers = changes.pop("numbers", {})
    fields: dict[str, Any] = {
        "workload_key": "w",
        "asked_at": ASKED_AT,
        "features": Features(numbers=numbers),
        "bounds": Bounds(ceiling_bytes=ceiling_bytes),
        "attempts_left": 2,
        "can_grow": False,
    }
    return RunQuestion(**(fields | changes))
