"""`ullage run --service`: as any run, and `ullage serve` finds it, moves it, and may leave it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conftest import Cli
from ullage.access.cgroup1 import memory_tree
from ullage.bootstrap_serve import SpecBook, adapters, look_for_services, open_service_store
from ullage.config import Settings, load_settings
from ullage.core.service import (
    ChangeResult,
    LimitChange,
    LiveReading,
    LiveTarget,
    ServiceSpec,
    TargetKind,
    UpdateMode,
)
from ullage.serve_config import load_serve
from ullage.testing.sandbox_contract import wait_until

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("cgroup1")]
MIB = 1 << 20
TAKES_ON_DEMAND = """
import mmap, sys
held = []
print("up", flush=True)
for line in sys.stdin:
    size = int(line) << 20
    if size == 0:
        break
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, size, 4096):
        block[page] = 1
    held.append(block)
    print("held", flush=True)
"""


class Serve:
    """What `ullage serve` sees of the services of one state directory."""

    def __init__(self, settings: Settings) -> None:
        config = load_serve(settings)
        self.store = open_service_store(settings, config)
        self._book = SpecBook(lambda: ())
        self.adapters = adapters(config, self._book)

    def specs(self) -> tuple[ServiceSpec, ...]:
        return look_for_services(self.store, self._book)

    def targets(self) -> list[LiveTarget]:
        finders = self.adapters.finders
        return [target for spec in self.specs() for target in finders[spec.kind].find(spec)]

    def read(self, target: LiveTarget) -> LiveReading:
        return self.adapters.sources[target.kind].read(target)

    def move(self, target: LiveTarget, new_bytes: int) -> ChangeResult:
        change = LimitChange(
            target_id=target.target_id,
            decision_id="d-1",
            expected_bytes=self.read(target).limit_bytes,
            new_bytes=new_bytes,
            token=1,
            is_cut=True,
        )
        return self.adapters.actuators[target.kind].apply(change).result

    def close(self) -> None:
        for source in self.adapters.sources.values():
            source.close()
        self.store.close()


@pytest.fixture
def serve(cli: Cli) -> Iterator[Serve]:
    made = Serve(load_settings(cli.env))
    yield made
    made.close()


@pytest.fixture
def service(cli: Cli) -> Iterator[subprocess.Popen[str]]:
    process = cli.start(
        *("run", "--service", "--name", "stream", "--request", "512MiB", "--max-memory", "1GiB"),
        *("--", *cli.python, TAKES_ON_DEMAND),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def cgroup1_point() -> str:
    tree, why_not = memory_tree()
    assert tree is not None, why_not
    return tree.point


def take(service: subprocess.Popen[str], mib: int) -> None:
    assert service.stdin is not None
    assert service.stdout is not None
    service.stdin.write(f"{mib}\n")
    service.stdin.flush()
    assert service.stdout.readline() == "held\n"


def test_serve_finds_moves_and_loses_a_service(
    service: subprocess.Popen[str], serve: Serve, no_cgroup_left: Callable[[], list[str]]
) -> None:
    (spec,) = serve.specs()
    assert (spec.workload_key, spec.mode) == ("stream", UpdateMode.IN_PLACE)
    assert spec.max_bytes == 1024 * MIB
    (target,) = serve.targets()
    assert serve.read(target).limit_bytes == 512 * MIB
    assert serve.move(target, 256 * MIB) is ChangeResult.APPLIED
    take(service, 60)
    assert serve.read(target).limit_bytes == 256 * MIB
    assert serve.move(target, 60 * MIB) is ChangeResult.REFUSED
    assert service.stdin is not None
    service.stdin.write("0\n")
    service.stdin.flush()
    assert service.wait(timeout=30) == 0
    assert serve.specs() == ()
    assert serve.targets() == []


def test_where_serve_cuts_and_dies_the_run_still_helps(
    service: subprocess.Popen[str], serve: Serve
) -> None:
    """After a cut by `serve` nobody but the run is there: tasks wait, and then are let go on."""
    (target,) = serve.targets()
    assert serve.move(target, 200 * MIB) is ChangeResult.APPLIED
    take(service, 400)
    reading = serve.read(target)
    assert (reading.oom_kills, service.poll()) == (0, None)
    assert reading.limit_bytes is not None
    assert reading.limit_bytes > 400 * MIB


def test_where_serve_gives_the_killer_back_the_run_takes_over(
    service: subprocess.Popen[str], serve: Serve
) -> None:
    """As the sentinel of a killed `serve` does: the OOM killer is on, the limit is low."""
    (target,) = serve.targets()
    assert serve.move(target, 200 * MIB) is ChangeResult.APPLIED
    serve.adapters.actuators[target.kind].set_parking(target.target_id, False)
    control = Path(cgroup1_point(), target.target_id.partition(":/")[2], "memory.oom_control")
    assert wait_until(lambda: "oom_kill_disable 1" in control.read_text())
    take(service, 400)
    assert (serve.read(target).oom_kills, service.poll()) == (0, None)


def test_without_serve_it_grows_as_any_run(service: subprocess.Popen[str], serve: Serve) -> None:
    take(service, 700)
    (target,) = serve.targets()
    reading = serve.read(target)
    assert (reading.oom_kills, service.poll()) == (0, None)
    assert reading.need_bytes >= 700 * MIB


def test_the_end_of_a_service_sizes_nothing(cli: Cli) -> None:
    ended = cli.run("--service", "--name", "short", "--", sys.executable, "-c", "")
    assert (ended.code, ended.result["outcome"]) == (0, "ok"), ended.err
    assert ended.result["recommendation"] is None
    assert "  next " not in ended.err
    assert "memory" in ended.err


@pytest.mark.parametrize("other", ["--observe", "--limit=1GiB", "--retries=2"])
def test_what_contradicts_a_service_is_refused(cli: Cli, other: str) -> None:
    ended = cli.run("--service", other, "--", "true")
    assert ended.code == 125
    assert "--service" in ended.err


def test_registrations_of_the_dead_are_taken_out(cli: Cli, serve: Serve) -> None:
    spec = ServiceSpec(workload_key="w", kind=TargetKind.CGROUP1, selector="/never-made")
    serve.store.register("cgroup1:/never-made", spec, owner="x:1:1", at=datetime.now(UTC))
    assert serve.specs() == ()
    assert serve.store.registered() == []


def test_a_service_whose_supervisor_is_killed_is_still_managed_then_taken_out(
    service: subprocess.Popen[str], serve: Serve
) -> None:
    take(service, 30)
    (target,) = serve.targets()
    service.kill()
    service.wait()
    assert [one.target_id for one in serve.targets()] == [target.target_id]
    assert serve.move(target, 256 * MIB) is ChangeResult.APPLIED
    assert service.stdin is not None
    service.stdin.write("0\n")
    service.stdin.flush()
    assert wait_until(lambda: serve.specs() == ())


def test_registration_that_fails_is_told_and_the_service_runs(cli: Cli) -> None:
    state = Path(cli.env["ULLAGE_STATE_DIR"])
    state.mkdir(parents=True, exist_ok=True)
    (state / "state.db").write_text("this is no database")
    ended = cli.run("--service", "--no-record", "--", "true")
    assert ended.code == 0
    assert "will not find it" in ended.err
