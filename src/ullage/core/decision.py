"""A question to the policy, its answer, and the decision as it is recorded.

Deciding and doing are apart: a RunDecision is durable before anything happens, and
an actuator obeys it later, or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ullage.core.allocation import Bounds, Ladder, NeedCurve, Prices
from ullage.core.spending import Spending
from ullage.core.workload import Features


class Reason(StrEnum):
    """Why a limit is what it is. Every decision carries at least one."""

    LEARNED = "learned"
    """From the workload's own history, by the expert that would have been cheapest."""
    POOLED_PRIOR = "pooled_prior"
    """No own history: from related workloads."""
    REQUEST = "request"
    """No history: where the user said to start."""
    NO_EVIDENCE = "no_evidence"
    """No history, no request: a small start that grows."""
    FIXED = "fixed"
    """The user fixed the limit."""
    OBSERVE = "observe"
    """Nothing is limited, only measured."""
    NO_RETRY_LEFT = "no_retry_left"
    """Neither a retry nor growth is left: the ceiling at once."""
    RAISED_ABOVE_FAILED = "raised_above_failed"
    """Lifted above the limit that has just failed."""
    CLAMPED_TO_CEILING = "clamped_to_ceiling"
    CLAMPED_TO_FLOOR = "clamped_to_floor"
    MODEL_FALLBACK = "model_fallback"
    """The model's answer was nonsense: empirical maximum x 1.15 instead (S14)."""
    REGIME_CHANGE = "regime_change"
    """The recent runs exceeded what older ones foretold: older ones are left out."""
    MACHINE_SHAPE = "machine_shape"
    """Set to what the chosen machine gives one process: shapes come in steps."""
    PEER = "peer"
    """By a peer's own rule, held to the platform's bounds alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuestion:
    """What is asked before a run: all that is known by then.

    failed_limits_bytes: limits at which earlier attempts of this run were OOM-killed.
    attempts_left: how many more attempts may follow the next one (0 = none).
    can_grow: whether the limit can be raised in place while the command runs.
    """

    workload_key: str
    asked_at: datetime
    features: Features
    bounds: Bounds
    request_bytes: int | None = None
    default_bytes: int | None = None
    """What the site gives where nobody has asked for anything; None = it has no such rule."""
    failed_limits_bytes: tuple[int, ...] = ()
    attempts_left: int = 0
    can_grow: bool = True
    failure_budget_ratio: float = 0.02
    spending: Spending | None = None
    """Of all workloads that share the budget; None = this workload has it for itself."""
    prices: Prices = field(default_factory=Prices)
    growth_prices: Prices = field(
        default_factory=lambda: Prices(rho=0.05, failure_gbh=0.0, ttf_ratio=0.0)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A policy's answer to a question, before the guards.

    expert: name of the expert that leads, or of the rule used.
    expert_ladders: expert name -> its own ladder, to be scored when the peak is known.
    deciding_run_ids: the runs with the largest say, most weighty first (at most 5).
    runs_used: how many past runs of this workload were used.
    spent_prob: lambda on the shared grid -> chance that the first rung fails (how the
        failure budget is pooled over decisions); empty where it does not apply.
    """

    ladder: Ladder
    reasons: tuple[Reason, ...]
    expert: str
    runs_used: int
    expert_ladders: Mapping[str, Ladder] = field(default_factory=dict)
    deciding_run_ids: tuple[str, ...] = ()
    spent_prob: tuple[float, ...] = ()
    failure_gbh: float = 0.0
    """The price of a failed first attempt (lambda) at which the ladders were solved."""
    feature: str | None = None
    """The feature that the leading expert follows, if it follows one."""
    curve: NeedCurve | None = None
    """The leading expert's distribution of the need, where the policy is to tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDecision:
    """The recorded decision: what was asked, what was answered, what the guards made of it."""

    decision_id: str
    """Digest of the inputs and the answer: same inputs, same id."""
    policy: str
    question: RunQuestion
    recommendation: Recommendation
    ladder: Ladder
    """After the guards: obeys the bounds, the granularity and the failed limits."""
    reasons: tuple[Reason, ...]

    @property
    def limit_bytes(self) -> int:
        """The limit of the next attempt."""
        return self.ladder.limit_bytes[0]
