"""Law 2 through the real bridge: whatever the order and number of a life's webhooks, one end.

A life is lived at the simulator while its webhooks are kept back. Then they come in any order, some
several times, some as retries with another count, through the bridge's HTTP side, journal and
forwarder to the workflow on a real server. The simulator's ledger says what the end is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import hypothesis
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from temporalio.testing import WorkflowEnvironment

from bridge.app import BridgeApp, Receive, Scope, Send
from bridge.forward import Forwarder
from bridge.ingest import Accept, ingest
from bridge.pace import Pace
from bridge.serving import Server, listen
from bridge.sink import TemporalSink
from bridge.sources import sources
from demo.stack import Stack
from sealwax.definition import Recipient
from sealwax.handle import EnvelopeHandle
from sealwax.messages import Snapshot
from sealwax.providers.webhook_trust import SharedSecret
from sealwax.stores.base import Journal
from sealwax.stores.journal import open_journal
from sealwax.stores.registry import open_registry
from tests import programs, rig
from tests.bridge.deliveries import no_sessions
from tests.keys import KEYRING

EXAMPLES = 200 if settings.default and settings.default.max_examples > 1_000 else 10
WITHIN_S = 60.0

LIVES: dict[str, tuple[tuple[str, str], ...]] = {
    "completed": (("1", "open"), ("1", "sign"), ("2", "open"), ("2", "sign")),
    "signed unseen": (("1", "sign"), ("2", "sign")),
    "declined": (("1", "open"), ("1", "sign"), ("2", "open"), ("2", "decline")),
    "voided": (("1", "open"), ("1", "sign"), ("", "void")),
    "corrected": (("1", "open"), ("", "correct"), ("1", "sign"), ("2", "sign")),
}


@dataclass(frozen=True)
class Delivery:
    """One request of the provider's, as it came."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass
class Mailbox:
    """Where the provider's webhooks go instead of the bridge. An ASGI application."""

    kept: list[Delivery] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = tuple((n.decode(), v.decode()) for n, v in scope["headers"])
        self.kept.append(Delivery(scope["path"], headers, body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    def taken(self) -> list[Delivery]:
        """What came since the last time."""
        kept, self.kept = self.kept, []
        return kept


@dataclass
class World:
    """A worker, a bridge in process, its forwarder, and the mailbox at the public address."""

    house: rig.Rig
    mailbox: Mailbox
    bridge: httpx.AsyncClient
    forwarder: Forwarder
    journal: Journal

    async def born(self) -> tuple[EnvelopeHandle, str]:
        """A sent envelope of two signers, and its provider's id."""
        signers = [
            Recipient("1", "Ana", "ana@example.com"),
            Recipient("2", "Ben", "ben@example.com", 2),
        ]
        envelope = await self.house.create(recipients=signers)
        return envelope, (await envelope.wait("sent", WITHIN_S)).provider_envelope_id

    async def lives(
        self, envelope: EnvelopeHandle, envelope_id: str, acts: Sequence[tuple[str, str]]
    ) -> list[Delivery]:
        """The life, and the webhooks that it made; retries of them with another count besides."""
        desk = self.house.desk
        for who, act in acts:
            if act == "void":
                await envelope.void("changed our mind")
            elif act == "correct":
                await envelope.update_recipient("2", name="Benjamin")
            else:
                await desk.acts(envelope_id, who, act)
        await desk.post("/webhooks/flush", {"timeout_s": WITHIN_S})
        first = self.mailbox.taken()
        await desk.post(f"/webhooks/{envelope_id}/redeliver", {})
        await desk.post("/webhooks/flush", {"timeout_s": WITHIN_S})
        return first + self.mailbox.taken()

    async def deliver(self, told: Sequence[Delivery], together: int) -> None:
        """The deliveries in this order, so many at the same time."""
        for start in range(0, len(told), together):
            some = told[start : start + together]
            answers = await asyncio.gather(
                *(self.bridge.post(d.path, content=d.body, headers=d.headers) for d in some)
            )
            assert {answer.status_code for answer in answers} == {200}
            self.forwarder.wake()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(
    dev_env: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("any-order")
    mailbox = Mailbox()
    listener = listen("127.0.0.1", 0, "bridge")
    server = Server(mailbox, 1000, lambda: None)
    serving = asyncio.create_task(server.serve([listener]))
    port = listener.getsockname()[1]
    async with Stack(folder / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, folder, bridge_port=port) as house:
            journal = open_journal(folder / "journal.db", KEYRING)
            registry = open_registry(house.settings.storage.registry)
            app = BridgeApp(
                sources(house.settings),
                journal,
                body_bytes_max=1024 * 1024,
                arrived=lambda: None,
                forwarding=lambda: True,
                now=lambda: datetime.now(UTC),
                sessions=no_sessions,
            )
            forwarder = Forwarder(
                journal=journal,
                registry=registry,
                sink=TemporalSink(_already(house)),
                readers={n: s.reader for n, s in sources(house.settings).items()},
                now=lambda: datetime.now(UTC),
                pace=Pace(batch_events=3, park_first_s=0.05, park_max_s=0.2),
            )
            forwarding = asyncio.create_task(forwarder.run())
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as bridge:
                yield World(house, mailbox, bridge, forwarder, journal)
            forwarder.stop()
            await forwarding
            await journal.close()
            await registry.close()
    server.should_exit = True
    await serving


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
@pytest.mark.timeout(1_800)
@given(data=st.data())
async def test_a_life_told_in_any_order_and_number_has_one_end(
    world: World, data: st.DataObject
) -> None:
    """The ledger's: each recipient's status, no contradiction, nothing foreign or unreadable; and
    what is told again after the end revives nothing."""
    life = data.draw(st.sampled_from(sorted(LIVES)), label="life")
    envelope, envelope_id = await world.born()
    told = await world.lives(envelope, envelope_id, LIVES[life])
    order = data.draw(st.permutations(range(len(told))), label="order")
    again = data.draw(st.lists(st.sampled_from(range(len(told))), max_size=8), label="again")
    at = data.draw(st.lists(st.integers(0, len(told)), min_size=len(again), max_size=len(again)))
    for index, place in zip(again, at, strict=True):
        order.insert(place, index)
    await world.deliver([told[i] for i in order], data.draw(st.integers(1, 8), label="together"))
    snapshot = await envelope.wait("closed", WITHIN_S)
    note("\n".join(entry.text for entry in await envelope.timeline()))
    truth = await _truth(world, envelope_id)
    assert _end(snapshot) == truth
    assert snapshot.contradictions == ()
    assert (snapshot.events_foreign, snapshot.events_unreadable) == (0, 0)
    await world.deliver(told, len(told))
    assert _end(await envelope.status()) == truth
    assert (await world.journal.counts()).quarantined == 0


async def test_a_hint_causes_one_look_and_no_fact(world: World) -> None:
    """Whoever knows the address's secret says "completed" of an envelope that is only sent: it is
    read once, and what was read counts; told again, nothing is read."""
    envelope, envelope_id = await world.born()
    body = _claims_completed(await world.lives(envelope, envelope_id, ()))
    of = next(iter(sources(world.house.settings).values()))
    source = dataclasses.replace(of, keys=(b"secret",), scheme=SharedSecret("x-secret"))
    before, seen = await _reads(world, envelope_id), (await envelope.status()).events_seen
    for _ in range(2):
        decision = ingest(source, [("x-secret", "secret")], body, "", datetime.now(UTC))
        assert isinstance(decision, Accept)
        assert decision.webhook.trust == "hint"
        await world.journal.append(decision.webhook)
        world.forwarder.wake()
    async with asyncio.timeout(WITHIN_S):
        while await _reads(world, envelope_id) == before:  # noqa: ASYNC110 - another program
            await asyncio.sleep(0.02)
    # What is told later is taken in later: the hint has had all its effects by then.
    await world.deliver(await world.lives(envelope, envelope_id, (("1", "open"),)), 8)
    async with asyncio.timeout(WITHIN_S):
        while (await envelope.status()).events_seen < seen + 2:  # noqa: ASYNC110 - another program
            await asyncio.sleep(0.02)
    assert await _reads(world, envelope_id) == before + 1
    assert _end(await envelope.status()) == await _truth(world, envelope_id)


def _claims_completed(told: Sequence[Delivery]) -> bytes:
    """What the provider said when it was sent, with another word in its mouth."""
    message = next(m for d in told if (m := json.loads(d.body))["event"] == "envelope-sent")
    message["event"] = "envelope-completed"
    message["generatedDateTime"] = "2030-01-01T00:00:00.0000000Z"
    return json.dumps(message).encode()


async def _reads(world: World, envelope_id: str) -> int:
    """How often the provider was asked about this envelope."""
    calls = (await world.house.desk.ledger(calls=True))["calls"]
    path = f"/envelopes/{envelope_id}"
    return sum(call["method"] == "GET" and call["path"].endswith(path) for call in calls)


async def _truth(world: World, envelope_id: str) -> tuple[str, dict[str, str]]:
    held = await world.house.desk.envelopes()
    (one,) = [e for e in held if e["envelopeId"] == envelope_id]
    return one["status"], {r["recipientId"]: r["status"] for r in one["recipients"]}


def _end(snapshot: Snapshot) -> tuple[str, dict[str, str]]:
    return str(snapshot.status), {r.recipient_id: str(r.status) for r in snapshot.recipients}


def _already(house: rig.Rig) -> Any:
    async def connected() -> Any:
        return house.temporal

    return connected
