"""Laws of the program: what it acknowledged survives its death, and it ends and refuses cleanly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bridge.serving import listen
from sealwax.session_links import SessionLinks
from sealwax.stores.base import JournalCounts
from sealwax.stores.journal import open_journal
from sealwax.stores.registry import open_registry
from tests import keys
from tests.bridge.deliveries import (
    ACCOUNT_ID,
    KEY,
    OLD_KEY,
    event_key,
    message,
    registered,
    signed,
)

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
SETTINGS = """
[temporal]
address = "127.0.0.1:{temporal_port}"
[accounts.acme]
provider = "docusign"
account_id = "{account_id}"
api_base = "http://127.0.0.1:1/restapi"
oauth_base = "http://127.0.0.1:1"
webhook_keys = ["file:connect-1.txt", "env:TEST_CONNECT_KEY"]
[accounts.acme.principals.system]
integration_key = "ik"
user_id = "user"
private_key = "file:never-read.pem"
"""


def write_settings(folder: Path) -> Path:
    """Settings of an account with two keys, and of a Temporal server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    (folder / "connect-1.txt").write_bytes(KEY + b"\n")
    file = folder / "sealwax.toml"
    file.write_text(SETTINGS.format(temporal_port=port, account_id=ACCOUNT_ID) + keys.SETTINGS)
    return file


class Program:
    """``python -m bridge`` as an operator starts it; ``more`` are variables besides its own."""

    def __init__(self, folder: Path, settings: Path) -> None:
        self.folder = folder
        self.settings = settings
        self.more: dict[str, str] = {}
        self.announcement = folder / "bridge.json"
        self.process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self, *options: str) -> None:
        self.announcement.unlink(missing_ok=True)
        self.process = await self.spawn("--announce", str(self.announcement), *options)
        async with asyncio.timeout(30):
            while not self.announcement.exists():
                assert self.process.returncode is None, await self.said(self.process)
                await asyncio.sleep(0.02)
        announced = json.loads(self.announcement.read_text())
        assert announced["pid"] == self.process.pid
        self.url = announced["url"]

    async def spawn(self, *options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bridge", "--config", str(self.settings), "--port", "0", *options),
            cwd=ROOT,
            env={**os.environ, "TEST_CONNECT_KEY": OLD_KEY.decode(), **self.more},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    async def said(self, process: asyncio.subprocess.Process) -> str:
        assert process.stderr is not None
        return (await asyncio.wait_for(process.stderr.read(), 20)).decode()

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        await self.said(self.process)
        return await asyncio.wait_for(self.process.wait(), 20)

    async def post(self, http: httpx.AsyncClient, body: bytes, *keys: bytes) -> int:
        url = f"{self.url}/webhooks/acme"
        return (await http.post(url, content=body, headers=signed(body, *keys))).status_code


@pytest_asyncio.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    made = Program(tmp_path, write_settings(tmp_path))
    yield made
    if made.process is not None and made.process.returncode is None:
        await made.end(signal.SIGKILL)


async def journal_of(program: Program) -> tuple[set[str], JournalCounts]:
    journal = open_journal(program.folder / "sealwax-data" / "journal.db", keys.KEYRING)
    rows = [row[0] for row in journal._reader.execute("SELECT event_key FROM webhook").fetchall()]
    counts = await journal.counts()
    await journal.close()
    return {str(key) for key in rows}, counts


async def test_a_2xx_outlives_kill_9_though_temporal_is_away(program: Program) -> None:
    """Killed at once after each of two bursts: every acknowledged webhook is in the journal, and
    the program that follows takes repetitions as such."""
    await program.start()
    bodies = [message(f"env-{n % 5}", n=n) for n in range(60)]
    async with httpx.AsyncClient(timeout=20) as http:
        for burst in (bodies[:30], bodies[30:]):
            statuses = await asyncio.gather(*(program.post(http, body) for body in burst))
            assert statuses == [200] * 30
            assert await program.end(signal.SIGKILL) == -signal.SIGKILL
            kept, _ = await journal_of(program)
            assert {event_key(body) for body in burst} <= kept
            await program.start()
        assert await program.post(http, bodies[0], OLD_KEY) == 200
        assert await program.post(http, bodies[0], b"neither key") == 401
        counts = (await http.get(f"{program.url}/counts")).json()
    assert (counts["accepted"], counts["duplicates"], counts["refused"]) == (60, 1, 1)


async def test_acknowledged_while_it_was_killed_or_not_at_all(program: Program) -> None:
    """Killed in the middle of a burst: no answer, or a 2xx whose webhook is on disk."""
    await program.start()
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def deliver(http: httpx.AsyncClient, body: bytes) -> None:
        try:
            status = await program.post(http, body)
        except httpx.TransportError:
            return
        assert status == 200
        acknowledged.append(event_key(body))
        if len(acknowledged) == 100:
            enough.set()

    async with httpx.AsyncClient(timeout=20) as http:
        burst = [asyncio.create_task(deliver(http, message(n=n))) for n in range(400)]
        await asyncio.wait_for(enough.wait(), 30)
        assert await program.end(signal.SIGKILL) == -signal.SIGKILL
        await asyncio.gather(*burst)
    kept, _ = await journal_of(program)
    assert len(acknowledged) < 400
    assert set(acknowledged) <= kept


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_status_0(program: Program, number: signal.Signals) -> None:
    await program.start()
    async with httpx.AsyncClient() as http:
        assert await program.post(http, message()) == 200
        assert (await http.get(f"{program.url}/health")).json()["status"] == "ok"
    assert await program.end(number) == 0
    _, counts = await journal_of(program)
    assert counts.kept == 1


async def test_what_a_person_must_correct_is_one_line_and_status_2(program: Program) -> None:
    """A missing key file, a port that is taken, no settings: said in one line, nothing started."""
    await program.start()
    taken = program.url.rpartition(":")[2]
    second = await program.spawn("--port", taken)
    said = await program.said(second)
    assert await second.wait() == 2
    assert said.startswith(f"bridge: cannot listen on 127.0.0.1 port {taken}")
    (program.folder / "connect-1.txt").unlink()
    third = await program.spawn()
    said = await program.said(third)
    assert await third.wait() == 2
    assert said.startswith("bridge: the file ")
    assert said.count("\n") == 1
    program.settings.unlink()
    fourth = await program.spawn()
    assert "no settings file" in await program.said(fourth)
    assert await fourth.wait() == 2


async def test_signers_land_and_pings_come_in_while_temporal_is_away(program: Program) -> None:
    """The program serves its session addresses, says that it is up, and logs no address, neither
    whole nor in part."""
    registry = open_registry(program.folder / "sealwax-data" / "registry.db")
    row = await registered(registry, "order-1")
    links = SessionLinks(keys.KEYRING)
    paths = [
        links.path("acme", row.routing_token, 3, "ping"),
        links.path("acme", row.routing_token, 3, "done"),
    ]
    await program.start()
    async with httpx.AsyncClient(timeout=20) as http:
        ping = await http.get(program.url + paths[0])
        done = await http.get(f"{program.url}{paths[1]}?event=signing_complete")
        forged = await http.get(f"{program.url}{paths[0].replace('/3/', '/4/')}")
    assert [ping.status_code, done.status_code, forged.status_code] == [204, 200, 404]
    assert "You may close this window" in done.text
    assert await registry.up_since(datetime.now(UTC)) is not None
    await registry.close()
    assert program.process is not None
    program.process.send_signal(signal.SIGTERM)
    said = await program.said(program.process)
    assert await program.process.wait() == 0
    assert "not signalled yet" in said
    for secret in (row.routing_token, *(path.split("/")[-2] for path in paths)):
        assert secret not in said


def test_answers_do_not_wait_for_an_acknowledgement():
    """Accepted connections have TCP_NODELAY, whichever event loop serves them."""
    with (
        listen("127.0.0.1", 0, "bridge") as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
