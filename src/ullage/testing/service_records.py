"""Records of `ullage serve` for tests: a view fit to cut on, and proposals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ullage.core.service import (
    Direction,
    FleetState,
    HostCapacity,
    LimitProposal,
    LiveReading,
    LiveTarget,
    ServiceSpec,
    TargetHistory,
    TargetKind,
    TargetState,
    TargetView,
    UpdateMode,
)
from ullage.core.units import GIB, MIB

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
TARGET_ID = "cgroup1:/service"


def target_history(
    *,
    samples: int = 400,
    interval_s: float = 30.0,
    need_bytes: int = GIB,
    limit_bytes: int = 4 * GIB,
) -> TargetHistory:
    """Return `samples` readings up to AT, and their largest need as the only peak."""
    at_s = AT.timestamp() - interval_s * np.arange(samples)[::-1]
    first_at = AT - timedelta(seconds=interval_s * max(samples - 1, 0))
    return TargetHistory(
        at_s=at_s.astype(np.float64),
        need_bytes=np.full(samples, need_bytes, np.int64),
        limit_bytes=np.full(samples, limit_bytes, np.int64),
        peak_at_s=at_s[:1].astype(np.float64),
        peak_bytes=np.full(min(samples, 1), need_bytes, np.int64),
        peak_interval_s=1800.0,
        oom_at_s=np.zeros(0),
        oom_at_least_bytes=np.zeros(0, np.int64),
        first_seen_at=first_at,
    )


def live_reading(**changes: Any) -> LiveReading:
    """Return a reading: 1 GiB needed of 4 GiB, on a node of 32 GiB."""
    reading = LiveReading(
        target_id=TARGET_ID,
        at=AT,
        known_at=AT,
        usage_bytes=GIB + 64 * MIB,
        need_bytes=GIB,
        limit_bytes=4 * GIB,
        node_bytes=32 * GIB,
    )
    return replace(reading, **changes)


def service_spec(**changes: Any) -> ServiceSpec:
    """Return an acting workload with a maximum of 16 GiB."""
    spec = ServiceSpec(
        workload_key="service",
        kind=TargetKind.CGROUP1,
        selector=TARGET_ID,
        mode=UpdateMode.IN_PLACE,
        max_bytes=16 * GIB,
    )
    return replace(spec, **changes)


def target_view(**changes: Any) -> TargetView:
    """Return a view on which nothing forbids a cut, with `changes` of its fields."""
    view = TargetView(
        at=AT,
        target=LiveTarget(
            target_id=TARGET_ID,
            workload_key="service",
            instance="one",
            kind=TargetKind.CGROUP1,
            mode=UpdateMode.IN_PLACE,
        ),
        spec=service_spec(),
        state=TargetState(target_id=TARGET_ID, workload_key="service", instance="one"),
        fleet=FleetState(),
        host=HostCapacity(total_bytes=32 * GIB, free_bytes=16 * GIB),
        reading=live_reading(),
        history=target_history(),
        telemetry_age_s=0.0,
    )
    return replace(view, **changes)


def proposal_to(wanted_bytes: int, *, limit_bytes: int = 4 * GIB, **changes: Any) -> LimitProposal:
    """Return a wish to move a limit of `limit_bytes`."""
    rises = wanted_bytes > limit_bytes
    proposal = LimitProposal(
        target_id=TARGET_ID,
        wanted_bytes=wanted_bytes,
        direction=Direction.GROW if rises else Direction.CUT,
        reason="test",
        policy="test",
    )
    return replace(proposal, **changes)
