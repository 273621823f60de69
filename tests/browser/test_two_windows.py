"""Two people in two windows of a real browser want to sign one envelope at the same time.

What was done to them is read from the simulator's ledger. The harm is on: a second signing URL of
an envelope kicks out whoever signs (docusign.com blog, Concurrency issues).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect
from temporalio.testing import WorkflowEnvironment

from demo.naive.rest import Credentials
from demo.naive.sessions import NaiveSessions
from demo.signing_app import serving
from demo.stack import Stack
from demo.temporal_dev import free_port
from tests import programs, rig
from tests.browser import ceremony, chromium

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(240),
    pytest.mark.skipif(chromium.program() is None, reason=chromium.MISSING),
]


@pytest_asyncio.fixture
async def house(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[rig.Rig]:
    """A rig whose provider and whose signers' browsers reach the bridge."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path, bridge_port=free_port()) as made:
            await programs.start_bridge(stack, tmp_path / "sealwax.toml")
            yield made


@pytest_asyncio.fixture
async def windows() -> AsyncIterator[tuple[Page, Page]]:
    """A window for each of two people."""
    async with chromium.browser() as browser:
        yield (
            await (await browser.new_context()).new_page(),
            await (await browser.new_context()).new_page(),
        )


def a_key() -> str:
    """A new business key."""
    return f"order-{uuid4().hex[:8]}"


async def signs(window: Page, port: int) -> None:
    """Sign: the bridge's page is shown; then the window is back in the application, which is not
    told where it comes from."""
    seen = asyncio.Event()

    async def later(route: Route) -> None:
        # The page goes on by itself after two seconds; a busy machine may take longer to look.
        await seen.wait()
        await route.continue_()

    await window.route("**/thanks", later)
    await window.get_by_role("button", name="Sign", exact=True).click()
    await expect(window.get_by_text("You are done here")).to_be_visible()
    await expect(window.get_by_text("You may close this window.")).to_be_visible()
    address = window.url
    assert address.endswith("/done?event=signing_complete")
    assert len(address.partition("?")[0]) <= 470
    seen.set()
    await window.wait_for_url(f"http://127.0.0.1:{port}/thanks")
    await expect(window.get_by_text("Thank you")).to_be_visible()
    assert await window.evaluate("document.referrer") == ""


def told(ledger: dict[str, Any]) -> tuple[int, int, list[str]]:
    """Who was kicked, who lost what was typed, and how the sessions ended."""
    return ledger["kicked"], ledger["input_lost"], [s["end"] for s in ledger["sessions"]]


async def test_the_second_window_waits_until_the_first_has_signed(
    house: rig.Rig, windows: tuple[Page, Page]
) -> None:
    """Ana signs at leisure while Ben's page tells him who is signing; then his goes on by itself.
    Nobody is kicked out, nothing typed is lost, both are back in the application, all is signed."""
    first, second = windows
    port = free_port()
    async with serving(house.client, rig.ACCOUNT, port) as app:
        envelope = await ceremony.sent(house.client, rig.ACCOUNT, key := a_key())
        await first.goto(app.link(key, "ana"))
        await ceremony.fills_in(first, "Oslo, ")
        await second.goto(app.link(key, "ben"))
        await expect(second.get_by_text("recipient ana is signing")).to_be_visible()
        await ceremony.fills_in(first, "21 November")
        await expect(second.get_by_text("Your turn comes soon")).to_be_visible()

        await signs(first, port)
        await expect(second.get_by_text("For Ben Okafor")).to_be_visible()
        await ceremony.fills_in(second, "Lagos, 21 November")
        await signs(second, port)

        ended = await envelope.wait("closed", timeout_s=60)
    ledger = await house.desk.ledger()
    assert told(ledger) == (0, 0, ["signing_complete", "signing_complete"])
    (truth,) = ledger["envelopes"]
    assert (truth["status"], ended.status) == ("completed", "completed")


async def test_an_application_that_asks_at_once_throws_the_first_window_out(
    house: rig.Rig, windows: tuple[Page, Page]
) -> None:
    """The same provider, people and browser, without Sealwax: the harm is real, so that the law
    above can fail."""
    first, second = windows
    desk, port = house.desk, free_port()
    await ceremony.sent(house.client, rig.ACCOUNT, a_key())
    (truth,) = await desk.envelopes()
    credentials = Credentials(
        desk.url, desk.account_id, desk.integration_key, desk.user_id, rig.KEY
    )
    there = f"http://127.0.0.1:{port}"
    async with (
        NaiveSessions(credentials, f"{there}/thanks") as sessions,
        ceremony.naive_application(sessions, truth["envelopeId"], port),
    ):
        await first.goto(f"{there}/sign/1")
        await ceremony.fills_in(first, "Oslo, ")
        await second.goto(f"{there}/sign/2")
        await expect(second.get_by_text("For Ben Okafor")).to_be_visible()
        await first.get_by_label(ceremony.FIELD).press_sequentially("21 November")
        await expect(first.get_by_text("Back with session_timeout")).to_be_visible()
    assert told(await desk.ledger()) == (1, 1, ["kicked", None])
