"""Laws of machine shapes: what is made can be read, and the smallest is the smallest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.errors import ConfigError
from ullage.core.machines import (
    FAMILIES,
    STEP_BYTES,
    MachineFamily,
    custom_shape,
    parse_machine_type,
    shapes_of,
    smallest_shape,
)
from ullage.core.units import GIB, MIB

families = st.sampled_from(sorted(FAMILIES.values(), key=lambda family: family.name))


@st.composite
def wanted(draw: st.DrawFn) -> tuple[MachineFamily, int, int]:
    """Draw a family, vCPUs that it has in custom shapes, and a memory in bytes."""
    family = draw(families)
    vcpus = draw(st.sampled_from(family.custom_vcpus_count))
    return family, vcpus, draw(st.integers(1, family.top_bytes(vcpus)))


@given(wanted())
def test_a_custom_shape_is_the_smallest_possible_and_reads_back(
    case: tuple[MachineFamily, int, int],
) -> None:
    family, vcpus, memory = case
    shape = custom_shape(family.name, vcpus_count=vcpus, memory_bytes=memory)
    assert shape.memory_bytes >= memory
    assert shape.memory_bytes % STEP_BYTES == 0
    smaller = shape.memory_bytes - STEP_BYTES
    assert smaller < max(memory, family.least_mib * vcpus * MIB), "a step less would do"
    assert shape.is_extended == (shape.memory_bytes > family.most_bytes(vcpus))
    assert parse_machine_type(shape.machine_type) == shape


@given(wanted())
def test_the_smallest_shape_of_all_is_no_larger_than_any_that_is_offered(
    case: tuple[MachineFamily, int, int],
) -> None:
    family, vcpus, memory = case
    shape = smallest_shape(family.name, vcpus_count=vcpus, memory_bytes=memory)
    offered = shapes_of(family.name, vcpus=(vcpus,), needs_bytes=(memory,))
    assert shape.memory_bytes == min(s.memory_bytes for s in offered if s.memory_bytes >= memory)
    assert parse_machine_type(shape.machine_type) == shape


@given(families, st.lists(st.integers(1, 300 * GIB), max_size=4))
def test_every_shape_that_is_offered_reads_back(family: MachineFamily, needs: list[int]) -> None:
    counts = tuple(sorted({*family.series_mib["standard"], *family.custom_vcpus_count[:5]}))
    shapes = shapes_of(family.name, vcpus=counts, needs_bytes=tuple(needs))
    assert len({shape.machine_type for shape in shapes}) == len(shapes)
    for shape in shapes:
        assert parse_machine_type(shape.machine_type) == shape


def refusal(word: str) -> str | None:
    """Return what is said against a machine type, None where it is one."""
    try:
        parse_machine_type(word)
    except ConfigError as error:
        return str(error)
    return None


@given(families, st.integers(1, 400), st.integers(1, 2_000_000), st.booleans())
def test_any_custom_word_is_read_or_refused_with_a_possible_one(
    family: MachineFamily, vcpus: int, memory_mib: int, is_extended: bool
) -> None:
    word = f"{family.name}-custom-{vcpus}-{memory_mib}{'-ext' if is_extended else ''}"
    said = refusal(word)
    if said is None:
        memory = parse_machine_type(word).memory_bytes
        again = custom_shape(family.name, vcpus_count=vcpus, memory_bytes=memory)
        assert (again.memory_bytes, again.is_extended) == (memory, is_extended)
    else:
        assert "nearest: " in said
        if "is impossible" in said:
            assert refusal(said.partition("nearest: ")[2].split()[0]) is None


@given(st.text(max_size=80))
def test_any_text_is_a_machine_or_a_clear_error(text: str) -> None:
    said = refusal(text)
    assert said is None or (len(said) < 500 and said.isprintable())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_more_memory_than_there_is_is_refused(family: str) -> None:
    with pytest.raises(ConfigError, match="at most"):
        custom_shape(family, vcpus_count=2, memory_bytes=2000 * GIB)
