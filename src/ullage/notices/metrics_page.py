"""The metrics port: /metrics, /healthz and /readyz, and nothing else.

Loopback by default. Only known Host headers are answered, so that no web page in somebody's
browser can read it; connections and their time are bounded. Threads of its own read finished
pictures: nobody who looks on can hold the loop up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Any

from ullage.core.errors import ConfigError
from ullage.core.serve_status import Alert, ServeStatus, StatusSink
from ullage.notices.metrics import StatusCollector, page

CONNECTIONS_AT_MOST = 16
_PATIENCE_S = 5.0
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsPage(StatusSink):
    """Serves the newest picture until it is closed.

    stale_after_s: a picture older than this (by `monotonic_s`) means that the loop hangs.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hosts: Collection[str] = (),
        stale_after_s: float,
        monotonic_s: Callable[[], float],
        notices: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._status: ServeStatus | None = None
        self._shown_s = monotonic_s()
        self._stale_after_s = stale_after_s
        self._monotonic_s = monotonic_s
        self._collector = StatusCollector(lambda: self._status, notices)
        self._server = _open(self, host, port)
        self.port: int = self._server.server_address[1]
        names = {"localhost", "127.0.0.1", "[::1]", *hosts}
        self.allowed = names | {f"{name}:{self.port}" for name in names}
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics"
        )
        self._thread.daemon = True
        self._thread.start()

    def show(self, status: ServeStatus, alerts: tuple[Alert, ...]) -> None:
        """Take the newest picture."""
        self._status = status
        self._shown_s = self._monotonic_s()

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return (HTTP status, text) for a path."""
        status = self._status
        is_fresh = self._monotonic_s() - self._shown_s <= self._stale_after_s
        if path == "/metrics":
            return 200, page(self._collector)
        if path == "/healthz":
            return (200, b"ok\n") if is_fresh else (503, b"the loop has not come round\n")
        if path == "/readyz":
            if status is None or not status.is_ready or not is_fresh:
                why = b"not ready: " + (b"starting" if status is None else b"store or loop")
                return 503, why + b"\n"
            role = b"acting" if status.is_leader else b"standing by"
            return 200, b"ready, " + role + b"\n"
        return 404, b"only /metrics, /healthz and /readyz\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, owner: MetricsPage, address: tuple[str, int], family: int) -> None:
        self.address_family = family
        self.owner = owner
        self._free = threading.BoundedSemaphore(CONNECTIONS_AT_MOST)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: somebody went away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    server_version = "ullage"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        if self.headers.get("Host", "").lower() not in owner.allowed:
            self._send(421, b"this Host is not served here: see serve.metrics.hosts\n")
            return
        self._send(*owner.answer(self.path.partition("?")[0]))

    def _send(self, code: int, text: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", _TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no access log."""


def _open(owner: MetricsPage, host: str, port: int) -> _Server:
    try:
        return _Server(owner, (host, port), AF_INET6 if ":" in host else AF_INET)
    except OSError as error:
        raise ConfigError(
            f"the metrics page cannot listen on {host}:{port} ({error.strerror or error}): "
            'set serve.metrics.listen to a free port, or to "" for none'
        ) from error
