"""A service policy as the live loop lets it act: its answers after the guards' arithmetic.

The guards are those of the loop (core.live_guards): evidence (S2), one step (S5), the live floor
(S1), small changes (S5), bounds (S4). What a trace cannot answer is taken as fine: lease, store,
freezes, the host's room, other replicas. Not here: watches after a cut (they end within one
decision interval), rescue.
"""

from __future__ import annotations

from dataclasses import replace

from ullage.core.live_guards import guard
from ullage.core.service import (
    Direction,
    FleetState,
    HostCapacity,
    LimitProposal,
    LiveReading,
    LiveTarget,
    ServeSettings,
    ServiceQuestion,
    ServiceSpec,
    TargetHistory,
    TargetKind,
    TargetState,
    TargetView,
    UpdateMode,
)
from ullage.core.service_ports import ServicePolicy

_SETTINGS = ServeSettings(is_acting=True)


class GuardedServicePolicy:
    """Another policy behind the guards; where they hold, the limit stays."""

    def __init__(self, policy: ServicePolicy, *, policy_id: str) -> None:
        self._policy, self.policy_id = policy, policy_id

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        """Return the policy's answer after the guards; a first limit passes as it is."""
        answer = self._policy.recommend(history, question)
        if question.limit_bytes is None:
            return answer
        guarded = guard(answer, _view(history, question), _SETTINGS)
        if guarded.direction is Direction.HOLD:
            return replace(guarded, wanted_bytes=None)
        return guarded


def _view(history: TargetHistory, question: ServiceQuestion) -> TargetView:
    target_id, key = question.target_id, question.workload_key
    spec = ServiceSpec(
        workload_key=key,
        kind=TargetKind.CGROUP2,
        selector="/replayed",
        mode=UpdateMode.IN_PLACE,
        floor_bytes=question.floor_bytes,
        max_bytes=question.ceiling_bytes,
    )
    target = LiveTarget(
        target_id=target_id, workload_key=key, instance="1", kind=spec.kind, mode=spec.mode
    )
    reading = LiveReading(
        target_id=target_id,
        at=question.asked_at,
        known_at=question.asked_at,
        usage_bytes=question.usage_bytes,
        need_bytes=question.need_bytes,
        limit_bytes=question.limit_bytes,
    )
    return TargetView(
        at=question.asked_at,
        target=target,
        spec=spec,
        state=TargetState(target_id=target_id, workload_key=key, instance="1"),
        fleet=FleetState(),
        host=HostCapacity(total_bytes=0, free_bytes=0),
        reading=reading,
        history=history,
        telemetry_age_s=0.0,
    )
