"""Sessions through the whole: workflow, worker, provider and a bridge that really listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax.definition import Recipient
from sealwax.messages import AskSession, SessionTicket
from tests import programs, rig

pytestmark = pytest.mark.server

BACK = "http://localhost/back?order=7"
PEOPLE = [
    Recipient("ana", "Ana", "ana@example.com", 1, client_user_id="a"),
    Recipient("ben", "Ben", "ben@example.com", 1, client_user_id="b"),
]


@pytest_asyncio.fixture
async def house(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[rig.Rig]:
    """A rig whose provider reaches the bridge."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path, bridge_port=free_port()) as made:
            await programs.start_bridge(stack, tmp_path / "sealwax.toml")
            yield made


async def test_a_browser_that_comes_back_hands_the_session_on(house: rig.Rig) -> None:
    """Ana will finish later: her browser lands at the bridge, goes on to the application, and Ben
    gets his URL, and nobody was kicked. An address of her session, used again, does not end his."""
    envelope = await house.create(recipients=PEOPLE)
    await envelope.wait("sent", timeout_s=30)
    ana = await envelope.open_session("ana", BACK, operation_id="s-ana", timeout_s=30)
    waiting = asyncio.create_task(
        envelope.open_session("ben", BACK, operation_id="s-ben", timeout_s=30)
    )
    async with httpx.AsyncClient(timeout=20) as browser:
        assert (await browser.get(ana.url)).status_code == 200
        assert not waiting.done()
        left = await browser.post(ana.url, data={"action": "cancel"})
        landing_url = left.headers["location"]
        assert landing_url.endswith("/done?event=cancel")
        assert len(landing_url.partition("?")[0]) <= 470
        page = await browser.get(landing_url)
        assert page.status_code == 200
        assert f'href="{BACK}"' in page.text
        ben = await asyncio.wait_for(waiting, 30)
        assert (await browser.get(ben.url)).status_code == 200
        replayed = await browser.get(landing_url.replace("cancel", "signing_complete"))
        assert replayed.status_code == 200
    ticket = await asked(house, envelope.workflow_id, "s-ana")
    assert (ticket.state, ticket.how, ticket.event) == ("ended", "returned", "cancel")
    assert (await asked(house, envelope.workflow_id, "s-ben")).state != "ended"
    ledger = await house.desk.ledger()
    assert (ledger["kicked"], ledger["input_lost"]) == (0, 0)
    assert [s["state"] for s in ledger["sessions"]] == ["ended", "active"]


async def test_who_finishes_later_and_never_comes_back_hands_the_session_on(
    house: rig.Rig,
) -> None:
    """Ana's browser dies at the redirect: the provider's own webhook ends her session, long before
    silence would, and Ben gets his URL."""
    envelope = await house.create(recipients=PEOPLE)
    await envelope.wait("sent", timeout_s=30)
    ana = await envelope.open_session("ana", BACK, operation_id="s-ana", timeout_s=30)
    waiting = asyncio.create_task(
        envelope.open_session("ben", BACK, operation_id="s-ben", timeout_s=30)
    )
    async with httpx.AsyncClient(timeout=20) as browser:
        assert (await browser.get(ana.url)).status_code == 200
        left = await browser.post(ana.url, data={"action": "finish-later"})
        assert left.status_code == 303
        ben = await waiting
        assert (await browser.get(ben.url)).status_code == 200
    ticket = await asked(house, envelope.workflow_id, "s-ana")
    assert (ticket.state, ticket.how, ticket.event) == ("ended", "finished_later", "")
    ledger = await house.desk.ledger()
    assert (ledger["kicked"], ledger["input_lost"]) == (0, 0)


async def test_a_url_that_is_given_back_unopened_is_revoked_at_the_provider(
    house: rig.Rig,
) -> None:
    """By the provider's ledger it is dead before the next one is made."""
    envelope = await house.create(recipients=PEOPLE)
    await envelope.wait("sent", timeout_s=30)
    ana = await envelope.open_session("ana", BACK, operation_id="s-ana", timeout_s=30)
    await envelope.close_session("s-ana", ana.token)
    await envelope.open_session("ben", BACK, operation_id="s-ben", timeout_s=30)
    sessions = (await house.desk.ledger())["sessions"]
    assert [(s["state"], s["end"]) for s in sessions] == [("ended", "revoked"), ("issued", None)]


async def asked(house: rig.Rig, workflow_id: str, operation_id: str) -> SessionTicket:
    """How a request stands."""
    handle: Any = house.temporal.get_workflow_handle(workflow_id)
    ticket: SessionTicket = await handle.execute_update(
        "session", AskSession(operation_id=operation_id, wait_s=0), result_type=SessionTicket
    )
    return ticket
