"""The journal's chain and its checker: each rule finds what it is for in a forged journal.

A real journal of a small world is taken, one row is changed and everything sealed anew, as an
honest program with a bug would have written it; the chain's own tests change rows without that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_worlds import DOCKER, QUICK, V1, SmallWorld

from ullage.core.audit import Finding, audit, canonical_json, check_chain, seal
from ullage.core.audit_rules import NOT_VISIBLE
from ullage.core.service import EntryKind, JournalEntry, JournalRecord
from ullage.core.units import GIB
from ullage.testing.service_records import AT

DECISION = EntryKind.DECISION
Forge = Callable[[list[JournalEntry]], list[JournalEntry]]


@cache
def journal(name: str) -> tuple[JournalRecord, ...]:
    """Return a real journal: calm cuts, or harm after one."""
    small = SmallWorld([V1, V1, DOCKER])
    small.run.advance(1500)
    if name == "harm":
        while not any(
            state.watch is not None and state.target_id.startswith("docker")
            for state in small.run.disk.state_of.values()
        ):
            small.run.advance(30)
        small.world.leap("docker:/c", 7 * GIB)
        small.run.advance(300)
    return tuple(small.run.records)


def sealed(entries: Sequence[JournalEntry]) -> list[JournalRecord]:
    records: list[JournalRecord] = []
    for entry in entries:
        records.append(seal(records[-1] if records else None, entry, token=1))
    return records


def forged(name: str, forge: Forge) -> list[Finding]:
    """Return what the audit finds in a journal that was forged and sealed anew."""
    entries = [record.entry for record in journal(name)]
    return audit(sealed(forge(entries)), QUICK)


def first(entries: list[JournalEntry], kind: EntryKind, **wanted: Any) -> int:
    return next(
        index
        for index, entry in enumerate(entries)
        if entry.kind is kind and all(entry.body.get(key) == wanted[key] for key in wanted)
    )


def body_with(**changes: Any) -> Forge:
    """Return a forgery that changes the body of the first cut's row."""

    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        at = first(entries, EntryKind.DECISION, direction="cut")
        body = {**entries[at].body, **changes}
        return [*entries[:at], replace(entries[at], body=body), *entries[at + 1 :]]

    return forge


def inputs_with(**changes: Any) -> Forge:
    """Return a forgery that changes what the first cut saw."""

    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        at = first(entries, EntryKind.DECISION, direction="cut")
        inputs: Any = entries[at].body["inputs"]
        return body_with(inputs={**inputs, **changes})(entries)

    return forge


def all_cuts_in_one_tick(entries: list[JournalEntry]) -> list[JournalEntry]:
    """Forge a tick in which everything was cut."""
    return [
        replace(entry, body={**entry.body, "tick": 9}) if entry.kind is DECISION else entry
        for entry in entries
    ]


def without(kind: EntryKind, **wanted: Any) -> Forge:
    """Return a forgery that leaves the first such row out."""

    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        at = first(entries, kind, **wanted)
        return [*entries[:at], *entries[at + 1 :]]

    return forge


def with_row(kind: EntryKind, *, before: EntryKind, **body: Any) -> Forge:
    """Return a forgery that puts a row before the first cut's row, about its target."""

    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        cut = entries[first(entries, EntryKind.DECISION, direction="cut")]
        at = entries.index(cut)
        row = replace(cut, kind=kind, body=body)
        return [*entries[:at], row, *entries[at:]]

    return forge


def twice(kind: EntryKind) -> Forge:
    """Return a forgery that tells the first such row twice."""

    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        at = first(entries, kind)
        return [*entries[: at + 1], *entries[at:]]

    return forge


FORGERIES: list[tuple[str, str, Forge]] = [
    ("s1", "calm", inputs_with(need_bytes=4 * GIB)),
    ("s2", "calm", inputs_with(age_s=500.0)),
    ("s2", "calm", inputs_with(age_s=None)),
    ("s2", "calm", inputs_with(age_s=-60.0)),
    ("s2", "calm", inputs_with(samples_count=1)),
    ("s2", "calm", inputs_with(poisoned_count=1)),
    ("s2", "calm", inputs_with(gap_ratio=0.5)),
    ("s4", "calm", inputs_with(max_bytes=GIB)),
    ("s4", "calm", body_with(direction="grow")),
    ("s5", "calm", body_with(new_bytes=2 * GIB)),
    ("s5", "calm", body_with(new_bytes=4 * GIB - 1)),
    ("s6", "calm", without(DECISION, direction="cut")),
    ("s6", "calm", body_with(is_after=True)),
    ("s7", "calm", without(EntryKind.OUTCOME)),
    ("s8", "calm", with_row(EntryKind.HANDS_OFF, before=DECISION)),
    ("s10", "calm", inputs_with(incident=True)),
    ("s10", "calm", lambda entries: all_cuts_in_one_tick(entries)),
    (
        "s11",
        "calm",
        with_row(
            EntryKind.QUARANTINE, before=DECISION, until_at=(AT + timedelta(days=9)).isoformat()
        ),
    ),
    ("s11", "calm", without(EntryKind.WATCH_ENDED)),
    ("s12", "calm", with_row(EntryKind.BREAKER, before=DECISION)),
    ("s16", "calm", inputs_with(is_conservative=True)),
    ("s17", "calm", with_row(EntryKind.START, before=DECISION, tick=99)),
    (
        "s20",
        "calm",
        with_row(EntryKind.CLOCK_JUMP, before=DECISION, jump_s=90.0, tick=99),
    ),
    ("s21", "calm", inputs_with(mode="off")),
    ("s22", "calm", without(EntryKind.ORIGINAL)),
    ("s23", "harm", twice(EntryKind.OOM)),
    ("s24", "calm", body_with(reasons=[])),
    ("s24", "calm", with_row(EntryKind.HOLD, before=DECISION, codes=[])),
    ("s24", "calm", with_row(EntryKind.HOLD, before=DECISION, codes=["because"])),
]


@pytest.mark.parametrize("name", ["calm", "harm"])
def test_an_honest_journal_has_no_findings(name: str) -> None:
    assert audit(journal(name), QUICK) == []
    kinds = {record.entry.kind for record in journal(name)}
    assert DECISION in kinds
    assert (EntryKind.OOM in kinds) == (name == "harm")


@pytest.mark.parametrize(("rule", "name", "forge"), FORGERIES)
def test_each_rule_finds_its_breach(rule: str, name: str, forge: Forge) -> None:
    assert rule in {finding.rule for finding in forged(name, forge)}


def test_an_oom_within_a_watch_that_is_called_organic_is_found() -> None:
    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        at = first(entries, EntryKind.OOM)
        body = {**entries[at].body, "attribution": "organic"}
        return [*entries[:at], replace(entries[at], body=body), *entries[at + 1 :]]

    assert "s12" in {finding.rule for finding in forged("harm", forge)}


def test_harm_without_a_restore_is_found() -> None:
    def forge(entries: list[JournalEntry]) -> list[JournalEntry]:
        at = first(entries, EntryKind.OOM)
        late = replace(entries[-1], kind=EntryKind.STOP, at=entries[-1].at + timedelta(hours=1))
        return [*entries[: at + 1], late]

    assert "s11" in {finding.rule for finding in forged("harm", forge)}


def test_every_invariant_is_judged_or_said_to_be_invisible() -> None:
    judged = {rule for rule, _, _ in FORGERIES} | {"s9", "s12", "s14"}
    assert judged | set(NOT_VISIBLE) == {f"s{number}" for number in range(1, 25)}


def test_s9_an_older_token_after_a_newer_one_is_found() -> None:
    records = sealed([record.entry for record in journal("calm")])
    later = seal(records[4], records[5].entry, token=7)
    stale = seal(later, records[6].entry, token=1)
    assert [finding.rule for finding in check_chain([*records[:5], later, stale])] == ["s9"]


@given(st.data())
def test_every_change_of_a_chain_is_found(draw: st.DataObject) -> None:
    """Change, drop, swap or repeat any record: the chain breaks."""
    records = list(journal("calm"))
    at = draw.draw(st.integers(0, len(records) - 2))
    how = draw.draw(st.sampled_from(["body", "drop", "swap", "repeat", "moment"]))
    record = records[at]
    if how == "body":
        entry = replace(record.entry, body={**record.entry.body, "x": 1})
        records[at] = replace(record, entry=entry)
    elif how == "moment":
        entry = replace(record.entry, at=record.entry.at + timedelta(microseconds=1))
        records[at] = replace(record, entry=entry)
    elif how == "drop":
        del records[at]
        if at == 0:
            return  # the beginning may have been dropped by retention
    elif how == "swap":
        records[at : at + 2] = [records[at + 1], record]
    else:
        records.insert(at, record)
    assert list(check_chain(records))


def test_a_journal_whose_beginning_was_dropped_still_verifies() -> None:
    assert list(check_chain(journal("calm")[7:])) == []


def test_canonical_json_is_the_same_for_any_order_of_keys_and_refuses_nan() -> None:
    one = JournalEntry(kind=EntryKind.HOLD, at=AT, body={"a": 1, "b": "\u00e9"})
    other = replace(one, body={"b": "\u00e9", "a": 1})
    assert canonical_json(1, 1, one, "") == canonical_json(1, 1, other, "")
    assert canonical_json(1, 1, one, "").isascii()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(1, 1, replace(one, body={"a": float("nan")}), "")
