"""Prints the tables of src/ullage/policies/service_prior.py, aggregated from usage files.

    .venv/bin/python benchmarks/service_prior.py usage_a.parquet usage_b.parquet

Mean over the instances of a file that protocol D would replay, then over files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ullage.policies.service_bases import BASES
from ullage.simulation.usage_backtest import UsageWorld
from ullage.simulation.usage_compare import fit_traces
from ullage.simulation.usage_file import read_usage
from ullage.simulation.usage_prior import prior_of


def main() -> None:
    """Read the files and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    files = parser.parse_args().files
    world = UsageWorld()
    traces = [fit_traces(read_usage(file).traces, world)[0] for file in files]
    counted = ", ".join(
        f"{file.stem} ({len(found)} instances)" for file, found in zip(files, traces, strict=True)
    )
    prior = prior_of(traces, world, provenance=counted)
    print(counted)
    for name, values in (("_RESERVED", prior.reserved), ("_OOMS", prior.ooms)):
        print(f"{name} = (")
        for (base, _), row in zip(BASES, values.reshape(len(BASES), -1), strict=True):
            print(f"    ({', '.join(f'{value:.3g}' for value in row)}),  # {base}")
        print(")")


if __name__ == "__main__":
    main()
