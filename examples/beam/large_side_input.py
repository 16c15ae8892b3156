"""Late departures in bad sight: each hour's weather beside all flights, as one side input.

A pipeline as anybody writes it. Every worker that sees a row of weather holds the whole
table of flights.
"""

import argparse
import csv
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def by_hour(line: str) -> tuple[tuple[str, str], list[str]]:
    """Return ((airport, hour), the row) of a flight."""
    cells = next(csv.reader([line]))
    return (cells[12], cells[-1]), cells


def late_flights(
    line: str, flights: dict[tuple[str, str], list[list[str]]]
) -> Iterator[tuple[str, int]]:
    """Yield (airport, flights that left late) for an hour with less than two miles of sight."""
    cells = next(csv.reader([line]))
    late = [row for row in flights.get((cells[0], cells[-1]), ()) if row[5].isdigit()]
    if cells[13].startswith(("0", "1.")) and late:
        yield cells[0], len(late)


def main() -> None:
    """Count the late departures of --input in the bad weather of --weather."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--weather", required=True)
    files, beam_words = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beam_words)) as p:
        flights = (
            p
            | "flights" >> beam.io.ReadFromText(files.input, skip_header_lines=1)
            | "by hour" >> beam.Map(by_hour)
            | "group" >> beam.GroupByKey()
        )
        (
            p
            | "weather" >> beam.io.ReadFromText(files.weather, skip_header_lines=1)
            | "late" >> beam.FlatMap(late_flights, beam.pvalue.AsDict(flights))
            | "sum" >> beam.CombinePerKey(sum)
            | "print" >> beam.Map(print)
        )


if __name__ == "__main__":
    main()
