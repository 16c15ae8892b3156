"""Sends alerts to Alertmanager (API v2) and to one signed webhook, from a thread of its own.

What is sent is the state, not a queue: the newest set of alerts replaces one that could not be
sent, so a sink that is down for hours costs nothing and nothing is sent twice in bursts. Bounded
and counted (S19). No redirects, https or this machine only, a time limit for everything.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from ullage.core.serve_status import Alert, ServeStatus, StatusSink

ALERTS_AT_MOST = 500
"""Alerts in one message; beyond it one says how many more there are."""
PATIENCE_S = 5.0
REPEAT_S = 60.0
"""Alertmanager forgets alerts that are not repeated."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
_RESOLVED_AFTER = timedelta(minutes=5)
_log = logging.getLogger("ullage.serve")


class Sink(Protocol):
    """Where alerts are posted."""

    name: str

    def post(self, at: datetime, firing: Sequence[Alert], resolved: Sequence[Alert]) -> None:
        """Send; OSError or http.client.HTTPException if that fails."""
        ...

    @property
    def is_repeating(self) -> bool:
        """Whether firing alerts have to be sent again and again."""
        ...


class NotDeliveredError(OSError):
    """The sink answered with something else than success."""


class AlertmanagerSink:
    """Alertmanager's POST /api/v2/alerts."""

    name = "alertmanager"
    is_repeating = True

    def __init__(self, url: str, *, runbook_url: str = "") -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._runbook_url = runbook_url

    def post(self, at: datetime, firing: Sequence[Alert], resolved: Sequence[Alert]) -> None:
        """Send all: those that fire until five minutes from now, those that are over as ended."""
        body = [self._alert(one, ends_at=at + _RESOLVED_AFTER) for one in firing]
        body += [self._alert(one, ends_at=at) for one in resolved]
        send(self._url, json.dumps(body).encode(), {})

    def _alert(self, alert: Alert, *, ends_at: datetime) -> dict[str, object]:
        labels = {"alertname": alert.name, "severity": alert.severity, "source": "ullage"}
        if alert.workload_key:
            labels["workload"] = _printable(alert.workload_key)
        annotations = {"summary": _printable(alert.summary)}
        if self._runbook_url:
            annotations["runbook_url"] = f"{self._runbook_url}#{alert.name.lower()}"
        return {"labels": labels, "annotations": annotations, "endsAt": ends_at.isoformat()}


class WebhookSink:
    """One JSON message per change, signed: X-Ullage-Signature: t=UNIX,v1=HMAC-SHA256(t.body)."""

    name = "webhook"
    is_repeating = False

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        self._secret = secret

    def post(self, at: datetime, firing: Sequence[Alert], resolved: Sequence[Alert]) -> None:
        """Send what fires now and what is over."""
        content = {
            "at": at.isoformat(),
            "firing": [_plain(one) for one in firing],
            "resolved": [_plain(one) for one in resolved],
        }
        body = json.dumps(content, sort_keys=True).encode()
        send(self._url, body, {"X-Ullage-Signature": signature(self._secret, body, at)})


def signature(secret: bytes, body: bytes, at: datetime) -> str:
    """Return the header that proves who sent `body`, and when.

    Check it: v1 == HMAC-SHA256(secret, t + "." + body) in constant time, and t not older
    than five minutes.
    """
    moment = str(int(at.timestamp()))
    made = hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={made}"


class Poster(StatusSink):
    """Keeps the newest alerts and posts them to one sink from its own thread."""

    def __init__(self, sink: Sink, *, now: Callable[[], datetime]) -> None:
        self.counts: Counter[str] = Counter()
        self.name = sink.name
        self._sink = sink
        self._now = now
        self._wanted: tuple[Alert, ...] = ()
        self._told: dict[tuple[str, str], Alert] = {}
        self._wake = threading.Condition()
        self._is_closed = False
        self._wait_s = FIRST_WAIT_S
        self._thread = threading.Thread(target=self._work, name=sink.name, daemon=True)
        self._thread.start()

    def show(self, status: ServeStatus, alerts: tuple[Alert, ...]) -> None:
        """Take the newest alerts of the leader; one that stands by tells nobody but of itself."""
        with self._wake:
            if alerts != self._wanted:
                self._wanted = alerts
                self._wake.notify()

    def close(self) -> None:
        """End the thread; what could not be sent is not sent."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join(timeout=PATIENCE_S + 1)

    def _work(self) -> None:
        while (wanted := self._next()) is not None:
            is_sent = self._post(wanted)
            with self._wake:
                if self._is_closed:
                    return
                if not is_sent:
                    self._wake.wait(self._wait_s)
                    self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)
                elif wanted == self._wanted:
                    self._wait_s = FIRST_WAIT_S
                    self._wake.wait(REPEAT_S if self._sink.is_repeating and wanted else None)

    def _next(self) -> tuple[Alert, ...] | None:
        with self._wake:
            return None if self._is_closed else self._wanted

    def _post(self, wanted: tuple[Alert, ...]) -> bool:
        """Send what has changed (or all again); say whether nothing is left to be sent."""
        firing = {(one.name, one.workload_key): one for one in bounded(wanted)}
        resolved = [one for key, one in self._told.items() if key not in firing]
        is_news = bool(resolved) or firing != self._told
        if not is_news and not (self._sink.is_repeating and firing):
            return True
        try:
            self._sink.post(self._now(), list(firing.values()), resolved)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.counts["failed"] += 1
            if self.counts["failed"] in (1, 10, 100, 1000):
                _log.warning("%s does not take alerts: %s", self._sink.name, type(error).__name__)
            return False
        self.counts["sent"] += 1
        self._told = firing
        return True


def bounded(alerts: Sequence[Alert]) -> list[Alert]:
    """Return at most ALERTS_AT_MOST alerts, the critical ones first."""
    order = {"critical": 0, "warning": 1}
    chosen = sorted(alerts, key=lambda one: (order.get(one.severity, 2), one.name))
    if len(chosen) <= ALERTS_AT_MOST:
        return chosen
    more = len(chosen) - ALERTS_AT_MOST + 1
    last = Alert(
        name="UllageMoreAlerts",
        severity="warning",
        workload_key="",
        summary=f"{more} more alerts: see `ullage top`",
    )
    return [*chosen[: ALERTS_AT_MOST - 1], last]


def send(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """POST JSON; no redirects, no proxies, a time limit. NotDeliveredError unless 2xx."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        every = {"Content-Type": "application/json", "User-Agent": "ullage", **headers}
        connection.request("POST", path, body=body, headers=every)
        response = connection.getresponse()
        response.read(65_536)
        if not 200 <= response.status < 300:
            raise NotDeliveredError(f"HTTP {response.status}")
    finally:
        connection.close()


def _plain(alert: Alert) -> dict[str, str]:
    return {
        "name": alert.name,
        "severity": alert.severity,
        "workload": _printable(alert.workload_key),
        "summary": _printable(alert.summary),
    }


def _printable(text: str) -> str:
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
    return shown.encode("utf-8", "backslashreplace").decode()[:300]
