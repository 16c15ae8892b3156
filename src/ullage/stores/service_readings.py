"""What is remembered of live targets in SQLite: peaks of five weeks, readings of some hours.

Readings wait in memory and are written about once a minute (a crash may lose that minute), of
many targets some at each pass: one small row per target and quarter of an hour, one per target
and day. Bounded (S19): days
older than `peaks_kept`, quarters older than the recent readings, and names that nobody has
seen for so long, or more of them than `NAMES_AT_MOST`, are dropped.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ullage.core.service import LiveReading, ServeSettings, TargetHistory
from ullage.stores.rows import instant_us
from ullage.stores.service_rows import key_of, name_of

NAMES_AT_MOST = 50_000
"""Targets that are remembered; of more the longest unseen are forgotten first."""
WAITING_AT_MOST = 200_000
"""Readings that wait for a store that does not answer; older ones are given up, and counted."""
_DAY_S = 86_400.0
_QUARTER_S = 900.0
_TRIPLE = 3


class ReadingBuffer:
    """Readings since the last `flush`, by target; writes them in one transaction."""

    def __init__(self, settings: ServeSettings) -> None:
        self.lost_count = 0
        self._interval_s = settings.peak_interval.total_seconds()
        self._peaks_kept = settings.peaks_kept
        recent_s = settings.recent_samples_count * settings.sample_interval.total_seconds()
        self._recent_kept = timedelta(seconds=max(2 * _QUARTER_S, 1.25 * recent_s))
        self._waiting: dict[str, array[float]] = {}
        self._waiting_count = 0

    @property
    def waiting_count(self) -> int:
        """How many readings wait to be written."""
        return self._waiting_count

    def add(self, readings: Sequence[LiveReading]) -> None:
        """Keep readings; numbers up to 2^50 pass through a float unharmed."""
        for reading in readings:
            limit = -1.0 if reading.limit_bytes is None else float(reading.limit_bytes)
            triple = (reading.at.timestamp(), float(reading.need_bytes), limit)
            self._waiting.setdefault(reading.target_id, array("d")).extend(triple)
        self._waiting_count += len(readings)
        if self._waiting_count > WAITING_AT_MOST:
            self.lost_count += self._waiting_count
            self.forget(list(self._waiting))

    @property
    def waiting_targets_count(self) -> int:
        """Of how many targets readings wait."""
        return len(self._waiting)

    def longest_waiting(self, count: int) -> list[str]:
        """Return the `count` targets whose readings have waited longest."""
        return list(islice(self._waiting, count))

    def forget(self, target_ids: Sequence[str]) -> None:
        """Drop what waits of these."""
        for target_id in target_ids:
            self._waiting_count -= len(self._waiting.pop(target_id)) // _TRIPLE

    def flush(self, connection: sqlite3.Connection, target_ids: Sequence[str]) -> None:
        """Write what waits of these, in the caller's transaction; `forget` it when durable."""
        for target_id in target_ids:
            numbers = self._waiting[target_id]
            triples = np.frombuffer(numbers, np.float64).reshape(-1, _TRIPLE)
            target = _number_of(connection, target_id, triples)
            self._add_peaks(connection, target, triples)
            _add_recent(connection, target, triples)

    def prune(self, connection: sqlite3.Connection, at: datetime) -> None:
        """Drop what is older than is kept, inside the caller's transaction."""
        oldest_s = (at - self._peaks_kept).timestamp()
        connection.execute("DELETE FROM service_peaks WHERE day < ?", (int(oldest_s // _DAY_S),))
        recent_s = (at - self._recent_kept).timestamp()
        connection.execute(
            "DELETE FROM service_recent WHERE quarter < ?", (int(recent_s // _QUARTER_S),)
        )
        connection.execute(
            "DELETE FROM service_target WHERE last_seen_at_us < ?",
            (instant_us(at - self._peaks_kept),),
        )
        connection.execute(
            "DELETE FROM service_target WHERE number IN (SELECT number FROM service_target"
            " ORDER BY last_seen_at_us DESC, number DESC LIMIT -1 OFFSET ?)",
            (NAMES_AT_MOST,),
        )

    def _add_peaks(
        self, connection: sqlite3.Connection, target: int, triples: NDArray[np.float64]
    ) -> None:
        starts = triples[:, 0] // self._interval_s * self._interval_s
        days = (starts // _DAY_S).astype(np.int64)
        for day in np.unique(days).tolist():
            chosen = days == day
            pairs = np.column_stack((starts[chosen], triples[chosen, 1]))
            held = _packed(connection, "service_peaks", "day", target, day)
            merged = _largest(np.concatenate((held.reshape(-1, 2), pairs)))
            if not np.array_equal(merged.ravel(), held):  # mostly no peak is higher than known
                _put(connection, "service_peaks", "day", target, day, merged)


def histories(
    connection: sqlite3.Connection, since: datetime, settings: ServeSettings
) -> Iterator[tuple[str, TargetHistory]]:
    """Yield (target_id, what is remembered since then), target by target."""
    targets = connection.execute("SELECT * FROM service_target ORDER BY number").fetchall()
    ooms = _ooms(connection, since)
    since_s = since.timestamp()
    for target in targets:
        values = (target["number"], int(since_s // _DAY_S))
        peaks = _joined(
            connection.execute(
                "SELECT packed FROM service_peaks WHERE target = ? AND day >= ? ORDER BY day",
                values,
            ),
            2,
        )
        recent = _joined(
            connection.execute(
                "SELECT packed FROM service_recent WHERE target = ? ORDER BY quarter",
                (target["number"],),
            ),
            _TRIPLE,
        )
        peaks = peaks[peaks[:, 0] >= since_s]
        recent = recent[np.argsort(recent[:, 0], kind="stable")][-settings.recent_samples_count :]
        own = ooms.get(target["target_key"], np.empty((0, 2)))
        yield (
            name_of(target["target_key"]),
            TargetHistory(
                at_s=recent[:, 0].copy(),
                need_bytes=recent[:, 1].astype(np.int64),
                limit_bytes=recent[:, 2].astype(np.int64),
                peak_at_s=peaks[:, 0].copy(),
                peak_bytes=peaks[:, 1].astype(np.int64),
                peak_interval_s=settings.peak_interval.total_seconds(),
                oom_at_s=own[:, 0].copy(),
                oom_at_least_bytes=own[:, 1].astype(np.int64),
                first_seen_at=datetime.fromtimestamp(target["first_seen_at_us"] / 1e6, UTC),
            ),
        )


def _ooms(connection: sqlite3.Connection, since: datetime) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[tuple[float, float]]] = {}
    rows = connection.execute(
        "SELECT target_key, at_us, at_least_bytes FROM service_oom WHERE at_us >= ? ORDER BY at_us",
        (instant_us(since),),
    )
    for row in rows:
        pair = (row["at_us"] / 1e6, float(row["at_least_bytes"]))
        found.setdefault(row["target_key"], []).append(pair)
    return {key: np.array(pairs) for key, pairs in found.items()}


def _number_of(connection: sqlite3.Connection, target_id: str, triples: NDArray[np.float64]) -> int:
    first_us, last_us = int(triples[:, 0].min() * 1e6), int(triples[:, 0].max() * 1e6)
    row = connection.execute(
        "INSERT INTO service_target (target_key, first_seen_at_us, last_seen_at_us)"
        " VALUES (?, ?, ?) ON CONFLICT (target_key) DO UPDATE SET"
        " first_seen_at_us = min(first_seen_at_us, excluded.first_seen_at_us),"
        " last_seen_at_us = max(last_seen_at_us, excluded.last_seen_at_us) RETURNING number",
        (key_of(target_id), first_us, last_us),
    ).fetchone()
    return int(row["number"])


def _add_recent(connection: sqlite3.Connection, target: int, triples: NDArray[np.float64]) -> None:
    quarters = (triples[:, 0] // _QUARTER_S).astype(np.int64)
    for quarter in np.unique(quarters).tolist():
        held = _packed(connection, "service_recent", "quarter", target, quarter)
        merged = np.concatenate((held.reshape(-1, _TRIPLE), triples[quarters == quarter]))
        _put(connection, "service_recent", "quarter", target, quarter, merged)


def _packed(
    connection: sqlite3.Connection, table: str, column: str, target: int, index: int
) -> NDArray[np.float64]:
    row = connection.execute(
        f"SELECT packed FROM {table} WHERE target = ? AND {column} = ?",  # noqa: S608
        (target, index),
    ).fetchone()
    return np.frombuffer(row["packed"] if row else b"", "<f8")


def _put(
    connection: sqlite3.Connection,
    table: str,
    column: str,
    target: int,
    index: int,
    numbers: NDArray[np.float64],
) -> None:
    connection.execute(
        f"INSERT INTO {table} (target, {column}, packed) VALUES (?, ?, ?)"  # noqa: S608
        f" ON CONFLICT (target, {column}) DO UPDATE SET packed = excluded.packed",
        (target, index, numbers.astype("<f8").tobytes()),
    )


def _joined(rows: sqlite3.Cursor, width: int) -> NDArray[np.float64]:
    return np.frombuffer(b"".join(row["packed"] for row in rows), "<f8").reshape(-1, width)


def _largest(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one pair per interval, the largest, in order of time."""
    ordered = pairs[np.lexsort((-pairs[:, 1], pairs[:, 0]))]
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:, 0] != ordered[:-1, 0]
    return ordered[is_first]
