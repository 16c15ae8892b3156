"""Rewrites the words of a Dataflow launch so that a plan is in force. Pure text.

Python: Beam's argparse lets the last flag win, and repeated ones add up; flags are added.
Java: a flag that is given twice is an error; flags are replaced, lists and labels merged.
gcloud is told what to add. Not here: which words may be rewritten (`core.launch_words`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ullage.core.launch import LaunchedJob, Sdk
from ullage.core.launch_words import LaunchWords, canonical_name

PlannedOptions = Mapping[str, str | tuple[str, ...]]
"""As WorkerPlan.options gives them."""

_JAVA_NAMES = {
    "worker_machine_type": "workerMachineType",
    "number_of_worker_harness_threads": "numberOfWorkerHarnessThreads",
    "resource_hints": "resourceHints",
}
_GCLOUD_NAMES = {
    "worker_machine_type": "worker-machine-type",
    "experiments": "additional-experiments",
    "labels": "additional-user-labels",
}


def rewrite(
    argv: Sequence[str],
    launch: LaunchWords,
    options: PlannedOptions,
    *,
    job: LaunchedJob,
) -> list[str]:
    """Return the command with `options` (WorkerPlan.options) in force.

    Python: flags are added, and the last one wins. Java: flags of the same name are taken out
    first, lists and labels are merged with theirs.

    >>> from ullage.core.launch_words import read_launch
    >>> argv = ["python3", "etl.py", "--runner=DataflowRunner"]
    >>> rewrite(argv, read_launch(argv), {"worker_machine_type": "n2-standard-2"}, job=None)
    ['python3', 'etl.py', '--runner=DataflowRunner', '--worker_machine_type=n2-standard-2']
    """
    assert not launch.why_not, "a command that is not certain is left alone"
    if launch.sdk is Sdk.JAVA:
        return _rewrite_java(argv, launch, options, job)
    flags = python_flags(options, given=launch.options.get("resource_hints", ()))
    return [*argv[: launch.own_end], *flags, *argv[launch.own_end :]]


def python_flags(options: PlannedOptions, *, given: Sequence[str] = ()) -> list[str]:
    """Return `options` as flags. given: the launch's own hints, in whose spellings ours go too.

    Beam knows min_ram as minRam as well, and takes the one that was spelled last.
    """
    flags: list[str] = []
    for name, value in options.items():
        for each in (value,) if isinstance(value, str) else value:
            flags.append(f"--{name}={each}")
            hint, _, amount = each.partition("=")
            if name == "resource_hints" and hint == "min_ram" and _spells_camel(given):
                flags.append(f"--{name}=minRam={amount}")
    return flags


def gcloud_flags(options: PlannedOptions) -> list[str]:
    """Return what of `options` gcloud's launches of templates can be told, as flags."""
    flags = []
    for name, value in options.items():
        word = _GCLOUD_NAMES.get(name)
        if word is not None:
            flags.append(f"--{word}={value if isinstance(value, str) else ','.join(value)}")
    return flags


def _spells_camel(hints: Sequence[str]) -> bool:
    return any(hint.startswith("minRam=") for hint in hints)


def _rewrite_java(
    argv: Sequence[str],
    launch: LaunchWords,
    options: PlannedOptions,
    job: LaunchedJob,
) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        word = _JAVA_NAMES.get(name, name)
        if name == "labels":
            pairs = dict(each.split("=", 1) for each in value)
            value = json.dumps({**job.labels, **pairs}, separators=(",", ":"))
        elif not isinstance(value, str):
            given = [one for each in launch.options.get(name, ()) for one in each.split(",") if one]
            value = ",".join(dict.fromkeys([*_without_ours(name, given), *value]))
        flags.append(f"--{word}={value}")
    own = argv[launch.own_start : launch.own_end]
    kept = [word for word in own if _java_name(word) not in options]
    return [*argv[: launch.own_start], *kept, *flags, *argv[launch.own_end :]]


def _without_ours(name: str, given: Sequence[str]) -> list[str]:
    """Return the launch's own words without the hint that ours takes the place of."""
    if name != "resource_hints":
        return list(given)
    return [hint for hint in given if hint.partition("=")[0] not in ("min_ram", "minRam")]


def _java_name(word: str) -> str:
    return canonical_name(word[2:].partition("=")[0]) if word.startswith("--") else ""
