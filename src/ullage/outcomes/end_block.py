"""The block at the end of `ullage run`: what happened, what the next run gets, what it cost.

Plain text, four to seven lines. What is not known is said to be unknown. Pure.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence

from ullage.core.decision import Reason, RunDecision
from ullage.core.prices import (
    DEFAULT_MEMORY_PRICE,
    MemoryPrice,
    format_gib_hours,
    format_usd_of_run,
    memory_cost_usd,
)
from ullage.core.units import MIB, format_bytes, format_duration
from ullage.core.workload import Attempt, ControlKind, Outcome, Run
from ullage.outcomes.explain import format_prob, why

_TIGHT_RATIO = 0.05
_LOOSE_RATIO = 0.5


def end_block(
    run: Run,
    decision: RunDecision | None,
    following: RunDecision | None,
    *,
    prices: MemoryPrice = DEFAULT_MEMORY_PRICE,
    is_service: bool = False,
) -> str:
    """Return the block for an ended run, without a final newline.

    decision: what it started under. following: what the next run will get, None where
    that could not be decided. is_service: it is not sized by its end, so that is left out.
    """
    lines = [_headline(run), _field("memory", _memory(run))]
    if len(run.attempts) > 1:
        lines.append(_field("attempts", "; ".join(_attempt(a) for a in run.attempts)))
    lines.append(_field("verdict", _verdict(run, decision)))
    cost = _cost(run, decision, prices)
    if cost:
        lines.append(_field("cost", cost))
    if not is_service:
        lines += _next(run, decision, following)
    return "\n".join(lines)


def _field(name: str, text: str) -> str:
    return f"  {name:<8} {text}"


def _headline(run: Run) -> str:
    runtime_s = math.fsum(attempt.runtime.total_seconds() for attempt in run.attempts)
    ended = {
        Outcome.OK: "ok",
        Outcome.ERROR: "failed",
        Outcome.OOM_KILLED: "OUT OF MEMORY",
        Outcome.SIGNALLED: "ended by a signal",
        Outcome.INTERRUPTED: "interrupted",
        Outcome.REFUSED: "refused: not started",
    }.get(run.outcome or Outcome.UNKNOWN, "end unknown")
    parts = [ended]
    if run.exit_code is not None:
        parts.append(f"exit {run.exit_code}{_signal_name(run.exit_code)}")
    if run.attempts:
        parts.append(format_duration(runtime_s))
    return f"ullage: {run.workload.key}: {', '.join(parts)} ({run.run_id})"


def _signal_name(exit_code: int) -> str:
    if not 128 < exit_code < 128 + 65:
        return ""
    try:
        return f" ({signal.Signals(exit_code - 128).name})"
    except ValueError:
        return ""


def _memory(run: Run) -> str:
    last = run.attempts[-1] if run.attempts else None
    if last is None:
        return "nothing measured"
    at_least = "at least " if _is_cut_short(last) and last.peak_bytes is not None else ""
    text = f"peak {at_least}{format_bytes(last.peak_bytes)}"
    if last.final_limit_bytes is None:
        return f"{text}, no limit set" + (
            " (sampled: short peaks may be missed)" if run.control is ControlKind.OBSERVE else ""
        )
    text += f" of a limit of {format_bytes(last.final_limit_bytes)}"
    headroom = _headroom(last)
    if headroom is not None and not _is_cut_short(last):
        text += f", headroom {format_bytes(headroom)} ({_percent(headroom, last)})"
    events = _events(run)
    return f"{text}; {events}" if events else text


def _events(run: Run) -> str:
    waits = sum(attempt.waits for attempt in run.attempts)
    wait_s = math.fsum(attempt.wait_total.total_seconds() for attempt in run.attempts)
    parts = []
    if run.raises:
        started = next((a.limit_bytes for a in run.attempts if a.raises), None)
        origin = f" from {format_bytes(started)}" if started is not None else ""
        parts.append(f"raised {_times(run.raises)}{origin}")
    if waits:
        parts.append(f"waited {_times(waits)} at the limit ({format_duration(wait_s)})")
    if run.oom_kills:
        parts.append(_count(run.oom_kills, "OOM kill"))
    return ", ".join(parts)


def _attempt(attempt: Attempt) -> str:
    limit = format_bytes(attempt.final_limit_bytes)
    ended = "OOM-killed" if attempt.outcome is Outcome.OOM_KILLED else attempt.outcome.value
    return f"{limit} {ended} after {format_duration(attempt.runtime.total_seconds())}"


def _verdict(run: Run, decision: RunDecision | None) -> str:
    last = run.attempts[-1] if run.attempts else None
    if last is None or run.outcome is Outcome.REFUSED:
        return "the command was not started"
    match run.outcome:
        case Outcome.OOM_KILLED:
            return _out_of_memory(run, last, decision)
        case Outcome.ERROR:
            return "the command failed by itself, not for memory; a complete run may need more"
        case Outcome.SIGNALLED:
            return "ended by a signal, no OOM kill seen; a complete run may need more"
        case Outcome.INTERRUPTED:
            return "stopped before its end: what a complete run needs is unknown"
        case Outcome.OK:
            return _good_end(run, last)
        case _:
            return "how it ended is unknown"


def _out_of_memory(run: Run, last: Attempt, decision: RunDecision | None) -> str:
    limit = last.final_limit_bytes
    text = f"needs more than {format_bytes(limit)}" if limit else "ran out of memory"
    text += "; how much more is unknown"
    if run.exit_code not in (None, 137):
        text += "; a child was killed and the command ended by itself"
    if decision is None:
        return text
    if Reason.FIXED in decision.reasons:
        return f"{text}. Leave out --limit and it grows instead of dying"
    if not decision.question.can_grow:
        return f"{text}. Allow growth, or --retries 1"
    return f"{text}. The ceiling was reached: raise --max-memory or free memory on the host"


def _good_end(run: Run, last: Attempt) -> str:
    kills = last.oom_kills
    if kills:
        return (
            f"WARNING: exit 0, but {_count(kills, 'process', 'processes')} inside OOM-killed: "
            "check that its result is complete"
        )
    if last.final_limit_bytes is None:
        return "only measured: nothing was limited, nothing saved yet"
    if len(run.attempts) > 1:
        return f"finished after {_count(len(run.attempts) - 1, 'OOM-killed attempt')}"
    start, peak = last.limit_bytes, last.peak_bytes
    if last.raises and start is not None and peak is not None:
        if peak > start:
            return (
                f"kept alive: it needed {format_bytes(peak - start)} more than the "
                f"{format_bytes(start)} it started with"
            )
        return f"raised as a precaution: {format_bytes(start)} would have been just enough"
    headroom = _headroom(last)
    if headroom is None or peak is None:
        return "finished; its peak could not be measured"
    ratio = headroom / last.final_limit_bytes
    if ratio < _TIGHT_RATIO:
        return "fits, but only just"
    if ratio > _LOOSE_RATIO and headroom > 128 * MIB:
        return f"fits with far too much room: {format_bytes(headroom)} never needed"
    return "fits"


def _cost(run: Run, decision: RunDecision | None, prices: MemoryPrice) -> str:
    """Return reserved against used, and against holding the request from start to end."""
    reserved = _sum([attempt.reserved_byte_seconds for attempt in run.attempts])
    used = _sum([attempt.used_byte_seconds for attempt in run.attempts])
    if reserved is None:
        return "" if used is None else f"used {format_gib_hours(used)}; reserved nothing"
    text = f"reserved {format_gib_hours(reserved)}"
    text += f", used {_share(used, reserved)}" if used is not None else ", used: unknown"
    text += f"; {format_usd_of_run(memory_cost_usd(reserved, prices))}"
    text += _against_request(run, decision, reserved, prices)
    return f"{text}; at {prices.in_words()}"


def _against_request(
    run: Run, decision: RunDecision | None, reserved: float, prices: MemoryPrice
) -> str:
    request = None if decision is None else decision.question.request_bytes
    if request is None or run.outcome is not Outcome.OK:
        return ""
    last = run.attempts[-1]
    asked = format_bytes(request)
    if last.peak_bytes is None or last.oom_kills:
        return ""
    if last.peak_bytes > request:
        return f", a fixed {asked} would have been OOM-killed"
    fixed = request * last.runtime.total_seconds()
    share = 1 - reserved / fixed if fixed > 0 else 0.0
    if abs(share) < 0.01:
        return f", the same as a fixed {asked}"
    words = f"{share * 100:.0f} % less" if share > 0 else f"{-share * 100:.0f} % more"
    return f", {words} than a fixed {asked} ({format_usd_of_run(memory_cost_usd(fixed, prices))})"


def _next(run: Run, decision: RunDecision | None, following: RunDecision | None) -> list[str]:
    if following is None:
        return [_field("next", "unknown: the next limit could not be decided")]
    limits = following.ladder.limit_bytes
    question = following.question
    text = format_bytes(limits[0])
    if question.can_grow:
        text += f", growing up to {format_bytes(question.bounds.ceiling_bytes)} as it needs"
        chance = "chance that it must grow"
    else:
        rungs = [format_bytes(limit) for limit in limits[1 : 1 + question.attempts_left]]
        text += f", then {', '.join(rungs)}" if rungs else ", no retry"
        chance = "chance of an OOM kill"
    if following.recommendation.runs_used:
        text += f"; {chance}: {format_prob(following.ladder.oom_prob[0])}"
    ordered = () if decision is None else decision.reasons
    if run.control is ControlKind.OBSERVE:
        text = f"would be {text} (if memory could be limited here, see `ullage doctor`)"
    elif Reason.OBSERVE in ordered:
        text = f"without --observe {text}"
    elif Reason.FIXED in ordered:
        text = f"without --limit {text}"
    return [_field("next", text), _field("because", why(following))]


def _headroom(attempt: Attempt) -> int | None:
    if attempt.final_limit_bytes is None or attempt.peak_bytes is None:
        return None
    return max(0, attempt.final_limit_bytes - attempt.peak_bytes)


def _is_cut_short(attempt: Attempt) -> bool:
    return attempt.outcome is not Outcome.OK or attempt.oom_kills > 0


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known and len(known) == len(parts) else None


def _share(used: float, reserved: float) -> str:
    if reserved <= 0:
        return format_gib_hours(used)
    return f"{format_gib_hours(used)} of it ({min(1.0, used / reserved) * 100:.0f} %)"


def _percent(headroom: int, attempt: Attempt) -> str:
    return f"{headroom / (attempt.final_limit_bytes or 1) * 100:.0f} %"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
