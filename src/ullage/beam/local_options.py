"""The pipeline options of local workers, in Beam's style, checked before anything starts."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
)

from ullage.beam.settings import WorkerSettings
from ullage.core.beam_key import beam_workload_key
from ullage.core.errors import ConfigError
from ullage.core.ids import check_name, is_name
from ullage.core.units import parse_bytes

MAX_WORKERS = 256


class UllageLocalOptions(PipelineOptions):
    """Options of `ullage.beam.LocalRunner` and `ullage.beam.DaskRunner`."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--ullage_name", default=None, help="What the workload is called (default: the job)."
        )
        parser.add_argument(
            "--ullage_workers", type=int, default=None, help="How many SDK worker processes."
        )
        parser.add_argument(
            "--ullage_request",
            default=None,
            help="Where each worker starts without history, e.g. 512MiB.",
        )
        parser.add_argument(
            "--ullage_max_memory", default=None, help="Ceiling of each worker (default: the host)."
        )
        parser.add_argument(
            "--ullage_worker_limit",
            default=None,
            help="Fixed limit of each worker: no growth, a baseline.",
        )
        parser.add_argument(
            "--ullage_observe", default=False, action="store_true", help="Only measure."
        )
        parser.add_argument(
            "--ullage_no_record",
            default=False,
            action="store_true",
            help="Neither read nor write the history.",
        )


def worker_settings(
    options: PipelineOptions, *, runner: str, argv: Sequence[str], cwd: str
) -> WorkerSettings:
    """Return the checked settings of a pipeline.

    runner: "local" or "dask", a label of the runs. argv: the program's command line, whose
    input files are measured. Raises ConfigError.
    """
    own = options.view_as(UllageLocalOptions)
    for option in ("request", "max_memory", "worker_limit"):
        text = getattr(own, f"ullage_{option}")
        if text is not None:
            parse_bytes(text, name=f"--ullage_{option}")
    if own.ullage_worker_limit and (own.ullage_request or own.ullage_max_memory):
        raise ConfigError(
            "--ullage_worker_limit fixes the memory: leave out --ullage_request and "
            "--ullage_max_memory"
        )
    if own.ullage_worker_limit and own.ullage_observe:
        raise ConfigError("--ullage_worker_limit and --ullage_observe exclude each other")
    workers_count = _workers_count(options)
    return WorkerSettings(
        workload_key=_workload_key(options, argv),
        workers_count=workers_count,
        request=own.ullage_request,
        max_memory=own.ullage_max_memory,
        limit=own.ullage_worker_limit,
        is_observing=own.ullage_observe,
        is_recording=not own.ullage_no_record,
        features=_features(argv, cwd, runner=runner, workers_count=workers_count),
    )


def _workload_key(options: PipelineOptions, argv: Sequence[str]) -> str:
    named = options.view_as(UllageLocalOptions).ullage_name
    if named is not None:
        return check_name(named, what="--ullage_name")
    job_name = options.view_as(GoogleCloudOptions).job_name or ""
    return beam_workload_key(job_name, script=argv[0] if argv else "")


def _workers_count(options: PipelineOptions) -> int:
    """Return --ullage_workers, else Beam's own --direct_num_workers (0: one for each core)."""
    count = options.view_as(UllageLocalOptions).ullage_workers
    name = "--ullage_workers"
    if count is None:
        count, name = options.view_as(DirectOptions).direct_num_workers, "--direct_num_workers"
        if count == 0:
            import os

            count = os.cpu_count() or 1
    if not 1 <= count <= MAX_WORKERS:
        raise ConfigError(f"{name}={count}: use 1..{MAX_WORKERS} workers")
    return int(count)


def _features(argv: Sequence[str], cwd: str, *, runner: str, workers_count: int) -> tuple[str, ...]:
    """Return what is known before the start: sizes of inputs, numbers on the command line."""
    from apache_beam.version import __version__ as sdk_version

    from ullage.bootstrap import measure_features

    words = [word for word in argv if not re.match(r"--(ullage|direct|dask|runner)", word)]
    measured = measure_features([sys.executable, *words], cwd, ())
    numbers = {
        **measured.numbers,
        "workers_count": float(workers_count),
        # each of these runners gives a worker one bundle at a time
        "threads_count": 1.0,
    }
    labels = {"runner": runner, "sdk": "python", "sdk_version": sdk_version}
    return (
        *(f"{name}={number!r}" for name, number in numbers.items() if is_name(name)),
        *(f"{name}={label}" for name, label in labels.items()),
    )
