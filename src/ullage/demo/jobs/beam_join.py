"""Beam: flights joined with their aircraft by tail number, counted by the year it was built."""

import argparse
import csv
from collections.abc import Iterable, Iterator

import apache_beam as beam
from beam_worker import pipeline


def keyed(line: str, column: int) -> tuple[str, list[str]]:
    """Return (the cell in `column`, the row) of a CSV line."""
    cells = next(csv.reader([line]))
    return cells[column], cells


Row = list[str]


def joined(
    item: tuple[str, dict[str, Iterable[Row]]],
) -> Iterator[tuple[str, tuple[Row, Row]]]:
    """Yield (year built, (flight, aircraft)) for each flight of an aircraft that is known."""
    _, sides = item
    planes, flights = list(sides["planes"]), list(sides["flights"])
    for plane in planes:
        for flight in flights:
            yield plane[1], (flight, plane)


def main() -> None:
    """Join --input with --planes and print the five years with the most flights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--planes", required=True)
    options = parser.parse_args()
    with pipeline() as p:
        flights = (
            p
            | "flights" >> beam.io.ReadFromText(options.input, skip_header_lines=1)
            | "by tail" >> beam.Map(keyed, 11)
        )
        planes = (
            p
            | "planes" >> beam.io.ReadFromText(options.planes, skip_header_lines=1)
            | "by number" >> beam.Map(keyed, 0)
        )
        (
            {"flights": flights, "planes": planes}
            | beam.CoGroupByKey()
            | beam.FlatMap(joined)
            | beam.GroupByKey()
            | beam.Map(lambda item: (len(list(item[1])), item[0]))
            | beam.combiners.Top.Of(5)
            | beam.Map(print)
        )


if __name__ == "__main__":
    main()
