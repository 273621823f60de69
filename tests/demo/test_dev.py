"""The local world: signing links that wait for their turn, and all goes on after a stop."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from demo.dev import WORLD, world_of
from demo.folder import BadFolder
from sealwax.opening import open_client
from tests import programs

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]


async def browse(browser: httpx.AsyncClient, url: str, until: str) -> httpx.Response:
    """Open a link and reload as its page says, until the address holds a text."""
    page = await browser.get(url)
    async with asyncio.timeout(30):
        while until not in str(page.url):
            assert 'http-equiv="refresh"' in page.text, page.text
            await asyncio.sleep(0.3)
            page = await browser.get(page.url)
    return page


async def test_links_wait_for_their_turn_and_the_world_goes_on_after_a_stop(tmp_path: Path) -> None:
    """Two windows want one envelope: the second waits, then signs; a restart forgets nothing."""
    folder = tmp_path / "dev"
    async with (
        httpx.AsyncClient(follow_redirects=True, trust_env=False, timeout=20) as ana,
        httpx.AsyncClient(follow_redirects=True, trust_env=False, timeout=20) as ben,
    ):
        async with programs.local_world(folder, "--sessions") as said:
            links = programs.signing_links(said)
            assert links.keys() == {"ana", "ben", "carla"}
            key = links["ana"].split("/")[-2]
            page = await browse(ana, links["ana"], "/Signing/")
            waiting = await ben.get(links["ben"])
            async with asyncio.timeout(20):
                while "ana is signing" not in waiting.text:
                    waiting = await ben.get(waiting.url)
            signed = await ana.post(page.url, data={"action": "sign"})
            assert "you may close this window" in signed.text.lower()
            await browse(ben, str(waiting.url), "/Signing/")
        first = (folder / "sealwax.toml").read_text()
        async with programs.local_world(folder):
            client = await open_client(folder / "sealwax.toml")
            envelope = client.envelope("acme", key)
            snapshot = await envelope.status()
            assert snapshot.recipients[0].status == "completed"
            port = json.loads((folder / WORLD).read_text())["ports"]["simulator"]
            truth = await ana.get(f"http://127.0.0.1:{port}/simulator/ledger?calls=false")
            (held,) = truth.json()["envelopes"]
            assert held["envelopeId"] == snapshot.provider_envelope_id
            assert (await envelope.void("Enough", during_session="end")).state == "applied"
        again = (folder / "sealwax.toml").read_text()
        known = re.compile(r"public_url|account_id|integration_key")
        assert [x for x in first.splitlines() if known.search(x)] == [
            x for x in again.splitlines() if known.search(x)
        ]


def test_a_world_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    """Nothing of it is overwritten."""
    (tmp_path / WORLD).write_text("{")
    with pytest.raises(BadFolder, match="begin anew"):
        world_of(tmp_path)
    assert (tmp_path / WORLD).read_text() == "{"


def test_a_world_keeps_its_keys_and_ports(tmp_path: Path) -> None:
    """The second start has the same, and only the owner may read them."""
    made = world_of(tmp_path)
    assert world_of(tmp_path) == made
    assert len(set(made.ports.values())) == len(made.ports)
    assert (tmp_path / WORLD).stat().st_mode & 0o777 == 0o600
