"""A Docker daemon that lies, is slow, or goes away: rejected, counted, and nobody is harmed.

The server here speaks real HTTP over a real unix socket; only its answers are made up.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ullage.access.docker import DockerApi
from ullage.access.docker_reading import ContainerCgroups
from ullage.actuators.live_docker import LiveDockerActuator
from ullage.control.histories import Histories
from ullage.control.tracked import Counts, Tick, Tracked
from ullage.control.views import Collector
from ullage.core.errors import (
    AdapterError,
    DataError,
    PermanentError,
    TransientError,
    VanishedError,
)
from ullage.core.serve_settings import ServeSettings
from ullage.core.service import (
    ChangeResult,
    EventKind,
    FleetState,
    HostCapacity,
    LimitChange,
    LiveTarget,
    ServiceSpec,
    TargetKind,
    TargetState,
    UpdateMode,
)
from ullage.core.units import MIB
from ullage.sources.docker_finder import DockerFinder
from ullage.sources.live_docker import LiveDockerSource
from ullage.testing.sandbox_contract import wait_until

ID = "c" * 64
STARTED = "2026-01-01T00:00:00Z"
SPEC = ServiceSpec(workload_key="web", kind=TargetKind.DOCKER, selector="app=web")
TARGET = LiveTarget(
    target_id=f"docker:{ID}",
    workload_key="web",
    instance=STARTED,
    kind=TargetKind.DOCKER,
    mode=UpdateMode.OFF,
)


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def stats(**memory: Any) -> dict[str, Any]:
    figures = {"total_inactive_file": 10 * MIB, "total_active_file": 0}
    return {"memory_stats": {"usage": 100 * MIB, "stats": figures, **memory}}


class Daemon:
    """A made-up daemon: `answers[path]` = (status, object or bytes) or a callable."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.updates: list[Any] = []
        self.answers: dict[str, Any] = {
            "/containers/json": (200, [{"Id": ID, "Labels": {"app": "web"}}]),
            f"/containers/{ID}/json": (200, self.container()),
            f"/containers/{ID}/stats": (200, stats()),
            f"/containers/{ID}/update": (200, {"Warnings": []}),
            "/info": (200, {"MemTotal": 1 << 34}),
        }
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                path = self.path.partition("?")[0]
                if path.endswith("/update"):
                    daemon.updates.append(json.loads(body))
                answer = daemon.answers.get(path, (404, {"message": "no such thing"}))
                status, words = answer() if callable(answer) else answer
                text = words if isinstance(words, bytes) else json.dumps(words).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = answer  # noqa: N815 - names of the base class

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def address_string(self) -> str:
                return "here"

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing: answers that break off are meant."""

        self.server = Server(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @staticmethod
    def container(**other: Any) -> dict[str, Any]:
        return {
            "Id": ID,
            "State": {"Running": True, "StartedAt": STARTED, "Pid": 0},
            "Config": {"Labels": {"app": "web"}},
            "HostConfig": {"Memory": 200 * MIB, "MemorySwap": 400 * MIB},
            **other,
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "docker.sock")
    yield made
    made.close()


@pytest.fixture
def api(daemon: Daemon) -> DockerApi:
    return DockerApi(daemon.path, monotonic_s=lambda: 0.0, timeout=timedelta(seconds=5))


@pytest.fixture
def source(api: DockerApi) -> Iterator[LiveDockerSource]:
    made = LiveDockerSource(api, ContainerCgroups([]), now=now)
    yield made
    made.close()


@pytest.fixture
def actuator(api: DockerApi) -> LiveDockerActuator:
    return LiveDockerActuator(
        api,
        ContainerCgroups([]),
        selectors=lambda: ["app=web"],
        settings=ServeSettings(),
        now=now,
    )


def change(new_bytes: int) -> LimitChange:
    return LimitChange(
        target_id=TARGET.target_id,
        decision_id="d",
        expected_bytes=200 * MIB,
        new_bytes=new_bytes,
        token=1,
        is_cut=new_bytes < 200 * MIB,
    )


def test_an_honest_answer_is_believed(source: LiveDockerSource) -> None:
    reading = source.read(TARGET)
    assert (reading.usage_bytes, reading.need_bytes) == (100 * MIB, 90 * MIB)
    assert (reading.limit_bytes, reading.node_bytes) == (200 * MIB, 1 << 34)


LIES = [
    stats(usage=-1),
    stats(usage=(1 << 50) + 1),
    stats(usage="12GiB"),
    stats(usage=1e18),
    stats(usage=float("nan")),
    stats(usage=True),
    stats(usage=None),
    stats(usage=[]),
    stats(stats=None),
    stats(stats={}),
    stats(stats={"total_inactive_file": -5, "total_active_file": 0}),
    stats(stats={"total_inactive_file": "0", "total_active_file": 0}),
    stats(stats={"total_inactive_file": 1 << 40, "total_active_file": 0}),
    {"memory_stats": 7},
    {},
    [],
    b"not json",
    b"[" * 100_000,
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("lie", LIES, ids=[str(n) for n in range(len(LIES))])
def test_a_lie_about_usage_is_rejected_counted_and_cuts_nothing(
    daemon: Daemon, source: LiveDockerSource, actuator: LiveDockerActuator, lie: Any
) -> None:
    daemon.answers[f"/containers/{ID}/stats"] = (200, lie)
    with pytest.raises(DataError, match="docker"):
        source.read(TARGET)
    assert source.rejected_count == 1
    for new_bytes in (160 * MIB, 300 * MIB):
        assert actuator.apply(change(new_bytes)).result is ChangeResult.REFUSED
    assert daemon.updates == []


@pytest.mark.parametrize("lie", [stats(usage=-1), stats(usage="12GiB"), b"not json"])
def test_s2_a_lie_is_poison_for_the_loop_not_a_broken_target(
    daemon: Daemon, source: LiveDockerSource, lie: Any
) -> None:
    """It is counted by its cause, and the decision sees it: no cut for a while."""
    daemon.answers[f"/containers/{ID}/stats"] = (200, lie)
    settings, counts = ServeSettings(), Counts()
    histories = Histories(settings)
    collector = Collector({TargetKind.DOCKER: source}, histories, settings, counts)
    tracked = Tracked(
        target=TARGET,
        spec=SPEC,
        state=TargetState(target_id=TARGET.target_id, workload_key="web", instance=STARTED),
        row=histories.take_row(now()),
        due_s=0.0,
    )
    tick = Tick(
        number=1,
        at=now(),
        mono_s=1.0,
        fleet=FleetState(),
        host=HostCapacity(total_bytes=1 << 34, free_bytes=1 << 33),
        room_bytes=1 << 33,
        has_lease=True,
        has_store=True,
        observe_only=None,
    )
    assert collector.collect(tracked, tick) is False
    assert dict(counts.rejected_readings) == {"poisoned": 1}
    assert collector.view(tracked, tick).poisoned_count == 1


@pytest.mark.parametrize("limit", [-1, "200MiB", 1 << 51, 1.5, None, True])
def test_a_lie_about_the_limit_is_rejected(
    daemon: Daemon, source: LiveDockerSource, actuator: LiveDockerActuator, limit: Any
) -> None:
    lie = Daemon.container(HostConfig={"Memory": limit, "MemorySwap": 0})
    daemon.answers[f"/containers/{ID}/json"] = (200, lie)
    with pytest.raises(DataError):
        source.read(TARGET)
    assert actuator.apply(change(160 * MIB)).result is ChangeResult.REFUSED
    assert daemon.updates == []


@pytest.mark.parametrize(
    "row",
    [
        {"Id": "../../etc", "Labels": {"app": "web"}},
        {"Id": ID, "Labels": {"app": "other"}},
        {"Id": ID, "Labels": None},
        {"Id": ID},
        {"Id": ID[:12], "Labels": {"app": "web"}},
        {"Id": 7, "Labels": {"app": "web"}},
    ],
)
def test_a_list_that_names_others_means_nobody(daemon: Daemon, api: DockerApi, row: Any) -> None:
    daemon.answers["/containers/json"] = (200, [row])
    finder = DockerFinder(api, own_text="")
    assert finder.find(SPEC) == []
    assert finder.rejected_count == 1


@pytest.mark.parametrize("answer", [{}, [1], "x", None])
def test_a_list_that_is_none_is_an_error(daemon: Daemon, api: DockerApi, answer: Any) -> None:
    daemon.answers["/containers/json"] = (200, answer)
    with pytest.raises(PermanentError):
        DockerFinder(api, own_text="").find(SPEC)


def test_gone_between_list_and_look(daemon: Daemon, api: DockerApi) -> None:
    del daemon.answers[f"/containers/{ID}/json"]
    assert DockerFinder(api, own_text="").find(SPEC) == []


def test_gone_between_look_and_update(daemon: Daemon, actuator: LiveDockerActuator) -> None:
    daemon.answers[f"/containers/{ID}/update"] = (404, {"message": "No such container"})
    assert actuator.apply(change(300 * MIB)).result is ChangeResult.VANISHED


def test_refusals_of_the_daemon_are_told_in_one_line(
    daemon: Daemon, actuator: LiveDockerActuator
) -> None:
    words = "device or\nresource \x1b[31mbusy" + "x" * 1000
    daemon.answers[f"/containers/{ID}/update"] = (500, {"message": words})
    outcome = actuator.apply(change(160 * MIB))
    assert outcome.result is ChangeResult.REFUSED
    assert "device or resource ?[31mbusy" in outcome.words
    assert outcome.words.isprintable()
    assert len(outcome.words) < 300


def test_an_update_whose_answer_is_lost_is_unknown(
    daemon: Daemon, actuator: LiveDockerActuator
) -> None:
    def dies() -> tuple[int, Any]:
        raise ConnectionError

    daemon.answers[f"/containers/{ID}/update"] = dies
    assert actuator.apply(change(300 * MIB)).result is ChangeResult.UNKNOWN
    assert daemon.updates == [{"Memory": 300 * MIB, "MemorySwap": 500 * MIB}]


@pytest.mark.parametrize(
    ("host", "swap_bytes"),
    [
        ({"Memory": 200 * MIB, "MemorySwap": 230 * MIB}, 330 * MIB),
        ({"Memory": 200 * MIB, "MemorySwap": 200 * MIB}, 300 * MIB),
        ({"Memory": 200 * MIB, "MemorySwap": -1}, -1),
        ({"Memory": 200 * MIB, "MemorySwap": 0}, -1),
        ({"Memory": 200 * MIB}, -1),
    ],
)
def test_memory_and_swap_stay_as_far_apart(
    daemon: Daemon, actuator: LiveDockerActuator, host: Any, swap_bytes: int
) -> None:
    daemon.answers[f"/containers/{ID}/json"] = (200, Daemon.container(HostConfig=host))
    assert actuator.apply(change(300 * MIB)).result is ChangeResult.APPLIED
    assert daemon.updates == [{"Memory": 300 * MIB, "MemorySwap": swap_bytes}]


def test_busy_daemons_are_asked_again(daemon: Daemon, api: DockerApi) -> None:
    for status in (429, 503):
        daemon.answers["/info"] = (status, {"message": "later"})
        with pytest.raises(TransientError, match="busy"):
            api.memory_bytes()


def test_a_daemon_that_goes_away_is_left_alone_for_a_while(daemon: Daemon) -> None:
    clock_s = [0.0]
    api = DockerApi(daemon.path, monotonic_s=lambda: clock_s[0])
    assert api.memory_bytes() == 1 << 34
    daemon.close()
    Path(daemon.path).unlink(missing_ok=True)
    for wait_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        with pytest.raises(TransientError) as caught:
            api.memory_bytes()
        assert caught.value.retry_after == timedelta(seconds=wait_s)
        clock_s[0] += wait_s / 2
        with pytest.raises(TransientError) as early:
            api.memory_bytes()
        assert early.value.retry_after == timedelta(seconds=wait_s / 2), "asked too early"
        clock_s[0] += wait_s / 2
    actuator = LiveDockerActuator(
        api, ContainerCgroups([]), selectors=lambda: ["app=web"], settings=ServeSettings(), now=now
    )
    assert actuator.apply(change(300 * MIB)).result is ChangeResult.REFUSED
    with pytest.raises(AdapterError):
        DockerFinder(api, own_text="").find(SPEC)


FIRST_NS = 1_767_225_600_000_000_001


def event(action: Any = "oom", container_id: Any = ID, nano: Any = FIRST_NS) -> Any:
    return {"Type": "container", "Action": action, "Actor": {"ID": container_id}, "timeNano": nano}


def stream(*events: Any) -> Callable[[], tuple[int, bytes]]:
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in events]
    return lambda: (200, b"\n".join(lines) + b"\n")


def test_events_come_once_though_the_stream_is_opened_again(
    daemon: Daemon, source: LiveDockerSource
) -> None:
    daemon.answers["/events"] = stream(
        event(),
        event("die", nano=FIRST_NS + 1),
        event(container_id="d" * 64),
        event("exec_start"),
        event(nano="now"),
        event(nano=-1),
        event(container_id="../x"),
        {"Action": "oom"},
        [],
    )
    source.watch([TARGET])
    seen: list[EventKind] = []

    def has_come() -> bool:
        seen.extend(one.kind for one in source.events())
        return source.rejected_count >= 12  # six of nine, twice

    assert wait_until(has_come)
    assert seen == [EventKind.OOM, EventKind.GONE]
    assert source.read(TARGET).oom_kills == 1


def test_what_waits_to_be_asked_for_is_bounded(
    daemon: Daemon, source: LiveDockerSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage.sources.live_docker._MOST_WAITING_EVENTS", 10)
    daemon.answers["/events"] = stream(*(event(nano=FIRST_NS + n) for n in range(50)))
    source.watch([TARGET])
    assert wait_until(lambda: source.lost_events_count >= 40)
    assert len(source.events()) <= 10
    assert source.read(TARGET).oom_kills == 50


ANEW_NS = FIRST_NS + 10**9
ANEW = "2026-01-01T00:00:01.000000001Z"
"""The container's next life begins a second after its first OOM kill."""
GONE_STATE = {"Running": False, "StartedAt": STARTED, "OOMKilled": True, "Pid": 0}


def test_s23_an_oom_kill_that_ended_its_container_is_told_once(
    daemon: Daemon, source: LiveDockerSource
) -> None:
    """One last reading: the kill, usage and limit at death. Then the container is gone."""
    source.watch([TARGET])
    assert source.read(TARGET).oom_kills == 0
    daemon.answers["/events"] = stream(event(), event("die", nano=FIRST_NS + 1))
    daemon.answers[f"/containers/{ID}/json"] = (200, Daemon.container(State=GONE_STATE))
    assert wait_until(lambda: EventKind.GONE in [one.kind for one in source.events()])
    last = source.read(TARGET)
    assert (last.oom_kills, last.limit_bytes, last.usage_bytes) == (1, 200 * MIB, 100 * MIB)
    assert last.at <= last.known_at
    with pytest.raises(VanishedError):
        source.read(TARGET)


def test_s23_kills_of_one_life_are_not_those_of_the_next(
    daemon: Daemon, source: LiveDockerSource
) -> None:
    """The id stays over a restart: what came before it is not told of the new life again."""
    source.watch([TARGET])
    source.read(TARGET)
    daemon.answers["/events"] = stream(event(), event("die", nano=FIRST_NS + 1))
    state = {"Running": True, "StartedAt": ANEW, "Pid": 0}
    daemon.answers[f"/containers/{ID}/json"] = (200, Daemon.container(State=state))
    assert wait_until(lambda: EventKind.OOM in [one.kind for one in source.events()])
    assert source.read(TARGET).oom_kills == 1, "the last words of the first life"
    anew = replace(TARGET, instance=ANEW)
    source.watch([anew])
    assert source.read(anew).oom_kills == 0
    daemon.answers["/events"] = stream(event(nano=ANEW_NS + 5))
    assert wait_until(lambda: source.read(anew).oom_kills == 1)
    with pytest.raises(VanishedError):
        source.read(TARGET)


def test_s23_a_kill_of_the_next_life_heard_of_early_is_not_lost(
    daemon: Daemon, source: LiveDockerSource
) -> None:
    source.watch([TARGET])
    daemon.answers["/events"] = stream(event(), event(nano=ANEW_NS + 5))
    state = {"Running": True, "StartedAt": ANEW, "Pid": 0}
    daemon.answers[f"/containers/{ID}/json"] = (200, Daemon.container(State=state))
    seen: list[EventKind] = []

    def have_come() -> bool:
        seen.extend(one.kind for one in source.events())
        return len(seen) == 2

    assert wait_until(have_come)
    anew = replace(TARGET, instance=ANEW)
    source.watch([anew])
    assert source.read(anew).oom_kills == 1
