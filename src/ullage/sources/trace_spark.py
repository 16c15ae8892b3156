"""Spark's event log: JSON lines; one application is one run, its largest executor is the peak.

The peak is what the process tree had (needs spark.executor.processTreeMetrics.enabled), else
heap + other memory of the JVM + direct and mapped pools + off-heap memory, each at its own
peak, so rather too much than too little. It is in SparkListenerStageExecutorMetrics (needs
spark.eventLog.logStageExecutorMetrics), SparkListenerExecutorMetricsUpdate and in the
"Task Executor Metrics" of each SparkListenerTaskEnd. Not here: the memory of the driver,
but where it ran the tasks itself (local mode).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ullage.core.recorded import FoundRun, ReadOptions, RejectedRow, clean_features
from ullage.core.units import MIB
from ullage.core.workload import Outcome
from ullage.sources.trace_table import rejected
from ullage.sources.trace_text import Line, each_line
from ullage.sources.trace_values import BadValueError, binary_size, moment_of_ms

MAX_EVENT_BYTES = 32 << 20
"""Plans and lists of stages make long lines."""

_EVENT = re.compile(r'\s*\{\s*"Event"\s*:\s*"([A-Za-z0-9_.$]{1,200})"')
_DRIVER = "driver"
_TREE = ("ProcessTreeJVMRSSMemory", "ProcessTreePythonRSSMemory", "ProcessTreeOtherRSSMemory")
_POOLS = (
    *("JVMHeapMemory", "JVMOffHeapMemory", "DirectPoolMemory", "MappedPoolMemory"),
    "OffHeapUnifiedMemory",
)
_OOM = re.compile(
    r"(?i)exceeding (?:physical )?memory limits|OOMKilled|out ?of ?memory|"
    r"exit(?:ed with)? code:?\s*(?:137|143\b.*memory|52\b)"
)
_LEAST_OVERHEAD = 384 * MIB


@dataclass(slots=True)
class _Application:
    """What is known of the application so far."""

    line: int = 0
    name: str = ""
    app_id: str = ""
    attempt_id: str = ""
    start_ms: float | None = None
    end_ms: float | None = None
    has_failed: bool = False
    is_oom: bool = False
    properties: dict[str, str] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    """`driver`, or "" for all executors -> the largest seen, in bytes."""


class SparkEventLogReader:
    """Implements core.ports.HistoryReader."""

    format_id = "spark"

    def recognises(self, head: bytes) -> bool:
        """Say whether the first line is one of Spark's events."""
        match = _EVENT.match(head.lstrip(b"\xef\xbb\xbf")[:1_000].decode("utf-8", "replace"))
        return match is not None and "SparkListener" in match.group(1)

    def read(
        self, path: str, *, options: ReadOptions, tell: Callable[[int, int], None]
    ) -> Iterator[FoundRun | RejectedRow]:
        """Yield one run for each application that has ended."""
        app = _Application()
        for line in each_line(path, tell, max_line_bytes=MAX_EVENT_BYTES):
            if line.fault is not None:
                yield rejected(line, line.fault)
                continue
            match = _EVENT.match(line.text)
            if match is None:
                yield rejected(line, "not_an_event")
                continue
            kind = match.group(1)
            if kind == "SparkListenerApplicationStart" and app.line:
                yield _found(app)
                app = _Application()
            if kind in _HANDLERS:
                reason = _handled(app, kind, line)
                if reason is not None:
                    yield rejected(line, reason)
        yield _found(app)


def _handled(app: _Application, kind: str, line: Line) -> str | None:
    """Take one event in; return why it cannot be."""
    try:
        event = json.loads(line.text)
    except (ValueError, RecursionError):
        return "broken_json"
    try:
        if kind == "SparkListenerApplicationStart":
            app.line = line.number
        _HANDLERS[kind](app, event)
    except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
        return "event_unreadable"
    return None


def _on_start(app: _Application, event: Mapping[str, Any]) -> None:
    app.name = str(event.get("App Name") or "")
    app.app_id = str(event.get("App ID") or "")
    app.attempt_id = str(event.get("App Attempt ID") or "")
    app.start_ms = float(event["Timestamp"])


def _on_end(app: _Application, event: Mapping[str, Any]) -> None:
    app.end_ms = float(event["Timestamp"])


def _on_environment(app: _Application, event: Mapping[str, Any]) -> None:
    properties = event.get("Spark Properties") or {}
    app.properties = {
        str(name): str(value)
        for name, value in properties.items()
        if str(name).startswith(("spark.executor.", "spark.memory.", "spark.yarn.executor."))
    }


def _on_stage_metrics(app: _Application, event: Mapping[str, Any]) -> None:
    _see(app, str(event["Executor ID"]), event["Executor Metrics"])


def _on_update(app: _Application, event: Mapping[str, Any]) -> None:
    for each in event.get("Executor Metrics Updated") or ():
        _see(app, str(event["Executor ID"]), each["Executor Metrics"])


def _on_task(app: _Application, event: Mapping[str, Any]) -> None:
    metrics = event.get("Task Executor Metrics")
    if metrics:
        _see(app, str(event["Task Info"]["Executor ID"]), metrics)


def _on_removed(app: _Application, event: Mapping[str, Any]) -> None:
    app.is_oom = app.is_oom or _OOM.search(str(event.get("Removed Reason"))[:4_000]) is not None


def _on_job(app: _Application, event: Mapping[str, Any]) -> None:
    app.has_failed = event["Job Result"]["Result"] != "JobSucceeded"


_HANDLERS: Mapping[str, Callable[[_Application, Mapping[str, Any]], None]] = {
    "SparkListenerApplicationStart": _on_start,
    "SparkListenerApplicationEnd": _on_end,
    "SparkListenerEnvironmentUpdate": _on_environment,
    "SparkListenerStageExecutorMetrics": _on_stage_metrics,
    "SparkListenerExecutorMetricsUpdate": _on_update,
    "SparkListenerTaskEnd": _on_task,
    "SparkListenerExecutorRemoved": _on_removed,
    "SparkListenerJobEnd": _on_job,
}


def executor_bytes(metrics: Mapping[str, Any]) -> float:
    """Return the memory of an executor: of its process tree, else the sum of its pools.

    >>> executor_bytes({"JVMHeapMemory": 5, "DirectPoolMemory": 1, "ProcessTreeJVMRSSMemory": 0})
    6.0
    """
    for names in (_TREE, _POOLS):
        total = sum(float(metrics.get(name) or 0) for name in names)
        if not math.isfinite(total):
            raise ValueError("not finite")
        if total > 0:
            return total
    return 0.0


def container_bytes(properties: Mapping[str, str]) -> float | None:
    """Return what an executor's container is allowed: heap, overhead, off-heap and Python.

    A bare number is bytes for the heap and the off-heap size, MiB for the overhead and for
    Python, as Spark reads them. None where the settings do not name the heap.

    >>> container_bytes({"spark.executor.memory": "4g"}) == (4096 + 409.6) * 2**20
    True
    """
    heap = _setting(properties, "spark.executor.memory", 1)
    if heap is None:
        return None
    overhead = _setting(properties, "spark.executor.memoryOverhead", MIB)
    if overhead is None:
        factor = float(properties.get("spark.executor.memoryOverheadFactor", "0.1"))
        overhead = max(heap * factor, _LEAST_OVERHEAD)
    off_heap = 0.0
    if properties.get("spark.memory.offHeap.enabled", "").lower() == "true":
        off_heap = _setting(properties, "spark.memory.offHeap.size", 1) or 0.0
    python = _setting(properties, "spark.executor.pyspark.memory", MIB) or 0.0
    return heap + overhead + off_heap + python


def _setting(properties: Mapping[str, str], name: str, unit_bytes: int) -> float | None:
    text = properties.get(name, "").strip()
    return float(text) * unit_bytes if text.isascii() and text.isdigit() else binary_size(text)


def _see(app: _Application, executor: str, metrics: Mapping[str, Any]) -> None:
    key = _DRIVER if executor == _DRIVER else ""
    app.peaks[key] = max(app.peaks.get(key, 0.0), executor_bytes(metrics))


def _found(app: _Application) -> FoundRun | RejectedRow:
    if not app.line:
        return RejectedRow(line=1, reason="application_start_missing")
    if app.end_ms is None or app.start_ms is None:
        return RejectedRow(line=app.line, reason="not_ended", text=app.name[:200])
    try:
        started_at = moment_of_ms(app.start_ms)
        limit_bytes = container_bytes(app.properties)
    except (BadValueError, ValueError) as error:
        reason = str(error) if isinstance(error, BadValueError) else "settings_unreadable"
        return RejectedRow(line=app.line, reason=reason, text=app.name[:200])
    outcome = Outcome.ERROR if app.has_failed else Outcome.OK
    cores = app.properties.get("spark.executor.cores", "")
    return FoundRun(
        line=app.line,
        name=app.name,
        identity=(app.app_id, app.attempt_id, str(app.start_ms)),
        started_at=started_at,
        runtime_s=(app.end_ms - app.start_ms) / 1000,
        peak_bytes=app.peaks.get("") or app.peaks.get(_DRIVER) or None,
        limit_bytes=limit_bytes,
        outcome=Outcome.OOM_KILLED if app.is_oom else outcome,
        exit_code=1 if app.has_failed else 0,
        features=clean_features(
            {"threads_count": float(cores)} if cores.isascii() and cores.isdigit() else {},
            {},
            source="the Spark event log",
        ),
    )
