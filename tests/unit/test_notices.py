"""Metrics page, Alertmanager and webhook: over real sockets, with hostile names and dead sinks."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ullage.bootstrap_serve import read_secret
from ullage.core.errors import ConfigError
from ullage.core.serve_status import Alert, ServeStatus, TargetStatus
from ullage.notices import metrics, posting
from ullage.notices.metrics import StatusCollector, page
from ullage.notices.metrics_page import CONNECTIONS_AT_MOST, MetricsPage
from ullage.notices.posting import AlertmanagerSink, Poster, WebhookSink, bounded, signature

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOSTILE = "a\"b\\c\n\x1b[31m\udcff<script>{}=,' " + "x" * 1_000_000
ALERT = Alert(name="UllageStoreDown", severity="critical", workload_key="", summary="down")


def status(*names: str, **changes: Any) -> ServeStatus:
    made = ServeStatus(
        at=AT,
        started_at=AT,
        owner="me",
        pid=1,
        mode="act",
        tick_number=3,
        is_leader=True,
        targets=tuple(target(name) for name in names),
        counts={"decisions": {"cut|applied": 2}, "guard_blocks": {"keep": 7}, "ticks": {"": 3}},
    )
    return replace(made, **changes)


def target(name: str) -> TargetStatus:
    return TargetStatus(
        target_id=f"cgroup1:/{name}",
        workload_key=name,
        kind="cgroup1",
        mode="in_place",
        limit_bytes=200,
        need_bytes=50,
        holds=("keep",),
    )


def samples(shown: ServeStatus) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page(StatusCollector(lambda: shown)).decode()):
        for one in family.samples:
            found.setdefault(one.name, []).append((one.labels, one.value))
    return found


# -- metrics -----------------------------------------------------------------------------------


def test_the_pages_names_are_those_of_the_guide() -> None:
    found = samples(status("web"))
    assert found["ullage_workload_memory_slack_ratio"][0][1] == 0.75
    assert found["ullage_decisions_total"] == [({"direction": "cut", "outcome": "applied"}, 2)]
    assert found["ullage_guard_blocks_total"] == [({"guard": "keep"}, 7)]
    assert found["ullage_holds"] == [({"guard": "keep"}, 1)]
    assert found["ullage_store_up"][0][1] == 1


def test_hostile_names_stay_labels() -> None:
    [(labels, _)] = samples(status(HOSTILE))["ullage_workload_memory_limit_bytes"]
    assert len(labels["workload"]) <= metrics.LABEL_CHARACTERS
    assert labels["workload"].isprintable()


def test_series_are_capped_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TARGETS_AT_MOST", 2)
    found = samples(status("a", "b", "c"))
    assert len(found["ullage_workload_memory_limit_bytes"]) == 2
    assert found["ullage_metrics_hidden_targets"][0][1] == 1


@pytest.fixture
def served() -> Iterator[MetricsPage]:
    made = MetricsPage("127.0.0.1", 0, stale_after_s=30, monotonic_s=time.monotonic)
    yield made
    made.close()


def get(port: int, path: str, host: str = "localhost") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_ready_only_with_a_store_and_a_pass(served: MetricsPage) -> None:
    assert get(served.port, "/readyz")[0] == 503
    served.show(status("web"), ())
    assert get(served.port, "/readyz") == (200, "ready, acting\n")
    served.show(status(is_leader=False), ())
    assert get(served.port, "/readyz") == (200, "ready, standing by\n")
    served.show(status(has_store=False), ())
    assert get(served.port, "/readyz")[0] == 503


def test_a_loop_that_hangs_is_not_healthy() -> None:
    now_s = [0.0]
    made = MetricsPage("127.0.0.1", 0, stale_after_s=30, monotonic_s=lambda: now_s[0])
    made.show(status(), ())
    assert made.answer("/healthz")[0] == 200
    now_s[0] = 31
    assert made.answer("/healthz")[0] == 503
    assert made.answer("/readyz")[0] == 503
    made.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost:1"])
def test_unknown_hosts_are_refused(served: MetricsPage, host: str) -> None:
    assert get(served.port, "/metrics", host)[0] == 421


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/debug"])
def test_there_is_nothing_else(served: MetricsPage, path: str) -> None:
    assert get(served.port, path)[0] == 404


def test_other_methods_are_refused(served: MetricsPage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("POST", "/metrics", body=b"x")
    assert connection.getresponse().status == 501
    connection.close()


def test_idle_readers_are_bounded_and_hold_nobody_up(served: MetricsPage) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(40)]
    served.show(status("web"), ())
    assert served.answer("/readyz")[0] == 200
    assert threading.active_count() <= CONNECTIONS_AT_MOST + 8
    for one in idle:
        one.close()


# -- notices -----------------------------------------------------------------------------------


class Receiver:
    """An HTTP server that keeps what it is sent. code: what it answers."""

    def __init__(self) -> None:
        self.code = 200
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                self.send_response(receiver.code)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def until(is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_alertmanager_gets_what_fires_and_what_is_over(receiver: Receiver) -> None:
    poster = Poster(AlertmanagerSink(receiver.url, runbook_url="docs/r.md"), now=lambda: AT)
    poster.show(status(), (ALERT,))
    until(lambda: len(receiver.got) == 1)
    poster.show(status(), ())
    until(lambda: len(receiver.got) == 2)
    poster.close()
    path, _, body = receiver.got[0]
    [first], [last] = json.loads(body), json.loads(receiver.got[1][2])
    assert path == "/api/v2/alerts"
    assert first["labels"]["alertname"] == last["labels"]["alertname"] == "UllageStoreDown"
    assert first["annotations"]["runbook_url"] == "docs/r.md#ullagestoredown"
    assert datetime.fromisoformat(first["endsAt"]) == AT + timedelta(minutes=5)
    assert datetime.fromisoformat(last["endsAt"]) == AT


def test_the_webhook_is_signed(receiver: Receiver) -> None:
    secret = b"0123456789abcdef"
    poster = Poster(WebhookSink(receiver.url + "/hook?x=1", secret), now=lambda: AT)
    poster.show(status(), (replace(ALERT, workload_key=HOSTILE),))
    until(lambda: receiver.got)
    poster.close()
    path, headers, body = receiver.got[0]
    moment, _, made = headers["X-Ullage-Signature"].partition(",v1=")
    signed = moment.removeprefix("t=").encode() + b"." + body
    assert made == hmac.new(secret, signed, hashlib.sha256).hexdigest()
    assert headers["X-Ullage-Signature"] == signature(secret, body, AT)
    assert path == "/hook?x=1"
    assert len(json.loads(body)["firing"][0]["workload"]) <= 300


@pytest.mark.parametrize("code", [302, 307, 400, 500, 503])
def test_refusals_and_redirects_are_tried_again_and_counted(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(posting, "FIRST_WAIT_S", 0.01)
    receiver.code = code
    poster = Poster(WebhookSink(receiver.url, b"s" * 16), now=lambda: AT)
    poster.show(status(), (ALERT,))
    until(lambda: poster.counts["failed"] >= 2)
    receiver.code = 200
    until(lambda: poster.counts["sent"] == 1)
    poster.close()


def test_a_sink_that_is_down_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of changing alerts: the newest state waits, nothing else; `show` returns at once."""
    monkeypatch.setattr(posting, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(posting, "LONGEST_WAIT_S", 0.02)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        poster = Poster(AlertmanagerSink(url), now=lambda: AT)
        for number in range(5_000):
            poster.show(status(), (replace(ALERT, workload_key=str(number)),))
        until(lambda: poster.counts["failed"] >= 3)
        assert poster._told == {}
        assert len(poster._wanted) == 1
        poster.close()


def test_a_message_is_bounded() -> None:
    many = [replace(ALERT, workload_key=str(number), severity="info") for number in range(2_000)]
    shown = bounded([*many, ALERT])
    assert len(shown) == posting.ALERTS_AT_MOST
    assert shown[0] == ALERT
    assert "1502 more" in shown[-1].summary


def test_secrets_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    assert read_secret(str(file), "", {}) == b"0123456789abcdef"
    assert read_secret("", "S", {"S": "0123456789abcdef"}) == b"0123456789abcdef"
    for environ in ({}, {"S": "tooshort"}):
        with pytest.raises(ConfigError, match="openssl rand") as raised:
            read_secret("", "S", environ)
        assert "tooshort" not in str(raised.value)
    with pytest.raises(ConfigError, match="secret_file"):
        read_secret(str(tmp_path / "none"), "", {})


def test_a_real_alertmanager_takes_them(tmp_path: Path) -> None:
    command = shutil.which("prometheus-alertmanager")
    if command is None:
        pytest.skip("no Alertmanager: apt-get install prometheus-alertmanager")
    (tmp_path / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = [
        f"--config.file={tmp_path / 'am.yml'}",
        f"--storage.path={tmp_path / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    server = subprocess.Popen([command, *words], stderr=subprocess.DEVNULL)
    try:
        sink = AlertmanagerSink(f"http://127.0.0.1:{port}", runbook_url="docs/runbooks.md")
        poster = Poster(sink, now=lambda: datetime.now(UTC))
        poster.show(status(), (ALERT, replace(ALERT, workload_key=HOSTILE)))
        until(lambda: poster.counts["sent"])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/api/v2/alerts")
        found = json.loads(connection.getresponse().read())
        connection.close()
        poster.close()
        assert {one["labels"]["alertname"] for one in found} == {"UllageStoreDown"}
        assert len(found) == 2
    finally:
        server.terminate()
        server.wait()
