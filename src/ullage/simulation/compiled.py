"""The kernels compiled by numba, for backtests that are long enough to be worth it.

Compiled code is kept in the user's cache folder, one folder for each state of the sources.
Not here: the kernels (core.kernels and those who declare them).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np

from ullage.core.kernels import all_kernels, compile_kernels
from ullage.policies.runs import UllageRunPolicy
from ullage.simulation.backtest import World, backtest_workload
from ullage.simulation.runs_table import RunsTable
from ullage.simulation.timeline import in_order

FROM_RUNS = 10_000
"""To compile takes about as long as 7,000 decisions, once for each version ..."""
FROM_RUNS_KEPT = 1_000
"""... and to load what was compiled as long as 500."""
_WARM_UP_RUNS = 24


def compile_for(runs_count: int) -> str | None:
    """Compile the kernels if `runs_count` decisions are worth it; say why not if it cannot be.

    Before processes are forked: they inherit the compiled kernels.
    """
    folder = cache_folder()
    is_kept = any(folder.glob("**/*.nbi"))
    if runs_count < (FROM_RUNS_KEPT if is_kept else FROM_RUNS):
        return None
    try:
        import numba
    except ImportError:
        return "plain numpy; several times faster with the extra `fast` (numba)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_kernels(numba.njit(cache=_can_keep(folder), error_model="numpy"))
        _warm_up()
    return None


def cache_folder() -> Path:
    """Return where compiled code is kept: in the user's cache, by the digest of the sources."""
    digest = hashlib.sha256()
    for file in sorted({function.__code__.co_filename for function in all_kernels()}):
        digest.update(Path(file).read_bytes())
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "ullage", f"kernels-{digest.hexdigest()[:16]}")


def _can_keep(folder: Path) -> bool:
    """Tell numba to keep compiled code in `folder`; say whether that can be written."""
    import numba

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return os.access(folder, os.W_OK)


def _warm_up() -> None:
    """Call every kernel with what a backtest calls it with: it is compiled for that."""
    n = _WARM_UP_RUNS
    at = np.arange(n, dtype=float)
    input_bytes = 1e8 * (1.0 + at % 7)
    runs = RunsTable(
        workload_names=("warm-up", "other"),
        workload=(at >= n - 1).astype(np.int64),
        run_ids=tuple(f"r{number}" for number in range(n)),
        started_at_s=1e4 * at,
        peak_bytes=3.0 * input_bytes * (1.0 + 0.01 * (at % 5)) * np.where(at == n - 2, 5.0, 1.0),
        runtime_s=np.full(n, 60.0),
        has_runtime=np.ones(n, bool),
        request_bytes=np.full(n, np.nan),
        is_error=at == 12,
        is_saturated=np.zeros(n, bool),
        numbers={"input_bytes": input_bytes},
    )
    timeline = in_order(runs)
    for rows in (np.arange(n - 1), np.array([n - 1])):
        backtest_workload(timeline, rows, UllageRunPolicy(), World())
