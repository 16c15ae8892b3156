"""Median arrival delay by kind of engine: nearly all flights have the same one.

A pipeline as anybody writes it. One key holds most of the rows, and sorting its group
holds all of them in the memory of one worker.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def engine_of(line: str) -> tuple[str, str]:
    """Return (tail number, kind of engine) of a line of planes.csv."""
    cells = next(csv.reader([line]))
    return cells[0], cells[8]


def by_engine(line: str, engines: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (kind of engine, the row) of a flight with a delay and a known aircraft."""
    cells = next(csv.reader([line]))
    if cells[8].lstrip("-").isdigit() and cells[11] in engines:
        yield engines[cells[11]], cells


def median_delay(item: tuple[str, Iterable[list[str]]]) -> tuple[str, int, int]:
    """Return the engine, its number of flights and their median delay in minutes."""
    engine, flights = item
    ordered = sorted(flights, key=lambda row: int(row[8]))
    return engine, len(ordered), int(ordered[len(ordered) // 2][8])


def main() -> None:
    """Group the flights of --input by the engines of --planes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--planes", required=True)
    files, beam_words = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beam_words)) as p:
        engines = (
            p
            | "planes" >> beam.io.ReadFromText(files.planes, skip_header_lines=1)
            | "engines" >> beam.Map(engine_of)
        )
        (
            p
            | "flights" >> beam.io.ReadFromText(files.input, skip_header_lines=1)
            | "by engine" >> beam.FlatMap(by_engine, beam.pvalue.AsDict(engines))
            | "group" >> beam.GroupByKey()
            | "median delay" >> beam.Map(median_delay)
            | "print" >> beam.Map(print)
        )


if __name__ == "__main__":
    main()
