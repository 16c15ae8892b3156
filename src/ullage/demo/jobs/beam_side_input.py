"""Beam: each day's weather beside all flights of the year so far, as one large side input."""

import argparse
import csv
from collections.abc import Iterator

import apache_beam as beam
from beam_worker import pipeline


def flight_of(line: str) -> tuple[tuple[str, str], list[str]]:
    """Return ((origin, hour), the row) of a CSV line."""
    cells = next(csv.reader([line]))
    return (cells[12], cells[-1]), cells


def late_flights(
    line: str, flights: dict[tuple[str, str], list[list[str]]]
) -> Iterator[tuple[str, int]]:
    """Return the origin and how many flights left late in this hour of bad sight."""
    cells = next(csv.reader([line]))
    late = [row for row in flights.get((cells[0], cells[-1]), ()) if row[5].isdigit()]
    if cells[13].startswith(("0", "1.", "2.")) and late:
        yield cells[0], len(late)


def main() -> None:
    """Count late departures in bad sight: the table of flights goes to every worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--weather", required=True)
    options = parser.parse_args()
    with pipeline() as p:
        flights = (
            p
            | "flights" >> beam.io.ReadFromText(options.input, skip_header_lines=1)
            | beam.Map(flight_of)
            | beam.GroupByKey()
        )
        (
            p
            | "weather" >> beam.io.ReadFromText(options.weather, skip_header_lines=1)
            | beam.FlatMap(late_flights, beam.pvalue.AsDict(flights))
            | beam.CombinePerKey(sum)
            | beam.Map(print)
        )


if __name__ == "__main__":
    main()
