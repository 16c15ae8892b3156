"""Joins flights with the hourly weather of their airport: a fixed side input, a growing one."""

import argparse
import csv


def main() -> None:
    """Join --input with --weather on (origin, hour) and print how many rows matched."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--weather", required=True)
    options = parser.parse_args()
    with open(options.weather, newline="") as file:
        weather = {(row["origin"], row["time_hour"]): row for row in csv.DictReader(file)}
    joined = []
    with open(options.input, newline="") as file:
        for row in csv.DictReader(file):
            match = weather.get((row["origin"], row["time_hour"]))
            if match is not None:
                joined.append((row["flight"], row["dep_delay"], match["wind_speed"], row))
    print(len(joined))


if __name__ == "__main__":
    main()
