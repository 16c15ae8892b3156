"""Reads the options of a launch into a LaunchedJob: what they say, checked. Pure.

One meaning for all three ways of launching: words of a command, a PipelineOptions, a runner.
Not here: which command is a launch (`core.launch_words`), what the service allows
(`policies.launch_rules`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ullage.core.beam_key import beam_workload_key
from ullage.core.errors import ConfigError
from ullage.core.ids import check_name
from ullage.core.launch import LaunchedJob, Sdk, min_ram_of
from ullage.core.launch_words import is_true
from ullage.core.prices import REGION
from ullage.core.units import GIB
from ullage.core.workload import Features

Options = Mapping[str, Sequence[str]]
"""Beam's own (Python) option word -> its values in order, "true" for a flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchContext:
    """What a launch is besides its options.

    script: the program, which names the job where no job name is given. name: what the user
    calls the workload. region: where the service runs jobs that name none.
    transform_min_ram_bytes: the largest hint inside the pipeline, None where not known.
    """

    sdk: Sdk
    sdk_version: str | None = None
    script: str = ""
    name: str | None = None
    region: str = REGION
    features: Features = field(default_factory=Features)
    transform_min_ram_bytes: int | None = None
    is_unbounded: bool = False
    """Whether the pipeline reads what never ends: Beam makes it a streaming job."""


def launched_job(options: Options, context: LaunchContext) -> LaunchedJob:
    """Return the job that `options` launch.

    Raises ConfigError for counts that are no numbers, a hint without a unit, a name that is
    not allowed, labels that cannot be read.
    """
    experiments = _listed(options, "experiments")
    service_options = _listed(options, "dataflow_service_options")
    switched_on = {*experiments, *service_options}
    is_streaming = context.is_unbounded or is_true(_last(options, "streaming"))
    is_prime = "enable_prime" in switched_on
    job_name = (_last(options, "job_name") or "").strip()
    disk_gib = _count(options, "disk_size_gb")
    return LaunchedJob(
        job_name=job_name or context.script or "pipeline",
        sdk=context.sdk,
        sdk_version=context.sdk_version,
        region=_last(options, "region") or context.region,
        project=_last(options, "project"),
        is_streaming=is_streaming,
        is_prime=is_prime,
        is_flexrs=_last(options, "flexrs_goal") is not None,
        is_streaming_engine=_has_engine(options, switched_on, context.sdk, is_streaming),
        is_right_fitting="enable_streaming_rightfitting" in switched_on
        or (is_prime and not is_streaming),
        machine_type=_last(options, "worker_machine_type"),
        threads_count=_count(options, "number_of_worker_harness_threads"),
        min_ram_bytes=min_ram_of(_hints(options, context.sdk)),
        transform_min_ram_bytes=context.transform_min_ram_bytes,
        experiments=experiments,
        service_options=service_options,
        workers_count=_count(options, "num_workers"),
        max_workers_count=_count(options, "max_num_workers"),
        labels=labels_of(options.get("labels", ())),
        disk_bytes=disk_gib * GIB if disk_gib else None,
        features=context.features,
        workload_key=_key(options, context, job_name),
        keeps_machine=is_true(_last(options, "ullage_keep_machine")),
    )


def _hints(options: Options, sdk: Sdk) -> list[str]:
    """Return the hints one by one: Java takes several in one flag."""
    given = [str(value) for value in options.get("resource_hints", ())]
    return [hint for each in given for hint in (each.split(",") if sdk is Sdk.JAVA else [each])]


def _key(options: Options, context: LaunchContext, job_name: str) -> str:
    named = context.name or _last(options, "ullage_name")
    if named is not None:
        return check_name(named)
    return beam_workload_key(job_name, script=context.script)


def labels_of(values: Sequence[str]) -> dict[str, str]:
    """Return the labels of a launch: `k=v` each, or one JSON object.

    >>> labels_of(["team=orders", '{"env": "prod"}'])
    {'team': 'orders', 'env': 'prod'}
    """
    labels: dict[str, str] = {}
    for value in values:
        if not value.lstrip().startswith("{"):
            name, _, text = value.partition("=")
            labels[name] = text
            continue
        try:
            found = json.loads(value.replace("'", '"'))
        except ValueError:
            raise ConfigError(
                f"--labels {value[:60]!a} cannot be read: write --labels=key=value, or JSON"
            ) from None
        labels.update({str(name): str(text) for name, text in found.items()})
    return labels


def _last(options: Options, name: str) -> str | None:
    values = options.get(name, ())
    return str(values[-1]) if values and values[-1] != "" else None


def _listed(options: Options, name: str) -> tuple[str, ...]:
    values = [each for value in options.get(name, ()) for each in str(value).split(",")]
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


def _count(options: Options, name: str) -> int | None:
    text = _last(options, name)
    if text is None:
        return None
    if not text.strip().lstrip("-").isdecimal() or len(text) > 12:
        raise ConfigError(f"--{name} {text[:40]!a} is no whole number: give one, or leave it out")
    return int(text)


def _has_engine(options: Options, switched_on: set[str], sdk: Sdk, is_streaming: bool) -> bool:
    if sdk is Sdk.PYTHON:
        return is_streaming  # every streaming job of Python runs on the engine
    is_asked = is_true(_last(options, "enable_streaming_engine"))
    return is_streaming and (is_asked or "enable_streaming_engine" in switched_on)
