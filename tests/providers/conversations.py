"""Drives a conversation with canned answers and checks each of its requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sealwax.providers.base import Answer, Conversation, Request
from tests.openapi import OpenApi

T = TypeVar("T")

PREFIX = "/v2.1/accounts/a-1"


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, headers or {}, content)


@dataclass
class Driven(Generic[T]):
    """What a conversation asked, and what it returned."""

    requests: list[Request] = field(default_factory=list)
    result: T | None = None

    @property
    def returned(self) -> T:
        assert self.result is not None
        return self.result

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(r.method, r.path) for r in self.requests]


def problems(request: Request) -> list[str]:
    """What the published definitions do not declare of a request, its operation id included."""
    path = PREFIX + request.path
    found = OpenApi.load().check_request(request.method, path, request.query, request.json)
    operation = OpenApi.load().operation(request.method, path)
    if operation is not None and operation.operation_id != request.operation:
        found.append(f"{request.operation} is called {operation.operation_id} there")
    return found


def drive(conversation: Conversation[T], *answers: Answer) -> Driven[T]:
    """Run a conversation to its end; every answer must be used and every request declared."""
    driven: Driven[T] = Driven()
    left = list(answers)
    try:
        request = next(conversation)
        while True:
            assert problems(request) == []
            driven.requests.append(request)
            assert left, f"an unexpected request: {request.operation}"
            request = conversation.send(left.pop(0))
    except StopIteration as stop:
        driven.result = stop.value
    assert not left, "an answer was left over"
    return driven
