"""Connections that are cut: a TCP proxy between programs, which harms what passes through it.

Nothing of what it does is told to either side but by the connection itself: ``delay`` holds every
piece of it back, ``cut`` ends it in an orderly way at any byte, ``reset`` by RST; ``half_open``
ends it towards the server alone, while the client still takes it for good; ``blackhole`` swallows
whatever comes from either side. What is silent so is reset some seconds later, as a router's
table forgets.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import Literal, Self

Mode = Literal["delay", "cut", "reset", "half_open", "blackhole"]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MODES: tuple[Mode, ...] = ("delay", "cut", "reset", "half_open", "blackhole")
EVERY_S = (0.3, 1.3)
DELAY_S = (0.02, 0.3)
SILENT_S = (1.0, 4.0)
CLOSED_WITHIN_S = 1.0
PIECE_BYTES = 65_536
_RESETS = struct.pack("ii", 1, 0)


class Connection:
    """One connection of a client, and the one to the server that stands for it."""

    def __init__(self, client: Ends, server: Ends) -> None:
        self._client = client
        self._server = server
        self._delay_s = 0.0
        self._silent = False
        self._over = asyncio.Event()

    async def last(self) -> None:
        """Carry bytes both ways until either side ends it, or a harm does."""
        ways = ((self._client[0], self._server[1]), (self._server[0], self._client[1]))
        tasks = [asyncio.create_task(self._carry(*way)) for way in ways]
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _, writer in (self._client, self._server):
                writer.close()
                # What is still to be said may find nobody who reads it.
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(CLOSED_WITHIN_S):
                        await writer.wait_closed()

    def harm(self, mode: Mode, draw: random.Random) -> None:
        """Do this to it, at once."""
        match mode:
            case "delay":
                self._delay_s = draw.uniform(*DELAY_S)
            case "cut":
                self._over.set()
            case "reset":
                self.reset()
            case "half_open" | "blackhole":
                self._silent = True
                if mode == "half_open":
                    self._server[1].close()
                asyncio.get_running_loop().call_later(draw.uniform(*SILENT_S), self.reset)

    def reset(self) -> None:
        """End it towards both sides by RST."""
        for _, writer in (self._client, self._server):
            if not writer.is_closing():
                with suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, _RESETS
                    )
                writer.transport.abort()
        self._over.set()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE_BYTES):
                await asyncio.sleep(self._delay_s)
                if not self._silent:
                    sink.write(piece)
                    await sink.drain()
        if not self._silent:
            self._over.set()


class Cutter:
    """Proxies, and the harm to the connections that they carry. An async context manager.

    ``harmed`` counts connections by what was done to them.
    """

    def __init__(self, seed: int) -> None:
        self.harmed: Counter[Mode] = Counter()
        self._draw = random.Random(f"storm-cutter:{seed}")
        self._carried: list[set[Connection]] = []
        self._working: set[asyncio.Task[None]] = set()
        self._closing = AsyncExitStack()

    @property
    def killed(self) -> int:
        """How many connections have ended by a harm, or will."""
        return sum(self.harmed.values()) - self.harmed["delay"]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()
        self.calm()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def between(self, address: str) -> str:
        """The address of a new proxy to this one; both are ``host:port``."""
        host, _, port = address.rpartition(":")
        carried: set[Connection] = set()
        self._carried.append(carried)

        async def carry(client: Ends) -> None:
            try:
                server = await asyncio.open_connection(host, int(port))
            except OSError:
                client[1].transport.abort()
                return
            connection = Connection(client, server)
            carried.add(connection)
            try:
                await connection.last()
            finally:
                carried.discard(connection)

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(carry((reader, writer)))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

        listening = await asyncio.start_server(accepted, "127.0.0.1", 0)
        self._closing.callback(listening.close)
        return f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"

    async def blow(self, seconds: float) -> None:
        """Harm a connection every now and then, for so long; afterwards none is silent."""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                await asyncio.sleep(self._draw.uniform(*EVERY_S))
                self._harm_one()
        finally:
            self.calm()

    def calm(self) -> None:
        """Reset whatever is carried, so that nothing stays slow or silent."""
        for connection in [c for carried in self._carried for c in carried]:
            connection.reset()

    def _harm_one(self) -> None:
        mode = self._draw.choice(MODES)
        busy = [carried for carried in self._carried if carried]
        if busy:
            # First where, then which: a server's few connections meet as much as another's many.
            self._draw.choice(list(self._draw.choice(busy))).harm(mode, self._draw)
            self.harmed[mode] += 1
