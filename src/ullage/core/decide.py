"""The one decision path: history and question in, recorded decision out. Pure.

Live control, shadow, replay and every peer go through here. The policy answers, the
guards have the last word. What the policy raises is not caught: a bug is a bug; only
values that cannot be meant fall back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace

from ullage.core.allocation import Ladder
from ullage.core.decision import Reason, Recommendation, RunDecision, RunQuestion
from ullage.core.guardrails import (
    above_failed,
    at_ceiling_when_last,
    clamp_reasons,
    fallback_ladder,
    in_whole_mib,
    is_overspent,
    is_sound,
    within_bounds,
)
from ullage.core.ports import RunPolicy
from ullage.core.view import RunHistory

Answer = tuple[Recommendation, Ladder, tuple[Reason, ...]]
"""What a policy says, the ladder after the guards, and every reason for it."""


def decide_run(
    history: RunHistory,
    question: RunQuestion,
    policy: RunPolicy,
    *,
    related: RunHistory | None = None,
) -> RunDecision:
    """Ask `policy` and return its answer after the guards, with a stable id.

    The ladder of the decision obeys, whatever the policy says: sound values (S14), above
    every limit that failed in this run, the ceiling where no attempt and no growth is
    left, floor and ceiling last (S4), whole MiB (or the ceiling itself).
    """
    recommendation, ladder, reasons = answer_run(history, question, policy, related=related)
    return RunDecision(
        decision_id=decision_digest(policy.policy_id, history, question, ladder, reasons),
        policy=policy.policy_id,
        question=question,
        recommendation=recommendation,
        ladder=ladder,
        reasons=reasons,
    )


def answer_run(
    history: RunHistory,
    question: RunQuestion,
    policy: RunPolicy,
    *,
    related: RunHistory | None = None,
) -> Answer:
    """Return what `policy` says, and the ladder after the guards with every reason for it.

    What a decision is, without the digest that makes it a record: a backtest asks this a
    million times. A peer (`is_guarded` False) is held to the platform's bounds alone.
    """
    recommendation = policy.recommend(history, question, related=related)
    if not policy.is_guarded:
        ladder = within_bounds(recommendation.ladder, question.bounds)
        return recommendation, ladder, recommendation.reasons
    ladder, reasons = _guarded(recommendation, history, question)
    return recommendation, ladder, reasons


def settle_run(
    history: RunHistory,
    question: RunQuestion,
    policy: RunPolicy,
    answer: Answer,
    *,
    limit_bytes: int,
    oom_prob: float,
) -> RunDecision:
    """Return the decision whose limit is what a machine's shape gives, from `answer_run`'s answer.

    Shapes come in steps and cost money by more than their memory, so a launch may take
    another limit than the ladder's first rung. The experts' own ladders stay, to be scored
    when the peak is known; what was spent of a shared budget does not apply.
    """
    recommendation, _, reasons = answer
    ladder = Ladder(limit_bytes=(limit_bytes,), oom_prob=(oom_prob,))
    reasons = tuple(dict.fromkeys((*reasons, Reason.MACHINE_SHAPE)))
    return RunDecision(
        decision_id=decision_digest(policy.policy_id, history, question, ladder, reasons),
        policy=policy.policy_id,
        question=question,
        recommendation=replace(recommendation, spent_prob=(), curve=None),
        ladder=ladder,
        reasons=reasons,
    )


def _guarded(
    recommendation: Recommendation, history: RunHistory, question: RunQuestion
) -> tuple[Ladder, tuple[Reason, ...]]:
    """Return the ladder after all guards, and every reason for it, each once."""
    reasons = list(recommendation.reasons)
    ladder = recommendation.ladder
    if not is_sound(ladder):
        ladder = fallback_ladder(history, question)
        reasons = [Reason.MODEL_FALLBACK]
    elif not question.can_grow and is_overspent(history, question.failure_budget_ratio):
        safe = fallback_ladder(history, question)
        if safe.limit_bytes[0] > ladder.limit_bytes[0]:
            ladder, reasons = safe, [Reason.MODEL_FALLBACK]
    ladder = in_whole_mib(ladder)
    failed_bytes = max(question.failed_limits_bytes, default=0)
    if failed_bytes:
        ladder = above_failed(ladder, failed_bytes, question.bounds)
        if failed_bytes < question.bounds.ceiling_bytes:
            reasons.append(Reason.RAISED_ABOVE_FAILED)
    if not (question.can_grow or question.attempts_left > 0):
        ladder = at_ceiling_when_last(ladder, question)
        reasons.append(Reason.NO_RETRY_LEFT)
    else:
        reasons.extend(clamp_reasons(ladder, question.bounds))
    return within_bounds(ladder, question.bounds), tuple(dict.fromkeys(reasons))


def decision_digest(
    policy_id: str,
    history: RunHistory,
    question: RunQuestion,
    ladder: Ladder,
    reasons: tuple[Reason, ...],
) -> str:
    """Return 'd-' and 32 hex digits of SHA-256 over the inputs and the answer.

    The same in every process and on every machine: canonical JSON of the question and
    the answer, and the history's ids, times and little-endian numbers.
    """
    digest = hashlib.sha256()
    record = {
        "policy": policy_id,
        "question": asdict(question) | {"asked_at": question.asked_at.isoformat()},
        "ladder": asdict(ladder),
        "reasons": [str(reason) for reason in reasons],
        "run_ids": history.run_ids,
    }
    digest.update(json.dumps(record, sort_keys=True, default=_plain).encode())
    columns = [history.known_at_s, history.peak_bytes, history.runtime_s]
    columns.append(history.spent_prob.ravel())
    columns.append(history.first_oom_prob)
    columns.extend((history.limit_bytes, history.failed_bytes, history.ooms_count.astype(float)))
    for named in (history.numbers, history.expert_costs):
        digest.update("\0".join(sorted(named)).encode())
        columns.extend(named[name] for name in sorted(named))
    for column in columns:
        digest.update(column.astype("<f8").tobytes())
    digest.update("\0".join(sorted(history.labels)).encode())
    for name in sorted(history.labels):
        digest.update(history.labels[name].astype("<i8").tobytes())
    for flags in (history.is_censored, history.first_failed):
        digest.update(flags.astype("u1").tobytes())
    return f"d-{digest.hexdigest()[:32]}"


def _plain(value: object) -> object:
    """Return what JSON does not know by itself (numpy numbers, mappings) as what it knows."""
    if isinstance(value, Mapping):
        return dict(value)
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
