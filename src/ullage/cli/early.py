"""What `ullage run` must do before the heavy imports: the sentinel, and the environment.

Nothing but the standard library's smallest modules may be imported here.
"""

from __future__ import annotations

import os

from ullage.control.sentinel import Sentinel, start_sentinel

_prepared: tuple[Sentinel, dict[str, str]] | None = None


def prepare_run() -> tuple[Sentinel, dict[str, str]]:
    """Fork the sentinel and keep the untouched environment for the command; once."""
    global _prepared
    if _prepared is None:
        environment = dict(os.environ)
        _prepared = start_sentinel(), environment
        # OpenBLAS would start a thread per core: slower to start, and they take signals.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return _prepared
