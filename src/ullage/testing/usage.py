"""Made-up histories and usage traces of running services for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from ullage.core.service import ServiceQuestion, TargetHistory
from ullage.core.units import MAX_BYTES
from ullage.simulation.usage_file import UsageTrace

BEGAN_AT = datetime(2026, 1, 5, tzinfo=UTC)
INTERVAL_S = 1800.0


def target_history(
    peaks: Sequence[float],
    *,
    ooms: Sequence[tuple[float, float]] = (),
    interval_s: float = INTERVAL_S,
    shift_s: float = 0.0,
    readings: int = 200,
) -> TargetHistory:
    """Return a history of interval peaks in bytes, without a hole, from BEGAN_AT on.

    ooms: (interval as a number, 2.5 = in the middle of the third; at least so many bytes).
    shift_s: moves all times. readings: recent samples at the end, all at the last peak.
    """
    began_s = BEGAN_AT.timestamp() + shift_s
    at_s = np.asarray(began_s + interval_s * np.arange(len(peaks)), float)
    end_s = began_s + interval_s * len(peaks)
    latest = peaks[-1] if len(peaks) else 0.0
    return TargetHistory(
        at_s=np.asarray(end_s - np.arange(readings, 0, -1), float),
        need_bytes=np.full(readings, latest).astype(np.int64),
        limit_bytes=np.full(readings, -1),
        peak_at_s=at_s,
        peak_bytes=np.array(peaks, float).astype(np.int64),
        peak_interval_s=interval_s,
        oom_at_s=np.array([began_s + interval_s * at for at, _ in ooms], float),
        oom_at_least_bytes=np.array([least for _, least in ooms], float).astype(np.int64),
        first_seen_at=datetime.fromtimestamp(began_s, UTC),
    )


def service_question(
    history: TargetHistory,
    *,
    need_bytes: float = 0,
    limit_bytes: int | None = None,
    preset: str = "service",
    ceiling_bytes: int = MAX_BYTES,
    target_id: str = "cgroup1:/a",
    later_s: float = 0.0,
) -> ServiceQuestion:
    """Return a question at the end of `history`'s last interval, or `later_s` after it."""
    last_s = float(history.peak_at_s[-1]) if len(history.peak_at_s) else BEGAN_AT.timestamp()
    asked_s = last_s + history.peak_interval_s + later_s
    return ServiceQuestion(
        target_id=target_id,
        workload_key="w",
        asked_at=datetime.fromtimestamp(asked_s, UTC),
        need_bytes=int(need_bytes),
        usage_bytes=int(need_bytes),
        limit_bytes=limit_bytes,
        floor_bytes=0,
        ceiling_bytes=ceiling_bytes,
        preset=preset,
    )


def usage_trace(
    need_bytes: Sequence[float], *, step_s: float = 60.0, name: str = "w/i", began_s: float = 0.0
) -> UsageTrace:
    """Return a trace with a sample each `step_s`."""
    return UsageTrace(
        name=name,
        workload="w",
        at_s=np.asarray(began_s + step_s * np.arange(len(need_bytes)), float),
        need_bytes=np.array(need_bytes, float).astype(np.int64),
    )
