"""Spans of time as they are typed: 30d, 12h."""

from __future__ import annotations

import re
from datetime import timedelta

from ullage.core.errors import ConfigError

_SPAN = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span_of(text: str) -> timedelta | None:
    """Return the span that `text` names, None if it names none.

    >>> span_of("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    match = _SPAN.fullmatch(text.strip())
    return None if match is None else timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def parse_span(text: str, *, name: str) -> timedelta:
    """Return the span that the option `name` got. ConfigError if it is none."""
    span = span_of(text)
    if span is None:
        raise ConfigError(f"{name} {text[:40]!a}: write a span (400d, 12h, 0s)")
    return span
