"""Quantities: the one door through which numbers enter, and how they are shown.

Every byte count inside Ullage is a finite integer in 0..2**50. Text needs a unit
("4GiB"): a bare number is refused, because half of all people mean MiB by it.
"""

from __future__ import annotations

import math
import re

from ullage.core.errors import ConfigError, DataError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

MAX_BYTES = 1 << 50
"""Largest byte count that is believed (1 PiB): above every machine's memory."""

_UNITS = {
    "B": 1,
    "K": 10**3, "KB": 10**3, "KIB": KIB, "KI": KIB,
    "M": 10**6, "MB": 10**6, "MIB": MIB, "MI": MIB,
    "G": 10**9, "GB": 10**9, "GIB": GIB, "GI": GIB,
    "T": 10**12, "TB": 10**12, "TIB": TIB, "TI": TIB,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_bytes(text: str, *, name: str = "quantity") -> int:
    """Return the bytes that `text` names, for example "4GiB" -> 4294967296.

    Units: B, KB MB GB TB (powers of 1000, also K M G T), KiB MiB GiB TiB (powers
    of 1024, also Ki Mi Gi Ti), in any case. `name` is what the error calls it.

    Raises ConfigError without a unit, with an unknown one, or outside 1..2**50.

    >>> parse_bytes("1.5KiB")
    1536
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{name}: {text[:60]!r} is not a quantity; write for example 512MiB or 4GiB"
        )
    number, unit = match.groups()
    if not unit:
        raise ConfigError(
            f"{name}: {text!r} has no unit; write {number}MiB, {number}GiB or {number}B"
        )
    factor = _UNITS.get(unit.upper())
    if factor is None:
        raise ConfigError(
            f"{name}: unknown unit {unit!r}; use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB"
        )
    value = round(float(number) * factor) if "." in number else int(number) * factor
    if not 1 <= value <= MAX_BYTES:
        raise ConfigError(f"{name}: {text!r} is outside 1B..1024TiB")
    return value


def clean_bytes(value: object, *, name: str = "bytes") -> int:
    """Return `value` as a finite integer byte count in 0..2**50.

    The door for every number that comes from a file, the kernel or a network.
    Raises DataError for anything else: NaN, infinity, booleans, text, None,
    negative or absurd numbers.

    >>> clean_bytes(12.0)
    12
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{name}: {value!r:.60} is not a number of bytes")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{name}: {value!r} is not finite")
    if not 0 <= value <= MAX_BYTES:
        raise DataError(f"{name}: {value!r} is outside 0..2**50 bytes")
    return int(value)


def format_bytes(value_bytes: int | float | None) -> str:
    """Return a byte count for people: three digits and a binary unit.

    >>> format_bytes(1536 * 1024**2)
    '1.50 GiB'
    >>> format_bytes(None)
    'unknown'
    """
    if value_bytes is None:
        return "unknown"
    size = float(value_bytes)
    sign = "-" if size < 0 else ""
    size = abs(size)
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor * 0.9995:
            return f"{sign}{_three_digits(size / factor)} {unit}"
    return f"{sign}{size:.0f} B"


def format_quantity(value_bytes: int) -> str:
    """Return a byte count that `parse_bytes` reads back, rounded up to whole MiB.

    >>> format_quantity(1610612736)
    '1536MiB'
    """
    if value_bytes % GIB == 0:
        return f"{value_bytes // GIB}GiB"
    return f"{-(-value_bytes // MIB)}MiB"


def format_duration(seconds: float) -> str:
    """Return a span for people.

    >>> format_duration(0.0042), format_duration(75), format_duration(7380)
    ('4.2 ms', '1 min 15 s', '2 h 03 min')
    """
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000) if seconds >= 0.01 else f'{seconds * 1000:.1f}'} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _three_digits(number: float) -> str:
    if number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"
