"""The loop's picture in Prometheus' words, by prometheus-client (the extra `serve`).

Series per target are capped (S19); labels are hostile text: cut to a length, and what UTF-8
does not have is written out. Not here: the page they stand on (notices.metrics_page).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ullage.core.serve_status import ServeStatus, TargetStatus

TARGETS_AT_MOST = 2_000
"""Targets with series of their own; the neediest of attention first."""
LABEL_CHARACTERS = 120

_COUNTERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "decisions": (
        "ullage_decisions",
        "Changes of limits by direction and what became of them",
        ("direction", "outcome"),
    ),
    "guard_blocks": ("ullage_guard_blocks", "What guards said, by reason code", ("guard",)),
    "oom_kills": ("ullage_oom_kills", "OOM kills of watched targets", ("attribution",)),
    "rejected_readings": ("ullage_rejected_readings", "Readings not believed", ("cause",)),
    "broken": ("ullage_workload_errors", "What broke about one workload", ("error",)),
    "unsaved": ("ullage_unsaved", "Rescues that could not give what was needed", ()),
    "clock_jumps": ("ullage_clock_jumps", "Jumps of the wall clock", ()),
    "fenced": ("ullage_fenced", "Writes refused because of an older lease token", ()),
    "ticks": ("ullage_ticks", "Passes of the loop", ()),
    "loop_errors": ("ullage_loop_errors", "Errors of the loop itself, by step", ("step",)),
    "reloads": ("ullage_reloads", "Settings read again", ("outcome",)),
    "intents": ("ullage_intents", "People's requests obeyed", ("verb",)),
    "events": ("ullage_events", "Events that woke the loop", ("kind",)),
    "late_ticks": ("ullage_late_ticks", "Passes left out because the loop was late", ()),
    "takeovers": ("ullage_takeovers", "Tenures begun", ()),
    "notices": ("ullage_notices", "Notices by sink and outcome", ("sink", "outcome")),
}
"""Counter in the picture -> (metric without _total, help, labels)."""

_PER_TARGET: Mapping[str, tuple[str, str]] = {
    "limit_bytes": ("ullage_workload_memory_limit_bytes", "Memory limit"),
    "need_bytes": ("ullage_workload_memory_need_bytes", "Memory without file cache"),
    "usage_bytes": ("ullage_workload_memory_usage_bytes", "Memory charged, cache included"),
    "wanted_bytes": ("ullage_workload_memory_recommended_bytes", "The policy's wish"),
    "slack_ratio": ("ullage_workload_memory_slack_ratio", "Share of the limit not needed"),
    "age_s": ("ullage_telemetry_age_seconds", "Age of the latest reading"),
}


class StatusCollector(Collector):
    """Turns the latest picture into metric families whenever it is asked."""

    def __init__(
        self,
        latest: Callable[[], ServeStatus | None],
        notices: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._latest = latest
        self._notices = notices

    def collect(self) -> Iterable[Metric]:
        """Yield every family of the present picture."""
        status = self._latest()
        yield _gauge("ullage_up", "The daemon runs", 1)
        if status is None:
            return
        yield from _loop(status)
        yield from _store(status)
        counts = {**status.counts, "notices": self._notices()}
        for name, (metric, words, labels) in _COUNTERS.items():
            family = CounterMetricFamily(metric, words, labels=labels)
            rows = counts.get(name, {}) or ({"": 0} if not labels else {})
            for key, number in rows.items():
                family.add_metric([_label(one) for one in key.split("|")][: len(labels)], number)
            yield family
        yield from _targets(status)


def page(collector: StatusCollector) -> bytes:
    """Return the page in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


def _loop(status: ServeStatus) -> Iterator[Metric]:
    yield _gauge("ullage_is_leader", "Holds the lease", status.is_leader)
    yield _gauge("ullage_is_acting", "May change limits", status.mode == "act")
    yield _gauge("ullage_store_up", "The store answered in the last pass", status.has_store)
    yield _gauge("ullage_lease_token", "Fencing token", status.token)
    yield _gauge("ullage_tick_seconds", "How long the last pass took", status.tick_s)
    yield _gauge("ullage_last_tick_timestamp_seconds", "Its time", status.at.timestamp())
    yield _gauge("ullage_breaker_open", "Cuts are off (S12)", status.breaker_since_at is not None)
    yield _gauge("ullage_freezes", "Freezes in force", len(status.freezes))
    yield _gauge("ullage_targets", "Targets watched", len(status.targets))
    yield _gauge("ullage_targets_capped", "Targets left alone (S19)", status.capped_count)
    yield _gauge("ullage_workloads_unmatched", "Selectors of nobody", len(status.unmatched))
    yield _gauge("ullage_targets_ambiguous", "Selected twice", len(status.ambiguous))
    yield _gauge("ullage_host_memory_free_bytes", "MemAvailable", status.host_free_bytes)
    holds = GaugeMetricFamily("ullage_holds", "Targets held now, by code", labels=["guard"])
    codes = [code for target in status.targets for code in target.holds]
    for code in sorted(set(codes)):
        holds.add_metric([code], codes.count(code))
    yield holds


def _store(status: ServeStatus) -> Iterator[Metric]:
    store = status.store
    yield _gauge("ullage_store_bytes", "Size of the state file", store.database_bytes)
    yield _gauge("ullage_store_log_bytes", "Size of its write-ahead log", store.log_bytes)
    yield _gauge("ullage_journal_records", "Records kept", store.journal_records_count)
    yield _gauge("ullage_journal_months", "Months kept", store.journal_months_count)
    yield _gauge("ullage_readings_waiting", "Not written yet", store.waiting_readings_count)
    lost = CounterMetricFamily("ullage_readings_lost", "Readings given up while it was down")
    lost.add_metric([], store.lost_readings_count)
    yield lost


def _targets(status: ServeStatus) -> Iterator[Metric]:
    shown = sorted(status.targets, key=_interest)[:TARGETS_AT_MOST]
    hidden = len(status.targets) - len(shown)
    yield _gauge("ullage_metrics_hidden_targets", "Targets without series of their own", hidden)
    for name, (metric, words) in _PER_TARGET.items():
        family = GaugeMetricFamily(metric, words, labels=["workload", "target"])
        for target in shown:
            value = getattr(target, name)
            if value is not None:
                labels = [_label(target.workload_key), _label(target.target_id)]
                family.add_metric(labels, value)
        yield family


def _interest(target: TargetStatus) -> tuple[bool, float, str]:
    slack = target.slack_ratio
    return (target.mode == "off", 2.0 if slack is None else slack, target.target_id)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=float(value))


def _label(text: str) -> str:
    """Return a text as a label: valid UTF-8, nothing invisible, of bounded length."""
    clean = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
    clean = clean.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= LABEL_CHARACTERS else f"{clean[: LABEL_CHARACTERS - 3]}..."
