"""Values of Dataflow's JSON, each believed only as what it should be. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ullage.core.errors import DataError
from ullage.core.masking import mask_text

MOST_AMOUNT = 1e15
"""No metric of a job is believed above this."""
MOST_TEXT = 500

Json = Mapping[str, Any]


def text_of(value: object, what: str) -> str:
    """Return a text that is not empty; DataError else."""
    if not isinstance(value, str) or not value.strip() or len(value) > 1_000:
        raise DataError(f"{what}: {value!r:.40} is no text")
    return value


def time_of(value: object) -> datetime | None:
    """Return an aware UTC instant of RFC 3339, None for anything else.

    >>> time_of("2026-11-01T10:00:00.123456789Z").isoformat()
    '2026-11-01T10:00:00.123456+00:00'
    """
    if not isinstance(value, str) or not 20 <= len(value) <= 40:
        return None
    whole, dot, rest = value.partition(".")
    if dot:
        digits = rest.rstrip("Z")
        if not (rest.endswith("Z") and digits.isascii() and digits.isdigit()):
            return None
        value = f"{whole}.{digits[:6]:0<6}+00:00"
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def amount_of(value: object) -> float | None:
    """Return a finite amount, 0 .. 1e15, also from the text that int64 becomes in JSON."""
    if isinstance(value, str) and value.isascii() and len(value) <= 40:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= MOST_AMOUNT else None


def count_of(value: object) -> int | None:
    """Return a count, 1 .. a million, else None."""
    amount = amount_of(value)
    return int(amount) if amount is not None and 1 <= amount <= 1e6 else None


def texts_of(value: object) -> tuple[str, ...]:
    """Return the texts of a list, clipped, secrets masked; nothing for anything else."""
    if not isinstance(value, list):
        return ()
    return tuple(mask_text(each[:MOST_TEXT]) for each in value if isinstance(each, str))


def texts_of_both(first: object, second: object) -> tuple[str, ...]:
    """Return the texts of two lists, each once."""
    return tuple(dict.fromkeys((*texts_of(first), *texts_of(second))))


def object_of(value: object) -> Json:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def objects_of(value: object) -> list[Json]:
    """Return the objects of a JSON list; nothing for anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
