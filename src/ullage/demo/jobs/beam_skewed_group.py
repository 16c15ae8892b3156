"""Beam: mean delay by airline, grouped in a worker: the largest airline's flights come at once."""

import argparse
from collections.abc import Iterable, Iterator

import apache_beam as beam
from beam_worker import pipeline


def flight_of(line: str) -> Iterator[tuple[str, tuple[int, list[str]]]]:
    """Return (airline, delay and the row) of a CSV line, nothing where it has no delay."""
    cells = line.split(",")
    if len(cells) > 9 and cells[8].lstrip("-").isdigit():
        yield cells[9], (int(cells[8]), cells)


def worst(item: tuple[str, Iterable[tuple[int, list[str]]]]) -> tuple[str, int, float]:
    """Return the airline, its flights and its mean delay: sorting holds all of them."""
    airline, flights = item
    ordered = sorted(flights, key=lambda flight: -flight[0])
    return airline, len(ordered), sum(delay for delay, _ in ordered) / len(ordered)


def main() -> None:
    """Group the flights of --input by airline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    with pipeline() as p:
        (
            p
            | beam.io.ReadFromText(parser.parse_args().input, skip_header_lines=1)
            | beam.FlatMap(flight_of)
            | beam.GroupByKey()
            | beam.Map(worst)
            | beam.Map(print)
        )


if __name__ == "__main__":
    main()
