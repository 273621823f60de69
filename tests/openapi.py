"""Checks requests and responses against DocuSign's published definitions.

The definitions declare no required properties and no enums, so a check fails on what they can
decide: a path, method, query parameter or body key that is *not declared*, or a value of another
kind (object, array, string...) than declared. A key counts as declared when any of the three
sources in `tests/data` declares it: the Swagger 2.0 file of 2022, its later OpenAPI 3.0 form, or
the models of the official Python SDK 6.1.0. Nulls are allowed everywhere (real payloads carry
them). The few undeclared things that real answers contain stand in `EXCEPTIONS`, with reasons.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

DATA = Path(__file__).parent / "data"

# (schema, key) or (operationId, "?parameter") -> why it may appear although nothing declares it.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("envelope", "uSigState"): "in real answers of GET envelope (2025-08-31)",
    (
        "envelope",
        "burnDefaultTabData",
    ): "in real answers of GET envelope (2025-08-31)",
    ("userInfo", "ipAddress"): "envelope.sender carries it in real answers (2025-08-31)",
    ("envelopeDocument", "PDFBytes"): "document bytes in Connect messages (connect.schema-v2.json)",
    ("Lock_DeleteEnvelopeLock", "?save_changes"): "described in prose, missing in the parameters",
}

_METHODS = ("get", "put", "post", "delete", "patch")
_SDK_SCALARS = {"str": "string", "bool": "boolean", "int": "integer", "float": "number"}


@dataclass(frozen=True)
class Kind:
    """What a value may be: a scalar type name, a list of another kind, a named schema, a map."""

    name: str
    item: Kind | None = None


@dataclass(frozen=True)
class Operation:
    """One method of one path: its id, its query parameters, its body and answers by status."""

    operation_id: str
    query: frozenset[str]
    body: frozenset[Kind]
    answers: Mapping[str, frozenset[Kind]]


def _read(name: str) -> dict[str, Any]:
    with gzip.open(DATA / name) as stream:
        loaded: dict[str, Any] = json.load(stream)
    return loaded


def _kind(schema: Mapping[str, Any]) -> Kind:
    if "$ref" in schema:
        return Kind("ref:" + str(schema["$ref"]).rsplit("/", 1)[-1])
    if schema.get("type") == "array":
        return Kind("array", _kind(schema["items"]))
    if "additionalProperties" in schema:
        return Kind("map")
    return Kind(str(schema.get("type", "any")))


def _sdk_kind(text: str) -> Kind:
    if text.startswith("list["):
        return Kind("array", _sdk_kind(text[5:-1]))
    if text in _SDK_SCALARS:
        return Kind(_SDK_SCALARS[text])
    return Kind("ref:" + text[0].lower() + text[1:])


def _body_schemas(raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for parameter in raw.get("parameters", []):
        if parameter.get("in") == "body":
            yield parameter["schema"]
    body = raw.get("requestBody", {})
    if "$ref" in body:
        yield {"$ref": body["$ref"]}
    for content in body.get("content", {}).values():
        yield content["schema"]


def _answer_schemas(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "schema" in answer:
        yield answer["schema"]
    for content in answer.get("content", {}).values():
        if "schema" in content:
            yield content["schema"]


class OpenApi:
    """The union of the published definitions; make one with `OpenApi.load()`."""

    def __init__(self, swagger: dict[str, Any], openapi: dict[str, Any], sdk: dict[str, Any]):
        self._schemas: dict[str, dict[str, set[Kind]]] = {}
        self._operations: dict[tuple[str, str], Operation] = {}
        self._request_bodies = {
            name: [c["schema"] for c in body["content"].values()]
            for name, body in openapi["components"].get("requestBodies", {}).items()
        }
        for definitions in (swagger["definitions"], openapi["components"]["schemas"]):
            for name, schema in definitions.items():
                target = self._schemas.setdefault(name, {})
                for key, value in schema.get("properties", {}).items():
                    target.setdefault(key, set()).add(_kind(value))
        for name, fields in sdk.items():
            target = self._schemas.setdefault(name[0].lower() + name[1:], {})
            for key, value in fields.items():
                target.setdefault(key, set()).add(_sdk_kind(value))
        for paths in (swagger["paths"], openapi["paths"]):
            for template, item in paths.items():
                for method in _METHODS:
                    if method in item:
                        self._add_operation(template, method, item, item[method])
        self._templates = [
            (
                re.compile(re.sub(r"\{[^}]+\}", "[^/]+", template) + "$"),
                template.count("{"),
                template,
            )
            for template in sorted({t for t, _ in self._operations})
        ]

    @staticmethod
    @cache
    def load() -> OpenApi:
        """Read the definitions in `tests/data` (parsed once per process)."""
        return OpenApi(
            _read("docusign-esignature-v2.1-openapi.json.gz"),
            _read("docusign-esignature-v2.1-openapi3.json.gz"),
            _read("docusign-sdk-6.1.0-models.json.gz"),
        )

    def operation(self, method: str, path: str) -> Operation | None:
        """The declared operation of a method and path (`/restapi` and a query are ignored)."""
        path = urlsplit(path).path.removeprefix("/restapi")
        found = sorted((n, t) for pattern, n, t in self._templates if pattern.match(path))
        for _, template in found:
            operation = self._operations.get((template, method.lower()))
            if operation is not None:
                return operation
        return None

    def check_request(
        self, method: str, path: str, query: Mapping[str, Any] | None, json_body: Any | None
    ) -> list[str]:
        """Problems of a request: undeclared operation, query parameter or body key; [] if none."""
        operation = self.operation(method, path)
        if operation is None:
            return [f"{method.upper()} {path}: no such operation is declared"]
        problems = []
        for name in [*(query or {}), *dict(parse_qsl(urlsplit(path).query, True))]:
            allowed = (operation.operation_id, f"?{name}") in EXCEPTIONS
            if name not in operation.query and not allowed:
                problems.append(f"{operation.operation_id}: query {name!r} is not declared")
        if json_body is not None:
            if operation.body:
                problems += self._check("body", json_body, operation.body)
            elif json_body != {}:
                problems.append(f"{operation.operation_id}: no body is declared")
        return problems

    def check_response(self, method: str, path: str, status: int, json_body: Any) -> list[str]:
        """Problems of a JSON answer: undeclared operation, status, or body key; [] if none.

        Every status from 400 up is checked as `errorDetails`, which is the one error body that is
        declared (for 400).
        """
        operation = self.operation(method, path)
        if operation is None:
            return [f"{method.upper()} {path}: no such operation is declared"]
        if status >= 400:
            return self._check("body", json_body, frozenset({Kind("ref:errorDetails")}))
        kinds = operation.answers.get(str(status))
        if kinds is None:
            return [f"{operation.operation_id}: status {status} is not declared"]
        if not kinds:
            empty = json_body in (None, {}, "")
            return [] if empty else [f"{operation.operation_id}: no answer body is declared"]
        return self._check("body", json_body, kinds)

    def check_schema(self, name: str, value: Any) -> list[str]:
        """Problems of a value against one named definition, e.g. `envelope`."""
        return self._check(name, value, frozenset({Kind(f"ref:{name}")}))

    def _add_operation(
        self, template: str, method: str, item: Mapping[str, Any], raw: Mapping[str, Any]
    ) -> None:
        parameters = [*item.get("parameters", []), *raw.get("parameters", [])]
        query = {p["name"] for p in parameters if p.get("in") == "query"}
        body: set[Kind] = set()
        for schema in _body_schemas(raw):
            reference = str(schema.get("$ref", ""))
            if "/requestBodies/" in reference:
                shared = self._request_bodies[reference.rsplit("/", 1)[-1]]
                body |= {_kind(s) for s in shared}
            else:
                body.add(_kind(schema))
        answers = {s: {_kind(k) for k in _answer_schemas(a)} for s, a in raw["responses"].items()}
        known = self._operations.get((template, method))
        if known is not None:
            query |= known.query
            body |= known.body
            for status, kinds in known.answers.items():
                answers.setdefault(status, set()).update(kinds)
        self._operations[template, method] = Operation(
            operation_id=known.operation_id if known else str(raw["operationId"]),
            query=frozenset(query),
            body=frozenset(body),
            answers={status: frozenset(kinds) for status, kinds in answers.items()},
        )

    def _check(self, where: str, value: Any, kinds: frozenset[Kind]) -> list[str]:
        if value is None:
            return []
        fitting = [k for k in kinds if self._fits(k, value)]
        if not fitting:
            wanted = " or ".join(sorted(k.name for k in kinds))
            return [f"{where}: {wanted} is declared, got {type(value).__name__}"]
        # The definitions of one thing may differ between sources: the kindest one decides.
        return min((self._check_inside(where, value, kind) for kind in fitting), key=len)

    def _fits(self, kind: Kind, value: Any) -> bool:
        if kind.name.startswith("ref:") or kind.name in ("map", "object"):
            return isinstance(value, dict)
        if kind.name == "array":
            return isinstance(value, list)
        if kind.name == "boolean":
            return isinstance(value, bool)
        if kind.name in ("integer", "number"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        if kind.name == "string":
            return isinstance(value, str)
        return kind.name in ("any", "file")

    def _check_inside(self, where: str, value: Any, kind: Kind) -> list[str]:
        if kind.name == "array" and kind.item is not None:
            inner = frozenset({kind.item})
            return [p for i, v in enumerate(value) for p in self._check(f"{where}[{i}]", v, inner)]
        if not kind.name.startswith("ref:"):
            return []
        name = kind.name.removeprefix("ref:")
        schema = self._schemas.get(name)
        if schema is None:
            return []  # a model of the SDK of which only the name is stored
        problems = []
        for key, child in value.items():
            if key in schema:
                problems += self._check(f"{where}.{key}", child, frozenset(schema[key]))
            elif (name, key) not in EXCEPTIONS:
                problems.append(f"{where}.{key}: {name} declares no such key")
        return problems
