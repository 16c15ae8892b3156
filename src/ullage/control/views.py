"""Collect readings, clean them, and make the view that a decision sees.

The one door for numbers: whatever a source says is checked here and counted where it cannot
be. A view at t holds what was known by t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from ullage.control.histories import Histories
from ullage.control.tracked import Counts, Tick, Tracked
from ullage.core.errors import AdapterError, DataError
from ullage.core.service import (
    GuardCode,
    HostCapacity,
    LiveReading,
    ServeSettings,
    ServiceOom,
    TargetHistory,
    TargetKind,
    TargetView,
)
from ullage.core.service_ports import TargetSource
from ullage.core.units import MIB, clean_bytes

_TORN_RATIO = 1.05
_TORN_BYTES = 64 * MIB
"""Usage and its parts are read one after the other: need may pass usage by so much."""


NO_HISTORY = TargetHistory(
    at_s=np.zeros(0),
    need_bytes=np.zeros(0, np.int64),
    limit_bytes=np.zeros(0, np.int64),
    peak_at_s=np.zeros(0),
    peak_bytes=np.zeros(0, np.int64),
    peak_interval_s=1.0,
    oom_at_s=np.zeros(0),
    oom_at_least_bytes=np.zeros(0, np.int64),
    first_seen_at=datetime(1970, 1, 1, tzinfo=UTC),
)


class Collector:
    """Reads targets; keeps what is sound, counts what is not."""

    def __init__(
        self,
        sources: Mapping[TargetKind, TargetSource],
        histories: Histories,
        settings: ServeSettings,
        counts: Counts,
    ) -> None:
        self._sources = sources
        self._histories = histories
        self._settings = settings
        self._counts = counts

    def delay_s(self, tracked: Tracked) -> float:
        """Return how late the target's source says that it is."""
        return self._sources[tracked.target.kind].delay_s

    def collect(self, tracked: Tracked, tick: Tick) -> bool:
        """Read one target; say whether there is a new, sound reading."""
        try:
            raw = self._sources[tracked.target.kind].read(tracked.target)
            reading = clean(raw, tracked.target.target_id)
        except AdapterError:
            self._counts.rejected_readings["failed"] += 1
            return False
        except DataError:  # the source itself, or we, do not believe it
            self._poisoned(tracked, tick)
            return False
        if (reading.known_at - tick.at) > self._settings.future_slack:
            self._counts.rejected_readings["future"] += 1
            return False
        return self._accept(tracked, reading, tick)

    def add_oom(self, tracked: Tracked, oom: ServiceOom) -> None:
        """Remember an OOM kill: the need was *at least* that."""
        self._histories.add_oom(tracked.row, oom.at.timestamp(), oom.at_least_bytes)

    def _accept(self, tracked: Tracked, reading: LiveReading, tick: Tick) -> bool:
        last = tracked.reading
        if last is not None and reading.at < last.at:
            self._counts.rejected_readings["out_of_order"] += 1
            return False
        is_new = last is None or reading.at > last.at
        tracked.reading = reading
        tracked.read_s = tick.mono_s
        tracked.read_count += 1
        if tracked.seen_kills is None:
            tracked.seen_kills = reading.oom_kills  # what lies before is not ours to tell
        if reading.at - tick.at > self._settings.future_slack:
            self._counts.rejected_readings["future"] += 1
        elif is_new:
            self._histories.add(
                tracked.row, reading.at.timestamp(), reading.need_bytes, reading.limit_bytes
            )
        return True

    def _poisoned(self, tracked: Tracked, tick: Tick) -> None:
        self._counts.rejected_readings["poisoned"] += 1
        tracked.poisoned_count += 1
        tracked.poisoned_until_s = tick.mono_s + self._settings.poisoned_hold.total_seconds()

    def view(
        self, tracked: Tracked, tick: Tick, *, is_quarantined: bool = False, is_rescue: bool = False
    ) -> TargetView:
        """Return everything that a decision about the target may see now.

        A rescue looks at the reading alone: it comes without the history.
        """
        if tracked.poisoned_count and tick.mono_s >= tracked.poisoned_until_s:
            tracked.poisoned_count = 0
        now_s = tick.at.timestamp()
        reading = tracked.reading
        busy = tick.busy_groups.get(tracked.spec.group_key, tracked.target.target_id)
        return TargetView(
            at=tick.at,
            target=tracked.target,
            spec=tracked.spec,
            state=tracked.state,
            fleet=tick.fleet,
            host=_host_left(tick),
            reading=reading,
            history=NO_HISTORY if is_rescue else self._histories.history(tracked.row, now_s),
            telemetry_age_s=(tick.at - reading.at).total_seconds() if reading else None,
            source_delay_s=self.delay_s(tracked),
            gap_ratio=0.0 if is_rescue else self._gap_ratio(tracked, now_s),
            poisoned_count=tracked.poisoned_count,
            has_store=tick.has_store,
            has_lease=tick.has_lease,
            observe_only=_observe_only(tracked, tick),
            cuts_left_count=tick.cuts_left_count,
            is_group_busy=busy != tracked.target.target_id,
            is_quarantined=is_quarantined,
        )

    def _gap_ratio(self, tracked: Tracked, now_s: float) -> float:
        """Return the share of readings that lack in the last hour."""
        window_s = self._settings.gap_window.total_seconds()
        expected = window_s / self._settings.sample_interval.total_seconds()
        got = self._histories.readings_since(tracked.row, now_s - window_s)
        return max(0.0, 1.0 - got / expected)


def clean(raw: LiveReading, target_id: str) -> LiveReading:
    """Return a reading whose numbers can be; DataError for one that cannot.

    Whole, finite byte counts in 0..2**50; need not above usage (but for a torn read); PSI in
    0..1; moments aware; about this target.
    """
    if raw.target_id != target_id:
        raise DataError(f"a reading of {raw.target_id!r:.60} came for {target_id!r:.60}")
    usage_bytes = clean_bytes(raw.usage_bytes, name="usage")
    need_bytes = clean_bytes(raw.need_bytes, name="need")
    if need_bytes > usage_bytes * _TORN_RATIO + _TORN_BYTES:
        raise DataError(f"need {need_bytes} above usage {usage_bytes}")
    for moment in (raw.at, raw.known_at):
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise DataError(f"{moment!r:.60} is not an aware moment")
    return replace(
        raw,
        usage_bytes=usage_bytes,
        need_bytes=need_bytes,
        limit_bytes=_clean_optional(raw.limit_bytes, "limit"),
        node_bytes=_clean_optional(raw.node_bytes, "node"),
        oom_kills=clean_bytes(raw.oom_kills, name="oom_kills"),
        psi_full_avg10_ratio=_clean_ratio(raw.psi_full_avg10_ratio),
        is_waiting=raw.is_waiting is True,
    )


def _clean_optional(value: object, name: str) -> int | None:
    return None if value is None else clean_bytes(value, name=name)


def _clean_ratio(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"pressure: {value!r:.60} is not a number")
    if not math.isfinite(value) or not 0 <= value <= 1:
        raise DataError(f"pressure: {value!r} is outside 0..1")
    return float(value)


def _host_left(tick: Tick) -> HostCapacity:
    """Return the host with what growth may still take in this tick."""
    return HostCapacity(
        total_bytes=tick.host.total_bytes, free_bytes=tick.room_bytes, booked_bytes=0
    )


def _observe_only(tracked: Tracked, tick: Tick) -> GuardCode | None:
    if not tracked.is_listed:
        return GuardCode.S13_EMPTY_SELECTOR
    return GuardCode.AMBIGUOUS if tracked.is_ambiguous else tick.observe_only
