"""Which formats tables come in. Apart from `render`, so that `--help` loads nothing else."""

from __future__ import annotations

from enum import StrEnum


class OutputFormat(StrEnum):
    """What `-o` takes for lists."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


class TextFormat(StrEnum):
    """What `-o` takes where there is one thing to tell about."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
