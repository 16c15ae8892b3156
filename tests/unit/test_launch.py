"""A launch: what the service would do with it, what it may not be, and the options of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ullage.core.errors import ConfigError
from ullage.core.launch import (
    LABEL_LENGTH,
    ONE_PROCESS,
    Sdk,
    label_value,
    min_ram_of,
    service_disk,
    service_layout,
    service_shape,
)
from ullage.core.units import GIB
from ullage.policies.launch_rules import check_launch, obeys_hints, shape_before
from ullage.testing.launches import launched_job as job
from ullage.testing.launches import process_history as history
from ullage.testing.launches import worker_plan as plan


@pytest.mark.parametrize(
    ("changes", "machine"),
    [
        ({}, "n1-standard-1"),
        ({"is_flexrs": True}, "n1-standard-2"),
        ({"is_streaming": True}, "n1-standard-4"),
        ({"is_streaming": True, "is_streaming_engine": True}, "n1-standard-2"),
    ],
)
def test_the_service_has_its_own_machines(changes: dict[str, bool], machine: str) -> None:
    assert service_shape(job(**changes)).machine_type == machine


@pytest.mark.parametrize(
    ("changes", "processes", "threads"),
    [
        ({}, 8, 1),
        ({"experiments": (ONE_PROCESS,)}, 1, 8),
        ({"is_streaming": True}, 8, 12),
        ({"is_streaming": True, "experiments": (ONE_PROCESS,)}, 1, 96),
        ({"threads_count": 3}, 8, 3),
        ({"sdk": Sdk.JAVA}, 1, 8),
        ({"sdk": Sdk.JAVA, "is_streaming": True}, 1, 500),
        ({"sdk": Sdk.JAVA, "is_streaming": True, "is_streaming_engine": True}, 1, 300),
        ({"sdk": Sdk.GO}, 1, 8),
    ],
)
def test_processes_and_threads_of_a_worker_with_8_vcpus(
    changes: dict[str, object], processes: int, threads: int
) -> None:
    layout = service_layout(job(**changes), 8)
    assert (layout.processes_count, layout.threads_count) == (processes, threads)


def test_disks() -> None:
    assert service_disk(job()) == 25 * GIB
    assert service_disk(job(experiments=("shuffle_mode=appliance",))) == 250 * GIB
    assert service_disk(job(is_streaming=True)) == 400 * GIB
    assert service_disk(job(is_streaming=True, is_streaming_engine=True)) == 30 * GIB
    assert service_disk(job(disk_bytes=7 * GIB)) == 7 * GIB


def test_hints_need_a_unit() -> None:
    assert min_ram_of([]) is None
    assert min_ram_of(["accelerator=type:nvidia-tesla-t4"]) is None
    assert min_ram_of(["min_ram=8GB", "minRam=8GiB"]) == 8 * GIB
    with pytest.raises(ConfigError, match="hint min_ram: '16' has no unit"):
        min_ram_of(["min_ram=16"])
    with pytest.raises(ConfigError, match="unknown unit 'Gibi'"):
        min_ram_of(["min_ram=16Gibi"])
    with pytest.raises(ConfigError, match="not a quantity"):
        min_ram_of(["min_ram"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"is_prime": True, "machine_type": "n1-standard-4"}, "Prime takes no machine type"),
        ({"is_flexrs": True, "is_streaming": True}, "FlexRS runs batch jobs only"),
        ({"min_ram_bytes": GIB, "sdk_version": "2.30.0"}, "2.31.0 or newer, or drop the hint"),
        ({"transform_min_ram_bytes": GIB, "sdk_version": "2.9"}, "knows no resource hints"),
        ({"is_prime": True, "sdk_version": "2.30.0"}, "or drop enable_prime"),
        ({"threads_count": 0}, "number_of_worker_harness_threads is 0"),
        ({"max_workers_count": -1}, "max_num_workers is -1"),
        ({"workers_count": 0}, "num_workers is 0"),
        ({"machine_type": "q7-standard-4"}, "is unknown"),
        ({"machine_type": "n2-custom-5-8192"}, "no custom shape with 5 vCPUs"),
    ],
)
def test_a_launch_that_cannot_be_is_refused_with_the_way_out(
    changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        check_launch(job(**changes))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=says):
        plan(**changes)


def test_a_hint_that_no_machine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="hint min_ram=700GiB is impossible: n1 has no"):
        plan(min_ram_bytes=700 * GIB)


@pytest.mark.parametrize(
    ("changes", "obeyed"),
    [
        ({}, True),
        ({"sdk": Sdk.JAVA}, True),
        ({"sdk": Sdk.GO}, False),
        ({"is_flexrs": True}, False),
        ({"is_streaming": True}, False),
        ({"is_streaming": True, "is_right_fitting": True}, True),
        ({"is_streaming": True, "is_prime": True}, True),
        ({"sdk_version": "2.30.0"}, False),
        ({"sdk_version": None}, True),
    ],
)
def test_who_obeys_hints(changes: dict[str, object], obeyed: bool) -> None:
    assert obeys_hints(job(**changes)) is obeyed


def test_a_hint_outranks_the_machine_type_only_upwards() -> None:
    asked = job(machine_type="n1-standard-4", min_ram_bytes=32 * GIB)
    assert shape_before(asked).memory_bytes == 32 * GIB
    assert shape_before(replace(asked, min_ram_bytes=2 * GIB)).machine_type == "n1-standard-4"
    assert shape_before(replace(asked, sdk=Sdk.GO)).machine_type == "n1-standard-4"
    hidden = replace(asked, min_ram_bytes=None, transform_min_ram_bytes=20 * GIB)
    assert shape_before(hidden).memory_bytes == 20 * GIB


@pytest.mark.parametrize("text", ["", "Ä" * 200, "a b\nc", "x" * 64, "$(rm -rf /)", "-_-"])
def test_any_text_becomes_a_label(text: str) -> None:
    value = label_value(text)
    assert 1 <= len(value) <= LABEL_LENGTH
    assert set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_options_say_only_what_changes_and_label_the_job() -> None:
    kept = plan(machine_type="n2-standard-8").options()
    assert set(kept) == {"labels"}
    assert kept["labels"][0] == "ullage-workload=orders"
    assert kept["labels"][1].startswith("ullage-decision=d-")
    raised = plan(history(40, 5 * GIB), machine_type="n1-standard-4").options()
    assert set(raised) == {"labels", "worker_machine_type"}
