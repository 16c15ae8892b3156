"""Beam's Dataflow runner that sizes the job's workers before it is submitted.

`--runner=ullage.beam.DataflowRunner` is the only change a pipeline needs. Unlike the other
ways it sees the pipeline: hints on transforms, and whether it reads what never ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, Pipeline, PipelineVisitor
from apache_beam.portability.common_urns import resource_hints
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner as BeamDataflowRunner
from apache_beam.transforms.resources import merge_resource_hints, resource_hints_from_options

from ullage.beam.options import option_words
from ullage.beam.sizing import PipelineFacts, SizedJob, size_job

_MIN_RAM = str(resource_hints.MIN_RAM_BYTES.urn)


class DataflowRunner(BeamDataflowRunner):
    """Beam's DataflowRunner; its name is the one that Beam's checks of options look for."""

    def run_pipeline(
        self, pipeline: Pipeline, options: PipelineOptions, pipeline_proto: Any = None
    ) -> Any:
        """Size the job, then submit it as Beam does.

        Raises ConfigError for a launch that the service would refuse; nothing has been sent.
        """
        sized = size_job(options, option_words(options), _facts(pipeline))
        if sized is None:
            return super().run_pipeline(pipeline, options, pipeline_proto)
        if pipeline is not None:
            _spread_hints(pipeline, options)
        try:
            return super().run_pipeline(pipeline, options, pipeline_proto)
        except BaseException:
            _close(sized)
            raise


def _facts(pipeline: Pipeline | None) -> PipelineFacts:
    """Return the largest hint of a transform, and whether anything never ends."""
    if pipeline is None:
        return PipelineFacts()
    hints = [int(node.resource_hints[_MIN_RAM]) for node in _nodes(pipeline) if _has_hint(node)]
    is_unbounded = any(
        not output.is_bounded for node in _nodes(pipeline) for output in node.outputs.values()
    )
    return PipelineFacts(min_ram_bytes=max(hints, default=None), is_unbounded=is_unbounded)


def _has_hint(node: AppliedPTransform) -> bool:
    return _MIN_RAM in node.resource_hints


def _nodes(pipeline: Pipeline) -> Iterator[AppliedPTransform]:
    found: list[AppliedPTransform] = []

    class Collector(PipelineVisitor):
        """Keeps every transform that it meets."""

        def visit_transform(self, node: AppliedPTransform) -> None:
            """Keep a primitive transform."""
            found.append(node)

        def enter_composite_transform(self, node: AppliedPTransform) -> None:
            """Keep a composite transform, but not the root, which has the job's own hints."""
            if node.parent is not None:
                found.append(node)

    pipeline.visit(Collector())
    yield from found


def _spread_hints(pipeline: Pipeline, options: PipelineOptions) -> None:
    """Give every transform the job's hint: Beam has done so when the pipeline was built."""
    hints = resource_hints_from_options(options)
    for node in _nodes(pipeline):
        node.resource_hints = merge_resource_hints(hints, node.resource_hints)
    root = pipeline._root_transform()
    root.resource_hints = merge_resource_hints(hints, root.resource_hints)


def _close(sized: SizedJob) -> None:
    from ullage import bootstrap
    from ullage.config import load_settings
    from ullage.control.job_launch import close_unsent

    if sized.run is None:
        return
    store = bootstrap.open_store(load_settings())
    try:
        close_unsent(sized.run, bootstrap.launch_ports(store))
    finally:
        store.close()
