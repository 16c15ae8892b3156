"""A pipeline of what Beam's Dask runner can do: --input is grouped, one key holds nearly all."""

import argparse
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def lines(path: str) -> Iterator[tuple[str, str]]:
    """Yield (first letter, the line)."""
    with open(path) as file:
        for line in file:
            yield line[0], line


def weight(item: tuple[str, Iterable[str]]) -> tuple[str, int]:
    """Return the key and the bytes of its group, each line made forty times as long."""
    key, group = item
    copies = [line * 40 for line in group]
    return key, sum(map(len, copies))


def main() -> None:
    """Print the weight of each group."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    own, beam_words = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beam_words)) as p:
        _ = (
            p
            | beam.Create([own.input])
            | beam.FlatMap(lines)
            | beam.GroupByKey()
            | beam.Map(weight)
            | beam.Map(print)
        )


if __name__ == "__main__":
    main()
