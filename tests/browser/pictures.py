"""``python -m tests.browser.pictures``: the README's pictures of envelopes, taken anew.

A local world is started, two signers open their links in Chromium, and their pages and the cards
of their envelope and of another one in the Temporal web UI are stored in ``docs/images``. Look at
them before you commit them. ``--table build/demo/table.svg`` stores the table of a demonstration
that was run.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.async_api import Browser, Locator, Page, expect

from demo import stage
from demo.control import Control
from sealwax.client import EnvelopeClient
from sealwax.definition import Recipient, RecipientKind
from sealwax.handle import EnvelopeHandle
from sealwax.opening import open_client
from tests import programs
from tests.browser import ceremony, chromium

FOLDER = programs.CHECKOUT / "docs" / "images"
PAGE = (760, 620)
SMALL_PAGE = (760, 300)
UI = (1280, 1300)
TABLE = (1224, 800)
COLOURS = 128
TOLD_WITHIN_S = 90
SENT_WITHIN_S = 30
PARTIES = [
    Recipient("buyer", "Bea Buyer", "bea@example.com", 1),
    Recipient("seller", "Sam Seller", "sam@example.com", 2),
    Recipient("legal", "Lea Lega", "lea@example.com", 3, kind=RecipientKind.CARBON_COPY),
]


async def take(folder: Path) -> None:
    """Take them all into a folder."""
    with tempfile.TemporaryDirectory() as world:
        async with (
            programs.local_world(Path(world) / "dev", "--sessions") as said,
            chromium.browser() as browser,
        ):
            application = programs.signing_links(said)["ana"].partition("/sign/")[0]
            client = await open_client(Path(world) / "dev" / "sealwax.toml")
            envelope = await ceremony.sent(client, stage.ACCOUNT, key := "order-2026-118")
            first, second = await _window(browser, PAGE), await _window(browser, SMALL_PAGE)
            await first.goto(f"{application}/sign/{key}/ana")
            await ceremony.fills_in(first, "Oslo, 21 November")
            await second.goto(f"{application}/sign/{key}/ben")
            await expect(second.get_by_text("recipient ana is signing")).to_be_visible()
            await _store(first, folder / "signing.png")
            await _store(second, folder / "waiting.png")
            ui = _place(said, "Temporal web UI")
            card = await _card(browser, ui, envelope.workflow_id, "the page is open")
            await _store(card, folder / "session-card.png")
            other = await _half_signed(client, said)
            card = await _card(browser, ui, other.workflow_id, "Waiting for seller")
            await _store(card, folder / "card.png")
            await first.get_by_role("button", name="Sign", exact=True).click()
            await expect(first.get_by_text("You are done here")).to_be_visible()
            width, height = SMALL_PAGE
            await first.set_viewport_size({"width": width, "height": height})
            await _store(first, folder / "landing.png")


async def take_table(drawing: Path, folder: Path) -> None:
    """Take the demonstration's table, as the demonstration drew it."""
    async with chromium.browser() as browser:
        page = await _window(browser, TABLE)
        await page.set_content(drawing.read_text("utf-8"))
        await _store(page.locator("svg"), folder / "demo.png")


async def _half_signed(client: EnvelopeClient, said: Sequence[str]) -> EnvelopeHandle:
    """An envelope that was changed, sent and signed by the first of two signers."""
    envelope = await ceremony.draft(client, stage.ACCOUNT, "order-2026-117", PARTIES)
    await envelope.update_recipient("seller", name="Selma Seller")
    await envelope.change_message(subject="Please sign by Friday")
    await envelope.send()
    sent = await envelope.wait("sent", timeout_s=SENT_WITHIN_S)
    assert sent.provider_envelope_id is not None
    provider_url = _place(said, "Provider's ledger").partition("/simulator/")[0]
    async with Control(provider_url) as provider:
        assert await provider.act(sent.provider_envelope_id, "1", "sign")
    await envelope.update_recipient("legal", name="Lea Legal")
    return envelope


def _place(said: Sequence[str], what: str) -> str:
    """Where the local world said that something is."""
    return next(line.split()[-1] for line in said if line.startswith(what))


async def _window(browser: Browser, size: tuple[int, int]) -> Page:
    width, height = size
    return await browser.new_page(viewport={"width": width, "height": height})


async def _card(browser: Browser, ui: str, workflow_id: str, told: str) -> Locator:
    """The envelope's card, decoded by the codec server, once it tells this."""
    page = await _window(browser, UI)
    await page.goto(f"{ui}/namespaces/default/workflows/{quote(workflow_id, safe='')}")
    await page.get_by_role("button", name="Collapse Navigation").click()
    await page.get_by_role("tab", name="User Metadata").click()
    card = page.frame_locator("iframe").last.get_by_text(told)
    async with asyncio.timeout(TOLD_WITHIN_S):
        while True:
            with contextlib.suppress(AssertionError):
                await expect(card).to_be_visible(timeout=5_000)
                return page.get_by_role("main")
            await page.reload()


async def _store(what: Page | Locator, path: Path) -> None:
    """A picture in few colours, as small as it gets."""
    shot = Image.open(io.BytesIO(await what.screenshot(animations="disabled")))
    few = shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


def main(arguments: Sequence[str]) -> int:
    """Take them; the exit code."""
    if chromium.program() is None:
        print(f"pictures: {chromium.MISSING}", file=sys.stderr)
        return 2
    if arguments[:1] == ["--table"]:
        drawing = Path(arguments[1] if len(arguments) > 1 else "build/demo/table.svg")
        if not drawing.exists():
            print(f"pictures: there is no {drawing}; run `make demo` first", file=sys.stderr)
            return 2
        asyncio.run(take_table(drawing, FOLDER))
        return 0
    folder = Path(arguments[0]) if arguments else FOLDER
    asyncio.run(take(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
