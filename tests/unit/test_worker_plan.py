"""What is said of a plan: the block, the flags of each SDK, the JSON; hostile names."""

from __future__ import annotations

import json
import shlex

from ullage.core.launch import Sdk
from ullage.core.prices import DATAFLOW
from ullage.core.units import GIB
from ullage.outcomes.worker_plan import PLAN_SCHEMA, plan_flags, plan_json, plan_text
from ullage.testing.launches import JAVA_8
from ullage.testing.launches import process_history as history
from ullage.testing.launches import worker_plan as plan

RAISED = {"machine_type": "n1-standard-4"}


def rows(text: str) -> dict[str, str]:
    """Return the block's rows by name; of several notes the last."""
    lines = (line.strip().partition(" ") for line in text.splitlines()[1:])
    return {name: rest.strip() for name, _, rest in lines}


def test_the_block_says_what_why_risk_money_and_flags() -> None:
    found = plan(history(40, 5 * GIB), **RAISED)
    text = plan_text(found)
    said = rows(text)
    assert text.startswith("ullage plan for orders (python, us-central1)\n")
    assert said["worker"].startswith(f"{found.shape.machine_type} (4 vCPUs, ")
    assert said["worker"].endswith("4 SDK processes with 1 thread each, 5.81 GiB per process")
    assert said["before"].startswith("n1-standard-4 (4 vCPUs, 15.0 GiB), 4 SDK processes")
    assert "runs out of memory too often; from 40 runs, mostly run-" in said["why"]
    assert said["risk"].endswith("(before: 100 %; budget: 2 %)")
    usd = (4 * 0.056 + found.shape.memory_bytes / GIB * 0.003557 + 25 * 0.000054) / 4
    assert said["money"].startswith(f"{usd:.4f} USD per vCPU-hour of work, {usd * 100:.2f} USD")
    assert said["money"].endswith("11.8% more)")
    assert said["flags"].startswith(f"--worker_machine_type={found.shape.machine_type} --labels=")
    assert len(text.splitlines()) == 7


def test_a_plan_without_change_has_no_before() -> None:
    said = rows(plan_text(plan()))
    assert "before" not in said
    assert said["risk"] == "unknown: no known run says what a process needs"
    assert said["why"] == "nothing is known yet, and nothing was asked for."
    assert said["note"].startswith("No run of beam/orders is known")


def test_flags_in_the_form_of_each_sdk() -> None:
    past = history(40, 400 * GIB, vcpus=2, processes=2)
    python = plan_flags(plan(past, machine_type="n2-standard-2"))
    assert [flag.partition("=")[0] for flag in python] == [
        "--worker_machine_type",
        "--number_of_worker_harness_threads",
        "--experiments",
        "--labels",
        "--labels",
    ]
    java = plan_flags(
        plan(
            JAVA_8,
            sdk=Sdk.JAVA,
            machine_type="n2-standard-16",
            threads_count=8,
            labels={"team": "a"},
        )
    )
    assert [flag.strip("'").partition("=")[0] for flag in java] == [
        "--workerMachineType",
        "--labels",
    ]
    labels = json.loads(shlex.split(java[1])[0].partition("=")[2])
    assert labels["team"] == "a"
    assert labels["ullage-workload"] == "orders"
    go = plan_flags(plan(history(40, 9 * GIB, processes=1, threads=4), sdk=Sdk.GO, **RAISED))
    assert go[0].startswith("--worker_machine_type=")
    assert json.loads(shlex.split(go[1])[0].partition("=")[2])["ullage-workload"] == "orders"


def test_java_hints_are_in_java_form() -> None:
    past = history(40, 30 * GIB, vcpus=4, processes=1, threads=4)
    flags = plan_flags(plan(past, sdk=Sdk.JAVA, min_ram_bytes=8 * GIB, **RAISED))
    assert any(flag.startswith("--resourceHints=min_ram=") for flag in flags)


def test_prime_is_not_told_a_machine() -> None:
    said = rows(plan_text(plan(history(40, 5 * GIB, vcpus=1, processes=1), is_prime=True)))
    assert said["worker"].startswith("chosen by Prime, 7.00 GiB or more")
    assert said["flags"].startswith("--resource_hints=min_ram=7GiB ")
    assert "worker_machine_type" not in said["flags"]


def test_hostile_names_are_written_out_and_quoted() -> None:
    name = "x\x1b[31m'; rm -rf ~ #\n\u202e"
    found = plan(job_name=name, sdk=Sdk.JAVA, labels={"a": "$(id)'\n"})
    text = plan_text(found)
    assert all(line.isprintable() for line in text.splitlines())
    assert "\x1b" not in text
    for flag in plan_flags(found):
        assert len(shlex.split(flag)) == 1
    assert "\x1b" not in json.dumps(plan_json(found), ensure_ascii=True)


def test_json_holds_everything_and_no_surprises() -> None:
    found = plan(history(40, 5 * GIB), **RAISED)
    document = json.loads(json.dumps(plan_json(found), allow_nan=False))
    assert document["schema"] == PLAN_SCHEMA
    assert document["worker"]["memory_bytes"] == found.shape.memory_bytes
    assert document["before"]["machine_type"] == "n1-standard-4"
    assert document["is_changed"] is True
    assert document["oom_prob"] == found.oom_prob
    assert document["failure_budget_ratio"] == 0.02
    assert document["reasons"] == ["safer"]
    assert document["options"]["labels"][1] == f"ullage-decision={document['decision_id']}"
    assert document["flags"] == plan_flags(found)
    assert document["vcpu_hour_usd"] > DATAFLOW.batch_vcpu_hour_usd
    unknown = plan_json(plan())
    assert unknown["oom_prob"] is None
    assert unknown["is_changed"] is False
