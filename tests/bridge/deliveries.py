"""Deliveries as DocuSign Connect makes them, and the parts of a bridge under test.

Message shape: ``connect.schema-v2.json`` of docusign/OpenAPI-Specifications (JSON SIM, minimal).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.ingest import Source
from bridge.landing import Page, silent
from bridge.sink import SinkUnavailable, Undeliverable, WorkflowGone
from sealwax import keys
from sealwax.messages import EventBatch
from sealwax.providers.docusign_connect import SCHEME, ConnectReader
from sealwax.stores.base import Registry, RegistryRow

ACCOUNT_ID = "0a1b2c3d-0000-4000-8000-00000000ac3e"
KEY, OLD_KEY = b"current connect key", b"connect key of last year"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def source(account: str = "acme", account_id: str = ACCOUNT_ID, *signing: bytes) -> Source:
    return Source(account, "docusign", account_id, ConnectReader(), signing or (KEY,), SCHEME)


def message(
    envelope: str = "env-a",
    event: str = "envelope-sent",
    n: int = 0,
    account_id: str = ACCOUNT_ID,
    **data: Any,
) -> bytes:
    """A JSON SIM message; another ``n`` is another event."""
    document = {
        "event": event,
        "apiVersion": "v2.1",
        "uri": f"/restapi/v2.1/accounts/{account_id}/envelopes/{envelope}",
        "retryCount": 0,
        "configurationId": 10701,
        "generatedDateTime": f"2026-03-01T12:00:00.{n:07d}Z",
        "data": {"accountId": account_id, "envelopeId": envelope, **data},
    }
    return json.dumps(document, indent=1).replace("\n", "\r\n").encode()


def signature(body: bytes, key: bytes = KEY) -> str:
    return base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()


def signed(body: bytes, *signing: bytes) -> list[tuple[str, str]]:
    """The headers of a delivery; one signature for each key, the current one by default."""
    pairs = [
        (f"X-DocuSign-Signature-{i}", signature(body, key))
        for i, key in enumerate(signing or (KEY,), start=1)
    ]
    return [("Content-Type", "application/json; charset=utf-8"), *pairs]


async def registered(registry: Registry, key: str, account: str = "acme") -> RegistryRow:
    return await registry.register(
        account=account,
        business_key_digest=keys.business_key_digest(account, key),
        workflow_id=keys.workflow_id(account, key),
        provider="docusign",
    )


async def no_sessions(method: str, parts: Sequence[str], query: bytes) -> Page:
    """The session endpoints of a bridge that is not asked for them."""
    return silent(404, "path")


@dataclass
class Clock:
    """Time that moves when a test says so."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class RecordingSink:
    """Remembers what it was given.

    ``away``, ``away_for``, ``gone`` and ``refuses`` play a server's troubles, all or by workflow.
    """

    batches: list[tuple[str, EventBatch]] = field(default_factory=list)
    away: bool = False
    away_for: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    tries: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    in_flight_max: dict[str, int] = field(default_factory=dict)
    together_max: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def signal(self, workflow_id: str, batch: EventBatch) -> None:
        self.tries += 1
        self.in_flight[workflow_id] = self.in_flight.get(workflow_id, 0) + 1
        together = sum(self.in_flight.values())
        self.together_max = max(self.together_max, together)
        most = max(self.in_flight_max.get(workflow_id, 0), self.in_flight[workflow_id])
        self.in_flight_max[workflow_id] = most
        try:
            await asyncio.sleep(0)
            if self.away or workflow_id in self.away_for:
                raise SinkUnavailable("UNAVAILABLE: tcp connect error")
            if workflow_id in self.gone:
                raise WorkflowGone(workflow_id)
            if workflow_id in self.refuses:
                raise Undeliverable("INVALID_ARGUMENT: no")
            self.batches.append((workflow_id, batch))
        finally:
            self.in_flight[workflow_id] -= 1
            async with self._changed:
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is looked at after every signal."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), 20)

    def events(self, workflow_id: str) -> list[str]:
        """The provider's times of the events that this workflow got, in order: their ``n``."""
        return [
            event.event_key
            for target, batch in self.batches
            if target == workflow_id
            for event in batch.events
        ]


def event_key(body: bytes) -> str:
    return ConnectReader().read_webhook(body).event_key
