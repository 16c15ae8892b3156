"""The result of `ullage run` for machines: the names are a contract, change none.

Unknown is null. Byte counts are integers, spans seconds, integrals byte-seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG
from typing import Any

from ullage.core.decision import RunDecision
from ullage.core.workload import Attempt, Run
from ullage.outcomes.explain import why


def run_result(run: Run, recommendation: RunDecision | None) -> dict[str, Any]:
    """Return what `--json` writes about an ended run.

    recommendation: what the next run will get, or None where nothing could be decided.
    """
    return {
        "workload": run.workload.key,
        "run_id": run.run_id,
        "exit_code": run.exit_code,
        "outcome": None if run.outcome is None else run.outcome.value,
        "oom_kills": run.oom_kills,
        "raises": run.raises,
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        "reserved_byte_seconds": _total([a.reserved_byte_seconds for a in run.attempts]),
        "used_byte_seconds": _total([a.used_byte_seconds for a in run.attempts]),
        "recommendation": None if recommendation is None else _recommendation(recommendation),
        "control": run.control.value,
    }


def refused_result(workload_key: str | None, *, exit_code: int, reason: str) -> dict[str, Any]:
    """Return what `--json` writes where the command was never started.

    `recommendation` holds no ladder, only the reason of the refusal.
    """
    return {
        "workload": workload_key,
        "run_id": None,
        "exit_code": exit_code,
        "outcome": "refused",
        "oom_kills": 0,
        "raises": 0,
        "attempts": [],
        "reserved_byte_seconds": 0.0,
        "used_byte_seconds": 0.0,
        "recommendation": {"ladder_bytes": [], "oom_prob": [], "reason": reason},
        "control": None,
    }


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write `result` so that a reader sees the old file or the whole new one.

    A device or a pipe is written to directly, a link is followed. The file's mode is what
    the umask leaves of 0666. Raises OSError; nothing half-written stays behind.
    """
    text = json.dumps(result, indent=2, allow_nan=False, ensure_ascii=True) + "\n"
    target = Path(os.path.realpath(path))
    if _is_special(target):
        with open(target, "w", encoding="ascii") as stream:
            stream.write(text)
        return
    draft = target.with_name(f".{target.name[:200]}.{token_hex(4)}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    _sync_folder(target.parent)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "limit_bytes": attempt.limit_bytes,
        "final_limit_bytes": attempt.final_limit_bytes,
        "peak_bytes": attempt.peak_bytes,
        "runtime_s": attempt.runtime.total_seconds(),
        "outcome": attempt.outcome.value,
        "waits": attempt.waits,
        "wait_s_total": attempt.wait_total.total_seconds(),
    }


def _recommendation(decision: RunDecision) -> dict[str, Any]:
    return {
        "ladder_bytes": list(decision.ladder.limit_bytes),
        "oom_prob": [float(prob) for prob in decision.ladder.oom_prob],
        "reason": why(decision),
    }


def _total(parts: list[float | None]) -> float | None:
    """Return the sum over the attempts; None if one of them is unknown."""
    known = [float(part) for part in parts if part is not None and math.isfinite(part)]
    return math.fsum(known) if known and len(known) == len(parts) else None


def _is_special(path: Path) -> bool:
    try:
        return not S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
