"""Between Beam's PipelineOptions and the records of a launch, in both directions.

Reading: what the options say becomes the words that `core.launch_options` reads. Writing: a
plan is put into the options as a user would have done it. Not here: planning (`sizing`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from ullage.core.launch_options import labels_of
from ullage.core.launch_words import canonical_name

_LOCAL = "ullage.beam.local_options"


class UllageLaunchOptions(PipelineOptions):
    """Options of a launch that is sized by `ullage.beam`."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        if _LOCAL not in sys.modules:  # which declares it too, and Beam has one parser for all
            parser.add_argument(
                "--ullage_name",
                default=None,
                help="What the workload is called (default: the job).",
            )
        parser.add_argument(
            "--ullage_plan",
            default=False,
            action="store_true",
            help="Show the worker that the job would get; send nothing and exit.",
        )
        parser.add_argument(
            "--ullage_keep_machine",
            default=False,
            action="store_true",
            help="Leave machine, processes and threads alone: only explain and record.",
        )
        parser.add_argument(
            "--ullage_off", default=False, action="store_true", help="Leave the launch alone."
        )
        parser.add_argument(
            "--ullage_agent",
            default=False,
            action="store_true",
            help="Have workers load ullage_agent (by itself where it is installed here).",
        )


def option_words(options: PipelineOptions) -> dict[str, tuple[str, ...]]:
    """Return what `options` say: option word -> values in order, "true" for a flag.

    What is unset, off, or known only at run time (a template's parameters) is left out.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, value in options.get_all_options(retain_unknown_options=True).items():
        if name == "labels" and value:
            labels = _labels(value)
            found[name] = tuple(f"{key}={text}" for key, text in labels.items())
            continue
        texts = _texts(value)
        if texts:
            found[canonical_name(name)] = texts
    return found


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value is False:
        return ()
    if value is True:
        return ("true",)
    if isinstance(value, str | int | float):
        return (str(value),)
    if isinstance(value, Mapping):
        return tuple(f"{key}={each}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(str(each) for each in value)
    return ()


def _labels(value: Any) -> dict[str, str]:
    """Return labels however Beam lets them be given: a mapping, a text, a list of texts."""
    if isinstance(value, Mapping):
        return {str(key): str(text) for key, text in value.items()}
    return labels_of([value] if isinstance(value, str) else [str(each) for each in value])


def set_options(options: PipelineOptions, planned: Mapping[str, str | tuple[str, ...]]) -> None:
    """Put what a plan says (WorkerPlan.options) into `options`.

    The machine type and threads replace what was there; experiments, labels and plugins are
    added; of several min_ram hints the plan's stays, which is never below the user's.
    """
    for name, value in planned.items():
        match name, value:
            case "worker_machine_type", str():
                options.view_as(WorkerOptions).machine_type = value
            case "number_of_worker_harness_threads", str():
                options.view_as(DebugOptions).number_of_worker_harness_threads = int(value)
            case "experiments", tuple():
                debug = options.view_as(DebugOptions)
                debug.experiments = _added(debug.experiments, value)
            case "resource_hints", tuple():
                standard = options.view_as(StandardOptions)
                standard.resource_hints = _hints(standard.resource_hints, value)
            case "labels", tuple():
                cloud = options.view_as(GoogleCloudOptions)
                labels = _labels(cloud.labels or ())
                cloud.labels = _added([f"{key}={text}" for key, text in labels.items()], value)
            case "beam_plugins", tuple():
                setup = options.view_as(SetupOptions)
                setup.beam_plugins = _added(setup.beam_plugins, value)
            case _:
                raise AssertionError(f"a plan sets {name}, which nobody writes")


def _added(old: Any, new: tuple[str, ...]) -> list[str]:
    """Return a list of its own: what argparse holds as a default is shared."""
    return list(dict.fromkeys([*(old or ()), *new]))


def _hints(old: Any, new: tuple[str, ...]) -> list[str]:
    given = _texts(old)
    names = {hint.partition("=")[0] for hint in new}
    if "min_ram" in names:
        names.add("minRam")
    return [*(hint for hint in given if hint.partition("=")[0] not in names), *new]
