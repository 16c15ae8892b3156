"""A local HTTP server that speaks the REST API of Dataflow and the JSON API of Cloud Storage.

For tests and for trying things out: real clients submit real jobs to it without a cloud. It
runs no job; jobs do what the test says (`jobs.move`, `jobs.measure`, see `testing.fake_jobs`).
Every request and each successful answer is checked against the published discovery documents
where google-api-python-client is installed; what departs from them is kept in `violations`,
and `assert_valid` raises. `fail_next` makes it fail like a service. Loopback only.

    with FakeDataflow() as cloud:
        submit(f"--dataflow_endpoint={cloud.endpoint}", STORAGE_EMULATOR_HOST=cloud.endpoint)
        cloud.jobs.newest().posted["environment"]
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ullage.testing.discovery import DiscoveryDocument, match_path, published_documents
from ullage.testing.fake_jobs import FakeJobs, Refusal
from ullage.testing.fake_routes import Route, find_route
from ullage.testing.fake_storage import FakeStorage

Json = Any

_UPLOAD = "upload/storage/v1/b/{bucket}/o"
_INSERT = "storage.objects.insert"


class Fault(StrEnum):
    """How a request can go wrong."""

    RATE_LIMITED = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    RESET = "reset"
    """The connection breaks before anything is done."""
    TIMEOUT = "timeout"
    """Nothing is done and nothing is answered until the client gives up."""
    LOST_ANSWER = "lost_answer"
    """It is done, but the caller sees no answer."""


_STATUS = {
    Fault.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED"),
    Fault.INTERNAL: (500, "INTERNAL"),
    Fault.UNAVAILABLE: (503, "UNAVAILABLE"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """A request as it came in, and the status that was answered (0 = none)."""

    method_id: str
    verb: str
    path: str
    query: Mapping[str, str]
    body: Json
    status: int


class FakeDataflow:
    """The server. Entered, it listens; left, it is gone.

    jobs: the Dataflow service's jobs. storage: the objects. seen: every request in order.
    violations: where requests or answers depart from the discovery documents.
    """

    def __init__(
        self,
        *,
        buckets: tuple[str, ...] = ("bucket",),
        documents: Mapping[str, DiscoveryDocument] | None = None,
        port: int = 0,
    ) -> None:
        self._wanted_port = port
        self.jobs = FakeJobs()
        self.storage = FakeStorage(buckets)
        self.seen: list[SeenRequest] = []
        self.violations: list[str] = []
        self._documents = published_documents() if documents is None else documents
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._server: _Server | None = None

    @property
    def is_validating(self) -> bool:
        """Whether discovery documents are there to check against."""
        return bool(self._documents)

    @property
    def port(self) -> int:
        """The port on the loopback interface."""
        assert self._server is not None, "the fake is not entered"
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        """The address for --dataflow_endpoint and STORAGE_EMULATOR_HOST.

        The word localhost tells Beam's client to speak REST.
        """
        return f"http://localhost:{self.port}"

    def __enter__(self) -> FakeDataflow:
        """Begin to listen on a free port."""
        self._server = _Server(("127.0.0.1", self._wanted_port), self)
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True, name="fake-dataflow"
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening and let go of clients that wait."""
        self._is_over.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def fail_next(self, method: str, fault: Fault, *, times: int = 1) -> None:
        """Let the next `times` requests go wrong whose method id ends with `method`."""
        with self._lock:
            self._faults += [(method, fault)] * times

    def assert_valid(self) -> None:
        """Raise AssertionError if anything departed from the discovery documents."""
        assert not self.violations, "not as the discovery documents say:\n" + "\n".join(
            self.violations
        )

    def seen_methods(self) -> list[str]:
        """Return the ids of the methods that were called, in order."""
        with self._lock:
            return [request.method_id for request in self.seen]

    # -- one request -----------------------------------------------------------------------

    def take_fault(self, method_id: str) -> Fault | None:
        """Return how the request that has come in goes wrong; used up by that."""
        with self._lock:
            for at, (method, fault) in enumerate(self._faults):
                if method_id.endswith(method):
                    del self._faults[at]
                    return fault
        return None

    def hold(self) -> None:
        """Wait until the fake is left."""
        self._is_over.wait()

    def answer(
        self, route: Route, path: Mapping[str, str], query: Mapping[str, str], body: Json
    ) -> tuple[int, Json]:
        """Do what a request asks and return (status, body), both checked."""
        service, _, _ = route.method_id.partition(".")
        name = re.sub(r"^(dataflow\.projects\.(locations\.)?|storage\.)", "", route.method_id)
        handlers = self.jobs.handlers if service == "dataflow" else self.storage.handlers
        with self._lock:
            self._check_request(route.method_id, path, query, body)
            try:
                result = handlers[name](path, query, body)
            except Refusal as refusal:
                return refusal.status, error_body(refusal.status, refusal.reason, str(refusal))
            self._check_answer(route.method_id, result)
            return (204 if result is None else 200), json.loads(json.dumps(result))

    def keep(self, request: SeenRequest) -> None:
        """Remember a request."""
        with self._lock:
            self.seen.append(request)

    def unknown(self, verb: str, path: str) -> None:
        """Remember a request that nothing here serves."""
        with self._lock:
            self.violations.append(f"{verb} {path}: not served by this fake")

    def check_upload(self, bucket: str, query: Mapping[str, str], resource: Json) -> None:
        """Check an upload's parameters and the resource that is answered."""
        with self._lock:
            known = {name: text for name, text in query.items() if name != "upload_id"}
            self._check_request(_INSERT, {"bucket": bucket}, known, {})
            if resource:
                self._check_answer(_INSERT, resource)

    def _check_request(
        self, method_id: str, path: Mapping[str, str], query: Mapping[str, str], body: Json
    ) -> None:
        document = self._documents.get(method_id.partition(".")[0])
        if document is not None:
            found = document.request_faults(method_id, path=path, query=query, body=body)
            self.violations += [f"{method_id}: {fault}" for fault in found]

    def _check_answer(self, method_id: str, result: Json) -> None:
        document = self._documents.get(method_id.partition(".")[0])
        if document is not None and method_id in document.methods:
            found = document.answer_faults(method_id, result)
            self.violations += [f"{method_id}: our own {fault}" for fault in found]


def error_body(status: int, reason: str, message: str) -> Json:
    """Return an error as Google's APIs write it."""
    return {"error": {"code": status, "message": message, "status": reason, "errors": []}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], fake: FakeDataflow) -> None:
        super().__init__(address, _Handler)
        self.fake = fake

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: clients that give up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: `seen` has it."""

    @property
    def _fake(self) -> FakeDataflow:
        assert isinstance(self.server, _Server)
        return self.server.fake

    def do_GET(self) -> None:
        """Serve a reading method, or a download."""
        self._serve()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815 - http.server's names

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        split = urlsplit(self.path)
        path = split.path.lstrip("/")
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        if path.startswith("upload/"):
            self._upload(path, query, content)
            return
        found = find_route(self.command, path.removeprefix("download/"))
        if found is None:
            self._fake.unknown(self.command, self.path)
            self._reply(404, error_body(404, "NOT_FOUND", f"not served: {path}"))
            return
        route, words = found
        if query.get("alt") == "media" and route.method_id == "storage.objects.get":
            self._download(words)
            return
        self._call(route, words, query, content)

    def _call(
        self, route: Route, words: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        try:
            body = json.loads(content) if content else None
        except ValueError:
            self._reply(400, error_body(400, "INVALID_ARGUMENT", "the body is not JSON"))
            return
        fault = self._fake.take_fault(route.method_id)
        status, result = 0, None
        if fault in _STATUS:
            status, reason = _STATUS[fault]
            result = error_body(status, reason, "injected by the test")
        elif fault is None or fault is Fault.LOST_ANSWER:
            status, result = self._fake.answer(route, words, query, body)
        self._fake.keep(
            SeenRequest(
                method_id=route.method_id,
                verb=self.command,
                path=self.path,
                query=query,
                body=body,
                status=0 if fault is Fault.LOST_ANSWER else status,
            )
        )
        if fault is Fault.TIMEOUT:
            self._fake.hold()
        if fault in (Fault.RESET, Fault.TIMEOUT, Fault.LOST_ANSWER):
            self._hang_up()
            return
        self._reply(status, result)

    def _download(self, words: Mapping[str, str]) -> None:
        try:
            content = self._fake.storage.content(words)
        except Refusal as refusal:
            self._reply(404, error_body(404, refusal.reason, str(refusal)))
            return
        self._send(200, content, "application/octet-stream")

    def _upload(self, path: str, query: Mapping[str, str], content: bytes) -> None:
        words = match_path(_UPLOAD, path) or {"bucket": ""}
        storage, headers = self._fake.storage, {}
        status, resource = 200, None
        try:
            if "upload_id" in query:
                span = self.headers.get("Content-Range", f"bytes */{len(content)}")
                resource, held = storage.proceed(query["upload_id"], content, span)
                if resource is None:
                    status, headers = 308, {"Range": f"bytes=0-{held - 1}"} if held else {}
            else:
                kind = self.headers.get("Content-Type", "")
                resource, upload_id = storage.upload(words["bucket"], query, kind, content)
                if upload_id:
                    to = f"{self._fake.endpoint}/{path}?uploadType=resumable&upload_id={upload_id}"
                    headers = {"Location": to}
            self._fake.check_upload(words["bucket"], query, resource)
        except Refusal as refusal:
            status = refusal.status
            resource = error_body(status, refusal.reason, str(refusal))
        self._fake.keep(
            SeenRequest(
                method_id=_INSERT,
                verb=self.command,
                path=self.path,
                query=query,
                body=None,
                status=status,
            )
        )
        self._reply(status, resource, list(headers.items()))

    def _reply(self, status: int, body: Json, headers: Sequence[tuple[str, str]] = ()) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self._send(status, content, "application/json; charset=UTF-8", headers)

    def _send(
        self, status: int, content: bytes, kind: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), *headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hang_up(self) -> None:
        """Break the connection so that the client sees a reset, not an answer."""
        import socket
        import struct

        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
