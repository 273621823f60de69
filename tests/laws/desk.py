"""One envelope lived through the pure machine and the real adapter, against the simulator's own
app in this process. Webhooks are not delivered by themselves: the test decides when and how often.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from sealwax.advance import (
    CallFinished,
    EventsReceived,
    MutationAccepted,
    Woke,
    advance,
    opened,
)
from sealwax.calls import (
    Archive,
    Bind,
    Call,
    Close,
    Create,
    Done,
    FindCreated,
    Found,
    Mutate,
    Observed,
    Outcome,
    Read,
    Register,
    Registered,
    Rejected,
)
from sealwax.envelope import Envelope, Order, check_acceptable
from sealwax.facts import ProviderEvent
from sealwax.mutations import Mutation
from sealwax.providers.base import NewEnvelope, ProviderRejected
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.docusign_connect import ConnectReader
from sealwax.providers.docusign_shapes import WEBHOOK_EVENTS
from sealwax.providers.http import HttpProvider
from sealwax.providers.tokens import Principal
from simulator.app import build_app
from simulator.faults import Harms
from simulator.service import Options, Service
from tests.builders import ACCOUNT_ID, START, archived
from tests.playbook import TIMING

URL = "http://simulator.test"
LISTENER = "http://127.0.0.1:9/hook"
READER = ConnectReader()


class StaticToken:
    """A token that needs no renewal."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self, principal: Principal) -> str:
        """The one token."""
        return self._token

    def invalidate(self, principal: Principal, token: str) -> None:
        """It is never refused here."""
        raise AssertionError("the simulator refused a live token")


class Desk:
    """A provider with one account, and the machine that owns one envelope there."""

    def __init__(self) -> None:
        harms = Harms()
        harms.patch({"overlap": False, "webhooks": {"paused": True}})
        self.service = Service(Options(harms))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(build_app(self.service)), base_url=URL
        )
        self.now = START
        self.state: Envelope | None = None
        self.provider: HttpProvider | None = None
        self._taken = 0
        self._swept: list[ProviderEvent] = []

    async def open(self, order: Order) -> None:
        """Make the account with an account-level listener of minimal messages, and the envelope."""
        await self._control("PUT", f"/accounts/{ACCOUNT_ID}", {})
        key, user = "key", "user"
        principal = {"integration_key": key, "user_id": user, "accounts": [ACCOUNT_ID]}
        await self._control("PUT", "/principals", {**principal, "public_key_pem": PUBLIC_KEY})
        made = await self._control("POST", "/tokens", {"integration_key": key, "user_id": user})
        self.service.connect.configure(
            ACCOUNT_ID, {"urlToPublishTo": LISTENER, "events": list(WEBHOOK_EVENTS)}
        )
        self.provider = HttpProvider(
            DocuSignAdapter(),
            api_base=f"{URL}/restapi",
            account_id=ACCOUNT_ID,
            client=self.http,
            tokens=StaticToken(made["access_token"]),
            principal=Principal("test", key, user, SecretStr(""), URL),
        )
        self.state, _ = advance(opened(order, self.now), Woke(), self.now)
        self.state = await self.settled(self.state)

    async def close(self) -> None:
        """End the provider."""
        await self.service.connect.close()
        await self.http.aclose()

    async def ask(self, operation_id: str, mutation: Mutation) -> None:
        """Ask for a mutation, as the workflow's validator and handler do. Raises ``Refusal``."""
        assert self.state is not None
        check_acceptable(self.state, operation_id, mutation)
        state, _ = advance(self.state, MutationAccepted(operation_id, mutation), self.now)
        self.state = await self.settled(state)

    async def act(self, recipient: str, act: str) -> bool:
        """A recipient does something; False where the provider does not let them."""
        assert self.state is not None
        body = {"name": "Zoe", "email": "zoe@example.com"} if act == "reassign" else {}
        path = f"/envelopes/{self.state.provider_envelope_id}/recipients/{recipient}/{act}"
        answer = await self.http.post(f"/simulator{path}", json=body)
        return answer.is_success

    async def restore(self) -> None:
        """Somebody takes the envelope out of the bin; no webhook tells of it."""
        assert self.state is not None
        self.service.routing.restore(self.service.ledger.envelopes[self.state.provider_envelope_id])

    async def sweep(self) -> None:
        """List status changes now; what it shows is delivered whenever the test wants."""
        assert self.provider is not None
        self._swept += await self.provider.changes(START.replace(year=2020))

    def fresh_events(self) -> list[ProviderEvent]:
        """What has happened since the last call, as the bridge would read it."""
        assert self.state is not None
        past = self.service.connect.past(self.state.provider_envelope_id)
        bodies = [json.dumps(d.message).encode() for d in past[self._taken :]]
        self._taken = len(past)
        swept, self._swept = self._swept, []
        return [READER.read_webhook(body) for body in bodies] + swept

    async def hear(self, state: Envelope, events: Sequence[ProviderEvent]) -> Envelope:
        """The state after these events, one by one, with every read that they cause."""
        for event in events:
            state, _ = advance(state, EventsReceived((event,)), self.now)
            state = await self.settled(state)
        return state

    async def settled(self, state: Envelope) -> Envelope:
        """The state once no call is in flight."""
        while state.in_flight is not None:
            outcome = await self._carried_out(state, state.in_flight)
            state, _ = advance(state, CallFinished(outcome), self.now)
        return state

    async def rested(self, state: Envelope) -> Envelope:
        """The state after hours in which nothing more happens."""
        before, self.now = self.now, self.now
        for _ in range(12):
            self.now += timedelta(minutes=20)
            state, _ = advance(state, Woke(), self.now)
            state = await self.settled(state)
        self.now = before
        return state

    def truth(self) -> dict[str, Any]:
        """The envelope as the provider's ledger holds it."""
        assert self.state is not None
        envelope = self.service.ledger.envelopes[self.state.provider_envelope_id]
        return {
            "status": envelope.status,
            "recipients": {
                r.recipient_id: (r.guid, envelope.progress_of(r).status)
                for r in envelope.definition.recipients
            },
        }

    async def _carried_out(self, state: Envelope, call: Call) -> Outcome:
        assert self.provider is not None
        try:
            match call:
                case Register():
                    return Registered("docusign", ACCOUNT_ID, replace(TIMING, refresh_min_s=0.001))
                case Create():
                    contents = {d.blob.digest: b"%PDF-1.4" for d in call.definition.documents}
                    return await self.provider.create(NewEnvelope(call, contents, LISTENER))
                case FindCreated():
                    return Found(await self.provider.find_created(call))
                case Mutate():
                    return await self.provider.mutate(state.provider_envelope_id, call, {})
                case Read():
                    shown = await self.provider.read(
                        state.provider_envelope_id, call.with_tabs, call.extra
                    )
                    return Observed(shown)
                case Archive():
                    return archived(call.document)
                case Bind() | Close():
                    return Done()
                case _:
                    raise AssertionError(f"nobody wants a signing session here: {call.kind}")
        except ProviderRejected as error:
            return Rejected(error.code, error.message)

    async def _control(self, method: str, path: str, body: dict[str, Any]) -> Any:
        answer = await self.http.request(method, f"/simulator{path}", json=body)
        answer.raise_for_status()
        return answer.json()


def _public_key() -> str:
    from tests.rig import KEY, public_key_pem

    return public_key_pem(KEY)


PUBLIC_KEY = _public_key()


def run(coroutine: Any) -> None:
    """Run one example on a loop of its own."""
    asyncio.run(coroutine)
