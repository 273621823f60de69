"""The bridge's HTTP side, as one bare ASGI callable.

``POST /webhooks/{account}`` and ``POST /webhooks/{account}/{token}`` take webhooks, ``GET /health``
and ``GET /counts`` tell how it goes; below ``/sessions`` signers land and pings come in (see
``bridge.sessions``). A webhook is acknowledged when the journal has it on disk, and only then.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from bridge.ingest import Accept, Refuse, Source, ingest
from bridge.landing import Page
from sealwax.stores.base import Journal, StoreError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Sessions = Callable[[str, Sequence[str], bytes], Awaitable[Page]]
"""Answers method, path below ``/sessions`` and query string."""

LARGE_BODY_BYTES = 256 * 1024
BODY_TIMEOUT_S = 60.0
BODIES_AT_ONCE = 8
RETRY_AFTER_S = 5


class _Stop(Exception):
    """A request that is answered before it is understood. ``status`` 0: nobody listens."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BridgeApp:
    """Takes webhooks into ``journal`` and calls ``arrived`` when there is a new one to forward.

    ``body_bytes_max`` bounds one body; all bodies in flight together may have ``BODIES_AT_ONCE``
    times as much. ``refused`` counts, by reason and since start, what was not kept.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        journal: Journal,
        *,
        body_bytes_max: int,
        arrived: Callable[[], None],
        forwarding: Callable[[], bool],
        now: Callable[[], datetime],
        sessions: Sessions,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._sources = sources
        self._journal = journal
        self._body_bytes_max = body_bytes_max
        self._bytes_in_flight = 0
        self._arrived = arrived
        self._forwarding = forwarding
        self._now = now
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            if _path(scope)[:1] == ["sessions"]:
                await self._session(scope, send)
                return
            status, answer = await self._answer(scope, receive)
        except _Stop as stop:
            self.refused[stop.reason] += 1
            status, answer = stop.status, {"refused": stop.reason}
        except StoreError:
            # Not durable, so not acknowledged: the provider keeps it and comes again.
            self.refused["store"] += 1
            status, answer = 503, {"refused": "store"}
        if status:
            await _send(send, status, answer)

    async def _session(self, scope: Scope, send: Send) -> None:
        query: bytes = scope.get("query_string", b"")
        page = await self._sessions(scope["method"], _path(scope)[1:], query)
        if page.refused:
            self.refused[page.refused] += 1
        headers = [(name.encode(), value.encode()) for name, value in page.headers]
        if page.status != 204:
            headers.append((b"content-length", str(len(page.body)).encode()))
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        await send({"type": "http.response.body", "body": page.body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        method, parts = scope["method"], _path(scope)
        if parts == ["health"] and method in ("GET", "HEAD"):
            return 200, {"status": "ok", "temporal": "ok" if self._forwarding() else "waiting"}
        if parts == ["counts"] and method in ("GET", "HEAD"):
            return 200, await self._counts()
        if not 2 <= len(parts) <= 3 or parts[0] != "webhooks":
            raise _Stop(404, "path")
        if method != "POST":
            raise _Stop(405, "method")
        source = self._sources.get(parts[1])
        if source is None:
            raise _Stop(404, "account")
        return await self._webhook(source, parts[2] if len(parts) == 3 else "", scope, receive)

    async def _webhook(
        self, source: Source, token: str, scope: Scope, receive: Receive
    ) -> tuple[int, dict[str, Any]]:
        headers = _headers(scope)
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                await self._receive(receive, _declared_bytes(headers), chunks)
            return await self._keep(source, headers, b"".join(chunks), token)
        except TimeoutError:
            raise _Stop(408, "timeout") from None
        finally:
            self._bytes_in_flight -= sum(map(len, chunks))

    async def _keep(
        self, source: Source, headers: Sequence[tuple[str, str]], body: bytes, token: str
    ) -> tuple[int, dict[str, Any]]:
        at = self._now()
        if len(body) > LARGE_BODY_BYTES:
            decision = await asyncio.to_thread(ingest, source, headers, body, token, at)
        else:
            decision = ingest(source, headers, body, token, at)
        match decision:
            case Refuse(status, reason):
                raise _Stop(status, reason)
            case Accept(webhook):
                appended = await self._journal.append(webhook)
        if not appended.duplicate and webhook.state == "pending":
            self._arrived()
        return 200, {"kept": appended.id, "duplicate": appended.duplicate}

    async def _receive(self, receive: Receive, declared_bytes: int, chunks: list[bytes]) -> None:
        if declared_bytes > self._body_bytes_max:
            raise _Stop(413, "too_large")
        size_bytes = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Stop(0, "disconnected")
            chunk = message.get("body", b"")
            size_bytes += len(chunk)
            if size_bytes > self._body_bytes_max:
                raise _Stop(413, "too_large")
            if self._bytes_in_flight + len(chunk) > BODIES_AT_ONCE * self._body_bytes_max:
                raise _Stop(503, "busy")
            chunks.append(chunk)
            self._bytes_in_flight += len(chunk)
            if not message.get("more_body", False):
                return

    async def _counts(self) -> dict[str, Any]:
        counts = await self._journal.counts()
        return {
            "accepted": counts.kept,
            **asdict(counts),
            "refused": sum(self.refused.values()),
            "refused_by_reason": dict(self.refused),
        }


def _path(scope: Scope) -> list[str]:
    """The parts of the path, each decoded by itself, so that no encoded slash makes a new one."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    parts = raw.split(b"?", 1)[0].decode("latin-1").split("/")[1:]
    if parts and not parts[-1]:
        parts.pop()
    return [unquote(part) for part in parts]


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def _declared_bytes(headers: Sequence[tuple[str, str]]) -> int:
    declared = next((value for name, value in headers if name.lower() == "content-length"), "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


async def _send(send: Send, status: int, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    if status in (408, 413, 503):
        # The rest of the body is not read, so the connection cannot be used again.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
