"""Real Beam jobs, really submitted to a local fake of Dataflow, sized by each of the three ways.

What is posted carries what `--plan` announced; the fake checks every request against the
published discovery documents.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from ullage.core.units import GIB
from ullage.core.workload import Attempt, ControlKind, Features, Outcome, Run
from ullage.stores.state import SqliteStateStore
from ullage.testing.fake_dataflow import FakeDataflow, Fault
from ullage.testing.records import begun_run, ended, one_attempt

pytest.importorskip(
    "google.cloud.dataflow", reason="needs Beam with Google's clients: run `make test-dataflow`"
)
pytestmark = pytest.mark.dataflow

PIPELINE = Path(__file__).with_name("dataflow_pipeline.py")
WAYS = ("run", "runner", "size")
KEY = "beam/orders"


@dataclass(frozen=True)
class Posted:
    """What of a posted job Ullage may change."""

    machine_type: str | None
    threads_count: int | None
    labels: dict[str, str]
    experiments: list[str]
    hints: list[str]
    options: dict[str, Any]
    is_one_core_per_container: bool


@pytest.fixture
def cloud() -> Iterator[FakeDataflow]:
    with FakeDataflow() as fake:
        assert fake.is_validating, "google-api-python-client ships the documents"
        yield fake
        fake.assert_valid()


Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(cli: Cli, cloud: FakeDataflow) -> Launch:
    """Return how a pipeline is launched by one of the ways, with more flags."""
    cli.env["STORAGE_EMULATOR_HOST"] = cloud.endpoint

    def go(way: str, *flags: str, options: tuple[str, ...] = ()) -> Any:
        command = [sys.executable, "-W", "ignore", str(PIPELINE), "--job_name=orders"]
        command += ["--project=acme", "--region=us-central1", "--temp_location=gs://bucket/tmp"]
        command += ["--no_auth", f"--dataflow_endpoint={cloud.endpoint}"]
        command += {"size": ["--size"]}.get(way, [])
        runner = "ullage.beam.DataflowRunner" if way == "runner" else "DataflowRunner"
        command += [f"--runner={runner}", *flags]
        if way == "run":
            command = [*cli.command, "run", "--quiet", *options, "--", *command]
        return subprocess.run(
            command, env=cli.env, cwd=cli.folder, capture_output=True, text=True, timeout=100
        )

    return go


@pytest.fixture
def history(cli: Cli) -> Callable[..., None]:
    """Return what records past jobs of the workload: needs in GiB, under 1 vCPU and 1 thread."""

    def seed(*needs_gib: float, vcpus_count: int = 1, threads_count: int = 1) -> None:
        features = Features(
            numbers={
                "vcpus_count": float(vcpus_count),
                "processes_count": float(vcpus_count),
                "threads_count": float(threads_count),
            },
            labels={"sdk": "python", "runner": "dataflow"},
        )
        runs = [_past_run(number, need, features) for number, need in enumerate(needs_gib)]
        store = SqliteStateStore.open(Path(cli.env["ULLAGE_STATE_DIR"]) / "state.db")
        store.add_ended(runs, ())
        store.close()

    return seed


def _past_run(number: int, need_gib: float, features: Features) -> Run:
    run = begun_run(number, key=KEY, control=ControlKind.DATAFLOW, features=features)
    attempt: Attempt = one_attempt(
        peak_bytes=int(need_gib * GIB),
        limit_bytes=64 * GIB,
        final_limit_bytes=64 * GIB,
        runtime=timedelta(hours=1),
    )
    return ended(run, attempt)


NEEDS = tuple(3.5 + 0.05 * number for number in range(20))
"""3.50 .. 4.45 GiB for one SDK process: more than the service's default machine has."""


def posted(cloud: FakeDataflow) -> Posted:
    """Return the job that was posted last."""
    job = cloud.jobs.newest().posted
    environment = job["environment"]
    pool = environment["workerPools"][0]
    options = environment["sdkPipelineOptions"]["options"]
    return Posted(
        machine_type=pool.get("machineType"),
        threads_count=pool.get("numThreadsPerWorker"),
        labels=job.get("labels", {}),
        experiments=environment["experiments"],
        hints=options.get("resource_hints", []),
        options=options,
        is_one_core_per_container=pool["sdkHarnessContainerImages"][0]["useSingleCorePerContainer"],
    )


def hinted_bytes(cloud: FakeDataflow) -> set[int]:
    """Return the min_ram of every environment of the staged pipeline that a transform is in."""
    from apache_beam.portability.api import beam_runner_api_pb2

    uri = posted(cloud).options["pipelineUrl"]
    pipeline = beam_runner_api_pb2.Pipeline.FromString(cloud.storage.read(uri))
    parts = pipeline.components
    used = {each.environment_id for each in parts.transforms.values() if each.environment_id}
    hints = (parts.environments[name].resource_hints for name in used)
    return {int(each.get("beam:resources:min_ram_bytes:v1", b"0")) for each in hints}


def announced(cli: Cli, launch: Launch, *flags: str) -> dict[str, Any]:
    """Return what `ullage run --plan -o json` says."""
    done = launch("run", *flags, options=("--plan", "-o", "json"))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def open_runs(cli: Cli) -> list[Run]:
    """Return the recorded runs of the workload that have not ended."""
    store = SqliteStateStore.open(Path(cli.env["ULLAGE_STATE_DIR"]) / "state.db", read_only=True)
    try:
        return [run for run in store.runs(KEY) if run.outcome is None]
    finally:
        store.close()


@pytest.mark.parametrize("way", WAYS)
def test_the_posted_job_is_the_one_that_was_announced(
    way: str, cli: Cli, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    plan = announced(cli, launch, "--labels=team=a", "--experiments=mine")
    assert cloud.seen == []
    assert plan["is_changed"]
    done = launch(way, "--labels=team=a", "--experiments=mine")
    assert done.returncode == 0, done.stderr
    job = posted(cloud)
    assert job.machine_type == plan["options"]["worker_machine_type"]
    assert job.machine_type in done.stderr
    assert job.threads_count is None
    assert job.is_one_core_per_container
    assert {"mine", "use_multiple_sdk_containers"} <= set(job.experiments)
    assert job.labels["team"] == "a"
    assert job.labels["ullage-workload"] == "orders"
    (run,) = open_runs(cli)
    assert run.control is ControlKind.DATAFLOW
    assert job.labels["ullage-decision"] == run.decision_id
    assert run.features.numbers["vcpus_count"] == plan["worker"]["vcpus_count"]


@pytest.mark.parametrize("way", WAYS)
def test_a_plan_posts_nothing_and_records_nothing(
    way: str, cli: Cli, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    done = launch(way, "--ullage_plan")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ullage plan for orders (python, us-central1)")
    assert cloud.seen == []
    assert open_runs(cli) == []


@pytest.mark.parametrize("way", WAYS)
def test_without_history_everything_is_kept_and_that_is_said(
    way: str, cloud: FakeDataflow, launch: Launch
) -> None:
    done = launch(way, "--number_of_worker_harness_threads=3")
    assert done.returncode == 0, done.stderr
    assert "nothing is known yet" in done.stderr
    job = posted(cloud)
    assert (job.machine_type, job.threads_count, job.hints) == (None, 3, [])
    assert job.labels["ullage-workload"] == "orders"


@pytest.mark.parametrize("way", WAYS)
def test_a_users_hint_is_never_lowered(
    way: str, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*(0.5 + 0.01 * number for number in range(20)))
    done = launch(way, "--resource_hints=min_ram=16GiB")
    assert done.returncode == 0, done.stderr
    assert hinted_bytes(cloud) == {16 * GIB}
    assert all(hint == "min_ram=16GiB" for hint in posted(cloud).hints)


@pytest.mark.parametrize("way", WAYS)
def test_a_hint_that_is_too_small_is_raised_everywhere(
    way: str, cli: Cli, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    flags = ("--resource_hints=min_ram=2GB", "--resource_hints=minRam=1GB")
    plan = announced(cli, launch, *flags)
    assert plan["min_ram_bytes"] > 4 * GIB
    done = launch(way, *flags)
    assert done.returncode == 0, done.stderr
    assert hinted_bytes(cloud) == {plan["min_ram_bytes"]}
    assert posted(cloud).machine_type == plan["worker"]["machine_type"]


def test_the_runner_sees_hints_inside_the_pipeline(
    cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    done = launch("runner", "--transform_hint=12GiB")
    assert done.returncode == 0, done.stderr
    assert 12 * GIB in hinted_bytes(cloud)
    assert max(hinted_bytes(cloud)) == 12 * GIB
    assert "12" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_prime_gets_a_hint_and_no_machine(
    way: str, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    done = launch(way, "--dataflow_service_options=enable_prime")
    assert done.returncode == 0, done.stderr
    assert posted(cloud).machine_type is None
    assert min(hinted_bytes(cloud)) > 4 * GIB


def test_flexrs_stays_within_its_family(
    cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS, vcpus_count=2)
    done = launch("runner", "--flexrs_goal=COST_OPTIMIZED")
    assert done.returncode == 0, done.stderr
    assert (posted(cloud).machine_type or "n1").startswith(("n1", "custom"))


PRIME = ["--dataflow_service_options=enable_prime", "--machine_type=n1-standard-4"]


@pytest.mark.parametrize(
    ("way", "flags", "words"),
    [
        *((way, ["--worker_machine_type=n9-standard-4"], "n9") for way in WAYS),
        *((way, PRIME, "Prime takes no machine type") for way in WAYS),
        ("size", ["--worker_machine_type=n2-custom-3-1"], "n2-custom"),
        ("size", ["--flexrs_goal=COST_OPTIMIZED", "--streaming"], "FlexRS"),
        ("run", ["--ullage_name=a b"], "not allowed"),
        ("runner", ["--number_of_worker_harness_threads=0"], "number_of_worker_harness_threads"),
    ],
)
def test_bad_input_ends_before_anything_is_sent(
    way: str, flags: list[str], words: str, cli: Cli, cloud: FakeDataflow, launch: Launch
) -> None:
    done = launch(way, *flags)
    assert done.returncode != 0
    assert words in done.stderr
    assert cloud.seen == []
    assert not (Path(cli.env["ULLAGE_STATE_DIR"]) / "state.db").exists() or not open_runs(cli)


@pytest.mark.parametrize("way", WAYS)
def test_a_hint_with_a_bad_unit_ends_before_anything_is_sent(
    way: str, cloud: FakeDataflow, launch: Launch
) -> None:
    """In the runner's way it is Beam that refuses it, when the pipeline is built."""
    done = launch(way, "--resource_hints=min_ram=12Gallons")
    assert done.returncode != 0
    assert "min_ram" in done.stderr
    assert cloud.seen == []


def test_off_leaves_the_launch_alone(
    cli: Cli, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    for way in WAYS:
        done = launch(way, "--ullage_off", f"--job_name=orders-{way}")
        assert done.returncode == 0, done.stderr
        assert posted(cloud).machine_type is None
        assert not {label for label in posted(cloud).labels if label.startswith("ullage")}
    assert open_runs(cli) == []


def test_keep_machine_only_labels(
    cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    done = launch("size", "--ullage_keep_machine")
    assert done.returncode == 0, done.stderr
    assert posted(cloud).machine_type is None
    assert "ullage-decision" in posted(cloud).labels


def test_two_ways_at_once_size_once(
    cli: Cli, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS)
    done = launch("run", "--size")
    assert done.returncode == 0, done.stderr
    (run,) = open_runs(cli)
    assert posted(cloud).labels["ullage-decision"] == run.decision_id


def test_a_launched_run_stays_open_until_the_service_has_told(
    cli: Cli, cloud: FakeDataflow, launch: Launch
) -> None:
    assert launch("run").returncode == 0
    assert len(open_runs(cli)) == 1
    assert cli("run", "--quiet", "--", "true").returncode == 0
    assert len(open_runs(cli)) == 1, "the next run closed it as an orphan"


def test_the_launcher_is_a_workload_of_its_own(
    cli: Cli, cloud: FakeDataflow, launch: Launch
) -> None:
    assert launch("run", options=("--name", KEY)).returncode == 0
    listed = json.loads(cli("get", "workloads", "-o", "json").stdout)
    keys = {row["workload"] for row in listed}
    assert KEY in keys
    assert len(keys) == 2


def test_a_launch_that_fails_is_closed_as_unknown(
    cli: Cli, cloud: FakeDataflow, launch: Launch
) -> None:
    cloud.fail_next("jobs.create", Fault.RATE_LIMITED, times=20)
    done = launch("runner")
    assert done.returncode != 0
    assert open_runs(cli) == []
    store = SqliteStateStore.open(Path(cli.env["ULLAGE_STATE_DIR"]) / "state.db", read_only=True)
    assert [run.outcome for run in store.runs(KEY)] == [Outcome.UNKNOWN]
    store.close()


def test_an_answer_that_is_lost_on_its_way_starts_one_job(
    cli: Cli, cloud: FakeDataflow, launch: Launch
) -> None:
    """Beam asks again with the same request id; the run is the one job's."""
    cloud.fail_next("jobs.create", Fault.LOST_ANSWER)
    done = launch("runner")
    assert len(cloud.jobs.jobs) == 1
    runs = open_runs(cli)
    if done.returncode == 0:
        assert [run.decision_id for run in runs] == [posted(cloud).labels["ullage-decision"]]
    else:
        assert runs == []  # closed as unknown: it gets its real end when that is read back


def test_streaming_jobs_keep_to_a_stricter_budget(
    cli: Cli, cloud: FakeDataflow, launch: Launch, history: Callable[..., None]
) -> None:
    history(*NEEDS, vcpus_count=2, threads_count=12)
    plan = announced(cli, launch, "--streaming")
    assert plan["failure_budget_ratio"] == 0.005
    done = launch("size", "--streaming")
    assert done.returncode == 0, done.stderr
    assert posted(cloud).machine_type == plan["options"]["worker_machine_type"]
    assert cloud.jobs.newest().answer["type"] == "JOB_TYPE_STREAMING"


def test_words_and_options_come_to_the_same(tmp_path: Path) -> None:
    """Flags added to a command, and a plan put into options: Beam reads the same from both."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from ullage.beam.options import option_words, set_options
    from ullage.core.launch_flags import python_flags

    planned: dict[str, str | tuple[str, ...]] = {
        "worker_machine_type": "n2-custom-4-40960",
        "number_of_worker_harness_threads": "2",
        "experiments": ("no_use_multiple_sdk_containers",),
        "resource_hints": ("min_ram=40GiB",),
        "labels": ("ullage-workload=orders", "ullage-decision=d-1"),
        "beam_plugins": ("ullage_agent",),
    }
    for given in ([], ["--labels=a=b", "--experiments=x,y", "--machine_type=n1-standard-1"]):
        options = PipelineOptions(given)
        set_options(options, planned)
        by_words = option_words(PipelineOptions([*given, *python_flags(planned)]))
        by_options = option_words(options)
        assert by_options == by_words
        set_options(options, planned)
        assert option_words(options) == by_options, "twice is once"
    assert option_words(PipelineOptions([])).get("resource_hints", ()) == ()


def test_options_of_local_workers_and_of_launches_live_together() -> None:
    """Beam puts the options of all classes into one parser, and both know --ullage_name."""
    code = (
        "from apache_beam.options.pipeline_options import PipelineOptions\n"
        "import ullage.beam.{first}, ullage.beam.{second}\n"
        "from ullage.beam.options import option_words\n"
        "words = option_words(PipelineOptions(['--ullage_name=x', '--ullage_plan']))\n"
        "assert words['ullage_name'] == ('x',) and words['ullage_plan'] == ('true',)\n"
    )
    for first, second in (("options", "local_options"), ("local_options", "options")):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code.format(first=first, second=second)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_workers_load_the_agent_where_it_is_asked_for(cloud: FakeDataflow, launch: Launch) -> None:
    for way in WAYS:
        done = launch(way, "--ullage_agent", f"--job_name=orders-{way}")
        assert done.returncode == 0, done.stderr
        assert "ullage_agent" in posted(cloud).options["beam_plugins"]


def test_options_for_another_runner_are_left_alone() -> None:
    code = (
        "import ullage.beam, sys; assert 'apache_beam' not in sys.modules\n"
        "from apache_beam.options.pipeline_options import PipelineOptions\n"
        "options = PipelineOptions(['--runner=DirectRunner', '--ullage_name=x'])\n"
        "before = options.get_all_options(retain_unknown_options=True)\n"
        "assert ullage.beam.size(options) is options\n"
        "after = options.get_all_options(retain_unknown_options=True)\n"
        "assert {k: after[k] for k in before} == before\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
