"""Names and identifiers: what a workload may be called, and how runs are numbered.

Names are hostile until checked here: they reach terminals, pages, SQL, labels and
file names.
"""

from __future__ import annotations

import re

from ullage.core.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+=-]{0,127}", re.ASCII)
_RUN_ID = re.compile(r"r-[0-9a-z]{10}-[0-9a-f]{6}", re.ASCII)
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def check_name(name: str, *, what: str = "workload name") -> str:
    """Return `name` if it is fit to be shown anywhere, else raise ConfigError.

    1..128 characters of ASCII letters, digits and . _ / : @ + = -, beginning with
    a letter or digit.
    """
    if _NAME.fullmatch(name) is None or ".." in name:
        raise ConfigError(
            f"{what} {name[:60]!a} is not allowed: "
            "use 1..128 letters, digits and . _ / : @ + = -, beginning with a letter or digit"
        )
    return name


def make_run_id(*, epoch_ms: int, entropy: bytes) -> str:
    """Return a run id that sorts by start time: 'r-' + base-36 milliseconds + random.

    `entropy` is at least 3 bytes.

    >>> make_run_id(epoch_ms=0, entropy=b"abc")
    'r-0000000000-616263'
    """
    digits = ""
    rest = epoch_ms
    for _ in range(10):
        rest, digit = divmod(rest, 36)
        digits = _BASE36[digit] + digits
    return f"r-{digits}-{entropy[:3].hex()}"


def is_run_id(text: str) -> bool:
    """Say whether `text` has the form of a run id."""
    return _RUN_ID.fullmatch(text) is not None
