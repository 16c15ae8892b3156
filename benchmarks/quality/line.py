"""One figure of the report: what was aimed at, what was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure.

    section: a letter of the report. target: in words; empty where nothing was aimed at.
    is_reached: None where nothing was aimed at, or it could not be told. note: how it came
    about, or why it could not be told.
    """

    section: str
    figure: str
    seen: str
    target: str = ""
    is_reached: bool | None = None
    note: str = ""
