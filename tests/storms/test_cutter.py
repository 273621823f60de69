"""The proxy of storms: what it does to connections is what both ends then see."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from benchmarks.storms import cutter
from benchmarks.storms.cutter import Connection, Cutter, Ends, Mode

WITHIN_S = 10.0


@dataclass
class Server:
    """It says back what it is told; ``ended`` counts connections that it saw the end of."""

    address: str = ""
    ended: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while said := await reader.read(1000):
                writer.write(said)
        except ConnectionError:
            pass
        finally:
            self.ended.release()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Server, Cutter, str]]:
    """A server, a cutter, and the address of the proxy between."""
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening, Cutter(3) as between, asyncio.timeout(WITHIN_S):
        yield server, between, await between.between(server.address)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Ends]:
    """A client that has heard its own word back, so that all three are connected."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        assert await echoed((reader, writer), b"hello") == b"hello"
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def echoed(client: Ends, said: bytes) -> bytes:
    """What comes back; b"" where the connection ended in order. Raises ConnectionError."""
    client[1].write(said)
    return await client[0].read(1000)


def only(between: Cutter) -> Connection:
    """The one connection that is carried."""
    (connection,) = (c for carried in between._carried for c in carried)
    return connection


async def test_what_is_not_harmed_passes_as_it_is():
    """Whole and in order, however long, and the end of either side reaches the other."""
    async with world() as (server, _, address):
        async with connected(address) as client:
            said = random.Random(1).randbytes(1_000_000)
            client[1].write(said)
            assert await client[0].readexactly(len(said)) == said
        await server.ended.acquire()


@pytest.mark.parametrize(("mode", "error"), [("cut", None), ("reset", ConnectionResetError)])
async def test_a_cut_ends_it_for_both(mode: Mode, error):
    """In order, or by RST, which is an error to whoever reads."""
    async with world() as (server, between, address), connected(address) as client:
        only(between).harm(mode, random.Random(1))
        await server.ended.acquire()
        if error is None:
            assert await client[0].read(1) == b""
        else:
            with pytest.raises(error):
                await client[0].read(1)


@pytest.mark.parametrize("mode", ["half_open", "blackhole"])
async def test_silence_says_nothing_until_it_is_reset(mode: Mode, monkeypatch):
    """The client speaks on and nobody hears it. A server that is cut off alone knows of it."""
    monkeypatch.setattr(cutter, "SILENT_S", (0.3, 0.3))
    async with world() as (server, between, address), connected(address) as client:
        only(between).harm(mode, random.Random(1))
        if mode == "half_open":
            await server.ended.acquire()
        with pytest.raises(ConnectionResetError):
            await echoed(client, b"still there?")


async def test_a_server_that_is_down_is_told_at_once():
    """As without the proxy, a client does not wait for it."""
    async with Cutter(3) as between, asyncio.timeout(WITHIN_S):
        address = await between.between("127.0.0.1:1")
        with pytest.raises((ConnectionError, AssertionError)):
            async with connected(address):
                pass


async def test_the_count_is_of_what_was_killed(monkeypatch):
    """Delays are no deaths; afterwards nothing is carried that is slow or silent."""
    monkeypatch.setattr(cutter, "EVERY_S", (0.0, 0.01))
    async with world() as (_, between, address), AsyncExitStack() as closing:
        clients = [await closing.enter_async_context(connected(address)) for _ in range(8)]
        await between.blow(0.2)
        assert between.killed == sum(n for mode, n in between.harmed.items() if mode != "delay")
        assert between.killed > 0
        for client in clients:
            with pytest.raises((ConnectionError, AssertionError)):
                assert await echoed(client, b"hello") == b"hello"
