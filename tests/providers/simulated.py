"""The simulator in this process, with every request and answer checked on its way."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.http import Deadlines, HttpProvider, client
from sealwax.providers.tokens import JwtTokens, Principal
from simulator.app import build_app
from simulator.faults import Harms
from simulator.service import Options, Service
from tests.openapi import OpenApi
from tests.providers.samples import principal, public_key_pem

# Ends of problems that are not held against the simulator, with reasons.
ALLOWED = {
    "creationReason: carbonCopy declares no such key": "declared for signers; shown for copies too",
}
URL = "http://simulator.test"
ACCOUNT = "acc-1"


class Checked(httpx.AsyncBaseTransport):
    """Carries requests to the app; a dropped connection looks as it does on a socket."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.problems: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self.inner.handle_async_request(request)
        except ConnectionResetError as error:
            raise httpx.ReadError(str(error), request=request) from error
        if "/restapi/" in request.url.path:
            found = self._undeclared(request, response, await response.aread())
            self.problems += [p for p in found if not p.endswith(tuple(ALLOWED))]
        return response

    def _undeclared(
        self, request: httpx.Request, response: httpx.Response, content: bytes
    ) -> list[str]:
        path, query = request.url.path, dict(request.url.params)
        sent = json.loads(request.content) if _is_json(request.headers) else None
        found = OpenApi.load().check_request(request.method, path, query, sent)
        if _is_json(response.headers):
            body, status = json.loads(content), response.status_code
            found += OpenApi.load().check_response(request.method, path, status, body)
        return found


def _is_json(headers: httpx.Headers) -> bool:
    return headers.get("content-type", "").startswith("application/json")


@dataclass
class Stage:
    """A provider of ours, the simulator that it talks to, and the simulator's own record."""

    client: httpx.AsyncClient
    tokens: JwtTokens
    checked: Checked | None = None
    url: str = URL
    account: str = ACCOUNT

    async def provider(
        self, which: str = "leasing", deadlines: Deadlines | None = None, **changed: Any
    ) -> HttpProvider:
        who = await self.principal(which, **changed)
        return HttpProvider(
            DocuSignAdapter(),
            api_base=f"{self.url}/restapi",
            account_id=self.account,
            client=self.client,
            tokens=self.tokens,
            principal=who,
            deadlines=deadlines,
        )

    async def principal(self, which: str, **changed: Any) -> Principal:
        who = principal(which, self.url)
        body = {
            "integration_key": who.integration_key,
            "user_id": who.user_id,
            "public_key_pem": public_key_pem(which),
            "accounts": [self.account],
        }
        await self.control("PUT", "/principals", body | changed)
        return who

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.client.request(method, f"{self.url}/simulator{path}", json=body)
        response.raise_for_status()
        return response.json()

    async def harms(self, **switches: Any) -> None:
        await self.control("PATCH", "/harms", switches)

    async def lose(self, operation: str, mode: str, **plan: Any) -> None:
        await self.harms(lost_answers=[{"operation": operation, "mode": mode, **plan}])

    async def act(self, envelope_id: str, recipient: str, action: str) -> None:
        await self.control("POST", f"/envelopes/{envelope_id}/recipients/{recipient}/{action}")

    async def truth(self, envelope_id: str) -> Any:
        return await self.control("GET", f"/envelopes/{envelope_id}")

    async def ledger(self) -> Any:
        return await self.control("GET", f"/ledger?account={self.account}")

    async def calls(self, operation: str) -> list[Any]:
        calls = (await self.ledger())["calls"]
        return [c for c in calls if c["operationId"] == operation]

    async def mails(self, envelope_id: str) -> list[Any]:
        """What was mailed of an envelope."""
        return [m for m in (await self.ledger())["mails"] if m["envelopeId"] == envelope_id]


@asynccontextmanager
async def in_process(listener: httpx.AsyncBaseTransport | None = None) -> AsyncIterator[Stage]:
    """A simulator of its own, without harms; ends with a check of all that was said.

    ``listener`` takes the webhooks, whatever their address.
    """
    posting = None if listener is None else httpx.AsyncClient(transport=listener)
    service = Service(Options(harms=Harms(overlap=False)), posting)
    checked = Checked(httpx.ASGITransport(app=build_app(service)))
    async with httpx.AsyncClient(transport=checked, trust_env=False) as shared:
        yield Stage(shared, JwtTokens(shared), checked)
        await service.connect.close()
    assert not checked.problems, checked.problems[:5]


@asynccontextmanager
async def as_program(*options: str) -> AsyncIterator[Stage]:
    """The simulator as a program of its own, on a loopback port; ends with it."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulator",
        *options,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert program.stdout is not None
    try:
        line = await asyncio.wait_for(program.stdout.readline(), 30)
        async with client() as shared:
            tokens = JwtTokens(shared)
            yield Stage(shared, tokens, url=line.decode().split()[-1])
    finally:
        if program.returncode is None:
            program.terminate()
        await program.communicate()
