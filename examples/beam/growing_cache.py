"""How often an aircraft is late because it was late before: every flight is remembered.

A pipeline as anybody writes it. The cache of the DoFn grows with every aircraft and flight,
and nothing is ever dropped from it.
"""

import argparse
import csv
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


class LateAgain(beam.DoFn):
    """Yields (airline, 1 or 0): whether a late flight had a late one before it that day."""

    def setup(self) -> None:
        """Begin with an empty memory."""
        self.flights: dict[str, list[list[str]]] = {}

    def process(self, line: str) -> Iterator[tuple[str, int]]:
        """Look the aircraft up among all that were seen, and remember this flight too."""
        cells = next(csv.reader([line]))
        before = self.flights.setdefault(cells[11], [])
        if cells[8].isdigit():
            same_day = [row for row in before[-8:] if row[1:3] == cells[1:3]]
            yield cells[9], int(any(row[8].isdigit() for row in same_day))
        before.append(cells)


def main() -> None:
    """Print for each airline of --input the share of late flights that were late before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    files, beam_words = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beam_words)) as p:
        (
            p
            | "flights" >> beam.io.ReadFromText(files.input, skip_header_lines=1)
            | "late again" >> beam.ParDo(LateAgain())
            | "share" >> beam.combiners.Mean.PerKey()
            | "print" >> beam.Map(print)
        )


if __name__ == "__main__":
    main()
