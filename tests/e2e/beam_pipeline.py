"""A real Beam pipeline whose real SDK worker needs memory: one skewed key, grouped in a worker.

python beam_pipeline.py --input FILE
"""

import argparse
import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

COPIES = 40


def keep_all(item):
    """Hold every value of a key at once, as many a GroupByKey consumer does."""
    key, values = item
    held = [value * COPIES for value in values]
    return f"{key}: {sum(map(len, held))}"


def main():
    """Group the lines of --input by their first letter and print the sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    options = parser.parse_args()
    with open(options.input, encoding="utf-8") as file:
        lines = file.read().splitlines()
    worker = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    runner = FnApiRunner(default_environment=SubprocessSDKEnvironment(command_string=worker))
    with beam.Pipeline(runner=runner, options=PipelineOptions([])) as pipeline:
        (
            pipeline
            | beam.Create(lines)
            | beam.Map(lambda line: (line[:1], line))
            | beam.GroupByKey()
            | beam.Map(keep_all)
            | beam.Map(print)
        )


if __name__ == "__main__":
    main()
