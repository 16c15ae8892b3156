"""Periods and thresholds of `ullage serve`, and the live floor that two sides must agree on.

One frozen record; the defaults are those of the safety contract. Not here: how a settings
file spells them (config).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from ullage.core.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Every period and threshold of the loop; the defaults are those of the safety contract."""

    is_acting: bool = False
    """S21: the global switch; a workload has its own (ServiceSpec.mode)."""
    sample_interval: timedelta = timedelta(seconds=30)
    decide_interval: timedelta = timedelta(minutes=5)
    """Decisions of the policy; growth does not wait for them."""
    decide_at_most: timedelta = timedelta(milliseconds=500)
    """A pass decides no longer than this; whose turn does not come is first in the next one."""
    envelope_span: timedelta = timedelta(hours=24)
    """How long growth is pre-authorised (S6); renewed when half of it is over."""
    hold_record_interval: timedelta = timedelta(hours=1)
    """A target's changed reasons to hold are journalled at most this often (S19)."""
    recent_samples_count: int = 720
    peak_interval: timedelta = timedelta(minutes=30)
    peaks_kept: timedelta = timedelta(weeks=5)

    live_floor_ratio: float = 1.10
    """S1: a cut leaves need x this ..."""
    live_floor_room_bytes: int = 128 * MIB
    live_floor_room_ratio: float = 0.25
    """... and need + min(this many bytes, this share of the limit)."""

    stale_intervals_count: int = 3
    """S2: older than the source's delay and so many sample intervals ..."""
    stale_at_most: timedelta = timedelta(minutes=10)
    """... or than this is stale."""
    future_slack: timedelta = timedelta(seconds=5)
    gap_ratio: float = 0.20
    gap_window: timedelta = timedelta(hours=1)
    least_samples_count: int = 100
    least_history: timedelta = timedelta(hours=3)
    poisoned_hold: timedelta = timedelta(minutes=10)
    """A rejected reading stops cuts for so long."""

    cut_step_ratio: float = 0.20
    """S5: one cut takes at most this share of the limit away ..."""
    small_step_ratio: float = 0.05
    """... and a change of less is not made."""
    hands_off: timedelta = timedelta(hours=24)
    """S8: after somebody else's edit."""
    lease_span: timedelta = timedelta(seconds=15)
    """S9: a lease not renewed for so long is lost (takeover within 20 s)."""
    lease_write_ratio: float = 0.66
    """A write is allowed while the lease's age is below this share of its span."""
    blast_ratio: float = 0.05
    """S10: cuts per tick are at most max(1, this share of the opted-in targets)."""

    watch: timedelta = timedelta(minutes=15)
    """S11: a cut is watched for so long."""
    watch_psi_ratio: float = 0.10
    quarantine: timedelta = timedelta(hours=24)
    quarantine_at_most: timedelta = timedelta(days=7)
    breaker_ooms: int = 2
    """S12: so many OOMs of ours ..."""
    breaker_window: timedelta = timedelta(hours=1)
    breaker_cohort_ratio: float = 0.01
    """... or on this share of the acting targets open the breaker."""

    broken_hold: timedelta = timedelta(minutes=10)
    """A workload for which something raised is not decided about for so long."""
    policy_at_most: timedelta = timedelta(seconds=1)
    """S14: an answer that took longer is not used."""
    fallback_ratio: float = 1.15
    """S14: the largest need seen times this, where the model's answer is nonsense."""
    settle_ticks: int = 2
    """S17, S20: so many ticks only observe after a start and after a clock jump."""
    clock_jump: timedelta = timedelta(seconds=60)
    oom_trigger: timedelta = timedelta(minutes=10)
    """S23: an OOM asks for a rescue for so long, and stays history for ever."""

    targets_max_count: int = 10_000
    """S19: targets beyond this are left alone, and said so."""
    backlog_max_count: int = 10_000
    """S19: rows of growth that wait for a store to come back; then growth stops too."""
    wait_for_memory: timedelta = timedelta(seconds=60)
    """Parked tasks wait so long for memory that the host has not got; then the kernel decides."""
    host_reserve_ratio: float = 0.05
    """Rescue leaves this share of the host's memory to the host."""


HISTORIES_AT_MOST_BYTES = 2 << 30
"""S19: the readings and peaks of `targets_max_count` targets take at most this much memory."""

_READING_BYTES, _PEAK_BYTES = 24, 16


def peaks_count(settings: ServeSettings) -> int:
    """Return how many interval peaks are kept of a target: five weeks of half hours are 1,680."""
    return max(1, int(settings.peaks_kept / settings.peak_interval))


def history_bytes(settings: ServeSettings) -> int:
    """Return the memory that the past of one target takes: readings x 24 + peaks x 16 bytes.

    Worked: 720 readings and 1,680 peaks (the defaults) -> 44,160; 10,000 targets: 421 MiB.
    """
    readings_bytes = settings.recent_samples_count * _READING_BYTES
    return readings_bytes + peaks_count(settings) * _PEAK_BYTES


def live_floor_bytes(
    need_bytes: int, limit_bytes: int, floor_bytes: int, settings: ServeSettings
) -> int:
    """Return the lowest limit a cut may set (S1).

    max(1.10 x need, need + min(128 MiB, 25 % of the limit), floor), rounded up to a byte.

    Worked (MiB): need 1000, limit 2000, floor 64 -> 1128; need 2000, limit 4000 -> 2200;
    need 10, limit 100 -> max(11, 35, 64) = 64.
    """
    room_bytes = min(
        settings.live_floor_room_bytes, int(limit_bytes * settings.live_floor_room_ratio)
    )
    # 2000 x 1.1 is a hair above 2200 in floats: that hair is not a byte.
    scaled_bytes = math.ceil(round(need_bytes * settings.live_floor_ratio, 2))
    return max(scaled_bytes, need_bytes + room_bytes, floor_bytes)
