"""peers.sizey on the rnaseq slice of its authors' benchmark: STAR, PICARD, QUALIMAP.

Published: 83.1, 21.9 and 50 to 52 GBh of waste over 28 runs each, with shared error
lists, from one split into 11 runs of history and 28 online. Which split is not known, and it
decides: a run of STAR that fails costs 23 GBh (peaks lie within 0.2 %, and x2 follows), so
splits give 43 to 182 GBh there. Compared are means over splits: of two within a factor of 2,
of ten within 0.6 to 1.6 x. STAR is where this one is worst: 123 GBh over ten.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ullage.core.scoring import score
from ullage.peers.sizey import SizeyPolicy
from ullage.simulation.backtest import World, backtest_workload, rows_by_workload
from ullage.simulation.runs_table import RunsTable
from ullage.simulation.timeline import as_sizey

DATA_DIR = Path(os.environ.get("ULLAGE_DATA_DIR") or Path(__file__).parents[4] / "shared/data")
FILE = DATA_DIR / "runs_sizey.parquet"
PUBLISHED_GBH = {
    "STAR_ALIGN_IGENOMES": 83.1,
    "PICARD_MARKDUPLICATES": 21.9,
    "QUALIMAP_RNASEQ": 51.0,
}

pytest.importorskip("sklearn", reason="sizey needs scikit-learn: ullage[benchmarks]")
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason=f"no {FILE.name}: set ULLAGE_DATA_DIR to where it is"
)


def _slice() -> RunsTable:
    import duckdb

    names = list(PUBLISHED_GBH)
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT regexp_extract(workload, '[^:]+$') AS task, run_id, started_at, peak_bytes, "
            "runtime_s, requested_bytes, input_bytes FROM read_parquet(?) "
            "WHERE workload LIKE 'rnaseq/%' AND task IN (SELECT unnest(?)) ORDER BY \"order\"",
            [str(FILE), names],
        ).fetchall()
    task, run_ids, *numbers = zip(*rows, strict=True)
    started, peak, runtime, request, inputs = (np.array(column, float) for column in numbers)
    return RunsTable(
        workload_names=tuple(names),
        workload=np.array([names.index(name) for name in task]),
        run_ids=run_ids,
        started_at_s=started,
        peak_bytes=peak,
        runtime_s=runtime,
        has_runtime=np.ones(len(rows), bool),
        request_bytes=request,
        is_error=np.zeros(len(rows), bool),
        is_saturated=np.zeros(len(rows), bool),
        numbers={"input_bytes": inputs},
    )


def _wastes_gbh(seeds: range, *, is_shared: bool) -> dict[str, list[float]]:
    """Return the waste of each task, for the split of each of these seeds."""
    runs = _slice()
    wastes: dict[str, list[float]] = {name: [] for name in PUBLISHED_GBH}
    for seed in seeds:
        timeline = as_sizey(runs, seed=seed)
        policy = SizeyPolicy(is_shared=is_shared)
        for rows in rows_by_workload(timeline):
            outcomes = backtest_workload(timeline, rows, policy, World()).outcomes
            assert len(outcomes) == 28
            name = runs.workload_names[timeline.runs.workload[rows[0]]]
            wastes[name].append(score(outcomes).waste_gbh)
    print({name: np.round(waste, 1).tolist() for name, waste in wastes.items()})
    return wastes


def test_near_the_published_waste() -> None:
    for name, wastes in _wastes_gbh(range(1996, 1998), is_shared=True).items():
        assert 0.5 <= np.mean(wastes) / PUBLISHED_GBH[name] <= 2.0, name


@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [True, False])
def test_near_the_published_waste_over_ten_splits(is_shared: bool) -> None:
    for name, wastes in _wastes_gbh(range(1996, 2006), is_shared=is_shared).items():
        assert 0.6 <= np.mean(wastes) / PUBLISHED_GBH[name] <= 1.6, name
