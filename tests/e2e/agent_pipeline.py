"""A pipeline for test_agent_beam.py: real SDK worker processes, which get its options.

agent_pipeline.py MIB [beam options]: a function of the user touches MIB MiB, and lets go of them.
Prints the user metrics of the namespace `ullage` as JSON. Beam's local runner tells its workers
none of the options unless it is given them as provision info, as a job server would.
"""

import json
import mmap
import sys

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.transforms.environments import SubprocessSDKEnvironment

WORKER = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"


class Touch(beam.DoFn):
    """Touches some MiB and lets go of them at once."""

    def __init__(self, mib: int) -> None:
        self._mib = mib

    def process(self, element):
        """Yield the element after the memory has been there for a moment."""
        size = self._mib << 20
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, size, 4096):
            block[page] = 1
        block.close()
        yield element


def main() -> None:
    """Run the pipeline and print its metrics."""
    options = PipelineOptions(sys.argv[2:])
    told = {f"beam:option:{k}:v1": v for k, v in options.get_all_options(drop_default=True).items()}
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=dict_to_struct(told))
    runner = FnApiRunner(
        default_environment=SubprocessSDKEnvironment(command_string=WORKER),
        provision_info=ExtendedProvisionInfo(provision),
    )
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = pipeline | beam.Create([1, 2, 3]) | "hungry" >> beam.ParDo(Touch(int(sys.argv[1])))
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace("ullage"))
    told = {
        each.key.metric.name: {
            "step": each.key.step,
            "max": each.committed.max,
            "min": each.committed.min,
            "count": each.committed.count,
        }
        for each in found["distributions"]
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
