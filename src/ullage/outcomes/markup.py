"""Text from outside as HTML or SVG: the one function through which it goes."""

from __future__ import annotations

from html import escape

MOST_TEXT = 200
"""Longer names, labels and settings are cut."""


def as_markup(value: object, *, most: int = MOST_TEXT) -> str:
    """Return a text escaped, what cannot be printed replaced by U+FFFD, cut at `most` letters.

    >>> as_markup('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    plain = str(value)
    short = plain if len(plain) <= most else plain[: most - 1] + "…"
    return escape("".join(a if a.isprintable() else "\ufffd" for a in short), quote=True)
