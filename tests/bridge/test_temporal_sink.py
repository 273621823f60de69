"""The sink against a real server: signals arrive, and each kind of failure has its own name."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bridge.forward import Forwarder
from bridge.ingest import Accept, ingest
from bridge.sink import SinkUnavailable, TemporalSink, WorkflowGone
from sealwax.connection import ConnectionFailed
from sealwax.messages import (
    QUERY_LANDING,
    SIGNAL_EVENTS,
    SIGNAL_SESSION,
    EventBatch,
    Landing,
    Ping,
    Return,
    SessionSigns,
)
from sealwax.payloads import data_converter
from sealwax.stores.base import EnvelopeName, JournalCounts
from sealwax.stores.journal import open_journal
from sealwax.stores.registry import open_registry
from tests.bridge.deliveries import event_key, message, registered, signed, source
from tests.keys import KEYRING

pytestmark = pytest.mark.server


@workflow.defn(name="listener")
class Listener:
    """Keeps the event keys that it is signalled, until it has enough."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.keys) >= enough)
        return self.keys

    @workflow.signal(name=SIGNAL_EVENTS)
    def events(self, batch: dict[str, Any]) -> None:
        self.keys += [event.event_key for event in EventBatch.model_validate(batch).events]


@workflow.defn(name="signer")
class Signer:
    """Ends when its session has come back; knows the way onward of session 3."""

    def __init__(self) -> None:
        self.signs: list[SessionSigns] = []

    @workflow.run
    async def run(self) -> list[SessionSigns]:
        await workflow.wait_condition(lambda: any(s.returns for s in self.signs))
        return self.signs

    @workflow.signal(name=SIGNAL_SESSION)
    def session_signs(self, signs: SessionSigns) -> None:
        self.signs.append(signs)

    @workflow.query(name=QUERY_LANDING)
    def landing(self, token: int) -> Landing:
        return Landing(return_url="https://app.example.com/7" if token == 3 else "")


@pytest_asyncio.fixture
async def queue(dev_env: WorkflowEnvironment) -> AsyncIterator[str]:
    name = f"bridge-{uuid.uuid4()}"
    async with Worker(
        dev_env.client,
        task_queue=name,
        workflows=[Listener, Signer],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield name


async def test_webhooks_reach_a_real_workflow_in_order_and_come_late_after_its_end(
    dev_env: WorkflowEnvironment, queue: str, tmp_path: Path
) -> None:
    """Also across a server that could not be reached at first."""
    attempts = 0

    async def connect() -> Client:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionFailed("Temporal does not answer")
        return dev_env.client

    journal, registry = open_journal(tmp_path / "j.db", KEYRING), open_registry(tmp_path / "r.db")
    row = await registered(registry, f"order-{uuid.uuid4()}")
    await registry.bind(row.workflow_id, "env-a")
    handle = await dev_env.client.start_workflow(
        "listener", 5, id=row.workflow_id, task_queue=queue, result_type=list[str]
    )
    forwarder = Forwarder(
        journal=journal,
        registry=registry,
        sink=TemporalSink(connect),
        readers={"acme": source().reader},
        now=lambda: datetime.now(UTC),
    )

    async def take(body: bytes) -> None:
        decision = ingest(source(), signed(body), body, row.routing_token, datetime.now(UTC))
        assert isinstance(decision, Accept)
        await journal.append(decision.webhook)
        forwarder.wake()

    running = asyncio.create_task(forwarder.run())
    bodies = [message(n=n) for n in range(5)]
    for body in bodies:
        await take(body)
    assert await asyncio.wait_for(handle.result(), 30) == [event_key(body) for body in bodies]
    assert attempts == 2
    forwarder.stop()
    await running
    await take(message(n=99))
    await forwarder.forward(EnvelopeName("acme", "env-a"))
    assert await journal.counts() == JournalCounts(delivered=5, late=1)
    await journal.close()
    await registry.close()


async def test_a_workflow_that_never_was_is_gone_but_a_missing_namespace_is_a_server_s_trouble(
    dev_env: WorkflowEnvironment,
) -> None:
    """Both are NOT_FOUND on the wire; only the first is a reason to stop trying."""

    async def connected() -> Client:
        return dev_env.client

    async def elsewhere() -> Client:
        return await Client.connect(
            dev_env.client.service_client.config.target_host,
            namespace="no-such-namespace",
            data_converter=data_converter(KEYRING),
        )

    with pytest.raises(WorkflowGone):
        await TemporalSink(connected).signal(f"envelope/acme/{uuid.uuid4()}", EventBatch(events=()))
    with pytest.raises(SinkUnavailable, match="amespace"):
        await TemporalSink(elsewhere).signal("envelope/acme/any", EventBatch(events=()))


async def test_pings_returns_and_the_way_onward_pass_a_real_server(
    dev_env: WorkflowEnvironment, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow that ended still tells the way onward and takes no more signs; one that never was
    is gone; and where no worker answers, the wait for it is short."""

    async def connected() -> Client:
        return dev_env.client

    sink = TemporalSink(connected)
    name = f"envelope/acme/{uuid.uuid4()}"
    handle = await dev_env.client.start_workflow(
        "signer", id=name, task_queue=queue, result_type=list[SessionSigns]
    )
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    pinged = SessionSigns(pings=(Ping(token=3, at=at),))
    back = SessionSigns(returns=(Return(token=3, event="signing_complete"),))
    await sink.session_signs(name, pinged)
    assert await sink.landing(name, 3) == "https://app.example.com/7"
    assert await sink.landing(name, 4) == ""
    await sink.session_signs(name, back)
    assert await asyncio.wait_for(handle.result(), 30) == [pinged, back]
    assert await sink.landing(name, 3) == "https://app.example.com/7"
    with pytest.raises(WorkflowGone):
        await sink.session_signs(name, pinged)
    with pytest.raises(WorkflowGone):
        await sink.landing(f"{name}-never", 3)
    monkeypatch.setattr("bridge.sink.LANDING_TIMEOUT_S", 0.3)
    idle = f"{name}-idle"
    waiting = await dev_env.client.start_workflow("signer", id=idle, task_queue="nobody-works-here")
    with pytest.raises(SinkUnavailable):
        await sink.landing(idle, 3)
    await waiting.terminate()
