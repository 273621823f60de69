"""The team's webhook listener: a small ASGI app that trusts nothing unsigned."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Event = dict[str, Any]
Hear = Callable[[Event], Awaitable[None]]

_SIGNATURE = "x-docusign-signature-"
_STARTED_WITHIN_S = 10.0


class QuietServer(uvicorn.Server):
    """Serves inside a program that keeps its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        raise AssertionError("signals are the program's")


class Listener:
    """Hears the provider on a free port of 127.0.0.1. An async context manager.

    `hear` gets each message whose body is signed with `key`; what it raises is answered by 500,
    so that the provider sends the message again.
    """

    def __init__(self, key: str, hear: Hear) -> None:
        self._key = key.encode()
        self._hear = hear
        self.refused = 0
        app = Starlette(routes=[Route("/docusign", self._post, methods=["POST"])])
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="critical", access_log=False, lifespan="off"
        )
        self._server = QuietServer(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the provider shall post to."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/docusign"

    async def __aenter__(self) -> Listener:
        self._serving = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(_STARTED_WITHIN_S):
            while not self._server.started:
                if self._serving.done():
                    await self._serving
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _post(self, request: Request) -> Response:
        body = await request.body()
        if not self._signed(request, body):
            self.refused += 1
            return Response(status_code=401)
        await self._hear(json.loads(body))
        return Response(status_code=200)

    def _signed(self, request: Request, body: bytes) -> bool:
        expected = base64.b64encode(hmac.digest(self._key, body, hashlib.sha256))
        given = [v.encode() for k, v in request.headers.items() if k.startswith(_SIGNATURE)]
        matches = [hmac.compare_digest(expected, value) for value in given]
        return any(matches)
