"""`--runner=ullage.beam.LocalRunner`: real SDK worker processes, each in its own memory cgroup.

Beam's own FnApiRunner runs the pipeline; every worker is a command under `ullage run`, which
limits, grows, records and sizes it. A worker's death ends the pipeline with one clear line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from secrets import token_hex
from typing import Any

import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from google.protobuf import json_format

from ullage.beam.crew import Crew, WorkerDiedError, death_in_words, sigterm_ends_workers
from ullage.beam.local_environment import LocalWorkerHandler, environment_of, forget
from ullage.beam.local_options import worker_settings
from ullage.beam.settings import WorkerSettings
from ullage.beam.stage_times import StageTimes, record_stages
from ullage.core.stages import outermost_name, stage_name

WORKER_START = "(start of the worker)"
"""A stage in the record: what an SDK worker needs before it has work."""

_DEATH_WAIT_S = 5.0
"""How long to wait for the cause when a channel to a worker broke: its supervisor is at work."""


class LocalRunner(FnApiRunner):
    """Runs a pipeline with SDK worker processes under `ullage run` on this machine."""

    def __init__(self) -> None:
        super().__init__()
        self._crew: Crew | None = None
        self._times = StageTimes()
        self._started: list[LocalWorkerHandler] = []
        self._own_names: set[str] = set()

    def run_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        """Run the pipeline to its end and record what each stage needed.

        Raises ConfigError for options that cannot be, before anything starts, and
        WorkerDiedError where a worker died.
        """
        settings = worker_settings(options, runner="local", argv=sys.argv, cwd=os.getcwd())
        execution_id = f"beam-{token_hex(8)}"
        direct = options.view_as(DirectOptions)
        before = direct.direct_num_workers, direct.direct_running_mode
        # Neither of Beam's own modes: they would put their environment in place of ours.
        direct.direct_num_workers, direct.direct_running_mode = settings.workers_count, "ullage"
        self._times, self._started = StageTimes(), []
        self._provision_info = _provision(options)
        crew = Crew(settings.workload_key, settings.run_words())
        self._crew = crew
        self._default_environment = environment_of(crew, execution_id)
        try:
            with sigterm_ends_workers(), crew:
                return super().run_pipeline(pipeline, options)
        except BaseException as error:
            self._explain(crew, error)
            raise
        finally:
            direct.direct_num_workers, direct.direct_running_mode = before
            forget(execution_id)
            self._record(crew, settings, execution_id)

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Run a described pipeline, remembering the names that stand in the program."""
        transforms = pipeline_proto.components.transforms.values()
        self._own_names = {outermost_name(each.unique_name) for each in transforms}
        return super().run_via_runner_api(pipeline_proto, options)

    def run_stages(self, stage_context: Any, stages: Any) -> Any:
        """Run the stages, knowing what a person calls each of them."""
        self._times.expect([(stage.name, self._shown_name(stage)) for stage in stages])
        return super().run_stages(stage_context, stages)

    def _shown_name(self, stage: Any) -> str:
        """Return the stage's name without what the runner put in, such as its own reads."""
        names = [each.unique_name for each in stage.transforms]
        own = [name for name in names if outermost_name(name) in self._own_names]
        return stage_name(own or names)

    def _execute_bundle(self, context: Any, bundle_context_manager: Any, bundle_input: Any) -> Any:
        """Run one bundle on all workers, noting the time; fail at once where one has died."""
        assert self._crew is not None
        try:
            self._start_workers(bundle_context_manager)
            with self._times.during(bundle_context_manager.stage.name):
                return super()._execute_bundle(context, bundle_context_manager, bundle_input)
        except BaseException as error:
            self._crew.is_failing = True
            if _is_broken_channel(error):
                self._crew.death(wait_s=_DEATH_WAIT_S)
            raise

    def _start_workers(self, bundle_context_manager: Any) -> None:
        """Start the workers of a stage if they are not there yet; a stage of its own."""
        known_count = len(self._started)
        with self._times.during(WORKER_START) as span:
            for handler in bundle_context_manager.worker_handlers:
                if isinstance(handler, LocalWorkerHandler) and handler not in self._started:
                    handler.await_connection()
                    self._started.append(handler)
            span.is_kept = len(self._started) > known_count

    def _explain(self, crew: Crew, error: BaseException) -> None:
        """Raise WorkerDiedError in place of `error` where a worker's death was the cause."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return
        death = crew.death()
        if death is None:
            return
        line = death_in_words(death, workload_key=crew.workload_key, stage=self._times.current)
        raise WorkerDiedError(line) from None

    def _record(self, crew: Crew, settings: WorkerSettings, execution_id: str) -> None:
        if settings.is_recording:
            record_stages(
                settings.workload_key, crew.ends, self._times.spans, execution_id=execution_id
            )


def _is_broken_channel(error: BaseException) -> bool:
    """Say whether a worker's connection broke, before its supervisor could say why."""
    return isinstance(error, grpc.RpcError) or "Channel closed" in str(error)


def _provision(options: PipelineOptions) -> ExtendedProvisionInfo:
    """Return what workers are told of the pipeline's options: those that are plain values."""
    provision = beam_provision_api_pb2.ProvisionInfo(retrieval_token="none")  # noqa: S106
    plain: dict[str, Any] = {}
    for name, value in options.get_all_options(drop_default=True).items():
        if name.startswith(("ullage_", "direct_")) or name in ("runner", "save_main_session"):
            continue
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            continue
        plain[f"beam:option:{name}:v1"] = value
    level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
    plain.setdefault("beam:option:default_sdk_harness_log_level:v1", level)
    json_format.ParseDict(plain, provision.pipeline_options)
    return ExtendedProvisionInfo(provision)
