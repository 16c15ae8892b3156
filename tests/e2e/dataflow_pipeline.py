"""A small pipeline for Dataflow, as a user writes one; the tests send it to a fake.

`--size` sizes its options in code; `--transform_hint QUANTITY` hints on a transform.
"""

from __future__ import annotations

import argparse
import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def main() -> None:
    """Build the pipeline from the command line and submit it; print the job's id."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", action="store_true")
    parser.add_argument("--transform_hint")
    own, rest = parser.parse_known_args()
    options = PipelineOptions(rest)
    if own.size:
        import ullage.beam

        options = ullage.beam.size(options)
    total = beam.MapTuple(lambda key, values: (key, sum(values)))
    if own.transform_hint:
        total = total.with_resource_hints(min_ram=own.transform_hint)
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | beam.Create([("a", 1), ("b", 2)]) | beam.GroupByKey() | total
    result = pipeline.run()
    print("submitted", result.job_id())


if __name__ == "__main__":
    sys.exit(main())
