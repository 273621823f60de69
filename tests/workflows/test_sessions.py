"""Sessions through the real workflow: each deadline with the server's time skipping, a worker that
dies during a session, and where a signing URL must never stand.

No bridge listens in the time-skipping tests: what it would hear is signalled by the test, and its
heartbeat is kept by its own code. What the provider did is asserted on the simulator's ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from bridge.signs import keep_beating
from demo.stack import Stack
from sealwax import messages
from sealwax.calls import Timing
from sealwax.definition import Recipient
from sealwax.handle import EnvelopeHandle
from sealwax.messages import OpenSession, Ping, Return, SessionSigns, SessionTicket
from sealwax.stores.registry import open_registry
from tests import programs, rig

BACK = "http://localhost/back"
NOBODY_LISTENS = 9
PEOPLE = [
    Recipient("ana", "Ana", "ana@example.com", 1, client_user_id="a"),
    Recipient("ben", "Ben", "ben@example.com", 1, client_user_id="b"),
]
LIFE_S = 300
QUIET_S = 90


@dataclass
class Signing:
    """An envelope out for signing by Ana and Ben, who ask under ``s-ana`` and ``s-ben``."""

    house: rig.Rig
    environment: WorkflowEnvironment
    envelope: EnvelopeHandle
    workflow: WorkflowHandle[Any, Any]
    provider_id: str

    async def asks(self, who: str) -> SessionTicket:
        """Ask for a session without waiting for it."""
        wanted = OpenSession(operation_id=f"s-{who}", recipient_id=who, return_url=BACK, wait_s=0)
        return await self.workflow.execute_update(
            messages.UPDATE_OPEN_SESSION, wanted, result_type=SessionTicket
        )

    async def granted(self, who: str) -> SessionTicket:
        """Ask for a session and wait for its URL."""
        return await self.envelope.open_session(who, BACK, operation_id=f"s-{who}", timeout_s=30)

    async def ticket(self, who: str) -> SessionTicket:
        """How the request stands."""
        return await self.workflow.query(
            messages.QUERY_TICKET, f"s-{who}", result_type=SessionTicket
        )

    async def until(self, who: str, *states: str) -> SessionTicket:
        """The ticket once it is in one of these states."""
        async with asyncio.timeout(30):
            # A workflow can only be asked again.
            while (ticket := await self.ticket(who)).state not in states:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return ticket

    async def hears(self, *signs: Ping | Return) -> None:
        """What the bridge would signal."""
        pings = tuple(s for s in signs if isinstance(s, Ping))
        returns = tuple(s for s in signs if isinstance(s, Return))
        await self.workflow.signal(
            messages.SIGNAL_SESSION, SessionSigns(pings=pings, returns=returns)
        )

    async def passes(self, seconds: float) -> None:
        """The workflow's time goes on."""
        assert await self.environment.fast_forward(self.workflow, timedelta(seconds=seconds))

    async def acts(self, who: str, action: str, **body: Any) -> None:
        """A signer's browser does something at the simulator."""
        number = {"ana": 1, "ben": 2}[who]
        path = f"/envelopes/{self.provider_id}/recipients/{number}/session/{action}"
        await self.house.desk.post(path, body)

    async def harm(self) -> tuple[int, int]:
        """How many signers were kicked, and how many lost what they had typed, by the ledger."""
        ledger = await self.house.desk.ledger()
        return ledger["kicked"], ledger["input_lost"]


@asynccontextmanager
async def signing(house: rig.Rig, environment: WorkflowEnvironment) -> AsyncIterator[Signing]:
    """A sent envelope whose time goes on only when the test says so."""
    with environment.with_time_skipping_disabled():
        envelope = await house.create(recipients=PEOPLE)
    snapshot = await envelope.wait("sent", timeout_s=30)
    workflow = house.temporal.get_workflow_handle(envelope.workflow_id)
    yield Signing(house, environment, envelope, workflow, snapshot.provider_envelope_id)


@asynccontextmanager
async def bridge_up(house: rig.Rig) -> AsyncIterator[None]:
    """A bridge that lives, as far as its heartbeat shows."""
    registry = open_registry(house.settings.storage.registry)

    def now() -> datetime:
        return datetime.now(UTC)

    await registry.beat("bridge-of-the-test", now())
    beating = asyncio.create_task(keep_beating(registry, lambda: True, now, 1.0))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await registry.close()


@pytest_asyncio.fixture
async def live(
    temporal_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> AsyncIterator[Signing]:
    """Ana has the session and Ben waits, on a server that skips time."""
    async with (
        rig.running(
            temporal_env.client,
            simulator_url,
            tmp_path,
            timing=Timing(),
            bridge_port=NOBODY_LISTENS,
        ) as house,
        signing(house, temporal_env) as ceremony,
    ):
        yield ceremony


async def test_a_url_that_nobody_opens_passes_the_lease_on(live: Signing):
    """Its life, one interval and the slack, with the bridge up; nobody is kicked by it."""
    await live.granted("ana")
    await live.asks("ben")

    async with bridge_up(live.house):
        await live.passes(LIFE_S + QUIET_S - 30)
        assert (await live.ticket("ben")).why == "recipient ana is signing"
        await live.passes(35)
        await live.until("ben", "granted")

    assert (await live.ticket("ana")).how == "never_opened"
    assert await live.harm() == (0, 0)


async def test_a_url_opened_in_its_last_second_keeps_the_lease(live: Signing):
    """The first ping comes a minute later, and then the signer has another interval each time."""
    ana = await live.granted("ana")
    await live.asks("ben")
    assert ana.url_until is not None

    async with bridge_up(live.house):
        await live.acts("ana", "open", url=ana.url)
        await live.passes(LIFE_S + 59)
        await live.hears(Ping(token=ana.token, at=ana.url_until + timedelta(seconds=59)))
        await live.passes(QUIET_S - 20)
        assert (await live.ticket("ben")).state == "waiting"
        await live.acts("ana", "type")
        await live.acts("ana", "sign")
        await live.hears(Return(token=ana.token, event="signing_complete"))
        await live.until("ben", "granted")

    assert await live.harm() == (0, 0)


async def test_a_window_that_was_closed_passes_the_lease_on(live: Signing):
    """It pinged and fell silent: over, one interval and the slack later."""
    ana = await live.granted("ana")
    await live.asks("ben")
    assert ana.url_until is not None
    await live.acts("ana", "open", url=ana.url)
    await live.hears(Ping(token=ana.token, at=ana.url_until - timedelta(seconds=LIFE_S - 60)))
    await live.acts("ana", "close-window")

    async with bridge_up(live.house):
        await live.passes(60 + QUIET_S + 5)
        await live.until("ben", "granted")

    assert (await live.ticket("ana")).how == "silent"
    assert await live.harm() == (0, 0)


async def test_silence_while_the_bridge_is_down_for_ten_minutes_ends_nothing(live: Signing):
    """Ana is at work all the time; her return, once it can be heard, ends the session."""
    ana = await live.granted("ana")
    await live.asks("ben")
    await live.acts("ana", "open", url=ana.url)
    await live.acts("ana", "type")

    await live.passes(LIFE_S + QUIET_S + 600)
    assert [(await live.ticket(who)).state for who in ("ana", "ben")] == ["spent", "waiting"]

    async with bridge_up(live.house):
        await live.acts("ana", "sign")
        await live.hears(Return(token=ana.token, event="signing_complete"))
        await live.until("ben", "granted")
    assert await live.harm() == (0, 0)


async def test_a_session_of_many_hours_is_flagged_and_lives(live: Signing):
    """A person is told; the signer stays."""
    ana = await live.granted("ana")
    await live.asks("ben")
    assert ana.url_until is not None
    hours = timedelta(hours=4)
    await live.hears(Ping(token=ana.token, at=ana.url_until + hours))

    await live.passes(hours.total_seconds() + 5)

    snapshot = await live.envelope.status()
    assert snapshot.attention == "recipient ana has been signing for very long"
    assert (snapshot.signing.recipient_id, snapshot.signing.waiting) == ("ana", ("ben",))


@pytest.mark.parametrize("event", ["cancel", "session_timeout", "decline"])
async def test_a_return_hands_the_lease_on_without_any_deadline(live: Signing, event: str):
    """Whatever it says, the browser has left; no time passes, nobody is kicked."""
    ana = await live.granted("ana")
    await live.acts("ana", "open", url=ana.url)
    await live.asks("ben")
    await live.acts("ana", "cancel")

    await live.hears(Return(token=ana.token, event=event))

    await live.until("ben", "granted")
    told = await live.ticket("ana")
    assert (told.state, told.how, told.event) == ("ended", "returned", event)
    assert await live.harm() == (0, 0)


async def test_a_sign_of_another_session_changes_nothing(live: Signing):
    """Old, future and unreadable ones: Ben's session stays, and what is unreadable is counted."""
    ana = await live.granted("ana")
    await live.asks("ben")
    await live.hears(Return(token=ana.token, event="cancel"))
    ben = await live.until("ben", "granted")

    await live.hears(
        Return(token=ana.token, event="cancel"), Return(token=ben.token + 1, event="decline")
    )
    await live.workflow.signal(messages.SIGNAL_SESSION, {"returns": "all of them"})

    snapshot = await live.envelope.status()
    assert (snapshot.signing.recipient_id, snapshot.events_unreadable) == ("ben", 1)
    assert (await live.ticket("ben")).state == "granted"


async def test_a_signing_url_stands_nowhere_but_in_its_ticket(live: Signing):
    """Not in queries, snapshot, timeline, card, search attributes, nor readable in history."""
    ana = await live.granted("ana")
    await live.asks("ben")
    await live.envelope.close_session("s-ana", ana.token)
    await live.until("ben", "granted")
    parts = urlsplit(ana.url)
    secrets = [ana.url, parts.path.rpartition("/")[2], *dict(parse_qsl(parts.query)).values()]
    assert min(map(len, secrets)) > 8

    described = await live.workflow.describe()
    metadata = await live.workflow.query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    assert "**ben**" in metadata.current_details
    history = await live.workflow.fetch_history()
    texts = {
        "query": (await live.ticket("ana")).model_dump_json(),
        "snapshot": (await live.envelope.status()).model_dump_json(),
        "timeline": str(await live.envelope.timeline()),
        "attributes": str(described.raw_description),
        "card": metadata.current_details,
        "history": history.to_json(),
    }
    assert [w for w, text in texts.items() if any(secret in text for secret in secrets)] == []


async def test_a_worker_killed_during_a_session_forgets_nothing(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """SIGKILL while Ana signs and Ben waits: what was signalled meanwhile counts afterwards."""
    async with Stack(tmp_path) as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(
            dev_env.client, url, tmp_path, work=False, bridge_port=NOBODY_LISTENS
        ) as house:
            await programs.start_worker(stack, tmp_path / "sealwax.toml")
            async with signing(house, dev_env) as live:
                ana = await live.granted("ana")
                await live.acts("ana", "open", url=ana.url)
                await live.acts("ana", "type")
                await live.asks("ben")

                await stack.kill("worker")
                await live.acts("ana", "sign")
                await live.hears(
                    Ping(token=ana.token, at=datetime.now(UTC)),
                    Return(token=ana.token, event="signing_complete"),
                )
                await stack.restart("worker")

                ben = await live.granted("ben")
                again = await live.ticket("ana")
                harm = await live.harm()

    assert (ben.token, again.how, again.event) == (ana.token + 1, "returned", "signing_complete")
    assert harm == (0, 0)
