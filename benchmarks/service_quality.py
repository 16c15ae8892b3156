"""Protocol D on several usage files: our cost over each policy's, by priors of other files.

    .venv/bin/python benchmarks/service_quality.py --data folder usage_a usage_b usage_c

For each file our prior is learned from the others. Prints Markdown: per file, price and policy
OOM kills per 1,000 instance-hours and our cost over the policy's; then the geometric mean over
files, prices and decision intervals (docs/benchmarks.md).
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ullage import bootstrap
from ullage.simulation.usage_backtest import UsageWorld
from ullage.simulation.usage_compare import (
    DECIDE_EVERY_S,
    PRICES_HOURS,
    Cell,
    compare_usage,
    fit_traces,
)
from ullage.simulation.usage_file import UsageTrace, read_usage
from ullage.simulation.usage_prior import prior_of


def replayed(
    name: str, files: dict[str, list[UsageTrace]], worlds: list[UsageWorld], jobs: int, every: int
) -> list[Cell]:
    """Return the cells of one file, our prior from all others."""
    others = [traces for other, traces in files.items() if other != name]
    prior = prior_of(others, worlds[0], provenance=f"all but {name}") if others else None
    return compare_usage(
        files[name][::every],
        bootstrap.usage_policy_ids(),
        make_policy=partial(bootstrap.usage_policy, prior=prior),
        worlds=worlds,
        prices_hours=PRICES_HOURS,
        jobs=jobs,
    )


def print_file(name: str, cells: list[Cell], ratios: dict[str, list[float]]) -> None:
    """Print one file's table; add our cost over each policy's to `ratios`."""
    hours = sum(each.scored_hours for each in cells[0].outcomes)
    print(f"\n{name}: {len(cells[0].outcomes)} instances, {hours:,.0f} instance-hours\n")
    columns = [(step, price) for step in DECIDE_EVERY_S for price in PRICES_HOURS]
    print("| policy | " + " | ".join(f"{s / 60:g} min, {p:g} h" for s, p in columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    found = {(cell.policy, cell.decide_every_s, cell.price_hours): cell for cell in cells}
    for policy in dict.fromkeys(cell.policy for cell in cells):
        texts = []
        for column in columns:
            cell, ours = found[policy, *column], found["ullage", *column]
            ratio = ours.cost_gbh / cell.cost_gbh
            ratios.setdefault(policy, []).append(ratio)
            ooms = cell.figures()["ooms_per_1000_hours"]
            texts.append(f"{ratio:.2f} ({ooms:.1f})")
        print(f"| {policy} | " + " | ".join(texts) + " |", flush=True)


def main() -> None:
    """Replay all files and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="files of the folder, without .parquet")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only every n-th instance")
    arguments = parser.parse_args()
    worlds = [UsageWorld(decide_every_s=step) for step in DECIDE_EVERY_S]
    files = {
        name: fit_traces(read_usage(arguments.data / f"{name}.parquet").traces, worlds[-1])[0]
        for name in arguments.names
    }
    ratios: dict[str, list[float]] = {}
    for name in files:
        cells = replayed(name, files, worlds, arguments.jobs, arguments.every)
        print_file(name, cells, ratios)
    print("\n| policy | our cost / its cost, geometric mean | at prices 0.5 and 2 | at 10 and 50 |")
    print("| --- | ---: | ---: | ---: |")
    cheap = np.tile([True, True, False, False], len(files) * len(DECIDE_EVERY_S))
    for policy, values in ratios.items():
        logs = np.log(values)
        means = [np.exp(part.mean()) for part in (logs, logs[cheap], logs[~cheap])]
        print(f"| {policy} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
