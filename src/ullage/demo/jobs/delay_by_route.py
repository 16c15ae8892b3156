"""Mean arrival delay of each route: reads every flight into memory, as many scripts do."""

import argparse
import csv
from collections import defaultdict


def main() -> None:
    """Group the rows of --input by (origin, dest) and print the five worst routes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    with open(parser.parse_args().input, newline="") as file:
        rows = list(csv.DictReader(file))
    delays: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row["arr_delay"] not in ("", "NA"):
            delays[row["origin"], row["dest"]].append(float(row["arr_delay"]))
    worst = sorted(delays, key=lambda route: -sum(delays[route]) / len(delays[route]))[:5]
    print([(route, round(sum(delays[route]) / len(delays[route]), 1)) for route in worst])


if __name__ == "__main__":
    main()
