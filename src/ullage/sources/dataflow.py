"""Reads jobs of Google Cloud Dataflow over its REST API (v1b3): implements core.ports.JobSource.

With google-auth's own session (extra [gcp]): it signs requests with the default credentials, or
not at all (`--no-auth`, for an endpoint on this machine). Answers are hostile until they pass
`sources.dataflow_facts`. Reads only; changes nothing. Errors are translated: 429 and 5xx and a
broken connection are worth another try, 403 and 404 name the way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from ullage.core.errors import ConfigError, DataError, PermanentError, TransientError
from ullage.core.jobs import JobFacts
from ullage.sources.dataflow_facts import (
    Answers,
    failed_attempts,
    job_facts,
    stages_with_work_items,
)
from ullage.sources.dataflow_values import text_of, time_of

DEFAULT_ENDPOINT = "https://dataflow.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PAGE_SIZE = 100
MOST_PAGES = 200
"""Of one listing: a job with more messages than 20,000 is read up to there."""
MOST_STAGES = 200
ANSWER_S = 60.0
RETRY = timedelta(seconds=30)

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}", re.ASCII)


class DataflowJobs:
    """The jobs of one project in one region. `open` makes it."""

    def __init__(self, session: Any, *, endpoint: str, project: str, region: str) -> None:
        self._session = session
        self._project = project
        self._region = region
        place = f"projects/{quote(project, safe=':')}/locations/{quote(region, safe='')}"
        self._base = f"{endpoint.rstrip('/')}/v1b3/{place}/jobs"

    @classmethod
    def open(
        cls, *, project: str, region: str, endpoint: str | None = None, has_auth: bool = True
    ) -> DataflowJobs:
        """Open the jobs of `project` in `region`.

        Raises ConfigError for words that cannot be, without google-auth, without credentials,
        and without `has_auth` for an endpoint that is not on this machine.
        """
        for what, word in (("--project", project), ("--region", region)):
            if not _WORD.fullmatch(word):
                raise ConfigError(f"{what} {word[:60]!a} is none: give it as the console shows it")
        address = _checked_endpoint(endpoint or DEFAULT_ENDPOINT, has_auth=has_auth)
        return cls(_session(has_auth), endpoint=address, project=project, region=region)

    def job_ids(self, *, since: datetime | None = None) -> Iterator[str]:
        """Yield the ids of jobs created at `since` or later, as the service lists them."""
        query = {"filter": "ALL", "pageSize": str(PAGE_SIZE)}
        for job in self._pages("", "jobs", query):
            created_at = time_of(job.get("createTime"))
            if since is None or created_at is None or created_at >= since:
                yield text_of(job.get("id"), "id of a job")

    def facts(self, job_id: str) -> JobFacts:
        """Return what the service says about a job.

        Raises DataError for an answer that cannot be meant, TransientError, PermanentError.
        """
        if not _WORD.fullmatch(job_id):
            raise ConfigError(f"job {job_id[:60]!a} is no id of a job: see `ullage get jobs`")
        path = f"/{quote(job_id, safe='')}"
        job = self._get(path, {"view": "JOB_VIEW_ALL"})
        answers = Answers(
            job=job,
            metrics=self._get(f"{path}/metrics", {}),
            messages=tuple(
                self._pages(
                    f"{path}/messages",
                    "jobMessages",
                    {"minimumImportance": "JOB_MESSAGE_DETAILED", "pageSize": str(PAGE_SIZE)},
                )
            ),
            failed_s=self._failed(path),
        )
        return job_facts(answers, project=self._project, region=self._region)

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def _failed(self, path: str) -> tuple[float, ...] | None:
        """Return seconds of work items whose attempt failed; None where nobody can tell.

        Only batch jobs have work items, and the service keeps them for a while only.
        """
        query = {"pageSize": str(PAGE_SIZE)}
        try:
            stages = list(self._pages(f"{path}/executionDetails", "stages", query))
            found: list[float] = []
            for stage_id in stages_with_work_items(stages)[:MOST_STAGES]:
                place = f"{path}/stages/{quote(stage_id, safe='')}/executionDetails"
                found += failed_attempts(self._pages(place, "workers", query))
        except PermanentError:
            return None
        return tuple(found) if stages else None

    def _pages(self, path: str, name: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the objects of a listing, page after page."""
        token = ""
        for _ in range(MOST_PAGES):
            page = self._get(path, {**query, **({"pageToken": token} if token else {})})
            rows = page.get(name, [])
            yield from (
                (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
            )
            following = page.get("nextPageToken")
            if not isinstance(following, str) or not following or following == token:
                return
            token = following

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the JSON object that a GET answers."""
        from google.auth.exceptions import GoogleAuthError

        what = f"{self._project}/{self._region}{path}"
        try:
            answer = self._session.get(self._base + path, params=dict(query), timeout=ANSWER_S)
        except GoogleAuthError as error:
            raise PermanentError(
                f"Google's credentials were refused ({_line(error)}): run "
                "`gcloud auth application-default login`"
            ) from error
        except OSError as error:  # every error of its HTTP library is one
            raise TransientError(
                f"Dataflow does not answer ({_line(error)}): try again", retry_after=RETRY
            ) from error
        if answer.status_code != 200:
            raise _refusal(answer, what)
        try:
            body = answer.json()
        except ValueError as error:
            raise DataError(f"Dataflow's answer about {what} is not JSON") from error
        if not isinstance(body, dict):
            raise DataError(f"Dataflow's answer about {what} is no object")
        return body


def _session(has_auth: bool) -> Any:
    """Return a session that signs its requests, or one that does not."""
    try:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import AuthorizedSession
    except ImportError as error:
        raise ConfigError(
            "reading jobs of Dataflow needs google-auth: pip install 'google-auth[requests]'"
        ) from error
    open_session: Any = AuthorizedSession
    if not has_auth:
        nobody: Any = AnonymousCredentials
        return open_session(nobody())
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise ConfigError(
            "no Google credentials were found: run `gcloud auth application-default login`, "
            "or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    return open_session(credentials)


def _checked_endpoint(endpoint: str, *, has_auth: bool) -> str:
    """Return the endpoint; a token is sent over https only, and nothing unsigned goes out."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"--endpoint {endpoint[:80]!a} is no address") from error
    is_here = host in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise ConfigError(f"--endpoint {endpoint[:80]!a}: write https://HOST, without a user")
    if has_auth and parts.scheme != "https":
        raise ConfigError("--endpoint over http would send your token unencrypted: use --no-auth")
    if not has_auth and not is_here:
        raise ConfigError("--no-auth is for an endpoint on this machine: http://localhost:PORT")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _refusal(answer: Any, what: str) -> Exception:
    """Return the error of ours for an answer that is no success."""
    status = int(answer.status_code)
    said = _said(answer)
    if status == 429 or status >= 500:
        return TransientError(
            f"Dataflow answers {status} ({said}): try again later", retry_after=_wait(answer)
        )
    if status in (401, 403):
        return PermanentError(
            f"no permission to read {what} ({said}): grant roles/dataflow.viewer to this account"
        )
    if status == 404:
        return PermanentError(
            f"there is no {what} ({said}): check project, region and job id; the service forgets "
            "jobs some time after they have ended"
        )
    return PermanentError(f"Dataflow refuses to tell about {what}: {status} ({said})")


def _said(answer: Any) -> str:
    try:
        told = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return _line(told)


def _line(value: object) -> str:
    """Return one clipped line without anything that a terminal would obey."""
    text = " ".join(str(value).split())[:160]
    return ascii(text)[1:-1]


def _wait(answer: Any) -> timedelta:
    text = str(answer.headers.get("Retry-After", ""))
    return timedelta(seconds=min(int(text), 3600)) if text.isascii() and text.isdigit() else RETRY
