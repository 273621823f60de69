"""Laws of connections: whoever sends too much, too slowly or nonsense loses only its own."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge import guard as module
from bridge.app import BridgeApp
from bridge.guard import HEAD_BYTES_MAX, GuardedProtocol, places
from bridge.serving import Server, listen
from sealwax.stores.journal import open_journal
from tests.bridge.deliveries import Clock, message, no_sessions, signature, source
from tests.bridge.test_program import Program, write_settings
from tests.keys import KEYRING

BODY = message()


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> int:
        """The next answer's status; 0 where the connection ended without one."""
        async with asyncio.timeout(20):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            await self.reader.readexactly(int(fields.get(b"content-length", b"0")))
            status = int(head.split(b" ", 2)[1])
            return status if status >= 200 else await self.answer()

    async def ended(self) -> bytes:
        """What is still said until the connection is over."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


Opened = Callable[[], Awaitable[Wire]]


class Listener:
    """The real server around the application, on a port of loopback."""

    def __init__(self, folder: Path, connections_max: int) -> None:
        self.journal = open_journal(folder / "journal.db", KEYRING)
        self.app = BridgeApp(
            {"acme": source()},
            self.journal,
            body_bytes_max=100_000,
            arrived=lambda: None,
            forwarding=lambda: True,
            now=Clock(),
            sessions=no_sessions,
        )
        self.up = asyncio.Event()
        self.server = Server(self.app, connections_max, self.up.set, self.app.refused)
        self.socket = listen("127.0.0.1", 0, "bridge")
        self.wires: list[Wire] = []

    async def connect(self, receive_buffer_bytes: int = 0) -> Wire:
        client = socket.socket()
        client.setblocking(False)
        if receive_buffer_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        await asyncio.get_running_loop().sock_connect(client, self.socket.getsockname())
        self.wires.append(Wire(*await asyncio.open_connection(sock=client)))
        return self.wires[-1]

    def heads_begun(self) -> int:
        """How many connections are within a head."""
        held = self.server.server_state.connections
        return sum(isinstance(c, GuardedProtocol) and c._in_head for c in held)

    async def still_takes_webhooks(self) -> None:
        """A well-behaved sender is served as if nobody else were there."""
        wire = await self.connect()
        await wire.say(post(BODY))
        assert await wire.answer() == 200


@asynccontextmanager
async def listening(folder: Path, connections_max: int = 100) -> AsyncIterator[Listener]:
    made = Listener(folder, connections_max)
    serving = asyncio.create_task(made.server.serve([made.socket]))
    await made.up.wait()
    try:
        yield made
    finally:
        for wire in made.wires:
            wire.writer.close()
        made.server.should_exit = True
        await serving
        await made.journal.close()


def post(body: bytes, *more: bytes) -> bytes:
    lines = [
        b"POST /webhooks/acme HTTP/1.1",
        b"host: bridge",
        b"content-length: %d" % len(body),
        b"x-docusign-signature-1: " + signature(body).encode(),
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_a_head_that_never_ends_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slowloris: one header a moment, for ever; or a connection that says nothing at all. A
    sender that keeps up is served meanwhile, and a kept-alive one is not taken for slow."""
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    async with listening(tmp_path) as listener:
        silent, slow, alive = [await listener.connect() for _ in range(3)]
        await slow.say(b"POST /webhooks/acme HTTP/1.1\r\n")
        answering = asyncio.create_task(slow.answer())
        asked = 0
        while not answering.done():
            slow.writer.write(b"x-more: 1\r\n")
            await alive.say(post(BODY))
            assert await alive.answer() == 200
            asked += 1
            await asyncio.sleep(0.02)
        assert await answering == 408
        assert asked > 5
        assert await silent.ended() == b""
        assert listener.app.refused == {"head_timeout": 2}
        await alive.say(post(BODY))
        assert await alive.answer() == 200


async def test_a_stray_byte_after_a_request_holds_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends what would have ended an idle connection; so its own time begins."""
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        await wire.say(post(BODY))
        assert await wire.answer() == 200
        await wire.say(b"\r\n")
        assert await wire.ended() == b""


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("where", ["header", "many", "address"])
async def test_a_large_head_is_refused_before_it_fills_the_memory(
    tmp_path: Path, whole: bool, where: str
) -> None:
    """Whether it ends or not, in one header, in many, or in the address."""
    large = HEAD_BYTES_MAX + 1
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        match where:
            case "header":
                head = b"POST /webhooks/acme HTTP/1.1\r\nx-large: " + b"x" * large
            case "many":
                head = b"POST /webhooks/acme HTTP/1.1\r\nx-many: " + b"1\r\nx: 1" * large
            case _:
                head = b"POST /webhooks/" + b"a" * large + b" HTTP/1.1\r\nx: "
        # A head that does not end is noticed at the latest when more comes.
        await wire.say(head + (b"\r\n\r\n" if whole else b""))
        for _ in range(0 if whole else 8):
            wire.writer.write(b"y" * large)
            await asyncio.sleep(0.01)
        assert await wire.answer() in (431, 0)
        await wire.ended()
        assert listener.app.refused == {"head": 1}
        await listener.still_takes_webhooks()


@pytest.mark.parametrize("first_bytes", [40, HEAD_BYTES_MAX // 2, HEAD_BYTES_MAX - 1])
async def test_a_large_head_is_refused_however_it_was_cut_up(
    tmp_path: Path, first_bytes: int
) -> None:
    """The piece that it begins in counts, and so does the one that it ends in."""
    head = post(BODY, b"x-large: " + b"x" * HEAD_BYTES_MAX)
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        await wire.say(head[:first_bytes])
        while not listener.heads_begun():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await wire.say(head[first_bytes:])
        assert await wire.answer() in (431, 0)
        assert listener.app.refused == {"head": 1}


async def test_a_head_of_the_largest_size_is_read(tmp_path: Path) -> None:
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        await wire.say(post(BODY, b"x-large: " + b"x" * (HEAD_BYTES_MAX - 1_000)))
        assert await wire.answer() == 200


async def test_where_all_places_are_taken_who_waits_without_a_request_makes_room(
    tmp_path: Path,
) -> None:
    """Any number of silent connections keeps nobody out; those that are being answered stay."""
    async with listening(tmp_path, connections_max=10) as listener:
        busy = await listener.connect()
        await busy.say(post(BODY)[: -len(BODY)])
        first = await listener.connect()
        for _ in range(30):
            await listener.connect()
            await listener.still_takes_webhooks()
        assert await first.ended() in (b"", _told_to_come_again())
        assert len(listener.server.server_state.connections) <= 11
        assert listener.app.refused["connections"] > 0
        await busy.say(BODY)
        assert await busy.answer() == 200


def _told_to_come_again() -> bytes:
    return (
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n"
        b"content-length: 0\r\nconnection: close\r\n\r\n"
    )


async def test_where_every_place_is_at_work_the_next_is_told_to_come_again(tmp_path: Path) -> None:
    async with listening(tmp_path, connections_max=5) as listener:
        held = [await listener.connect() for _ in range(5)]
        for wire in held:
            await wire.say(post(BODY)[: -len(BODY)])
        one_more = await listener.connect()
        assert await one_more.ended() == _told_to_come_again()
        for wire in held:
            await wire.say(BODY)
            assert await wire.answer() == 200
        await listener.still_takes_webhooks()


async def test_who_reads_no_answers_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    async with listening(tmp_path) as listener:
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        deaf = await listener.connect(receive_buffer_bytes=4096)
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await deaf.say(b"GET /nowhere HTTP/1.1\r\nhost: b\r\n\r\n")
        state = listener.server.server_state
        await until(lambda: state.total_requests == 1)
        (connection,) = state.connections
        for sent in range(10, 10_000, 10):
            await deaf.say(b"GET /nowhere HTTP/1.1\r\nhost: b\r\n\r\n" * 10)
            # Not more at once than may wait on one connection.
            await until(partial(_served_or_stuck, state, connection, sent))
            if _stuck(connection):
                break
        await until(lambda: not state.connections)
        assert listener.app.refused["head_timeout"] == 1
        await listener.still_takes_webhooks()


def _served_or_stuck(state: Any, connection: Any, sent: int) -> bool:
    return state.total_requests > sent or _stuck(connection)


def _stuck(connection: Any) -> bool:
    return bool(connection.flow.write_paused)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        for _ in iter(condition, True):
            await asyncio.sleep(0.002)


async def test_requests_that_wait_on_one_connection_are_bounded(tmp_path: Path) -> None:
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        await wire.say(b"GET /health HTTP/1.1\r\nhost: b\r\n\r\n" * 200)
        said = await wire.ended()
        assert said.count(b"HTTP/1.1 200 OK") <= 1 + module.PIPELINED_MAX
        assert listener.app.refused == {"malformed": 1}
        await listener.still_takes_webhooks()


def test_places_leave_descriptors_for_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit of files is raised as far as is needed and allowed; the rest is shared."""
    limits = {"now": (1024, 1024)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.update(now=new))
    assert places(4_000) == 1024 - module.FILES_BESIDE
    limits["now"] = (1024, 1_048_576)
    assert places(4_000) == 4_000
    assert limits["now"][0] == 4_000 + module.FILES_BESIDE
    limits["now"] = (100, 100)
    assert places(4_000) == 50
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert places(4_000) == 4_000


TRICKS: dict[str, tuple[bytes, set[int]]] = {
    "no chunk size": (b"transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n", {400}),
    "negative chunk": (b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n", {400}),
    "huge chunk": (b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400}),
    "chunk too short": (b"transfer-encoding: chunked\r\n\r\n2\r\n{}xx\r\n0\r\n\r\n", {400}),
    "two lengths": (b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", {400}),
    "length and chunks": (
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "chunks, then something": (b"transfer-encoding: chunked, x\r\n\r\n{}", {400}),
    "negative length": (b"content-length: -1\r\n\r\n", {400}),
    "endless length": (b"content-length: " + b"9" * 40 + b"\r\n\r\n", {400}),
    "length in words": (b"content-length: two\r\n\r\n{}", {400}),
    "NUL in a header": (b"x-a: \x00\r\ncontent-length: 0\r\n\r\n", {400}),
    "a header without a name": (b": x\r\ncontent-length: 0\r\n\r\n", {400}),
    "a folded header": (b"x-a: 1\r\n\t2\r\ncontent-length: 0\r\n\r\n", {400, 401}),
    "bare line ends": (b"content-length: 0\n\n", {400, 401}),
    "an upgrade": (b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", {400, 401}),
    "an upgrade to HTTP/2": (
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \r\n\r\n",
        {400, 401},
    ),
    "expectation": (b"expect: 100-continue\r\ncontent-length: 0\r\n\r\n", {401}),
}


@pytest.mark.parametrize("trick", sorted(TRICKS))
async def test_tricks_with_the_framing_get_a_4xx_and_end_nothing_else(
    tmp_path: Path, trick: str
) -> None:
    """Nothing is taken in, no second request is found inside the first, nobody else notices."""
    raw, statuses = TRICKS[trick]
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        await wire.say(b"POST /webhooks/acme HTTP/1.1\r\nhost: b\r\n" + raw)
        assert await wire.answer() in statuses
        assert (await listener.journal.counts()).kept == 0
        await listener.still_takes_webhooks()
        assert listener.app.refused["failed"] == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nhost: b\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: b\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: b\r\n\r\n",
        b"POST /webhooks/acme HTTP/9.9\r\nhost: b\r\n\r\n",
        b"\r\n\r\n\r\nBREW /webhooks/acme HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
    ],
    ids=lambda raw: repr(raw[:16]),
)
async def test_what_is_no_request_gets_a_4xx_or_nothing(tmp_path: Path, raw: bytes) -> None:
    async with listening(tmp_path) as listener:
        wire = await listener.connect()
        await wire.say(raw)
        wire.writer.write_eof()
        assert 400 <= (await wire.answer() or 400) < 500
        await listener.still_takes_webhooks()
        assert set(listener.app.refused) <= {"malformed", "path", "method"}


@pytest.mark.server
async def test_the_program_withstands_all_of_it_and_takes_webhooks_in(tmp_path: Path) -> None:
    """Every trick, large heads and silent connections against the program as it is started, and a
    webhook among them each time."""
    program = Program(tmp_path, write_settings(tmp_path))
    await program.start("--no-forwarder")
    assert program.process is not None
    port = int(program.url.rpartition(":")[2])

    async def connect() -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", port))

    silent = [await connect() for _ in range(50)]
    async with httpx.AsyncClient(timeout=20) as http:
        try:
            for number, (raw, statuses) in enumerate(TRICKS.values()):
                wire = await connect()
                await wire.say(b"POST /webhooks/acme HTTP/1.1\r\nhost: b\r\n" + raw)
                assert await wire.answer() in statuses
                wire.writer.close()
                assert await program.post(http, message(n=number)) == 200
            wire = await connect()
            await wire.say(
                b"POST /webhooks/acme HTTP/1.1\r\nx: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n"
            )
            assert await wire.answer() in (431, 0)
            wire.writer.close()
            counts = (await http.get(f"{program.url}/counts")).json()
            assert counts["accepted"] == len(TRICKS)
            assert set(counts["refused_by_reason"]) <= {
                "malformed",
                "disconnected",
                "signature",
                "head",
            }
            metrics = (await http.get(f"{program.url}/metrics")).text
            assert 'sealwax_bridge_refused_total{reason="malformed"}' in metrics
        finally:
            for wire in silent:
                wire.writer.close()
            program.process.terminate()
            said = await program.said(program.process)
            await program.process.wait()
    assert "Traceback" not in said
