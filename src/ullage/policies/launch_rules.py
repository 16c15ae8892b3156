"""What Dataflow allows at a launch, and what it does with a memory hint. Pure.

Every refusal is a ConfigError before anything is sent. Sources: Dataflow's pages on right
fitting, on Prime's unsupported features and on FlexRS; Beam's page on resource hints. Not
here: which worker to take (`policies.workers`).
"""

from __future__ import annotations

import re

from ullage.core.errors import ConfigError
from ullage.core.launch import LaunchedJob, Sdk, service_shape
from ullage.core.machines import FAMILIES, MachineShape, parse_machine_type, smallest_shape
from ullage.core.units import format_bytes, format_quantity

HINTS_SINCE = (2, 31)
"""Beam knows resource hints from 2.31.0 on, in Python and Java."""
FLEXRS_FAMILY = "n1"
"""FlexRS starts N1 workers unless told otherwise; only those are proposed to it."""


def check_launch(job: LaunchedJob) -> None:
    """Raise ConfigError, with the way out, for a launch that the service would refuse.

    Prime with a machine type; FlexRS with streaming; a hint with an SDK that does not know
    hints; counts below one; a machine type that does not exist.
    """
    if job.is_prime and job.machine_type is not None:
        raise ConfigError(
            f"Dataflow Prime takes no machine type ({job.machine_type[:60]!r}): drop it, or drop"
            " enable_prime; more memory is asked for by --resource_hints=min_ram=16GiB"
        )
    if job.is_flexrs and job.is_streaming:
        raise ConfigError("FlexRS runs batch jobs only: drop --flexrs_goal or --streaming")
    for count, name in (
        (job.threads_count, "number_of_worker_harness_threads"),
        (job.workers_count, "num_workers"),
        (job.max_workers_count, "max_num_workers"),
    ):
        if count is not None and count < 1:
            raise ConfigError(f"--{name} is {count}; leave it out, or give 1 or more")
    hinted = job.min_ram_bytes is not None or job.transform_min_ram_bytes is not None
    if (hinted or job.is_prime) and is_older(job.sdk_version, HINTS_SINCE):
        why = "Dataflow Prime is sized by a hint" if not hinted else "the launch has min_ram"
        raise ConfigError(
            f"Beam {job.sdk_version} knows no resource hints ({why}): take Beam 2.31.0 or newer,"
            + (" or drop enable_prime" if not hinted else " or drop the hint")
        )
    if job.machine_type is not None:
        parse_machine_type(job.machine_type)


def is_older(version: str | None, than: tuple[int, int]) -> bool:
    """Say whether an SDK's version is known to be older.

    >>> is_older("2.30.0", (2, 31)), is_older("2.77.0rc1", (2, 31)), is_older(None, (2, 31))
    (True, False, False)
    """
    match = re.match(r"([0-9]{1,6})\.([0-9]{1,6})", version or "", re.ASCII)
    return match is not None and (int(match[1]), int(match[2])) < than


def obeys_hints(job: LaunchedJob) -> bool:
    """Say whether the service gives this job's workers the memory that a hint asks for.

    Right fitting is on by itself in batch jobs with a hint and under Prime, in streaming where
    it is switched on; never with Go or FlexRS.
    """
    if job.sdk is Sdk.GO or job.is_flexrs or is_older(job.sdk_version, HINTS_SINCE):
        return False
    return job.is_prime or not job.is_streaming or job.is_right_fitting


def hinted_bytes(job: LaunchedJob) -> int:
    """Return the memory that the launch's own hints ask for per worker, 0 without any.

    Hints of the job and of a transform merge by their maximum.
    """
    return max(job.min_ram_bytes or 0, job.transform_min_ram_bytes or 0)


def shape_before(job: LaunchedJob) -> MachineShape:
    """Return the machine that the launch would get as it is: a hint outranks its machine type.

    Raises ConfigError for a machine type that does not exist and a hint that no machine of
    its family has.
    """
    named = parse_machine_type(job.machine_type) if job.machine_type else service_shape(job)
    hint = hinted_bytes(job) if obeys_hints(job) else 0
    if hint <= named.memory_bytes:
        return named
    try:
        return smallest_shape(named.family, vcpus_count=named.vcpus_count, memory_bytes=hint)
    except ConfigError as error:
        raise ConfigError(
            f"the hint min_ram={format_quantity(hint)} is impossible: {error}"
        ) from error


def notes_on_launch(job: LaunchedJob, before: MachineShape) -> list[str]:
    """Return what a person should know about the launch itself, in sentences."""
    notes = []
    hint = hinted_bytes(job)
    if hint and not obeys_hints(job):
        notes.append(f"The hint min_ram={format_quantity(hint)} has no effect: {_why_not(job)}.")
    elif (
        job.machine_type
        and before.machine_type != parse_machine_type(job.machine_type).machine_type
    ):
        notes.append(
            f"The hint min_ram={format_quantity(hint)} outranks the machine type"
            f" {job.machine_type}: the service starts workers with {format_bytes(hint)} or more."
        )
    if job.is_prime:
        notes.append(
            "Dataflow Prime chooses the machine itself: only a hint can be sent, and money is"
            " shown as for classic workers (Prime bills compute units)."
        )
    if job.is_flexrs:
        notes.append("Money is shown at the price of batch workers; FlexRS costs less.")
        if before.family != FLEXRS_FAMILY:
            notes.append("FlexRS starts N1 workers; only those are proposed.")
    return notes


def families_of(job: LaunchedJob, before: MachineShape) -> tuple[str, ...]:
    """Return the families to choose from, the launch's own first, then where it ends.

    Only E2 has no extended memory; N2 goes on where it ends, at the same Dataflow price.
    """
    if job.is_flexrs:
        return (FLEXRS_FAMILY,)
    if FAMILIES[before.family].extended_mib is None:
        return (before.family, "n2")
    return (before.family,)


def _why_not(job: LaunchedJob) -> str:
    if job.sdk is Sdk.GO:
        return "right fitting does not support Go"
    if job.is_flexrs:
        return "FlexRS does not support right fitting"
    return "streaming needs --experiments=enable_streaming_rightfitting"
