"""The simulator's Connect deliveries, believed and read: what they say is what holds."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from sealwax.facts import EnvelopeStatus, Facts, ProviderEvent
from sealwax.mutations import SendEnvelope, UpdateRecipient, VoidEnvelope
from sealwax.observations import Observation
from sealwax.providers.docusign_connect import SCHEME, ConnectReader
from sealwax.providers.webhook_trust import Verdict
from tests.openapi import OpenApi
from tests.providers.samples import change, new_envelope
from tests.providers.simulated import ACCOUNT, ALLOWED, Stage, in_process

KEYS = ("an old key", "bmV3IGtleQ==")
READER = ConnectReader()
SENT = EnvelopeStatus.SENT


def believed(headers: Sequence[tuple[str, str]], body: bytes, keys: Sequence[bytes]) -> bool:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return SCHEME.verify(headers, body, keys, at) is Verdict.AUTHENTIC


@dataclass
class Box(httpx.AsyncBaseTransport):
    """A listener that keeps what it gets."""

    got: list[tuple[list[tuple[str, str]], bytes]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.got.append((list(request.headers.items()), await request.aread()))
        return httpx.Response(200)

    def events(self) -> list[ProviderEvent]:
        return [READER.read_webhook(body) for _, body in self.got]


async def life(stage: Stage, ending: str) -> tuple[str, Observation]:
    """An envelope from create to its end, with its webhooks asked for at create."""
    for key in KEYS:
        await stage.control("POST", f"/accounts/{ACCOUNT}/hmac-keys", {"key": key})
    provider = await stage.provider()
    made = await provider.create(new_envelope("https://hooks.test/t"))
    envelope_id = made.provider_envelope_id
    await provider.mutate(envelope_id, change(SendEnvelope()), {})
    if ending == "corrected":
        new_address = UpdateRecipient("ann", email="ann@example.org")
        await provider.mutate(envelope_id, change(new_address, SENT), {})
    await stage.act(envelope_id, "1", "open")
    match ending:
        case "voided":
            await provider.mutate(envelope_id, change(VoidEnvelope("over"), SENT), {})
        case "declined":
            await stage.act(envelope_id, "1", "decline")
        case _:
            await stage.act(envelope_id, "1", "sign")
            await stage.act(envelope_id, "2", "sign")
    await stage.control("POST", "/webhooks/flush", {"timeout_s": 10})
    return envelope_id, await provider.read(envelope_id, False)


def folded(events: list[ProviderEvent]) -> Facts:
    return Facts().joined(fact for event in events for fact in event.facts)


@pytest.mark.parametrize("ending", ["completed", "voided", "declined", "corrected"])
async def test_deliveries_in_any_order_say_what_a_read_says(ending: str) -> None:
    """Late, twice and shuffled: the fold of their facts is the provider's state."""
    box = Box()
    async with in_process(box) as stage:
        await stage.harms(webhooks={"delay_ms": [0, 40], "duplicate_rate": 0.5}, seed=7)
        envelope_id, seen = await life(stage, ending)
    events = box.events()
    assert {(e.account_id, e.provider_envelope_id) for e in events} == {(ACCOUNT, envelope_id)}
    for seed in range(10):
        shuffled = random.Random(seed).sample(events, len(events))
        facts = folded(shuffled)
        assert facts.envelope_status() == seen.status
        assert facts.contradictions() == ()
        for person in seen.recipients:
            status = facts.recipient_status(person.recipient, [person.incarnation])
            assert status == person.status
    if ending == "corrected":
        assert any(e.needs_read for e in events)
        assert len(folded(events).incarnations("1")) == 2


async def test_deliveries_are_believed_by_either_key_and_no_other() -> None:
    """Every one is signed by every active key; one byte more or another key, and it is not."""
    box = Box()
    async with in_process(box) as stage:
        await life(stage, "completed")
    assert len(box.got) >= 8
    for headers, body in box.got:
        for key in KEYS:
            assert believed(headers, body, [key.encode()])
        assert not believed(headers, body, [b"another key"])
        assert not believed(headers, body + b" ", [k.encode() for k in KEYS])


async def test_duplicates_share_their_key_and_different_events_do_not() -> None:
    """A redelivery with another retry count is the same event."""
    box = Box()
    async with in_process(box) as stage:
        envelope_id, _ = await life(stage, "completed")
        first = {e.event_key for e in box.events()}
        assert len(first) == len(box.got)
        await stage.control("POST", f"/webhooks/{envelope_id}/redeliver")
        await stage.control("POST", "/webhooks/flush", {"timeout_s": 10})
    assert len(box.got) == 2 * len(first)
    counts = {json.loads(body)["retryCount"] for _, body in box.got}
    assert len(counts) > 1
    assert {e.event_key for e in box.events()} == first


async def test_summaries_hold_declared_keys_only() -> None:
    """What we read from is what the provider declares of an envelope."""
    box = Box()
    async with in_process(box) as stage:
        await life(stage, "declined")
    summaries: list[Any] = [json.loads(b)["data"].get("envelopeSummary") for _, b in box.got]
    assert all(summaries)
    for summary in summaries:
        found = OpenApi.load().check_schema("envelope", summary)
        assert [p for p in found if not p.endswith(tuple(ALLOWED))] == []
