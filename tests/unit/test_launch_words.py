"""Which commands launch a Dataflow job, and how their words are rewritten: without Beam."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ullage.core.errors import ConfigError
from ullage.core.launch import Sdk
from ullage.core.launch_flags import gcloud_flags, python_flags, rewrite
from ullage.core.launch_options import LaunchContext, labels_of, launched_job
from ullage.core.launch_words import LaunchWords, is_dataflow_runner, read_launch
from ullage.core.units import GIB

ON = "--runner=DataflowRunner"
PLANNED = {
    "worker_machine_type": "n2-custom-4-40960",
    "number_of_worker_harness_threads": "2",
    "experiments": ("no_use_multiple_sdk_containers",),
    "resource_hints": ("min_ram=40GiB",),
    "labels": ("ullage-workload=orders", "ullage-decision=d-1"),
}


def read(command: str) -> LaunchWords | None:
    return read_launch(shlex.split(command))


def rewritten(command: str, planned: dict[str, object] = PLANNED) -> list[str]:
    words = shlex.split(command)
    launch = read_launch(words)
    assert launch is not None
    assert launch.sdk is not None
    job = launched_job(launch.options, LaunchContext(sdk=launch.sdk, script=launch.script))
    return rewrite(words, launch, planned, job=job)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "sdk", "script"),
    [
        (f"python etl.py {ON}", Sdk.PYTHON, "etl"),
        (f"python3.12 -X dev -W error jobs/etl.py --day 3 {ON}", Sdk.PYTHON, "etl"),
        (f"/opt/py/bin/python3 -m acme.pipelines.etl {ON}", Sdk.PYTHON, "etl"),
        ("python etl.py --runner DataflowRunner", Sdk.PYTHON, "etl"),
        ("python etl.py --runner dataflow", Sdk.PYTHON, "etl"),
        ("python etl.py --runner=apache_beam.runners.DataflowRunner", Sdk.PYTHON, "etl"),
        (f"env TZ=UTC nice -n 5 python etl.py {ON}", Sdk.PYTHON, "etl"),
        (f"A=b timeout 3600 python etl.py {ON}", Sdk.PYTHON, "etl"),
        (f"uv run --with apache-beam etl.py {ON}", Sdk.PYTHON, "etl"),
        (f"poetry run python -m etl {ON}", Sdk.PYTHON, "etl"),
        (f"./etl.py {ON}", Sdk.PYTHON, "etl"),
        (f"java -Xmx1g -cp a.jar:b.jar org.acme.Orders {ON}", Sdk.JAVA, "Orders"),
        (f"java -jar target/orders.jar {ON}", Sdk.JAVA, "orders"),
        (f"python etl.py --runner=DirectRunner {ON}", Sdk.PYTHON, "etl"),
    ],
)
def test_a_launch_is_recognised(command: str, sdk: Sdk, script: str) -> None:
    launch = read(command)
    assert launch is not None
    assert (launch.sdk, launch.script, launch.why_not) == (sdk, script, "")


@pytest.mark.parametrize(
    "command",
    [
        "true",
        "python etl.py",
        "python etl.py --runner=DirectRunner",
        f"python etl.py {ON} --runner=DirectRunner",
        "python etl.py --runner=ullage.beam.LocalRunner --name dataflow",
        "python etl.py --runner=my.DataflowRunnerStub",
        "python dataflow.py --input dataflow.csv",
        f"python etl.py {ON} --help",
        "gcloud dataflow jobs list",
        "pytest -k dataflow",
        "grep -r dataflow src",
        "python etl.py --runner",
    ],
)
def test_other_commands_are_none(command: str) -> None:
    assert read(command) is None


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (f"etl {ON}", "'etl' is no Python pipeline"),
        (f"bash launch.sh {ON}", "no Python pipeline"),
        (f"sh -c 'python etl.py {ON}'", "no Python pipeline"),
        (f"docker run image python etl.py {ON}", "no Python pipeline"),
        (f"mvn compile exec:java '-Dexec.args={ON}'", "no Python pipeline"),
        (f"python -m pytest {ON}", "no Python pipeline"),
        (f"python -m cProfile etl.py {ON}", "no Python pipeline"),
        (f"python etl.py -- {ON}", "behind `--`"),
        (f"python -c 'import etl' {ON}", "has no name"),
        ("python etl.py --runner=ullage.beam.DataflowRunner", "sizes the job itself"),
        (f"python etl.py {ON} --ullage_off", "--ullage_off"),
        (f"python etl.py {ON} --label ullage-decision=d-1", "sized already"),
        (f"python etl.py {ON} --template_location=gs://b/t", "makes a template"),
        ("go run ./cmd/orders.go -runner=dataflow", "Go program"),
        ("gcloud dataflow flex-template run orders --region=us-central1", "gcloud"),
    ],
)
def test_where_it_is_not_certain_nothing_is_rewritten(command: str, why: str) -> None:
    launch = read(command)
    assert launch is not None
    assert why in launch.why_not


def test_python_flags_are_added_last() -> None:
    words = rewritten(f"python etl.py {ON} --worker_machine_type=n1-standard-1 --label team=a")
    assert words[:5] == shlex.split(
        f"python etl.py {ON} --worker_machine_type=n1-standard-1 --label"
    )
    assert words[6:] == [
        "--worker_machine_type=n2-custom-4-40960",
        "--number_of_worker_harness_threads=2",
        "--experiments=no_use_multiple_sdk_containers",
        "--resource_hints=min_ram=40GiB",
        "--labels=ullage-workload=orders",
        "--labels=ullage-decision=d-1",
    ]


def test_python_flags_stand_before_a_double_dash() -> None:
    words = rewritten(f"python etl.py {ON} -- a --b", {"worker_machine_type": "n2-standard-2"})
    assert words == [
        "python",
        "etl.py",
        ON,
        "--worker_machine_type=n2-standard-2",
        "--",
        "a",
        "--b",
    ]


def test_our_hint_is_spelled_as_the_users_too() -> None:
    """Beam takes the spelling that came in last as the later one: ours would lose."""
    hint = {"resource_hints": ("min_ram=4GiB",)}
    assert python_flags(hint, given=("minRam=2GB",)) == [
        "--resource_hints=min_ram=4GiB",
        "--resource_hints=minRam=4GiB",
    ]


def test_java_flags_are_replaced_and_lists_merged() -> None:
    words = rewritten(
        f"java -Dx=--experiments -cp a.jar Main {ON} --workerMachineType=n1-standard-1 "
        "--experiments=use_runner_v2 --resourceHints=minRam=2GB,accelerator=type:t4 "
        '\'--labels={"team":"a"}\' --numWorkers=3'
    )
    own = words[words.index("Main") + 1 :]
    assert words[:4] == ["java", "-Dx=--experiments", "-cp", "a.jar"]
    assert own[:2] == [ON, "--numWorkers=3"]
    assert own[2:6] == [
        "--workerMachineType=n2-custom-4-40960",
        "--numberOfWorkerHarnessThreads=2",
        "--experiments=use_runner_v2,no_use_multiple_sdk_containers",
        "--resourceHints=accelerator=type:t4,min_ram=40GiB",
    ]
    name, _, labels = own[6].partition("=")
    assert name == "--labels"
    assert json.loads(labels) == {
        "team": "a",
        "ullage-workload": "orders",
        "ullage-decision": "d-1",
    }


def test_gcloud_is_told_in_its_own_words() -> None:
    assert gcloud_flags(PLANNED) == [
        "--worker-machine-type=n2-custom-4-40960",
        "--additional-experiments=no_use_multiple_sdk_containers",
        "--additional-user-labels=ullage-workload=orders,ullage-decision=d-1",
    ]


def test_what_the_words_say() -> None:
    launch = read(
        f"python etl.py {ON} --job_name=orders-2026-11-25 --region europe-west1 --project=acme "
        "--machine_type=n1-standard-4 --experiments=a,b --experiment=c --num_workers 2 "
        "--dataflow_service_options=enable_prime --resource_hint min_ram=2GB --disk_size_gb=50 "
        "--resource_hints=min_ram=1GiB --labels team=x --streaming --max_num_workers=9 "
        "--number_of_worker_harness_threads=3 --ullage_keep_machine"
    )
    assert launch is not None
    job = launched_job(launch.options, LaunchContext(sdk=Sdk.PYTHON, script="etl"))
    assert (job.job_name, job.key) == ("orders-2026-11-25", "beam/orders")
    assert (job.region, job.project) == ("europe-west1", "acme")
    assert job.machine_type == "n1-standard-4"
    assert job.experiments == ("a", "b", "c")
    assert job.is_prime
    assert job.is_streaming
    assert job.is_streaming_engine
    assert job.min_ram_bytes == 2_000_000_000
    assert (job.workers_count, job.max_workers_count, job.threads_count) == (2, 9, 3)
    assert job.labels == {"team": "x"}
    assert job.disk_bytes == 50 * GIB
    assert job.keeps_machine


def test_without_a_job_name_the_script_names_the_workload() -> None:
    launch = read(f"python jobs/etl.py {ON}")
    assert launch is not None
    job = launched_job(launch.options, LaunchContext(sdk=Sdk.PYTHON, script=launch.script))
    assert (job.key, job.job_name) == ("beam/etl", "etl")


def test_a_name_given_outranks_the_job() -> None:
    options = {"job_name": ("orders",), "ullage_name": ("daily",)}
    assert launched_job(options, LaunchContext(sdk=Sdk.PYTHON)).key == "daily"
    context = LaunchContext(sdk=Sdk.PYTHON, name="mine")
    assert launched_job(options, context).key == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_workers": ("many",)}, "num_workers"),
        ({"resource_hints": ("min_ram=12",)}, "has no unit"),
        ({"resource_hints": ("min_ram=12Gallons",)}, "unknown unit"),
        ({"ullage_name": ("a b\x1b[2J",)}, "not allowed"),
        ({"labels": ("{broken",)}, "cannot be read"),
        ({"labels": ("[1]{", "{1}")}, "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    options: dict[str, tuple[str, ...]], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        launched_job(options, LaunchContext(sdk=Sdk.PYTHON))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Dataflow", "dataflowrunner", "a.b.DataflowRunner"])
def test_runner_names(name: str) -> None:
    assert is_dataflow_runner(name)


WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("python", "java", "sh", "-c", "-m", "-jar", "--", "etl.py", "run", "gcloud"),
                *(ON, "--runner", "DataflowRunner", "--labels={", "--experiments=a,,b", "go"),
                *("env", "A=b", "dataflow", "flex-template", "-runner=dataflow", "--", "-"),
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=10,
)


@given(words=WORDS)
@example(words=["gcloud", "dataflow", "flex-template", "run"])
@example(words=["python", "--runner=DataflowRunner\ud800"])
def test_hostile_words_never_break_and_are_never_lost(words: list[str]) -> None:
    launch = read_launch(words)
    if launch is None or launch.why_not or launch.sdk is not Sdk.PYTHON:
        return
    planned = {"worker_machine_type": "n2-standard-2"}
    changed = rewrite(words, launch, planned, job=None)  # type: ignore[arg-type]
    assert [word for word in changed if word != "--worker_machine_type=n2-standard-2"] == words
    again = read_launch(changed)
    assert again is not None
    assert again.last("worker_machine_type") == "n2-standard-2"


@given(values=st.lists(st.text(max_size=20), max_size=4))
def test_any_labels_are_read_or_refused(values: list[str]) -> None:
    try:
        labels = labels_of(values)
    except ConfigError:
        return
    assert all(isinstance(text, str) for text in labels.values())
