"""Machine families and the shapes they allow: Compute Engine's own words and rules. Pure.

Known are the families that Ullage can size: E2, N1, N2, N2D, with their standard, highmem
and highcpu shapes, custom shapes, and extended memory. Rules are Compute Engine's, from its
pages on machine families and custom machine types. Memory there is "GB" and means GiB, and
"MB" means MiB. Not here: prices (`core.prices`), and which shape to take
(`policies.workers`). Shared cores (e2-medium, f1-micro) are left out: Dataflow's service
agreement does not cover them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from ullage.core.errors import ConfigError
from ullage.core.units import MIB, format_bytes

STEP_BYTES = 256 * MIB
"""The memory of a custom shape is a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineShape:
    """A machine: its family, vCPUs and memory, and the service's own word for it."""

    family: str
    """Lower case: "e2", "n1", "n2", "n2d"."""
    vcpus_count: int
    memory_bytes: int
    machine_type: str
    """As the service wants it: "n1-standard-4", "n2-custom-8-65536", "custom-4-16384"."""
    is_custom: bool = False
    is_extended: bool = False
    """Memory above the family's share per vCPU ("-ext")."""

    def in_words(self) -> str:
        """Return the shape for people.

        >>> parse_machine_type("n2-custom-8-65536").in_words()
        'n2-custom-8-65536 (8 vCPUs, 64.0 GiB)'
        """
        vcpus = "1 vCPU" if self.vcpus_count == 1 else f"{self.vcpus_count} vCPUs"
        return f"{self.machine_type} ({vcpus}, {format_bytes(self.memory_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFamily:
    """What a family offers.

    series_mib: name ("standard") -> {vCPUs: MiB}. custom_vcpus_count: what a custom shape may
    have, rising. least_mib, most_mib: memory per vCPU of a custom shape without extension.
    total_mib: the most memory of a custom shape; extended_mib: the same with extended
    memory, None where the family has none.
    """

    name: str
    series_mib: dict[str, dict[int, int]]
    custom_vcpus_count: tuple[int, ...]
    least_mib: int
    most_mib: int
    total_mib: int
    extended_mib: int | None

    def least_bytes(self, vcpus_count: int) -> int:
        """Return the least memory of a custom shape with so many vCPUs."""
        return _up(self.least_mib * vcpus_count * MIB)

    def most_bytes(self, vcpus_count: int) -> int:
        """Return the most memory of a custom shape with so many vCPUs, not extended."""
        return min(self.most_mib * vcpus_count, self.total_mib) * MIB // STEP_BYTES * STEP_BYTES

    def top_bytes(self, vcpus_count: int) -> int:
        """Return the most memory of any custom shape with so many vCPUs, extended or not."""
        extended = (self.extended_mib or 0) * MIB
        return max(self.most_bytes(vcpus_count), extended)


def _up(value_bytes: int) -> int:
    return -(-value_bytes // STEP_BYTES) * STEP_BYTES


def _series(vcpus: tuple[int, ...], mib_per_vcpu: float) -> dict[int, int]:
    return {count: round(count * mib_per_vcpu) for count in vcpus}


def _evens(last: int) -> tuple[int, ...]:
    return tuple(range(2, last + 1, 2))


_N1 = (2, 4, 8, 16, 32, 64, 96)
_N2 = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)
_N2D = (2, 4, 8, 16, 32, 48, 64, 80, 96)

FAMILIES = {
    family.name: family
    for family in (
        MachineFamily(
            name="e2",
            series_mib={
                "standard": _series((2, 4, 8, 16, 32), 4096),
                "highmem": _series((2, 4, 8, 16), 8192),
                "highcpu": _series((2, 4, 8, 16, 32), 1024),
            },
            custom_vcpus_count=_evens(32),
            least_mib=512,
            most_mib=8192,
            total_mib=128 * 1024,
            extended_mib=None,
        ),
        MachineFamily(
            name="n1",
            series_mib={
                "standard": _series((1, *_N1), 3840),
                "highmem": _series(_N1, 6656),
                "highcpu": _series(_N1, 921.6),
            },
            custom_vcpus_count=(1, *_evens(96)),
            least_mib=922,
            most_mib=6656,
            total_mib=624 * 1024,
            extended_mib=624 * 1024,
        ),
        MachineFamily(
            name="n2",
            series_mib={
                "standard": _series(_N2, 4096),
                "highmem": _series(_N2[:-1], 8192) | {128: 864 * 1024},
                "highcpu": _series(_N2[:-1], 1024),
            },
            custom_vcpus_count=(*_evens(32), *range(36, 129, 4)),
            least_mib=512,
            most_mib=8192,
            total_mib=864 * 1024,
            extended_mib=640 * 1024,
        ),
        MachineFamily(
            name="n2d",
            series_mib={
                "standard": _series((*_N2D, 128, 224), 4096),
                "highmem": _series(_N2D, 8192),
                "highcpu": _series((*_N2D, 128, 224), 1024),
            },
            custom_vcpus_count=_N2D,
            least_mib=512,
            most_mib=8192,
            total_mib=768 * 1024,
            extended_mib=768 * 1024,
        ),
    )
}
"""Family -> what it offers."""

OTHER_FAMILIES = frozenset(
    (
        *("a2", "a3", "a4", "c2", "c2d", "c3", "c3d", "c4", "c4a", "c4d", "f1", "g1", "g2", "h3"),
        *("m1", "m2", "m3", "m4", "n4", "n4a", "n4d", "t2a", "t2d", "x4", "z3"),
    )
)
"""Families that Compute Engine has and Ullage does not size: known, to say the right thing."""

_CUSTOM = re.compile(r"(?:([a-z][a-z0-9]*)-)?custom-([0-9]{1,4})-([0-9]{1,8})(-ext)?", re.ASCII)
_STANDARD = re.compile(r"([a-z][a-z0-9]*)-([a-z]+)-([0-9]{1,4})", re.ASCII)


@cache
def parse_machine_type(text: str) -> MachineShape:
    """Return the shape that a machine type names; the word is kept as it was written.

    Raises ConfigError for an unknown family, an unknown standard shape or a custom one that
    Compute Engine would refuse, and names the nearest that it would take.

    >>> parse_machine_type("custom-4-16384").family
    'n1'
    >>> parse_machine_type("n1-standard-4").memory_bytes == 15 * 1024**3
    True
    """
    word = text.strip().lower().rsplit("/", 1)[-1]
    custom = _CUSTOM.fullmatch(word)
    if custom:
        name, vcpus, mib, extended = custom.groups()
        family = _family(name or "n1", text, vcpus_count=int(vcpus))
        return _checked_custom(family, word, int(vcpus), int(mib), is_extended=bool(extended))
    standard = _STANDARD.fullmatch(word)
    if standard is None:
        raise ConfigError(
            f"machine type {text[:60]!r} is none; write for example n2-standard-4,"
            " n1-highmem-8 or n2-custom-4-24576 (vCPUs, then MiB)"
        )
    name, series, count = standard.groups()
    family = _family(name, text, vcpus_count=int(count))
    memory_mib = family.series_mib.get(series, {}).get(int(count))
    if memory_mib is None:
        raise ConfigError(
            f"machine type {text[:60]!r} does not exist; nearest: {_nearest(family, word)}"
        )
    return MachineShape(
        family=name, vcpus_count=int(count), memory_bytes=memory_mib * MIB, machine_type=word
    )


def custom_shape(family: str, *, vcpus_count: int, memory_bytes: int) -> MachineShape:
    """Return the smallest custom shape with so many vCPUs and at least that memory.

    Raises ConfigError where the family has no such vCPU count or not so much memory.

    >>> custom_shape("n2", vcpus_count=8, memory_bytes=64 * 1024**3).machine_type
    'n2-custom-8-65536'
    >>> custom_shape("n1", vcpus_count=2, memory_bytes=20 * 1024**3).machine_type
    'custom-2-20480-ext'
    """
    known = _family(family, family, vcpus_count=vcpus_count)
    if vcpus_count not in known.custom_vcpus_count:
        raise ConfigError(_no_such_vcpus(known, vcpus_count))
    memory_bytes = max(_up(memory_bytes), known.least_bytes(vcpus_count))
    if memory_bytes > known.top_bytes(vcpus_count):
        raise ConfigError(
            f"{known.name} has no custom shape with {vcpus_count} vCPUs and"
            f" {format_bytes(memory_bytes)}; at most {format_bytes(known.top_bytes(vcpus_count))}"
        )
    return _custom(known, vcpus_count, memory_bytes)


def smallest_shape(family: str, *, vcpus_count: int, memory_bytes: int) -> MachineShape:
    """Return the shape, standard or custom, with least memory that has at least so much.

    A standard one goes before a custom one of the same size. Raises ConfigError where there
    is none.

    >>> smallest_shape("n2", vcpus_count=8, memory_bytes=64 * 1024**3).machine_type
    'n2-highmem-8'
    """
    known = _family(family, family, vcpus_count=vcpus_count)
    enough = [
        shape
        for shape in _standard(known)
        if shape.vcpus_count == vcpus_count and shape.memory_bytes >= memory_bytes
    ]
    is_custom = vcpus_count in known.custom_vcpus_count
    if not enough or (is_custom and memory_bytes <= known.top_bytes(vcpus_count)):
        enough.append(custom_shape(family, vcpus_count=vcpus_count, memory_bytes=memory_bytes))
    return min(enough, key=lambda shape: (shape.memory_bytes, shape.is_custom))


def shapes_of(
    family: str, *, vcpus: tuple[int, ...], needs_bytes: tuple[int, ...] = ()
) -> tuple[MachineShape, ...]:
    """Return the family's shapes with any of these vCPU counts, by vCPUs, then memory.

    The standard, highmem and highcpu shapes, and for each of `needs_bytes` the smallest
    custom shape that has it, where one exists.
    """
    known = _family(family, family)
    found = {shape.machine_type: shape for shape in _standard(known) if shape.vcpus_count in vcpus}
    taken = {(shape.vcpus_count, shape.memory_bytes) for shape in found.values()}
    for count in vcpus:
        if count not in known.custom_vcpus_count:
            continue
        for need in needs_bytes:
            memory = max(_up(need), known.least_bytes(count))
            if memory <= known.top_bytes(count) and (count, memory) not in taken:
                shape = _custom(known, count, memory)
                found.setdefault(shape.machine_type, shape)
    return tuple(sorted(found.values(), key=lambda s: (s.vcpus_count, s.memory_bytes)))


def _standard(family: MachineFamily) -> Iterator[MachineShape]:
    for series, sizes in family.series_mib.items():
        for count in sizes:
            yield parse_machine_type(f"{family.name}-{series}-{count}")


def _custom(family: MachineFamily, vcpus_count: int, memory_bytes: int) -> MachineShape:
    is_extended = memory_bytes > family.most_bytes(vcpus_count)
    ending = "-ext" if is_extended else ""
    start = "" if family.name == "n1" else f"{family.name}-"  # N1 came first: its word is bare
    return MachineShape(
        family=family.name,
        vcpus_count=vcpus_count,
        memory_bytes=memory_bytes,
        machine_type=f"{start}custom-{vcpus_count}-{memory_bytes // MIB}{ending}",
        is_custom=True,
        is_extended=is_extended,
    )


def _family(name: str, text: str, *, vcpus_count: int = 4) -> MachineFamily:
    """Return the family called `name`; ConfigError names the nearest, or n2."""
    family = FAMILIES.get(name.lower())
    if family is not None:
        return family
    known = ", ".join(FAMILIES)
    near = (get_close_matches(name.lower(), FAMILIES, n=1, cutoff=0.5) or ["n2"])[0]
    size = min(FAMILIES[near].series_mib["standard"], key=lambda count: abs(count - vcpus_count))
    exists = name.lower() in OTHER_FAMILIES
    what = "cannot be sized by Ullage" if exists else "is unknown"
    raise ConfigError(
        f"machine family {name[:20]!r} of {text[:60]!r} {what} (it knows {known});"
        f" take {near}-standard-{size}" + (", or launch without Ullage" if exists else "")
    )


def _nearest(family: MachineFamily, word: str) -> str:
    """Return up to two existing machine types that are written like `word`."""
    types = [shape.machine_type for shape in _standard(family)]
    near = get_close_matches(word, types, n=2, cutoff=0.0)
    return " or ".join(near)


def _no_such_vcpus(family: MachineFamily, vcpus_count: int) -> str:
    near = sorted(family.custom_vcpus_count, key=lambda count: (abs(count - vcpus_count), count))[
        :2
    ]
    counts = " or ".join(str(count) for count in sorted(near))
    return f"{family.name} has no custom shape with {vcpus_count} vCPUs; nearest: {counts}"


def _checked_custom(
    family: MachineFamily, word: str, vcpus_count: int, memory_mib: int, *, is_extended: bool
) -> MachineShape:
    """Return the custom shape that `word` names, or say which possible one is nearest."""
    if vcpus_count not in family.custom_vcpus_count:
        raise ConfigError(f"machine type {word!r}: {_no_such_vcpus(family, vcpus_count)}")
    memory_bytes = memory_mib * MIB
    low, high = family.least_bytes(vcpus_count), family.most_bytes(vcpus_count)
    if is_extended and family.top_bytes(vcpus_count) > high:
        low, high = high + STEP_BYTES, family.top_bytes(vcpus_count)
    possible = memory_bytes % STEP_BYTES == 0 and low <= memory_bytes <= high
    if not possible or is_extended != (memory_bytes > family.most_bytes(vcpus_count)):
        least = family.least_bytes(vcpus_count)
        near = _custom(family, vcpus_count, max(least, min(_up(memory_bytes), high)))
        above = memory_bytes > high and not is_extended and family.extended_mib
        more = " (or add -ext: extended memory)" if above else ""
        raise ConfigError(
            f"machine type {word!r} is impossible: {family.name} with {vcpus_count} vCPUs takes"
            f" {low // MIB}..{high // MIB} MiB in steps of 256; nearest: {near.machine_type}{more}"
        )
    return MachineShape(
        family=family.name,
        vcpus_count=vcpus_count,
        memory_bytes=memory_bytes,
        machine_type=word,
        is_custom=True,
        is_extended=is_extended,
    )
