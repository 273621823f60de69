"""A simulator in this process, spoken to over HTTP shapes but without ports."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from simulator.app import build_app
from simulator.faults import Harms
from simulator.service import Options, Service
from simulator.webhook_plans import WebhookPlan
from tests.openapi import OpenApi

ACCOUNT = "acc-1"
KEY = "integration-1"
USER = "user-1"
BASE = f"/restapi/v2.1/accounts/{ACCOUNT}"
PDF = b"%PDF-1.4 not a whole file"


def person(recipient_id: str, order: int = 1, **more: Any) -> dict[str, Any]:
    """A signer of a request body."""
    return {
        "recipientId": recipient_id,
        "name": f"Signer {recipient_id}",
        "email": f"signer{recipient_id}@example.com",
        "routingOrder": str(order),
        **more,
    }


def document(document_id: str = "1", content: bytes = PDF) -> dict[str, Any]:
    """A document of a request body."""
    encoded = base64.b64encode(content).decode()
    return {"documentId": document_id, "name": f"d{document_id}.pdf", "documentBase64": encoded}


def definition(*signers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a create."""
    return {
        "emailSubject": "Lease",
        "emailBlurb": "Please sign",
        "status": "sent",
        "documents": [document()],
        "recipients": {"signers": list(signers or (person("1"),))},
        **more,
    }


class Listener:
    """A webhook listener; `refusals` makes it answer 503 that many times first.

    `answer` takes all requests itself.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[httpx.Headers] = []
        self.refusals = 0
        self.answer: Callable[[httpx.Request], httpx.Response] | None = None
        self.arrived = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.answer is not None:
            return self.answer(request)
        if self.refusals:
            self.refusals -= 1
            return httpx.Response(503)
        self.bodies.append(request.content)
        self.headers.append(request.headers)
        self.arrived.set()
        return httpx.Response(200)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages in the order in which they came."""
        return [json.loads(body) for body in self.bodies]

    @property
    def events(self) -> list[str]:
        """The events in the order in which they came."""
        return [m["event"] for m in self.messages]


class Desk:
    """One simulator with one registered user; checks every JSON answer against the definitions.

    Webhooks go to its `listener`, or through `hooks` to whoever is there.
    """

    def __init__(
        self,
        overlap: bool = False,
        clock: Callable[[], float] = time.monotonic,
        hooks: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.listener = Listener()
        harms = Harms(overlap=overlap, webhooks=WebhookPlan(retry_ms=1))
        transport = hooks or httpx.MockTransport(self.listener)
        self.service = Service(Options(harms=harms), httpx.AsyncClient(transport=transport), clock)
        inside = httpx.ASGITransport(app=build_app(self.service))
        self.http = httpx.AsyncClient(transport=inside, base_url="http://desk")
        self.token = ""
        self.problems: list[str] = []

    async def __aenter__(self) -> Desk:
        self.token = await self.register(KEY, USER, ACCOUNT)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.service.close()

    async def register(self, key: str, user: str, *accounts: str, pem: str = "") -> str:
        """Register a principal and mint a token for it."""
        body = {"integration_key": key, "user_id": user, "accounts": list(accounts)}
        answer = await self.http.put("/simulator/principals", json={**body, "public_key_pem": pem})
        assert answer.status_code == 200, answer.text
        minted = await self.http.post(
            "/simulator/tokens", json={"integration_key": key, "user_id": user}
        )
        return str(minted.json()["access_token"])

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        token: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One call below the account; what the definitions do not declare is collected."""
        headers = {"Authorization": f"Bearer {token or self.token}", **more.pop("headers", {})}
        answer = await self.http.request(
            method, BASE + path, json=body, params=query, headers=headers, **more
        )
        if answer.headers.get("content-type", "").startswith("application/json"):
            self.problems += OpenApi.load().check_response(
                method, BASE + path, answer.status_code, answer.json()
            )
        return answer

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """A call that must succeed; its JSON."""
        answer = await self.call(method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: Any = None, **more: Any) -> str:
        """A call that must fail; its errorCode."""
        answer = await self.call(method, path, body, **more)
        assert not answer.is_success, answer.text
        return str(answer.json()["errorCode"])

    async def create(self, *signers: dict[str, Any], **more: Any) -> str:
        """Create an envelope (sent by default); its id."""
        body = await self.ok("POST", "/envelopes", definition(*signers, **more))
        return str(body["envelopeId"])

    async def act(self, envelope: str, recipient: str, action: str, **body: Any) -> httpx.Response:
        """A recipient acts."""
        path = f"/simulator/envelopes/{envelope}/recipients/{recipient}/{action}"
        return await self.http.post(path, json=body)

    async def truth(self, envelope: str) -> dict[str, Any]:
        """The ledger's truth about an envelope."""
        body: dict[str, Any] = (await self.http.get(f"/simulator/envelopes/{envelope}")).json()
        return body

    async def ledger(self) -> dict[str, Any]:
        """The ledger's truth about the account."""
        body: dict[str, Any] = (
            await self.http.get("/simulator/ledger", params={"account": ACCOUNT})
        ).json()
        return body

    async def harms(self, **switches: Any) -> dict[str, Any]:
        """Switch harms."""
        answer = await self.http.patch("/simulator/harms", json=switches)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def under_way(self, writes: int) -> None:
        """Let the loop run until so many writes are in the log."""
        for _ in range(10_000):
            if len(self.service.ledger.writes) >= writes:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{writes} writes were never begun")

    async def struck(self) -> None:
        """Let the loop run until a plan has struck and what it leaves of the call is done."""
        for _ in range(10_000):
            if any(f.committed is not None for f in self.service.ledger.faults):
                return
            await asyncio.sleep(0)
        raise AssertionError("no plan struck")

    async def flush(self) -> None:
        """Wait for all deliveries."""
        answer = await self.http.post("/simulator/webhooks/flush", json={"timeout_s": 10})
        assert answer.json()["pending"] == 0


def sha256(content: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(content).hexdigest()
