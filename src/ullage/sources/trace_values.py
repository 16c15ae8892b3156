"""Sizes, spans and moments as the traces of other systems write them.

Everything returns None for what says nothing ("", "-", "NA", "Unknown") and raises BadValueError
for what cannot be read: a line is rejected by it, never guessed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

NOTHING = frozenset({"", "-", "NA", "N/A", "Unknown", "None", "null", "nan", "NaN"})

_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([KMGTP]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([a-z]+)", re.ASCII)
_SPAN_S = {
    **dict.fromkeys(("ms", "milli", "millis"), 1e-3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_CLOCK = re.compile(
    r"(?:([0-9]{1,6})-)?(?:([0-9]{1,6}):)?([0-9]{1,2}):([0-9]{2}(?:\.[0-9]{1,9})?)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 1e15
_NO_EXIT = (1 << 31) - 1


class BadValueError(ValueError):
    """A value that cannot be read; the text says why in a word (`peak_not_a_number`)."""


@lru_cache(maxsize=65_536)
def binary_size(text: str) -> float | None:
    """Return the bytes of a size whose units are powers of 1024; without a unit, bytes.

    >>> binary_size("1.5 GB"), binary_size("145792K"), binary_size("-"), binary_size("1024")
    (1610612736.0, 149291008.0, None, 1024.0)
    """
    text = text.strip()
    if text in NOTHING:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadValueError("size_unreadable")
    return float(match.group(1)) * _BINARY[match.group(2).upper()]


def plain_number(text: str) -> float | None:
    """Return a finite number, None for nothing.

    >>> plain_number("14.7"), plain_number("-"), plain_number("-3")
    (14.7, None, -3.0)
    """
    text = text.strip()
    if text in NOTHING:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise BadValueError("number_unreadable")
    return float(text)


@lru_cache(maxsize=65_536)
def span_s(text: str) -> float | None:
    """Return the seconds of a span in words; a bare number is milliseconds.

    >>> span_s("1h 2m 3s"), span_s("866ms"), span_s("4.2s"), span_s("1500"), span_s("-")
    (3723.0, 0.866, 4.2, 1.5, None)
    """
    text = text.strip()
    if text in NOTHING:
        return None
    if _NUMBER.fullmatch(text):
        return float(text) / 1000
    total_s, end = 0.0, 0
    for match in _SPAN.finditer(text):
        if text[end : match.start()].strip() or match.group(2) not in _SPAN_S:
            raise BadValueError("span_unreadable")
        total_s += float(match.group(1)) * _SPAN_S[match.group(2)]
        end = match.end()
    if end == 0 or text[end:].strip():
        raise BadValueError("span_unreadable")
    return total_s


@lru_cache(maxsize=65_536)
def clock_s(text: str) -> float | None:
    """Return the seconds of [days-][hours:]minutes:seconds.

    >>> clock_s("1-02:03:04"), clock_s("00:10:00"), clock_s("02:30.500"), clock_s("")
    (93784.0, 600.0, 150.5, None)
    """
    text = text.strip()
    if text in NOTHING:
        return None
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise BadValueError("span_unreadable")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def moment(text: str, zone: tzinfo) -> datetime | None:
    """Return the instant of an ISO time or of epoch milliseconds; `zone` where it tells none.

    >>> moment("2018-09-28 13:20:23.284", UTC).isoformat(), moment("-", UTC)
    ('2018-09-28T13:20:23.284000+00:00', None)
    """
    text = text.strip()
    if text in NOTHING:
        return None
    if _NUMBER.fullmatch(text):
        return moment_of_ms(float(text))
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadValueError("time_unreadable") from error


def moment_of_ms(epoch_ms: float) -> datetime:
    """Return the instant of epoch milliseconds. BadValueError outside 1970 .. 33658."""
    if not 0 <= epoch_ms < _LAST_MS:
        raise BadValueError("time_unreadable")
    try:
        return _EPOCH + timedelta(milliseconds=epoch_ms)
    except OverflowError as error:
        raise BadValueError("time_unreadable") from error


def exit_code(text: str) -> int | None:
    """Return an exit status, None where none is told; 2**31 - 1 stands for none in Nextflow.

    >>> exit_code("137"), exit_code("-"), exit_code("2147483647")
    (137, None, None)
    """
    number = plain_number(text)
    return None if number is None or abs(number) >= _NO_EXIT else int(number)
