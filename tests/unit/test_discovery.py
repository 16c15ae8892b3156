"""The checks by discovery documents: what they find, and what they let through."""

from __future__ import annotations

from typing import Any

import pytest

from ullage.testing.discovery import DiscoveryDocument, match_path

DOCUMENT = {
    "name": "jobs",
    "version": "v1",
    "servicePath": "",
    "parameters": {"alt": {"type": "string", "location": "query"}},
    "schemas": {
        "Job": {
            "id": "Job",
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "state": {"type": "string", "enum": ["UNKNOWN", "RUNNING"]},
                "bytes": {"type": "string", "format": "int64"},
                "at": {"type": "string", "format": "google-datetime"},
                "span": {"type": "string", "format": "google-duration"},
                "threads": {"type": "integer", "format": "int32"},
                "ratio": {"type": "number", "format": "double"},
                "isOn": {"type": "boolean"},
                "anything": {"type": "any"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "parts": {"type": "array", "items": {"$ref": "Job"}},
            },
        }
    },
    "resources": {
        "jobs": {
            "methods": {
                "create": {
                    "id": "jobs.create",
                    "httpMethod": "POST",
                    "path": "v1/{project}/jobs",
                    "parameters": {
                        "project": {"location": "path", "required": True, "type": "string"},
                        "view": {"location": "query", "type": "string", "enum": ["ALL"]},
                        "pageSize": {"location": "query", "type": "integer"},
                    },
                    "request": {"$ref": "Job"},
                    "response": {"$ref": "Job"},
                }
            }
        }
    },
}
JOBS = DiscoveryDocument(DOCUMENT)


def faults(body: Any, **query: str) -> list[str]:
    return JOBS.request_faults("jobs.create", path={"project": "p"}, query=query, body=body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "a", "state": "RUNNING", "bytes": "12", "threads": 2, "ratio": 0.5},
        {"state": 1, "bytes": 12},  # the JSON of protocol buffers takes these
        {"at": "2026-01-01T00:00:00.5Z", "span": "3.5s", "isOn": False, "anything": [{}]},
        {"labels": {"a": "b"}, "parts": [{"name": "x"}, {}]},
    ],
)
def test_what_the_document_says_passes(body: Any) -> None:
    assert faults(body, view="ALL", pageSize="10", alt="json") == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"nmae": "a"}, "request.nmae is unknown"),
        ({"name": 1}, "request.name"),
        ({"state": "STARTING"}, "request.state"),
        ({"state": True}, "request.state"),
        ({"bytes": "many"}, "request.bytes"),
        ({"at": "yesterday"}, "request.at"),
        ({"span": "3"}, "request.span"),
        ({"threads": "2"}, "request.threads"),
        ({"threads": 2.5}, "request.threads"),
        ({"threads": 1 << 40}, "request.threads"),
        ({"ratio": float("nan")}, "request.ratio"),
        ({"isOn": "true"}, "request.isOn"),
        ({"labels": {"a": 1}}, "request.labels.a"),
        ({"parts": {}}, "request.parts"),
        ({"parts": [{}, {"x": 1}]}, "request.parts[1].x is unknown"),
        ([], "request: "),
    ],
)
def test_what_departs_is_named_with_its_place(body: Any, where: str) -> None:
    found = faults(body)
    assert len(found) == 1
    assert found[0].startswith(where)


def test_parameters_are_checked() -> None:
    assert faults({}, veiw="ALL") == ["query parameter veiw is unknown to jobs.create"]
    assert "query view" in faults({}, view="SOME")[0]
    assert "query pageSize" in faults({}, pageSize="ten")[0]
    found = JOBS.request_faults("jobs.create", path={}, query={}, body={})
    assert found == ["path parameter project is missing"]
    assert JOBS.request_faults("jobs.none", path={}, query={}, body={})


def test_answers_are_checked_too() -> None:
    assert JOBS.answer_faults("jobs.create", {"name": "a"}) == []
    assert JOBS.answer_faults("jobs.create", {"surprise": 1})


def test_paths_are_taken_apart() -> None:
    template = "v1/{project}/jobs/{job}:snapshot"
    assert match_path(template, "v1/p/jobs/j%201:snapshot") == {"project": "p", "job": "j 1"}
    assert match_path(template, "v1/p/jobs/j") is None
    assert match_path("v1/{project}/jobs", "v1/a/b/jobs") is None
