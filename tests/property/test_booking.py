"""What runs are promised never exceeds what the host can give, and families count once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.booking import (
    Claim,
    HostMemory,
    ceiling_bytes,
    promised_bytes,
    reserve_bytes,
)
from ullage.core.units import GIB, MIB

sizes = st.integers(0, 64 * GIB)
memories = st.builds(HostMemory, available_bytes=sizes, reserve_bytes=st.integers(0, 4 * GIB))


def claim(name: str, booked_gib: float, need_gib: float, parent: str | None = None) -> Claim:
    return Claim(
        run_id=name,
        booked_bytes=round(booked_gib * GIB),
        need_bytes=round(need_gib * GIB),
        parent_run_id=parent,
    )


HOST = HostMemory(available_bytes=10 * GIB, reserve_bytes=GIB)


@pytest.mark.parametrize(
    ("own", "others", "ceiling_gib"),
    [
        (claim("a", 0, 2), [], 11),
        (claim("a", 0, 2), [claim("b", 6, 1)], 6),
        (claim("a", 0, 2), [claim("b", 6, 8)], 11),  # b needs more than it has booked
        (claim("a", 0, 0), [claim("b", 20, 0)], 0),
        (claim("a", 5, 0), [claim("a", 9, 0)], 9),  # its own older row is not another's
        (claim("in", 0, 0, "out"), [claim("out", 8, 1), claim("b", 3, 0)], 7),  # by its family
        (claim("in", 0, 0, "out"), [claim("b", 3, 0)], 6),  # the outer run is gone
        (claim("b", 0, 0), [claim("out", 4, 1), claim("in", 3, 0, "out")], 6),
        (claim("a", 0, 0, "b"), [claim("b", 2, 0, "a")], 9),  # a circle is no trap
    ],
)
def test_worked_values(own: Claim, others: list[Claim], ceiling_gib: float) -> None:
    assert ceiling_bytes(own, others, HOST) == ceiling_gib * GIB


def test_the_reserve_is_the_larger_of_both() -> None:
    assert reserve_bytes(8 * GIB) == GIB
    assert reserve_bytes(100 * GIB) == 5 * GIB
    assert reserve_bytes(100 * GIB, ratio=0.5, min_bytes=MIB) == 50 * GIB


@given(
    memories,
    st.lists(st.tuples(st.integers(0, 5), sizes, sizes), max_size=30),
    st.lists(st.none() | st.integers(0, 5), min_size=6, max_size=6),
)
def test_promises_stay_within_the_budget(
    memory: HostMemory, asks: list[tuple[int, int, int]], parents: list[int | None]
) -> None:
    """Six runs, some inside others, ask in any order; each gets what its ceiling allows."""
    claims = [
        Claim(
            run_id=str(i),
            booked_bytes=0,
            need_bytes=0,
            parent_run_id=None if parent is None else str(parent),
        )
        for i, parent in enumerate(parents)
        if parent is None or parent < i
    ]
    budget_bytes = max(0, memory.available_bytes - memory.reserve_bytes)
    for index, booked_bytes, need_bytes in asks:
        if index >= len(claims):
            continue
        own = replace(claims[index], need_bytes=need_bytes)
        ceiling = ceiling_bytes(own, claims, memory)
        claims[index] = replace(own, booked_bytes=min(booked_bytes, ceiling))
        assert promised_bytes(claims) <= budget_bytes
        assert ceiling <= need_bytes + memory.available_bytes


@given(memories, st.lists(st.tuples(sizes, sizes), max_size=6), sizes)
def test_less_promised_to_others_is_never_less_for_me(
    memory: HostMemory, others: list[tuple[int, int]], need_bytes: int
) -> None:
    claims = [
        Claim(run_id=str(i), booked_bytes=booked, need_bytes=need)
        for i, (booked, need) in enumerate(others)
    ]
    own = Claim(run_id="me", booked_bytes=0, need_bytes=need_bytes)
    ceilings = [ceiling_bytes(own, claims[:n], memory) for n in range(len(claims) + 1)]
    assert ceilings == sorted(ceilings, reverse=True)
