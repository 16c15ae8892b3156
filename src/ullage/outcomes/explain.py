"""Why a run gets what it gets, in plain words and with the figures behind them.

Pure: from a decision, past runs and a price to sentences and rows. Not here: making the
decision (core.decide), the block at the end of a run (outcomes.end_block).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ullage.core.decision import Reason, RunDecision
from ullage.core.prices import (
    MemoryPrice,
    format_gib_hours,
    format_usd_of_run,
    gib_hours,
    memory_cost_usd,
)
from ullage.core.units import format_bytes, format_duration
from ullage.core.workload import Features, Outcome, Run, Workload

EXPERT_WORDS: Mapping[str, str] = {
    "constant": "all their peaks count the same",
    "recent": "their latest peaks count most",
    "local": "those with a similar {feature} count most",
    "local_narrow": "those with nearly the same {feature} count most",
    "least_squares": "the peak follows {feature} on a straight line",
    "least_squares_ratio": "the peak follows {feature} on a line, erring in proportion to it",
    "relative_least_squares": "the peak follows {feature} on a line of least relative error",
    "log_log": "the peak follows {feature} as a power of it",
    "local_least_squares": "the peak follows {feature} on a line, similar runs counting most",
    "local_log_log": "the peak follows {feature} as a power of it, similar runs counting most",
    "similar_runs": "those alike in all that is known before the start count most",
    "similar_mean_similar": "runs alike in all that is known foretell the peak and how far off",
    "similar_mean_local": "runs alike in all that is known foretell the peak, those with "
    "nearly the same forecast how far off",
    "similar_log_log": "the peak follows {feature} as a power of it, corrected by runs alike "
    "in all that is known",
    "similar_log_log_similar": "the peak follows {feature} as a power of it, corrected by runs "
    "alike in all that is known, which count most",
}
"""Name of an expert -> how it reads past runs; {feature} is the one that it follows."""

_LEADING = (
    Reason.FIXED,
    Reason.OBSERVE,
    Reason.NO_RETRY_LEFT,
    Reason.MODEL_FALLBACK,
    Reason.LEARNED,
    Reason.POOLED_PRIOR,
    Reason.REQUEST,
    Reason.NO_EVIDENCE,
)
_MODIFIERS: Mapping[Reason, str] = {
    Reason.REGIME_CHANGE: "older runs are left out because recent ones exceeded what they foretold",
    Reason.RAISED_ABOVE_FAILED: "it is above the limit that has just failed",
    Reason.CLAMPED_TO_CEILING: "it is cut to the ceiling",
    Reason.CLAMPED_TO_FLOOR: "it is lifted to the floor of the platform",
    Reason.MACHINE_SHAPE: "it is what the chosen machine gives one process",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingRun:
    """A past run with a large say in a decision."""

    run_id: str
    peak_bytes: int | None
    is_at_least: bool
    """The run was cut short or OOM-killed: its true peak is at least `peak_bytes`."""
    feature_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision with its reasons and its cost.

    runtime_s: median of past runs. reserved_byte_seconds: expected for one run; None
    where no past runtime is known.
    """

    workload: Workload
    decision: RunDecision
    reason: str
    deciding: tuple[DecidingRun, ...]
    runtime_s: float | None
    reserved_byte_seconds: float | None
    price: MemoryPrice

    @property
    def cost_usd(self) -> float | None:
        """Expected cost of one run."""
        if self.reserved_byte_seconds is None:
            return None
        return memory_cost_usd(self.reserved_byte_seconds, self.price)


def why(decision: RunDecision) -> str:
    """Return one sentence that says why the first limit is what it is."""
    leading = next((reason for reason in _LEADING if reason in decision.reasons), None)
    parts = [_leading_words(leading, decision)]
    parts += [words for reason, words in _MODIFIERS.items() if reason in decision.reasons]
    return f"{format_bytes(decision.limit_bytes)} " + "; ".join(parts) + "."


def explain_decision(
    decision: RunDecision, runs: Sequence[Run], *, workload: Workload, price: MemoryPrice
) -> Explanation:
    """Return `decision` explained; `runs` are those it may have been made from."""
    by_id = {run.run_id: run for run in runs}
    deciding = tuple(
        _deciding_run(by_id[run_id], decision.recommendation.feature)
        for run_id in decision.recommendation.deciding_run_ids
        if run_id in by_id
    )
    own = [run for run in runs if run.workload.key == workload.key]
    runtimes_s = [
        run.attempts[-1].runtime.total_seconds()
        for run in own
        if run.attempts and run.outcome is Outcome.OK
    ]
    runtime_s = median(runtimes_s) if runtimes_s else None
    return Explanation(
        workload=workload,
        decision=decision,
        reason=why(decision),
        deciding=deciding,
        runtime_s=runtime_s,
        reserved_byte_seconds=None
        if runtime_s is None
        else expected_byte_seconds(decision, runtime_s=runtime_s),
        price=price,
    )


def expected_byte_seconds(decision: RunDecision, *, runtime_s: float) -> float:
    """Return the memory-time that one run is expected to reserve, in byte-seconds.

    With limits L_i, chances p_i that the need exceeds L_i and runtime t, a failed attempt
    taken as lasting as long as a good one:
    retries: t * (L_1 + sum p_i * L_(i+1)); growth in place, raised early (an upper
    estimate): t * (L_1 + sum p_i * (L_(i+1) - L_i)).

    Worked: L = (1, 2) GiB, p = (0.1, 0), 3600 s: 1.2 GiB-hours with retries, 1.1 with growth.
    """
    limits = decision.ladder.limit_bytes
    expected_bytes = float(limits[0])
    for at in range(len(limits) - 1):
        held = limits[at] if decision.question.can_grow else 0
        expected_bytes += decision.ladder.oom_prob[at] * (limits[at + 1] - held)
    return expected_bytes * runtime_s


def explanation_text(explanation: Explanation) -> list[str]:
    """Return the explanation as lines of plain text (not yet escaped for a terminal)."""
    decision = explanation.decision
    workload = explanation.workload
    lines = [f"{workload.key}: {explanation.reason}", _field("key", workload.key_reason)]
    if workload.command:
        lines.append(_field("command", " ".join(workload.command)))
    lines += _fields("features", _feature_lines(decision.question.features))
    lines += _fields("decided by", _deciding_lines(explanation))
    verb = "raised beyond" if decision.question.can_grow else "OOM-killed at"
    rungs = [
        f"{format_bytes(limit):>9}   chance of being {verb} it: {format_prob(prob)}"
        for limit, prob in zip(decision.ladder.limit_bytes, decision.ladder.oom_prob, strict=True)
    ]
    lines += _fields("limit", rungs[:1]) + _fields("then", rungs[1:])
    lines.append(_field("cost", cost_words(explanation)))
    return lines


def _field(name: str, text: str) -> str:
    return f"  {name:<11} {text}"


def _fields(name: str, texts: Sequence[str]) -> list[str]:
    return [_field(name if at == 0 else "", text) for at, text in enumerate(texts)]


def cost_words(explanation: Explanation) -> str:
    """Return the expected cost of one run in words, with the price it stands on."""
    if explanation.reserved_byte_seconds is None or explanation.cost_usd is None:
        return "unknown: no run of this workload has ended well yet"
    return (
        f"about {format_gib_hours(explanation.reserved_byte_seconds)} a run, "
        f"{format_usd_of_run(explanation.cost_usd)} "
        f"(median runtime {format_duration(explanation.runtime_s or 0)}; "
        f"{explanation.price.in_words()})"
    )


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation for machines; unknown is null."""
    decision = explanation.decision
    reserved = explanation.reserved_byte_seconds
    return {
        "workload": explanation.workload.key,
        "key_reason": explanation.workload.key_reason,
        "command": list(explanation.workload.command),
        "reason": explanation.reason,
        "reasons": [reason.value for reason in decision.reasons],
        "expert": decision.recommendation.expert,
        "feature": decision.recommendation.feature,
        "runs_used": decision.recommendation.runs_used,
        "features": {**decision.question.features.numbers, **decision.question.features.labels},
        "deciding_runs": [
            {
                "run_id": run.run_id,
                "peak_bytes": run.peak_bytes,
                "is_at_least": run.is_at_least,
                "feature_value": run.feature_value,
            }
            for run in explanation.deciding
        ],
        "ladder_bytes": list(decision.ladder.limit_bytes),
        "oom_prob": [float(prob) for prob in decision.ladder.oom_prob],
        "can_grow": decision.question.can_grow,
        "runtime_s": explanation.runtime_s,
        "reserved_gibh": None if reserved is None else gib_hours(reserved),
        "cost_usd": explanation.cost_usd,
        "price": explanation.price.in_words(),
    }


def format_prob(prob: float) -> str:
    """Return a chance for people; never 0 % or 100 % for what is not certain.

    >>> format_prob(0.018), format_prob(0.0001), format_prob(0.0)
    ('1.8 %', 'below 0.1 %', 'none seen')
    """
    if prob <= 0:
        return "none seen"
    if prob < 0.001:
        return "below 0.1 %"
    if prob > 0.999:
        return "above 99.9 %"
    return f"{prob * 100:.0f} %" if 0.1 <= prob <= 0.9 else f"{prob * 100:.1f} %"


def format_feature(name: str, value: float) -> str:
    """Return a feature's value in the unit that its name says."""
    if name.endswith("_bytes"):
        return format_bytes(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def expert_words(name: str, feature: str) -> str:
    """Return how an expert reads past runs; its own name where there are no words for it."""
    return EXPERT_WORDS.get(name, "by the rule {name!r}").format(feature=feature, name=name)


def _leading_words(reason: Reason | None, decision: RunDecision) -> str:
    recommendation = decision.recommendation
    count = recommendation.runs_used
    runs = f"{count} past run{'s' if count != 1 else ''}"
    match reason:
        case Reason.FIXED:
            return "because the user fixed it: it does not grow"
        case Reason.OBSERVE:
            return f"would be the limit ({runs} known), but nothing is limited, only measured"
        case Reason.NO_RETRY_LEFT:
            return f"is the ceiling at once: neither a retry nor growth is left ({runs} known)"
        case Reason.MODEL_FALLBACK:
            return (
                f"is the largest of {runs} with 15 % on top, because the model's answer was unfit"
            )
        case Reason.LEARNED:
            return f"was learned from {runs}: {_learned_words(decision)}"
        case Reason.POOLED_PRIOR:
            return f"comes from related workloads ({runs} of this one)"
        case Reason.REQUEST:
            return "is the request: no run of this workload is known yet"
        case Reason.NO_EVIDENCE:
            return "is a start without evidence: no run of this workload is known yet" + (
                ", it grows as it needs" if decision.question.can_grow else ""
            )
        case _:
            return f"was decided by the rule {recommendation.expert!r}"


def _learned_words(decision: RunDecision) -> str:
    recommendation = decision.recommendation
    if recommendation.runs_used == 1:
        return "the only peak known so far, and room above it"
    feature = recommendation.feature or "the input"
    value = decision.question.features.numbers.get(feature)
    if value is not None:
        feature += f" ({format_feature(feature, value)} this time)"
    words = expert_words(recommendation.expert, feature)
    return f"{words}, the rule that would have cost least so far"


def _deciding_run(run: Run, feature: str | None) -> DecidingRun:
    peaks = [attempt.peak_bytes for attempt in run.attempts if attempt.peak_bytes is not None]
    last = run.attempts[-1] if run.attempts else None
    return DecidingRun(
        run_id=run.run_id,
        peak_bytes=max(peaks, default=None),
        is_at_least=last is None or last.outcome is not Outcome.OK or last.oom_kills > 0,
        feature_value=None if feature is None else run.features.numbers.get(feature),
    )


def _feature_lines(features: Features) -> list[str]:
    shown = {name: format_feature(name, value) for name, value in features.numbers.items()}
    shown |= features.labels
    sources = features.sources
    return [
        f"{name} = {value}" + (f" ({sources[name]})" if name in sources else "")
        for name, value in shown.items()
    ]


def _deciding_lines(explanation: Explanation) -> list[str]:
    feature = explanation.decision.recommendation.feature
    lines = []
    for run in explanation.deciding:
        words = f"{run.run_id}, peak {'at least ' if run.is_at_least else ''}"
        words += format_bytes(run.peak_bytes)
        if feature is not None and run.feature_value is not None:
            words += f", {feature} {format_feature(feature, run.feature_value)}"
        lines.append(words)
    return lines
