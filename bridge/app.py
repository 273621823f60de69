"""The bridge's HTTP side, as one bare ASGI callable.

``POST /webhooks/{account}`` and ``POST /webhooks/{account}/{token}`` take webhooks, ``/health``,
``/counts`` and ``/metrics`` tell how it goes; below ``/sessions`` signers land and pings come in
(see ``bridge.sessions``). A webhook is verified, kept, and acknowledged when the journal has it on
disk, and only then. What does not get in is counted by reason, and what was sent as a webhook is
kept for people to see.

Nothing here waits without a bound: bodies that come in or wait for the journal are limited in
number and in bytes, and a body has to keep up a minimal pace. Beyond that the answer is 503 with
Retry-After, and the provider comes again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from bridge.ingest import Accept, Refuse, Source, ingest, that_matter
from bridge.landing import Page
from sealwax.stores.base import REFUSED_BODY_BYTES_MAX, Journal, RefusedWebhook, StoreError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Sessions = Callable[[str, Sequence[str], bytes], Awaitable[Page]]
"""Answers method, path below ``/sessions`` and query string."""

LARGE_BODY_BYTES = 256 * 1024
BODY_GRACE_S = 5.0
BODY_BYTES_PER_S = 16 * 1024
BODY_TIMEOUT_S = 60.0
RETRY_AFTER_S = 5
QUEUE_MAX = 2_000
QUEUE_BYTES_MAX = 128 * 1024 * 1024

_KEPT_REFUSALS = frozenset(
    {"account", "headers", "scheme", "no_key", "signature", "stale", "too_large"}
)
"""Reasons of which an operator has to see an example; the others say all themselves."""

log = logging.getLogger("sealwax.bridge")


class _Stop(Exception):
    """A request that is answered before it is understood. ``status`` 0: nobody listens."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BridgeApp:
    """Takes webhooks into ``journal`` and calls ``arrived`` when there is a new one to forward.

    ``body_bytes_max`` bounds one body; at most ``queue_max`` bodies are taken in or wait for the
    journal at a time, and together they have at most ``queue_bytes_max``. ``refused`` counts, by
    reason and since start, what was not taken in.
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
        queue_max: int = QUEUE_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._sources = sources
        self._journal = journal
        self._body_bytes_max = body_bytes_max
        self._queue_max = queue_max
        self._queue_bytes_max = max(queue_bytes_max, body_bytes_max)
        self._queue = 0
        self._queue_bytes = 0
        self._taken: Counter[str] = Counter()
        self._arrived = arrived
        self._forwarding = forwarding
        self._now = now
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            parts = _path(scope)
            if parts[:1] == ["sessions"]:
                await self._session(parts[1:], scope, send)
                return
            status, answer = await self._answer(parts, scope, receive)
        except _Stop as stop:
            self.refused[stop.reason] += 1
            status, answer = stop.status, {"refused": stop.reason}
        except StoreError:
            # Not durable, so not acknowledged: the provider keeps it and comes again.
            self.refused["store"] += 1
            status, answer = 503, {"refused": "store"}
        except Exception:
            log.exception("a request could not be answered")
            self.refused["failed"] += 1
            status, answer = 503, {"refused": "failed"}
        if isinstance(answer, str):
            await _send(send, status, answer.encode(), b"text/plain; version=0.0.4")
        elif status:
            await _send(send, status, json.dumps(answer).encode(), b"application/json")

    async def _session(self, parts: Sequence[str], scope: Scope, send: Send) -> None:
        query: bytes = scope.get("query_string", b"")
        page = await self._sessions(scope["method"], parts, query)
        if page.refused:
            self.refused[page.refused] += 1
        headers = [(name.encode(), value.encode()) for name, value in page.headers]
        if page.status != 204:
            headers.append((b"content-length", str(len(page.body)).encode()))
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        await send({"type": "http.response.body", "body": page.body})

    async def _answer(
        self, parts: Sequence[str], scope: Scope, receive: Receive
    ) -> tuple[int, dict[str, Any] | str]:
        method = scope["method"]
        if parts == ["health"] and method in ("GET", "HEAD"):
            return 200, {"status": "ok", "temporal": "ok" if self._forwarding() else "waiting"}
        if parts == ["counts"] and method in ("GET", "HEAD"):
            return 200, await self._counts()
        if parts == ["metrics"] and method in ("GET", "HEAD"):
            return 200, self._metrics()
        if not 2 <= len(parts) <= 3 or parts[0] != "webhooks":
            raise _Stop(404, "path")
        if method != "POST":
            raise _Stop(405, "method")
        source = self._sources.get(parts[1])
        if source is None:
            self._refuse("", Refuse(404, "account"), ((":account", parts[1][:80]),), b"")
            raise _Stop(404, "account")
        return await self._webhook(source, parts[2] if len(parts) == 3 else "", scope, receive)

    async def _webhook(
        self, source: Source, token: str, scope: Scope, receive: Receive
    ) -> tuple[int, dict[str, Any]]:
        if self._queue >= self._queue_max:
            raise _Stop(503, "busy")
        headers = _headers(scope)
        chunks: list[bytes] = []
        self._queue += 1
        try:
            await self._receive(receive, _declared_bytes(headers), chunks)
            return await self._keep(source, headers, b"".join(chunks), token)
        except _Stop as stop:
            if stop.reason in _KEPT_REFUSALS:
                refuse = Refuse(stop.status, stop.reason)
                self._refuse(source.account, refuse, headers, b"".join(chunks))
            raise
        finally:
            self._queue -= 1
            self._queue_bytes -= sum(map(len, chunks))

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
        self._taken["duplicate" if appended.duplicate else webhook.state] += 1
        if not appended.duplicate and webhook.state == "pending":
            self._arrived()
        return 200, {"kept": appended.id, "duplicate": appended.duplicate}

    def _refuse(
        self, account: str, refuse: Refuse, headers: Sequence[tuple[str, str]], body: bytes
    ) -> None:
        """Have it kept for people to see, if there is room: nobody waits for that."""
        kept = headers if not account else that_matter(headers)
        self._journal.refuse(
            RefusedWebhook(
                account=account,
                status=refuse.status,
                reason=refuse.reason,
                headers=tuple(kept),
                body=body[:REFUSED_BODY_BYTES_MAX],
                size_bytes=len(body),
                received_at=self._now(),
            )
        )

    async def _receive(self, receive: Receive, declared_bytes: int, chunks: list[bytes]) -> None:
        """Take the body in, at a pace that leaves its place to others before long."""
        if declared_bytes > self._body_bytes_max:
            raise _Stop(413, "too_large")
        began_s = asyncio.get_running_loop().time()
        size_bytes = 0
        while True:
            allowed_s = min(BODY_TIMEOUT_S, BODY_GRACE_S + size_bytes / BODY_BYTES_PER_S)
            try:
                async with asyncio.timeout_at(began_s + allowed_s):
                    message = await receive()
            except TimeoutError:
                raise _Stop(408, "timeout") from None
            if message["type"] == "http.disconnect":
                raise _Stop(0, "disconnected")
            chunk = message.get("body", b"")
            size_bytes += len(chunk)
            if size_bytes > self._body_bytes_max:
                raise _Stop(413, "too_large")
            if self._queue_bytes + len(chunk) > self._queue_bytes_max:
                raise _Stop(503, "busy")
            chunks.append(chunk)
            self._queue_bytes += len(chunk)
            if not message.get("more_body", False):
                return

    def _metrics(self) -> str:
        """What this process did since it started, in Prometheus' text format."""
        return metrics(
            {
                "sealwax_bridge_webhooks_total": ("state", self._taken),
                "sealwax_bridge_refused_total": ("reason", self.refused),
                "sealwax_bridge_queue": ("", {"": self._queue}),
                "sealwax_bridge_queue_bytes": ("", {"": self._queue_bytes}),
            }
        )

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
    # Digits without end are no number that a person wrote; the body itself is counted anyway.
    return int(declared[:20]) if declared.isascii() and declared.isdigit() else 0


def metrics(families: Mapping[str, tuple[str, Mapping[str, int]]]) -> str:
    """Prometheus' text: by name, the one label ("" for none) and its values' figures."""
    lines = []
    for name, (label, figures) in families.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE {name} {kind}")
        for value, figure in sorted(figures.items()):
            labelled = f'{{{label}="{value}"}}' if label else ""
            lines.append(f"{name}{labelled} {figure}")
    return "\n".join(lines) + "\n"


async def _send(send: Send, status: int, body: bytes, content_type: bytes) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    if status in (408, 413, 503):
        # The rest of the body is not read, so the connection cannot be used again.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
