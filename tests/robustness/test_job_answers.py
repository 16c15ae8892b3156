"""Answers of a service that are nonsense: a job is refused or has fewer facts, nothing breaks."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.core.errors import DataError
from ullage.core.ids import check_name
from ullage.core.job_cost import job_cost
from ullage.core.jobs import JobFacts, RecordedJob, ended_run, known_by_label, workload_of
from ullage.core.price_book import PriceBook
from ullage.core.prices import DATAFLOW
from ullage.outcomes.job_description import describe_job, job_text
from ullage.outcomes.jobs import bill_of
from ullage.outcomes.render import to_json, visible
from ullage.sources.dataflow_facts import (
    Answers,
    failed_attempts,
    job_facts,
    stages_with_work_items,
)
from ullage.sources.dataflow_values import time_of
from ullage.stores.record_json import from_json
from ullage.stores.record_json import to_json as record_json

JOB: dict[str, Any] = {
    "id": "2026-1",
    "name": "orders",
    "currentState": "JOB_STATE_DONE",
    "currentStateTime": "2026-01-01T02:00:00Z",
    "createTime": "2026-01-01T00:00:00Z",
    "startTime": "2026-01-01T00:00:01Z",
    "type": "JOB_TYPE_BATCH",
    "labels": {"team": "x"},
    "environment": {
        "experiments": ["a"],
        "userAgent": {"name": "Apache Beam Python 3.11 SDK", "version": "2.77.0"},
        "workerPools": [{"kind": "harness", "machineType": "n1-standard-4", "numWorkers": 3}],
        "sdkPipelineOptions": {"options": {"experiments": ["b"], "resource_hints": []}},
    },
}
METRICS: dict[str, Any] = {
    "metrics": [
        {"name": {"origin": "dataflow/v1b3", "name": "TotalVcpuTime"}, "scalar": 7200},
        {"name": {"origin": "dataflow/v1b3", "name": "TotalMemoryUsage"}, "scalar": 7200},
        {
            "name": {
                "origin": "user",
                "name": "need_bytes",
                "context": {"namespace": "ullage", "step": "s1"},
            },
            "distribution": {"max": 1 << 30, "min": 1, "count": 2, "sum": 3},
        },
    ]
}
MESSAGES: list[dict[str, Any]] = [
    {"messageText": "OOMKilled", "time": "2026-01-01T01:00:00Z", "id": "1"}
]

junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=30),
        st.sampled_from(
            ["\x1b[31m", "../../x", "NaN", "1e999", "9" * 50, "=cmd()", "n1-custom-0-0"]
        ),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [path] if path else []
    for key, each in inner:
        found += _places(each, (*path, key))
    return found


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """Return `value` with one to three places replaced by junk."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        holder = value
        for key in path:
            holder = holder[key]
        holder[last] = draw(junk)
    return value


def _facts(job: Any, metrics: Any, messages: Any) -> JobFacts | None:
    rows = [row for row in messages if isinstance(row, dict)] if isinstance(messages, list) else []
    answers = Answers(job=job, metrics=metrics if isinstance(metrics, dict) else {}, messages=rows)
    try:
        return job_facts(answers, project="p", region="us-central1")
    except DataError:
        return None


def test_the_sample_is_understood() -> None:
    facts = _facts(JOB, METRICS, MESSAGES)
    assert facts is not None
    assert (facts.metrics.vcpu_hours, facts.need_peak_bytes, facts.oom_kills) == (2, 1 << 30, 1)


@settings(max_examples=300)
@given(spoilt(JOB), spoilt(METRICS), spoilt(MESSAGES))
def test_nonsense_anywhere(job: Any, metrics: Any, messages: Any) -> None:
    """Whatever is believed can be stored, priced, made a run, and shown on one line each."""
    facts = _facts(job, metrics, messages)
    if facts is None:
        return
    workload = workload_of(facts.job, known_by_label([]))
    check_name(workload.key)
    recorded = RecordedJob(
        facts=facts, synced_at=facts.created_at, workload_key=workload.key, run_id=None
    )
    assert from_json(RecordedJob, record_json(recorded)) == recorded
    assert job_cost(facts.metrics, DATAFLOW).total_usd >= 0
    if facts.is_ended:
        run, ooms = ended_run(facts, workload, now=facts.created_at)
        assert run.attempts[0].runtime.total_seconds() >= 0
        assert all(event.run_id == run.run_id for event in ooms)
    described = describe_job(recorded, bill_of(facts, PriceBook(), None), None)
    json.loads(to_json(described))
    assert all(visible(line).isprintable() for line in job_text(described))


@settings(max_examples=200)
@given(junk, st.text(max_size=40))
def test_stages_work_items_and_times(value: Any, text: str) -> None:
    rows = [{"workItems": value, "stageId": value}, {"workItems": [value, {"startTime": text}]}]
    assert failed_attempts(rows) == []
    assert all(isinstance(each, str) for each in stages_with_work_items(rows))
    moment = time_of(text)
    assert moment is None or moment.tzinfo is not None
