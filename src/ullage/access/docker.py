"""Docker's API over its unix socket: five calls, and numbers that are not believed unseen.

HTTP is the standard library's `http.client`; all that is added is a socket of the other family.
A client library would bring two more packages for these five calls, and hides the connection that
the stream of events has to close. Every answer is a stranger's: sizes are capped, byte
counts are finite integers in 0..2^50 or rejected.

While the daemon does not answer, calls fail at once, and it is asked again after a wait that
doubles up to a minute: a thousand containers must not wait for a thousand time-outs.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from ullage.core.errors import DataError, PermanentError, TransientError, VanishedError
from ullage.core.units import MAX_BYTES

DEFAULT_SOCKET = "/var/run/docker.sock"
_MOST_BYTES = 64 << 20
_MOST_LINE_BYTES = 1 << 20
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


class AnswerLostError(TransientError):
    """The order was sent and no answer came: it may have been carried out (S7)."""


class DockerRefusedError(PermanentError):
    """The daemon understood and said no; the text is its own, cut short."""


def is_container_id(text: object) -> bool:
    """Say whether `text` is a full container id: only such a word gets into a path."""
    return isinstance(text, str) and _CONTAINER_ID.fullmatch(text) is not None


def believed_bytes(value: object, name: str) -> int:
    """Return a byte count of an answer; DataError for anything but an integer in 0..2^50.

    >>> believed_bytes(4096, "usage")
    4096
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_BYTES:
        raise DataError(f"docker: {name} of {value!r:.40} cannot be: not within 0..2^50")
    return value


class DockerApi:
    """The daemon behind one socket. Safe to use from several threads.

    monotonic_s: a clock for the waits. timeout: of one call.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        monotonic_s: Callable[[], float],
        timeout: timedelta = timedelta(seconds=3),
    ) -> None:
        self.socket_path = socket_path
        self._monotonic_s = monotonic_s
        self._timeout_s = timeout.total_seconds()
        self._lock = threading.Lock()
        self._down_until_s = 0.0
        self._wait_s = 0.0
        self._why_down = ""

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Return the running containers that have `label` ("key=value")."""
        filters = json.dumps({"label": [label], "status": ["running"]})
        answer = self._get(f"/containers/json?{urlencode({'filters': filters})}")
        if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
            raise DataError("docker: the list of containers is no list of objects")
        return answer

    def container(self, container_id: str) -> dict[str, Any]:
        """Return the configuration and the state of a container. VanishedError if it is gone."""
        return _object(self._get(f"/containers/{quote(container_id, safe='')}/json"))

    def stats(self, container_id: str) -> dict[str, Any]:
        """Return one reading of a container's use. VanishedError if it is gone."""
        query = "stream=false&one-shot=true"
        return _object(self._get(f"/containers/{quote(container_id, safe='')}/stats?{query}"))

    def update(self, container_id: str, limits: Mapping[str, int]) -> None:
        """Change limits of a live container.

        VanishedError, DockerRefusedError; AnswerLostError: it may have been done.
        """
        path = f"/containers/{quote(container_id, safe='')}/update"
        self._call("POST", path, json.dumps(dict(limits)))

    def memory_bytes(self) -> int:
        """Return the memory of the machine that the daemon runs on."""
        return believed_bytes(_object(self._get("/info")).get("MemTotal"), "MemTotal")

    def events(
        self, since_ns: int, *, closing: Callable[[Callable[[], None]], None]
    ) -> Iterator[Any]:
        """Yield events of containers' ends and OOM kills from `since_ns` (epoch) on.

        closing: is given what another thread calls to end the stream. TransientError when
        the stream breaks; DataError for what is no event.
        """
        kinds = {"type": ["container"], "event": ["oom", "die", "destroy"]}
        since = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
        query = urlencode({"since": since, "filters": json.dumps(kinds)})
        connection = _UnixConnection(self.socket_path, None)
        try:
            connection.request("GET", f"/events?{query}", headers={"Host": "docker"})
            assert connection.sock is not None
            closing(partial(_shut, connection.sock))
            response = connection.getresponse()
            if response.status != 200:
                raise TransientError(f"docker: no events ({response.status})")
            while line := response.readline(_MOST_LINE_BYTES):
                yield _parsed(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TransientError(f"docker: the stream of events broke: {error!r:.80}") from error
        finally:
            connection.close()

    def _get(self, path: str) -> Any:
        return _parsed(self._call("GET", path))

    def _call(self, method: str, path: str, body: str | None = None) -> bytes:
        self._check_up()
        connection = _UnixConnection(self.socket_path, self._timeout_s)
        is_sent = False
        try:
            connection.connect()
            is_sent = method != "GET"
            headers = {"Host": "docker", **({"Content-Type": "application/json"} if body else {})}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            answer = response.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            wait = self._note_down(error)
            if is_sent:
                raise AnswerLostError("docker: no answer to an update", retry_after=wait) from error
            raise TransientError(self._why_down, retry_after=wait) from error
        finally:
            connection.close()
        self._note_up()
        if len(answer) > _MOST_BYTES:
            raise DataError("docker: an answer of more than 64 MiB is not read")
        _check_status(response.status, answer)
        return answer

    def _check_up(self) -> None:
        with self._lock:
            left_s = self._down_until_s - self._monotonic_s()
            if left_s > 0:
                raise TransientError(self._why_down, retry_after=timedelta(seconds=left_s))

    def _note_down(self, error: Exception) -> timedelta:
        why = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        with self._lock:
            self._wait_s = min(_LONGEST_WAIT_S, self._wait_s * 2 or _FIRST_WAIT_S)
            self._down_until_s = self._monotonic_s() + self._wait_s
            self._why_down = (
                f"docker does not answer at {self.socket_path} ({why:.80}): "
                "is it running, and may this user use it (group docker)?"
            )
            return timedelta(seconds=self._wait_s)

    def _note_up(self) -> None:
        with self._lock:
            self._wait_s = self._down_until_s = 0.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _check_status(status: int, answer: bytes) -> None:
    if status in (200, 201, 204):
        return
    words = _message(answer)
    if status == 404:
        raise VanishedError(f"docker: {words}")
    if status in (429, 503):
        raise TransientError(f"docker is busy ({status}): {words}")
    raise DockerRefusedError(f"docker refuses it ({status}): {words}")


def _message(answer: bytes) -> str:
    try:
        text = _object(_parsed(answer)).get("message", "")
    except DataError:
        text = answer[:200].decode(errors="replace")
    line = " ".join(str(text).split())[:200]
    return "".join(sign if sign.isprintable() else "?" for sign in line)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"docker: an answer is no JSON: {text[:40]!r}") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError("docker: an answer is no object")
    return value


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already
