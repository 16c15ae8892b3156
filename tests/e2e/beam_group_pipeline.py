"""A pipeline as anybody writes it: --input is grouped by first letter, one key holds nearly all."""

import argparse
import os
import signal
import time
from collections.abc import Iterable

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def weigh(item: tuple[str, Iterable[str]], fault: str) -> str:
    """Return the key and the bytes of its group, each line made forty times as long."""
    key, group = item
    if fault == "fail":
        raise ValueError("the program's own fault")
    if fault == "die" and key == "a":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "sleep":
        time.sleep(120)
    copies = [line * 40 for line in group]
    return f"{key}: {sum(map(len, copies))}"


def main() -> None:
    """Print the weight of each group."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    for fault in ("fail", "die", "sleep"):
        parser.add_argument(f"--{fault}", dest="fault", action="store_const", const=fault)
    own, beam_words = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beam_words)) as p:
        (
            p
            | "lines" >> beam.io.ReadFromText(own.input)
            | "by letter" >> beam.Map(lambda line: (line[0], line))
            | "group" >> beam.GroupByKey()
            | "weigh" >> beam.Map(weigh, own.fault or "")
            | "print" >> beam.Map(print)
        )


if __name__ == "__main__":
    main()
