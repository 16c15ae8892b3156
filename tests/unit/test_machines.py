"""Machine types against Compute Engine's own tables, and what is said of impossible ones."""

from __future__ import annotations

import pytest

from ullage.core.errors import ConfigError
from ullage.core.machines import custom_shape, parse_machine_type, shapes_of
from ullage.core.units import GIB, MIB


@pytest.mark.parametrize(
    ("word", "vcpus", "memory_bytes"),
    [
        ("n1-standard-1", 1, 3840 * MIB),
        ("n1-standard-4", 4, 15 * GIB),
        ("n1-highmem-2", 2, 13 * GIB),
        ("n1-highcpu-2", 2, 1843 * MIB),
        ("n1-highcpu-96", 96, 88474 * MIB),
        ("n2-standard-16", 16, 64 * GIB),
        ("n2-highmem-128", 128, 864 * GIB),
        ("n2-highcpu-8", 8, 8 * GIB),
        ("n2d-standard-224", 224, 896 * GIB),
        ("n2d-highmem-96", 96, 768 * GIB),
        ("e2-standard-32", 32, 128 * GIB),
        ("e2-highmem-16", 16, 128 * GIB),
        ("custom-4-16384", 4, 16 * GIB),
        ("n1-custom-1-1024", 1, GIB),
        ("n2-custom-8-131072-ext", 8, 128 * GIB),
        ("N2-Custom-36-20480", 36, 20 * GIB),
        (" zones/us-central1-a/machineTypes/n2d-custom-48-24576 ", 48, 24 * GIB),
    ],
)
def test_machine_types_are_read(word: str, vcpus: int, memory_bytes: int) -> None:
    shape = parse_machine_type(word)
    assert (shape.vcpus_count, shape.memory_bytes) == (vcpus, memory_bytes)
    assert shape.machine_type == word.strip().lower().rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("x9-standard-4", "machine family 'x9'.* is unknown .*take n2-standard-4"),
        ("c3-standard-22", "cannot be sized by Ullage.*or launch without Ullage"),
        ("f1-micro-1", "cannot be sized"),
        ("n2-standard-5", "does not exist; nearest: n2-standard-8 or n2-standard-4"),
        ("n1-highram-8", "does not exist; nearest: n1-highmem-8"),
        ("e2-medium", "write for example n2-standard-4"),
        ("8 vCPUs", "write for example"),
        ("", "write for example"),
        ("n2-custom-3-4096", "no custom shape with 3 vCPUs; nearest: 2 or 4"),
        ("n2d-custom-6-8192", "nearest: 4 or 8"),
        ("n2-custom-4-5000", "steps of 256; nearest: n2-custom-4-5120"),
        ("n2-custom-4-1024", "2048..32768 MiB.*nearest: n2-custom-4-2048"),
        ("n2-custom-4-40960", "nearest: n2-custom-4-32768 .or add -ext"),
        ("n2-custom-4-8192-ext", "nearest: n2-custom-4-8192"),
        ("n2-custom-4-700160-ext", "nearest: n2-custom-4-655360-ext"),
        ("custom-2-20480", "nearest: custom-2-13312 .or add -ext"),
        ("e2-custom-2-20480", "nearest: e2-custom-2-16384$"),
        ("e2-custom-2-20480-ext", "nearest: e2-custom-2-16384$"),
    ],
)
def test_an_impossible_machine_type_names_the_nearest_possible(word: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_machine_type(word)


def test_the_edges_of_memory_per_vcpu() -> None:
    assert custom_shape("n1", vcpus_count=1, memory_bytes=1).memory_bytes == GIB
    assert custom_shape("n1", vcpus_count=96, memory_bytes=1).memory_bytes == 88576 * MIB
    assert not custom_shape("n1", vcpus_count=2, memory_bytes=13 * GIB).is_extended
    assert custom_shape("n1", vcpus_count=2, memory_bytes=13 * GIB + 1).is_extended
    assert not custom_shape("n2", vcpus_count=2, memory_bytes=16 * GIB).is_extended
    with pytest.raises(ConfigError, match=r"at most 16\.0 GiB"):
        custom_shape("e2", vcpus_count=2, memory_bytes=16 * GIB + 1)
    with pytest.raises(ConfigError, match="nearest: 30 or 32"):
        custom_shape("e2", vcpus_count=31, memory_bytes=GIB)


def test_shapes_of_a_family_come_in_order() -> None:
    words = [s.machine_type for s in shapes_of("n2", vcpus=(2, 4), needs_bytes=(3 * GIB,))]
    assert words == [
        "n2-highcpu-2",
        "n2-custom-2-3072",
        "n2-standard-2",
        "n2-highmem-2",
        "n2-custom-4-3072",
        "n2-highcpu-4",
        "n2-standard-4",
        "n2-highmem-4",
    ]
    with pytest.raises(ConfigError, match="is unknown"):
        shapes_of("z80", vcpus=(2,))
