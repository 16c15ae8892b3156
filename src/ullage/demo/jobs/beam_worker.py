"""What the demonstration's pipelines share: a Beam runner whose SDK workers are processes."""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

# A pipeline may wait for ever for a worker that was killed: then it is ended too.
WORKER = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main || kill -TERM $PPID"


def pipeline() -> beam.Pipeline:
    """Return an empty pipeline; its functions run in a real SDK worker process."""
    runner = FnApiRunner(default_environment=SubprocessSDKEnvironment(command_string=WORKER))
    return beam.Pipeline(runner=runner, options=PipelineOptions([]))
