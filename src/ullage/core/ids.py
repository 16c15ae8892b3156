"""Names and identifiers: what a workload may be called, and how runs are numbered.

Names are hostile until checked here: they reach terminals, pages, SQL, labels and
file names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from ullage.core.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+=-]{0,127}", re.ASCII)
_RUN_ID = re.compile(r"r-[0-9a-z]{10}-[0-9a-f]{6}", re.ASCII)
_MAX_FITTED = 400
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def check_name(name: str, *, what: str = "workload name") -> str:
    """Return `name` if it is fit to be shown anywhere, else raise ConfigError.

    1..128 characters of ASCII letters, digits and . _ / : @ + = -, beginning with
    a letter or digit.
    """
    if not is_name(name):
        raise ConfigError(
            f"{what} {name[:60]!a} is not allowed: "
            "use 1..128 letters, digits and . _ / : @ + = -, beginning with a letter or digit"
        )
    return name


def is_name(text: str) -> bool:
    """Say whether `check_name` accepts `text`."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def fit_name(text: str) -> str:
    """Return a workload name that `check_name` accepts for any text; "" where nothing is left.

    A text that is allowed stays as it is. In any other, what is not allowed becomes a dash,
    and 8 hexadecimal digits of the whole text are added: two texts never share a name.

    >>> fit_name("RNASEQ:STAR_ALIGN"), fit_name("=cmd (1)")
    ('RNASEQ:STAR_ALIGN', 'cmd-1-284d1339')
    """
    if is_name(text):
        return text
    kept = re.sub(r"[^A-Za-z0-9._/:@+=-]+", "-", text[:_MAX_FITTED], flags=re.ASCII)
    kept = re.sub(r"\.{2,}", ".", kept).lstrip("._/:@+=-").rstrip("-")[:100]
    if not text.strip():
        return ""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept}-{digest}" if kept else f"unnamed-{digest}"


def make_imported_run_id(parts: Iterable[str]) -> str:
    """Return the id of a run that another system recorded: the same parts, the same id.

    >>> make_imported_run_id(["slurm", "1234"])
    'i-3660a361b2024f3a9ad6'
    """
    joined = b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
    return f"i-{hashlib.sha256(joined).hexdigest()[:20]}"


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
