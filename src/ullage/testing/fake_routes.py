"""Which methods the fake of Dataflow and Cloud Storage serves, and on which paths."""

from __future__ import annotations

from dataclasses import dataclass

from ullage.testing.discovery import match_path

_IN_REGION = "v1b3/projects/{projectId}/locations/{location}"
_IN_PROJECT = "v1b3/projects/{projectId}"
_STORAGE = "storage/v1/b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method that is served: its verb and path, and its id in the discovery document."""

    verb: str
    path: str
    method_id: str


def _both(verb: str, rest: str, method: str) -> tuple[Route, Route]:
    """Return a method with and without a region in its path: clients use both."""
    return (
        Route(
            verb=verb,
            path=f"{_IN_REGION}/{rest}",
            method_id=f"dataflow.projects.locations.{method}",
        ),
        Route(verb=verb, path=f"{_IN_PROJECT}/{rest}", method_id=f"dataflow.projects.{method}"),
    )


def _only(verb: str, path: str, method_id: str) -> Route:
    return Route(verb=verb, path=path, method_id=method_id)


ROUTES: tuple[Route, ...] = (
    *_both("POST", "jobs", "jobs.create"),
    *_both("GET", "jobs", "jobs.list"),
    *_both("GET", "jobs/{jobId}", "jobs.get"),
    *_both("PUT", "jobs/{jobId}", "jobs.update"),
    *_both("GET", "jobs/{jobId}/messages", "jobs.messages.list"),
    *_both("GET", "jobs/{jobId}/metrics", "jobs.getMetrics"),
    *_both("POST", "templates:launch", "templates.launch"),
    _only("GET", f"{_IN_PROJECT}/jobs:aggregated", "dataflow.projects.jobs.aggregated"),
    _only(
        "GET",
        f"{_IN_REGION}/jobs/{{jobId}}/executionDetails",
        "dataflow.projects.locations.jobs.getExecutionDetails",
    ),
    _only(
        "GET",
        f"{_IN_REGION}/jobs/{{jobId}}/stages/{{stageId}}/executionDetails",
        "dataflow.projects.locations.jobs.stages.getExecutionDetails",
    ),
    _only(
        "POST",
        f"{_IN_REGION}/flexTemplates:launch",
        "dataflow.projects.locations.flexTemplates.launch",
    ),
    _only("GET", _STORAGE, "storage.buckets.list"),
    _only("GET", f"{_STORAGE}/{{bucket}}", "storage.buckets.get"),
    _only("GET", f"{_STORAGE}/{{bucket}}/o", "storage.objects.list"),
    _only("GET", f"{_STORAGE}/{{bucket}}/o/{{object}}", "storage.objects.get"),
    _only("DELETE", f"{_STORAGE}/{{bucket}}/o/{{object}}", "storage.objects.delete"),
    _only(
        "POST",
        f"{_STORAGE}/{{sourceBucket}}/o/{{sourceObject}}/rewriteTo/b/{{destinationBucket}}"
        "/o/{destinationObject}",
        "storage.objects.rewrite",
    ),
    _only(
        "POST",
        f"{_STORAGE}/{{sourceBucket}}/o/{{sourceObject}}/copyTo/b/{{destinationBucket}}"
        "/o/{destinationObject}",
        "storage.objects.copy",
    ),
)


def find_route(verb: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the method that serves `verb` on `path` and the words in the path."""
    for route in ROUTES:
        words = match_path(route.path, path) if route.verb == verb else None
        if words is not None:
            return route, words
    return None
