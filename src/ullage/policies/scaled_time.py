"""A service policy that lives faster or slower than the clock: its hour is another span.

For workloads whose days are short (a demonstration, a test, jobs that come round every few
minutes): all windows of the policy, from two hours to five weeks, shrink with its hour. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ullage.core.service import LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.service_ports import ServicePolicy

_HOUR = timedelta(hours=1)


class ScaledTime:
    """Wraps a policy. hour: how long what the policy takes for an hour really is.

    Moments are moved away from the moment of the question: with hour = 2 s, what happened
    four seconds ago seems to be two hours old.
    """

    def __init__(self, inner: ServicePolicy, hour: timedelta) -> None:
        self._inner = inner
        self._factor = _HOUR / hour
        self.policy_id = inner.policy_id

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        """Answer as the wrapped policy does on the stretched history.

        Intervals are stretched from the epoch, so that they fall on the same grid each time.
        """
        if self._factor == 1:
            return self._inner.recommend(history, question)
        factor, asked_at = self._factor, question.asked_at
        start_at = asked_at - timedelta(seconds=asked_at.timestamp())
        shift_s = asked_at.timestamp() * (factor - 1)
        # The moment of the question grows too large for a datetime: all is moved back by days.
        whole_days_s = shift_s // 604_800 * 604_800
        stretched = replace(
            history,
            at_s=history.at_s * factor - whole_days_s,
            peak_at_s=history.peak_at_s * factor - whole_days_s,
            peak_interval_s=history.peak_interval_s * factor,
            oom_at_s=history.oom_at_s * factor - whole_days_s,
            first_seen_at=start_at
            + timedelta(seconds=history.first_seen_at.timestamp() * factor - whole_days_s),
        )
        asked_s = asked_at.timestamp() * factor - whole_days_s
        return self._inner.recommend(
            stretched, replace(question, asked_at=start_at + timedelta(seconds=asked_s))
        )
