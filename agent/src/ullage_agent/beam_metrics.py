"""Need as user metrics of Apache Beam: namespace `ullage`, where Beam is loaded already.

A user metric belongs to a step of a bundle, found through a thread-local state: a background
thread has none, and what it counted would be lost. So the end of each bundle tells: the method
`BundleProcessor.process_bundle` is wrapped, and adds to the first step with user code

    need_bytes           distribution: the largest need of this process during the bundle;
                         its maximum over the job is the peak of the hottest process
    worker_usage_bytes   distribution: what the worker used, all its processes together
    oom_kills            counter: OOM kills in this cgroup that this process has survived

New peaks also go to Beam's process-wide metrics at once, which a runner may ask for between
bundles (Beam's local runner does not ask). Nothing of Beam is imported here: without it, or with
a Beam that has no such parts, nothing happens.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ullage_agent.sampler import Sampler

NAMESPACE = "ullage"
_BUNDLES = "apache_beam.runners.worker.bundle_processor"
_EXECUTION = "apache_beam.metrics.execution"
_NAMES = "apache_beam.metrics.metricbase"
_MARK = "_ullage_agent"
_USER_STEPS = ("DoOperation", "SdfProcessSizedElements")
"""Operations that stand for a step that people know; sources and sinks of a stage are not."""

_sampler: Sampler | None = None
_kills_told = 0


def install(sampler: Sampler) -> bool:
    """Wrap the processing of bundles, once, if Beam is loaded; say whether it is wrapped."""
    global _sampler
    _sampler = sampler
    processor = getattr(sys.modules.get(_BUNDLES), "BundleProcessor", None)
    original = getattr(processor, "process_bundle", None)
    if processor is None or original is None:
        return False
    if getattr(original, _MARK, False):
        return True

    @functools.wraps(original)
    def process_bundle(self: Any, *args: Any, **kwargs: Any) -> Any:
        window = _begin()
        try:
            return original(self, *args, **kwargs)
        finally:
            if window is not None:
                _finish(self, window)

    setattr(process_bundle, _MARK, True)
    processor.process_bundle = process_bundle
    return True


def forget() -> None:
    """Stop telling: in a forked child there is nobody who samples."""
    global _sampler
    _sampler = None


def tell_peak(need_bytes: int) -> None:
    """Add a new peak to the metrics of the process, which belong to no bundle."""
    execution = sys.modules.get(_EXECUTION)
    if execution is None:
        return
    container = execution.MetricsEnvironment.process_wide_container()
    container.get_distribution(_metric_name("need_bytes")).update(need_bytes)


def _begin() -> Any:
    try:
        return None if _sampler is None else _sampler.open_window()
    except Exception:
        return None


def _finish(processor: Any, window: Any) -> None:
    """Add what the bundle saw to one of its steps. Never raises."""
    try:
        if _sampler is None:
            return
        _sampler.close_window(window)
        container = _step_of(processor)
        if container is None:
            return
        if window.peak_bytes:
            container.get_distribution(_metric_name("need_bytes")).update(window.peak_bytes)
        if window.usage_bytes:
            container.get_distribution(_metric_name("worker_usage_bytes")).update(
                window.usage_bytes
            )
        _tell_kills(container, _sampler.oom_kills)
    except Exception:
        return


def _tell_kills(container: Any, kills: int) -> None:
    global _kills_told
    new, _kills_told = kills - _kills_told, max(kills, _kills_told)
    if new > 0:
        container.get_counter(_metric_name("oom_kills")).inc(new)


def _step_of(processor: Any) -> Any:
    """Return the metrics of the bundle's first step with user code, else of any step, or None."""
    operations = list(processor.ops.values())
    named = [each for each in operations if type(each).__name__ in _USER_STEPS]
    for each in named or operations:
        container = getattr(each, "metrics_container", None)
        if container is not None:
            return container
    return None


def _metric_name(name: str) -> Any:
    return sys.modules[_NAMES].MetricName(NAMESPACE, name)
