"""Ask the policy, judge its answer, let the guards speak (S14, then core.live_guards)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ullage.control.entries import decision_of
from ullage.control.tracked import Counts, ServeParts, Tick, Tracked
from ullage.control.views import Collector
from ullage.control.watching import Watching
from ullage.core.live_guards import (
    ceiling_of,
    guard,
    is_sound,
    is_thin,
    keep,
    s14_fallback,
)
from ullage.core.service import (
    Direction,
    GuardCode,
    LimitDecision,
    LimitProposal,
    ModelStep,
    ServeSettings,
    ServiceQuestion,
    TargetView,
)
from ullage.core.service_ports import ServicePolicy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wish:
    """What the guards left of one proposal, with what it rests on."""

    tracked: Tracked
    view: TargetView
    proposal: LimitProposal


class Deciding:
    """Makes proposals and decisions; changes nothing."""

    def __init__(
        self,
        parts: ServeParts,
        settings: ServeSettings,
        counts: Counts,
        collector: Collector,
        watching: Watching,
        group_needs: Callable[[Tracked, Tick], tuple[int, ...]],
    ) -> None:
        self.collector = collector
        self._parts = parts
        self._settings = settings
        self._counts = counts
        self._watching = watching
        self._group_needs = group_needs
        self._serial = 0

    def begin_tenure(self) -> None:
        """Number decisions anew: with the tenure's token they stay unique."""
        self._serial = 0

    def decide(self, tracked: Tracked, tick: Tick) -> Wish:
        """Return one target's wish after the guards; a cut takes its share of the tick's (S10)."""
        is_quarantined = self._watching.is_quarantined(tracked.spec.workload_key, tick)
        view = self.collector.view(tracked, tick, is_quarantined=is_quarantined)
        if is_thin(view.history, self._settings):
            view = replace(view, group_needs_bytes=self._group_needs(tracked, tick))
        proposal = guard(self.ask(view), view, self._settings)
        if proposal.direction is Direction.CUT:
            tick.cuts_left_count -= 1
            tick.busy_groups[tracked.spec.group_key] = tracked.target.target_id
        elif proposal.direction is Direction.GROW and proposal.wanted_bytes is not None:
            tick.room_bytes -= proposal.wanted_bytes - (tracked.limit_bytes or 0)
        return Wish(tracked=tracked, view=view, proposal=proposal)

    def ask(self, view: TargetView) -> LimitProposal:
        """Return the first sound answer: model, last good one, largest need x 1.15, keep (S14)."""
        if view.reading is None:
            return keep(view, step=ModelStep.KEEP)
        question = _question(view)
        for step, policy in zip(
            (ModelStep.MODEL, ModelStep.LAST_GOOD), self._parts.policies, strict=False
        ):
            answer = self._answer(policy, view, question)
            if answer is not None:
                codes = (GuardCode.S14_NONSENSE,) if step is ModelStep.LAST_GOOD else ()
                return replace(
                    answer,
                    step=step,
                    policy=policy.policy_id,
                    guards=(*codes, *(answer.guards or _kept(answer))),
                )
        return s14_fallback(view, self._settings)

    def decision(self, proposal: LimitProposal, view: TargetView, tick: Tick) -> LimitDecision:
        """Return the decision, numbered."""
        self._serial += 1
        token = self._parts.lease.token
        return decision_of(proposal, view, tick, serial=self._serial, token=token)

    def _answer(
        self, policy: ServicePolicy, view: TargetView, question: ServiceQuestion
    ) -> LimitProposal | None:
        began_s = self._parts.clock.monotonic_s()
        try:
            answer = policy.recommend(view.history, question)
        except Exception as error:  # a model may break in any way; the next step answers
            self._counts.broken[f"policy {type(error).__name__}"] += 1
            return None
        took_s = self._parts.clock.monotonic_s() - began_s
        if took_s > self._settings.policy_at_most.total_seconds():
            self._counts.broken["policy too slow"] += 1
            return None
        if not isinstance(answer, LimitProposal) or not is_sound(answer, view):
            self._counts.broken["policy nonsense"] += 1
            return None
        wanted = answer.wanted_bytes
        return replace(answer, wanted_bytes=None if wanted is None else int(wanted))


def _kept(answer: LimitProposal) -> tuple[GuardCode, ...]:
    return (GuardCode.KEEP,) if answer.direction is Direction.HOLD else ()


def _question(view: TargetView) -> ServiceQuestion:
    reading = view.reading
    assert reading is not None
    return ServiceQuestion(
        target_id=view.target.target_id,
        workload_key=view.spec.workload_key,
        asked_at=view.at,
        need_bytes=reading.need_bytes,
        usage_bytes=reading.usage_bytes,
        limit_bytes=reading.limit_bytes,
        floor_bytes=view.spec.floor_bytes,
        ceiling_bytes=ceiling_of(view.spec, reading, view.host),
        preset=view.spec.preset,
        group_needs_bytes=view.group_needs_bytes,
    )
