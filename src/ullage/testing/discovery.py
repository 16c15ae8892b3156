"""Checks requests and answers against Google's published discovery documents.

A discovery document describes a REST service: its methods, their parameters, and the schemas
of what is sent and answered. Covers what the services of our fakes use: unknown fields and
parameters, wrong types, formats, enums, missing path parameters. Not covered: what a document
does not say (which fields a service insists on). Pure, but for `published_documents`, which
reads the documents that ship in the package google-api-python-client, where it is installed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Json = Any
"""What JSON can hold."""

_SYSTEM_PARAMETERS = frozenset({"$alt", "$.xgafv", "prettyPrint", "alt", "key", "fields"})
"""Understood by every Google API, in a document or not."""
_FORMATS = {
    "int64": re.compile(r"-?[0-9]{1,19}"),
    "uint64": re.compile(r"[0-9]{1,20}"),
    "google-datetime": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?Z"),
    "date-time": re.compile(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9:]{5})"
    ),
    "google-duration": re.compile(r"-?[0-9]+(\.[0-9]{1,9})?s"),
    "byte": re.compile(r"[A-Za-z0-9+/_-]*={0,2}"),
}
_INT32 = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service. `path` is relative to the root, `{name}` stands for a word."""

    method_id: str
    verb: str
    path: str
    parameters: Mapping[str, Json]
    request: Json | None
    response: Json | None


class DiscoveryDocument:
    """One service's document, ready to check by."""

    def __init__(self, document: Mapping[str, Json]) -> None:
        self.name = f"{document['name']}.{document['version']}"
        self._schemas: Mapping[str, Json] = document.get("schemas", {})
        self._shared = frozenset(document.get("parameters", {})) | _SYSTEM_PARAMETERS
        prefix = document.get("servicePath", "")
        self.methods = {
            method.method_id: method
            for method in _methods(document, prefix, document.get("parameters", {}))
        }

    def request_faults(
        self, method_id: str, *, path: Mapping[str, str], query: Mapping[str, str], body: Json
    ) -> list[str]:
        """Return what is wrong with a request, one line each; empty where nothing is."""
        method = self.methods.get(method_id)
        if method is None:
            return [f"{self.name} has no method {method_id}"]
        faults = [
            f"path parameter {name} is missing"
            for name, parameter in method.parameters.items()
            if parameter.get("location") == "path" and not path.get(name)
        ]
        for name, text in query.items():
            known = method.parameters.get(name)
            if known is not None and known.get("location") == "query":
                faults += self._text_faults(text, known, f"query {name}")
            elif name not in self._shared:
                faults.append(f"query parameter {name} is unknown to {method_id}")
        if method.request is not None:
            faults += self.faults(body if body is not None else {}, method.request, "request")
        elif body is not None:
            faults.append(f"{method_id} takes no body")
        return faults

    def answer_faults(self, method_id: str, body: Json) -> list[str]:
        """Return what is wrong with a successful answer, one line each."""
        method = self.methods[method_id]
        if method.response is None:
            return [] if body is None else [f"{method_id} answers nothing"]
        return self.faults(body, method.response, "answer")

    def faults(self, value: Json, schema: Mapping[str, Json], where: str) -> list[str]:
        """Return where `value` departs from `schema`; `where` names the place."""
        if "$ref" in schema:
            name = schema["$ref"]
            if name not in self._schemas:
                return [f"{where}: no schema {name}"]
            return self.faults(value, self._schemas[name], where)
        match schema.get("type"):
            case "object":
                return self._object_faults(value, schema, where)
            case "array":
                if not isinstance(value, list):
                    return [_wrong(where, value, "an array")]
                items = schema.get("items", {})
                return [
                    fault
                    for at, item in enumerate(value)
                    for fault in self.faults(item, items, f"{where}[{at}]")
                ]
            case "any" | None:
                return []
            case _:
                return _scalar_faults(value, schema, where)

    def _object_faults(self, value: Json, schema: Mapping[str, Json], where: str) -> list[str]:
        if not isinstance(value, dict):
            return [_wrong(where, value, "an object")]
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        faults: list[str] = []
        for name, item in value.items():
            inner = known.get(name, others)
            if inner is None:
                faults.append(f"{where}.{name} is unknown to {schema.get('id', 'the schema')}")
            else:
                faults += self.faults(item, inner, f"{where}.{name}")
        return faults

    def _text_faults(self, text: str, parameter: Mapping[str, Json], where: str) -> list[str]:
        """Check a query parameter, which is text whatever its type is."""
        match parameter.get("type"):
            case "integer" if re.fullmatch(r"-?[0-9]{1,10}", text):
                return []
            case "boolean" if text in ("true", "false"):
                return []
            case "integer" | "boolean":
                return [_wrong(where, text, f"text of type {parameter['type']}")]
            case _:
                value: Json = int(text) if "enum" in parameter and text.isdecimal() else text
                return _scalar_faults(value, parameter, where)


def match_path(template: str, path: str) -> dict[str, str] | None:
    """Return the words of `path` by the names in `template`, None where it is another path.

    >>> match_path("b/{bucket}/o/{object}", "b/mine/o/a%2Fb")
    {'bucket': 'mine', 'object': 'a/b'}
    """
    names = re.findall(r"\{\+?(\w+)\}", template)
    pattern = re.sub(r"\\\{\\?\+?(\w+)\\\}", r"([^/:]+)", re.escape(template))
    found = re.fullmatch(pattern, path)
    if found is None:
        return None
    return dict(zip(names, map(unquote, found.groups()), strict=True))


def published_documents() -> dict[str, DiscoveryDocument]:
    """Return the documents of Dataflow and Cloud Storage by service name.

    Empty where google-api-python-client, which ships them, is not installed.
    """
    from importlib import util

    try:
        found = util.find_spec("googleapiclient")
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        return {}
    from pathlib import Path

    folder = Path(found.submodule_search_locations[0]) / "discovery_cache" / "documents"
    documents: dict[str, DiscoveryDocument] = {}
    for service, file in (("dataflow", "dataflow.v1b3.json"), ("storage", "storage.v1.json")):
        text = (folder / file).read_text(encoding="utf-8")
        documents[service] = DiscoveryDocument(json.loads(text))
    return documents


def _methods(part: Mapping[str, Json], prefix: str, shared: Mapping[str, Json]) -> Iterator[Method]:
    for method in part.get("methods", {}).values():
        yield Method(
            method_id=method["id"],
            verb=method["httpMethod"],
            path=prefix + method["path"],
            parameters={**shared, **method.get("parameters", {})},
            request=method.get("request"),
            response=method.get("response"),
        )
    for inner in part.get("resources", {}).values():
        yield from _methods(inner, prefix, shared)


def _scalar_faults(value: Json, schema: Mapping[str, Json], where: str) -> list[str]:
    kind, shape = schema.get("type"), schema.get("format")
    if kind == "boolean":
        return [] if isinstance(value, bool) else [_wrong(where, value, "true or false")]
    if kind in ("integer", "number"):
        return _number_faults(value, kind, where)
    if "enum" in schema and isinstance(value, int) and not isinstance(value, bool):
        # The JSON of protocol buffers takes an enum's number too (`enum-encoding=int`).
        return [] if value >= 0 else [_wrong(where, value, "a number of its enum")]
    if shape in ("int64", "uint64") and isinstance(value, int) and not isinstance(value, bool):
        return []  # likewise
    if not isinstance(value, str):
        return [_wrong(where, value, "text")]
    if "enum" in schema and value not in schema["enum"]:
        return [_wrong(where, value, f"one of {', '.join(schema['enum'][:8])} ...")]
    pattern = _FORMATS.get(shape or "")
    if pattern is not None and pattern.fullmatch(value) is None:
        return [_wrong(where, value, f"text of format {shape}")]
    return []


def _number_faults(value: Json, kind: str, where: str) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [_wrong(where, value, "a number")]
    if not math.isfinite(value):
        return [_wrong(where, value, "a finite number")]
    if kind == "integer" and (value != int(value) or not -_INT32 <= value < 2 * _INT32):
        return [_wrong(where, value, "a whole number of 32 bits")]
    return []


def _wrong(where: str, value: Json, wanted: str) -> str:
    return f"{where}: {value!r:.60} is not {wanted}"
