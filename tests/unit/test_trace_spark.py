"""Spark event logs: peak of the largest executor, container size, killed executors, packing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from trace_files import read_text

from ullage.core.recorded import FoundRun, RejectedRow
from ullage.core.units import GIB, MIB
from ullage.core.workload import Outcome
from ullage.sources.trace_spark import SparkEventLogReader, container_bytes

READER = SparkEventLogReader()
START = {
    "Event": "SparkListenerApplicationStart",
    "App Name": "orders",
    "App ID": "application_1_0001",
    "Timestamp": 1770000000000,
    "User": "u",
}
END = {"Event": "SparkListenerApplicationEnd", "Timestamp": 1770000090000}
SETTINGS = {
    "Event": "SparkListenerEnvironmentUpdate",
    "JVM Information": {},
    "Spark Properties": {"spark.executor.memory": "4g", "spark.executor.cores": "4"},
}


def _stage(executor: str, **metrics: int) -> dict[str, Any]:
    return {
        "Event": "SparkListenerStageExecutorMetrics",
        "Executor ID": executor,
        "Stage ID": 0,
        "Stage Attempt ID": 0,
        "Executor Metrics": metrics,
    }


def _task(executor: str, **metrics: int) -> dict[str, Any]:
    return {
        "Event": "SparkListenerTaskEnd",
        "Stage ID": 1,
        "Task Info": {"Task ID": 1, "Executor ID": executor},
        "Task Executor Metrics": metrics,
        "Task Metrics": {"Executor Run Time": 400},
    }


def _update(executor: str, **metrics: int) -> dict[str, Any]:
    return {
        "Event": "SparkListenerExecutorMetricsUpdate",
        "Executor ID": executor,
        "Metrics Updated": [],
        "Executor Metrics Updated": [
            {"Stage ID": 0, "Stage Attempt ID": 0, "Executor Metrics": metrics}
        ],
    }


def _log(*events: dict[str, Any]) -> str:
    first = {"Event": "SparkListenerLogStart", "Spark Version": "3.5.1"}
    return "".join(json.dumps(event) + "\n" for event in (first, *events))


def _read(folder: Path, *events: dict[str, Any]) -> tuple[list[FoundRun], list[RejectedRow]]:
    return read_text(READER, folder, _log(*events))


def test_an_application_is_a_run(tmp_path: Path) -> None:
    (run,), rejected = _read(tmp_path, START, SETTINGS, _stage("1", JVMHeapMemory=GIB), END)
    assert not rejected
    assert run.name == "orders"
    assert run.peak_bytes == GIB
    assert run.runtime_s == 90
    assert run.limit_bytes == pytest.approx(4 * GIB * 1.1)
    assert run.features.numbers == {"threads_count": 4}
    assert run.outcome is Outcome.OK


@pytest.mark.parametrize("make", [_stage, _task, _update])
def test_the_peak_is_in_each_of_three_events(tmp_path: Path, make: Any) -> None:
    (run,), _ = _read(
        tmp_path,
        START,
        make("1", JVMHeapMemory=GIB, JVMOffHeapMemory=MIB),
        make("2", JVMHeapMemory=2 * GIB, JVMOffHeapMemory=2 * MIB, DirectPoolMemory=MIB),
        make("3", JVMHeapMemory=7),
        END,
    )
    assert run.peak_bytes == 2 * GIB + 3 * MIB


def test_the_process_tree_wins_over_the_pools(tmp_path: Path) -> None:
    tree = {"ProcessTreeJVMRSSMemory": 3 * GIB, "ProcessTreePythonRSSMemory": GIB}
    (run,), _ = _read(tmp_path, START, _stage("1", JVMHeapMemory=9 * GIB, **tree), END)
    assert run.peak_bytes == 4 * GIB


def test_the_driver_counts_only_where_it_is_alone(tmp_path: Path) -> None:
    driver = _stage("driver", JVMHeapMemory=9 * GIB)
    (alone,), _ = _read(tmp_path, START, driver, END)
    (led,), _ = _read(tmp_path, START, driver, _stage("1", JVMHeapMemory=GIB), END)
    assert (alone.peak_bytes, led.peak_bytes) == (9 * GIB, GIB)


@pytest.mark.parametrize(
    "why",
    [
        "Container killed by YARN for exceeding memory limits. 4.5 GB of 4.4 GB used.",
        "Container killed on request. Exit code is 137: OOMKilled",
        "Command exited with code 137",
        "Command exited with code 52",
    ],
)
def test_a_killed_executor_is_an_oom(tmp_path: Path, why: str) -> None:
    removed = {
        "Event": "SparkListenerExecutorRemoved",
        "Timestamp": 1770000050000,
        "Executor ID": "1",
        "Removed Reason": why,
    }
    (run,), _ = _read(tmp_path, START, removed, END)
    assert run.outcome is Outcome.OOM_KILLED
    (well,), _ = _read(tmp_path, START, removed | {"Removed Reason": "Executor idle"}, END)
    assert well.outcome is Outcome.OK


def test_the_last_job_says_how_it_ended(tmp_path: Path) -> None:
    job = {"Event": "SparkListenerJobEnd", "Job ID": 0, "Job Result": {"Result": "JobFailed"}}
    (run,), _ = _read(tmp_path, START, job, END)
    assert run.outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("settings", "expected_bytes"),
    [
        ({}, None),
        ({"spark.executor.memory": "1g"}, GIB + 384 * MIB),
        ({"spark.executor.memory": "18971M"}, 18971 * MIB * 1.1),
        ({"spark.executor.memory": "4g", "spark.executor.memoryOverhead": "512"}, 4608 * MIB),
        ({"spark.executor.memory": "4g", "spark.executor.memoryOverhead": "1g"}, 5 * GIB),
        (
            {
                "spark.executor.memory": "10g",
                "spark.executor.memoryOverheadFactor": "0.4",
                "spark.memory.offHeap.enabled": "true",
                "spark.memory.offHeap.size": "1g",
                "spark.executor.pyspark.memory": "1024",
            },
            16 * GIB,
        ),
    ],
)
def test_what_an_executor_is_allowed(
    settings: dict[str, str], expected_bytes: float | None
) -> None:
    found = container_bytes(settings)
    assert found == (None if expected_bytes is None else pytest.approx(expected_bytes))


def test_what_is_no_run_is_rejected_with_its_reason(tmp_path: Path) -> None:
    _, rejected = read_text(READER, tmp_path, _log(START) + "junk\n" + '{"Event":"SparkListen')
    assert [each.reason for each in rejected] == ["not_an_event", "not_an_event", "not_ended"]
    _, rejected = read_text(READER, tmp_path, _log(START, END)[:-9])
    assert [each.reason for each in rejected] == ["broken_json", "not_ended"]
    _, rejected = _read(tmp_path, END)
    assert [each.reason for each in rejected] == ["application_start_missing"]
    _, rejected = _read(tmp_path, START, {**_stage("1"), "Executor Metrics": [1]}, END)
    assert [each.reason for each in rejected] == ["event_unreadable"]


def test_zstandard_as_spark_packs_it(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "log.zstd"
    plain.write_text(_log(START, SETTINGS, _stage("1", JVMHeapMemory=GIB), END))
    duckdb.connect().execute(
        "COPY (SELECT line FROM read_csv($1, columns = {'line': 'VARCHAR'}, header = false, "
        "delim = '\x01', quote = '', escape = '', auto_detect = false)) "
        f"TO '{packed}' (FORMAT csv, HEADER false, DELIM '\x01', QUOTE '', ESCAPE '', "
        "COMPRESSION zstd)",
        [str(plain)],
    )
    assert packed.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    found, rejected = read_text(READER, tmp_path, packed.read_bytes(), name="copy")
    assert not rejected
    assert [each.peak_bytes for each in found] == [GIB]
    found, rejected = read_text(READER, tmp_path, packed.read_bytes()[:-20], name="cut")
    assert rejected
