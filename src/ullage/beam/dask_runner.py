"""`--runner=ullage.beam.DaskRunner`: Beam on Dask, every Dask worker in its own memory cgroup.

Beam's own DaskRunner translates the pipeline. Here are only the processes: Dask's scheduler
in this one, and workers as commands under `ullage run`. A worker that is OOM-killed is
started again by Dask (its nanny), in the same cgroup, and Dask tries its task again until
`distributed.scheduler.allowed-failures` is used up.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import Any

import distributed
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dask import dask_runner as beam_dask
from apache_beam.runners.runner import PipelineResult, PipelineState

from ullage.beam.crew import (
    Crew,
    WorkerDiedError,
    death_in_words,
    sigterm_ends_workers,
    worker_command,
)
from ullage.beam.local_options import worker_settings
from ullage.beam.settings import WorkerSettings
from ullage.core.errors import ConfigError
from ullage.core.units import format_bytes

DASK_WORKER = "distributed.cli.dask_worker"
_LOOK_EVERY_S = 0.25
_DEATH_TIMEOUT_S = 60
"""After how long without its scheduler a Dask worker ends by itself."""


class DaskRunner(beam_dask.DaskRunner):
    """Runs a pipeline on Dask workers under `ullage run` on this machine."""

    def run_pipeline(self, pipeline: Any, options: PipelineOptions) -> PipelineResult:
        """Run the pipeline to its end.

        Raises ConfigError for options that cannot be, before anything starts, and
        WorkerDiedError where Dask gave up because workers died.
        """
        dask_options = options.view_as(beam_dask.DaskOptions)
        if dask_options.address or dask_options.scheduler_file:
            raise ConfigError(
                "ullage.beam.DaskRunner starts its own scheduler and workers: leave out "
                "--dask_client_address and --dask_scheduler_file"
            )
        settings = worker_settings(options, runner="dask", argv=sys.argv, cwd=os.getcwd())
        crew = Crew(settings.workload_key, settings.run_words())
        _quieten()
        try:
            with (
                sigterm_ends_workers(),
                tempfile.TemporaryDirectory(prefix="ullage-dask-") as folder,
                crew,
                distributed.LocalCluster(
                    n_workers=0,
                    host="127.0.0.1",
                    protocol="tcp://",
                    dashboard_address="127.0.0.1:0",
                ) as cluster,
            ):
                _start_workers(crew, settings, cluster.scheduler_address, folder)
                dask_options.address = cluster.scheduler_address
                self._run_to_end(crew, super().run_pipeline(pipeline, options))
        except distributed.KilledWorker as error:
            raise WorkerDiedError(_given_up_in_words(crew, error)) from None
        finally:
            dask_options.address = None
        return _Done(PipelineState.DONE)

    def _run_to_end(self, crew: Crew, result: Any) -> None:
        """Wait for the result, and end the workers in good order. Raises what a task raised."""
        try:
            while result.futures and not all(future.done() for future in result.futures):
                death = crew.death(wait_s=_LOOK_EVERY_S)
                if death is not None:
                    raise WorkerDiedError(death_in_words(death, workload_key=crew.workload_key))
            result.wait_until_finish()
        finally:
            for name in crew.names:
                crew.let_go(name)
            result.client.close()


_QUIET = {"DASK_LOGGING__DISTRIBUTED": "warning"}
"""What a worker does in good order need not be said; the user's own setting outranks this."""


class _Done(PipelineResult):
    """A pipeline that has ended."""

    def wait_until_finish(self, *_: object, **__: object) -> str:
        """Return how it ended."""
        return str(self.state)


def _quieten() -> None:
    """Leave what Dask says in good order out, where nobody has asked for it."""
    logger = logging.getLogger("distributed")
    if "DASK_LOGGING__DISTRIBUTED" not in os.environ:
        logger.setLevel(max(logger.level, logging.WARNING))


def _start_workers(crew: Crew, settings: WorkerSettings, address: str, folder: str) -> None:
    for number in range(settings.workers_count):
        name = f"worker_{number}"
        words = [address, "--name", name, "--nthreads", "1", "--nworkers", "1", "--nanny"]
        # Dask's own limit would pause and restart workers below the one that may still grow.
        words += ["--memory-limit", "0", "--no-dashboard", "--local-directory", folder]
        words += ["--death-timeout", str(_DEATH_TIMEOUT_S)]
        crew.start(name, worker_command(DASK_WORKER, *words), env=_QUIET | os.environ)


def _given_up_in_words(crew: Crew, error: distributed.KilledWorker) -> str:
    """Return in one line that Dask gave a task up, and what its workers died of."""
    kills_count = sum(end.oom_kills for end in crew.ends)
    limits_bytes = [
        attempt["final_limit_bytes"]
        for end in crew.ends
        if end.oom_kills
        for attempt in end.result.get("attempts", ())
        if attempt.get("final_limit_bytes") is not None
    ]
    tries = f"Dask gave up on {crew.workload_key} after {error.allowed_failures + 1} worker deaths"
    if not kills_count:
        return f"{tries}, not for want of memory: the workers' last words are above"
    limit = format_bytes(max(limits_bytes, default=None))
    return (
        f"{tries}: {kills_count} OOM kills at a limit of {limit}; leave out --ullage_worker_limit "
        "and the workers grow, or raise --ullage_max_memory"
    )
