"""The journal's chain: how an entry is sealed onto the one before, and how that is checked.

Each record carries the sha256 of its own canonical JSON, which holds the digest of the record
before: who changes, drops or inserts one has to rewrite all that follow. What the entries say
is judged by core.audit_rules; `audit` runs both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ullage.core.service import JournalEntry, JournalRecord, ServeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in the journal that must not be. rule: "chain" or an S-number in small letters."""

    rule: str
    number: int
    """Of the record at which it shows."""
    target_id: str | None
    words: str


def canonical_json(number: int, token: int, entry: JournalEntry, previous_digest: str) -> str:
    """Return the text that is hashed: sorted keys, no spaces, ASCII, no NaN.

    Raises ValueError for numbers that JSON does not have, TypeError for other objects.
    """
    content = {
        "number": number,
        "token": token,
        "kind": str(entry.kind),
        "at": entry.at.isoformat(timespec="microseconds"),
        "target_id": entry.target_id,
        "workload_key": entry.workload_key,
        "body": dict(entry.body),
        "previous": previous_digest,
    }
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def digest_of(number: int, token: int, entry: JournalEntry, previous_digest: str) -> str:
    """Return the sha256 (hexadecimal) of the canonical JSON."""
    text = canonical_json(number, token, entry, previous_digest)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def seal(previous: JournalRecord | None, entry: JournalEntry, *, token: int) -> JournalRecord:
    """Return `entry` as the record after `previous` (None = the first one, number 1)."""
    number = previous.number + 1 if previous else 1
    before = previous.digest if previous else ""
    return JournalRecord(
        number=number,
        token=token,
        entry=entry,
        previous_digest=before,
        digest=digest_of(number, token, entry, before),
    )


def check_chain(records: Iterable[JournalRecord]) -> Iterator[Finding]:
    """Yield every break: a changed record, a gap, a token that falls (S9).

    The first record may follow one that retention has dropped.
    """
    previous: JournalRecord | None = None
    for record in records:
        made = digest_of(record.number, record.token, record.entry, record.previous_digest)
        if made != record.digest:
            yield _broken(record, "chain", "its content is not what was sealed")
        if previous is not None:
            if record.number != previous.number + 1:
                yield _broken(record, "chain", f"follows number {previous.number}: records lack")
            elif record.previous_digest != previous.digest:
                yield _broken(record, "chain", "is not sealed onto the record before it")
            if record.token < previous.token:
                yield _broken(record, "s9", "written with an older token than the one before")
        elif record.number == 1 and record.previous_digest:
            yield _broken(record, "chain", "the first record is sealed onto another one")
        previous = record


def audit(records: Iterable[JournalRecord], settings: ServeSettings) -> list[Finding]:
    """Return everything that must not be: breaks of the chain, then of S1..S24.

    One pass in bounded memory (per target). What a journal cannot show is listed in
    core.audit_rules.NOT_VISIBLE.
    """
    from ullage.core.audit_rules import History

    findings: list[Finding] = []
    history = History(settings)

    def judged() -> Iterator[JournalRecord]:
        for record in records:
            findings.extend(history.judge(record))
            yield record

    broken = list(check_chain(judged()))
    return [*broken, *findings, *history.ended()]


def _broken(record: JournalRecord, rule: str, words: str) -> Finding:
    return Finding(rule=rule, number=record.number, target_id=record.entry.target_id, words=words)
