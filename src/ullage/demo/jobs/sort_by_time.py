"""Sorts flights by departure: a list of tuples and a sorted copy."""

import argparse
import csv


def main() -> None:
    """Sort the rows of --input by time and print the first and the last."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    with open(parser.parse_args().input, newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    ordered = sorted(rows[1:], key=lambda row: (row[1].zfill(2), row[2].zfill(2), row[4].zfill(4)))
    print(ordered[0][:5], ordered[-1][:5], len(ordered))


if __name__ == "__main__":
    main()
