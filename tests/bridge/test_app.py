"""Laws of the HTTP side: no 2xx before the disk has it, and every refusal is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
import pytest_asyncio

from bridge import app as module
from bridge.app import BridgeApp
from sealwax.stores.base import REFUSED_BODY_BYTES_MAX, Webhook
from sealwax.stores.journal import SqliteJournal, open_journal
from tests.bridge.deliveries import (
    ACCOUNT_ID,
    KEY,
    Clock,
    event_key,
    message,
    no_sessions,
    signature,
    signed,
    source,
)
from tests.keys import KEYRING

TOKEN = "a-token-that-was-given-out-0123456789"
LIMIT = 20_000
QUEUE = 20


class Bridge:
    """The app on a real journal, asked through HTTP messages in process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.journal: SqliteJournal = open_journal(self.path, KEYRING)
        self.arrivals = 0
        self.reaching = True
        accounts = {
            "acme": source(),
            "globex": source("globex", ACCOUNT_ID, b"key of globex"),
        }
        self.app = BridgeApp(
            accounts,
            self.journal,
            body_bytes_max=LIMIT,
            arrived=self.arrived,
            forwarding=lambda: self.reaching,
            now=Clock(),
            sessions=no_sessions,
            queue_max=QUEUE,
            queue_bytes_max=8 * LIMIT,
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app), base_url="http://bridge"
        )

    def arrived(self) -> None:
        self.arrivals += 1

    async def post(self, path: str, body: bytes, *signing: bytes) -> httpx.Response:
        return await self.http.post(path, content=body, headers=signed(body, *signing))

    async def rows(self) -> list[Webhook]:
        return [row.webhook for row in await self.journal.pending(1000)]

    async def counts(self) -> dict[str, Any]:
        answer = await self.http.get("/counts")
        assert answer.status_code == 200
        counts: dict[str, Any] = answer.json()
        return counts

    async def close(self) -> None:
        await self.http.aclose()
        await self.journal.close()


@pytest_asyncio.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    made = Bridge(tmp_path)
    yield made
    await made.close()


async def test_an_authentic_webhook_is_kept_and_acknowledged(bridge: Bridge) -> None:
    body = message()
    answer = await bridge.post(f"/webhooks/acme/{TOKEN}", body)
    assert answer.status_code == 200
    (row,) = await bridge.rows()
    assert (row.account, row.token, row.body) == ("acme", TOKEN, body)
    assert row.event_key == event_key(body)
    assert bridge.arrivals == 1


@pytest.mark.parametrize("path", ["/webhooks/acme", "/webhooks/acme/"])
async def test_the_account_s_own_address_needs_no_token(bridge: Bridge, path: str) -> None:
    assert (await bridge.post(path, message())).status_code == 200
    (row,) = await bridge.rows()
    assert row.token == ""


async def test_what_does_not_verify_is_refused_counted_and_not_kept(bridge: Bridge) -> None:
    body = message()
    assert (await bridge.post("/webhooks/acme", body, b"wrong key")).status_code == 401
    assert (await bridge.http.post("/webhooks/acme", content=body)).status_code == 401
    counts = await bridge.counts()
    assert (counts["refused"], counts["refused_by_reason"]) == (2, {"signature": 2})
    assert counts["accepted"] == 0
    assert await bridge.rows() == []
    assert bridge.arrivals == 0


async def test_one_account_s_key_opens_no_other_account(bridge: Bridge) -> None:
    body = message()
    assert (await bridge.post("/webhooks/globex", body)).status_code == 401
    assert (await bridge.post("/webhooks/acme", body, b"key of globex")).status_code == 401
    assert (await bridge.post("/webhooks/globex", body, b"key of globex")).status_code == 200


async def test_a_repeated_delivery_is_acknowledged_and_counted_not_kept_twice(
    bridge: Bridge,
) -> None:
    body = message()
    answers = [await bridge.post("/webhooks/acme", body) for _ in range(3)]
    assert [a.status_code for a in answers] == [200] * 3
    assert [a.json()["duplicate"] for a in answers] == [False, True, True]
    counts = await bridge.counts()
    assert (counts["accepted"], counts["pending"], counts["duplicates"]) == (1, 1, 2)
    assert bridge.arrivals == 1


async def test_authentic_but_unreadable_is_acknowledged_and_kept_for_a_person(
    bridge: Bridge,
) -> None:
    """Anything but 2xx would stop the provider's whole configuration."""
    assert (await bridge.post("/webhooks/acme", b"not json")).status_code == 200
    other = message(account_id="ffffffff-0000-4000-8000-000000000000")
    assert (await bridge.post("/webhooks/acme", other)).status_code == 200
    counts = await bridge.counts()
    assert (counts["quarantined"], counts["pending"], counts["refused"]) == (2, 0, 0)
    assert bridge.arrivals == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("POST", "/webhooks/unknown", 404, "account"),
        ("POST", "/webhooks/ACME", 404, "account"),
        ("POST", "/webhooks", 404, "path"),
        ("POST", "/", 404, "path"),
        ("POST", "/webhooks/acme/a/b", 404, "path"),
        ("POST", "/webhooks/acme%2Fa", 404, "account"),
        ("GET", "/webhooks/acme", 405, "method"),
        ("DELETE", "/webhooks/acme", 405, "method"),
        ("POST", "/health", 404, "path"),
    ],
)
async def test_other_addresses_and_methods_are_refused_and_counted(
    bridge: Bridge, method: str, path: str, status: int, reason: str
) -> None:
    body = message()
    answer = await bridge.http.request(method, path, content=body, headers=signed(body))
    assert (answer.status_code, answer.json()) == (status, {"refused": reason})
    assert (await bridge.counts())["refused_by_reason"] == {reason: 1}


async def test_a_body_is_bounded_whether_or_not_its_length_is_declared(bridge: Bridge) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 1000 + 1):
            yield b"x" * 1000

    large = b"x" * (LIMIT + 1)
    declared = await bridge.post("/webhooks/acme", large)
    undeclared = await bridge.http.post("/webhooks/acme", content=chunks(), headers=signed(large))
    assert (declared.status_code, undeclared.status_code) == (413, 413)
    assert declared.headers["connection"] == "close"
    assert (await bridge.counts())["refused_by_reason"] == {"too_large": 2}
    fits = message(padding="x" * (LIMIT - 1000))
    assert (await bridge.post("/webhooks/acme", fits)).status_code == 200


async def test_a_large_body_is_verified_off_the_event_loop_and_kept_whole(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE_BODY_BYTES", 100)
    body = message(padding="\u00e9" * 3000)
    assert (await bridge.post("/webhooks/acme", body)).status_code == 200
    assert (await bridge.post("/webhooks/acme", body, b"wrong")).status_code == 401
    (row,) = await bridge.rows()
    assert row.body == body


class Request:
    """One request whose body comes when the test says so."""

    def __init__(self, app: BridgeApp, headers: list[tuple[str, str]]) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/webhooks/acme",
            "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers],
        }
        self.task = asyncio.create_task(app(scope, self.incoming.get, self._send))

    def body(self, chunk: bytes, more: bool) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    async def _send(self, event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.answered.set_result(event["status"])


async def test_no_2xx_before_the_commit(bridge: Bridge) -> None:
    """While another writer holds the file nothing is acknowledged; when it lets go, all is."""
    other = apsw.Connection(str(bridge.path))
    other.execute("BEGIN IMMEDIATE")
    bodies = [message(n=i) for i in range(4)]
    requests = [Request(bridge.app, signed(body)) for body in bodies]
    for request, body in zip(requests, bodies, strict=True):
        request.body(body, more=False)
    done, _ = await asyncio.wait([request.answered for request in requests], timeout=0.3)
    assert not done
    other.execute("ROLLBACK")
    other.close()
    assert [await request.answered for request in requests] == [200] * 4
    assert len(await bridge.rows()) == 4


async def test_a_disk_that_refuses_is_answered_503_so_that_the_provider_comes_again(
    bridge: Bridge,
) -> None:
    await bridge.journal.close()
    answer = await bridge.post("/webhooks/acme", message())
    assert (answer.status_code, answer.json()) == (503, {"refused": "store"})
    assert answer.headers["retry-after"] == "5"


async def test_a_sender_that_goes_away_or_stalls_leaves_nothing(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = message()
    gone = Request(bridge.app, signed(body))
    gone.body(body[:10], more=True)
    gone.incoming.put_nowait({"type": "http.disconnect"})
    await gone.task
    assert not gone.answered.done()
    monkeypatch.setattr(module, "BODY_TIMEOUT_S", 0.01)
    stalled = Request(bridge.app, signed(body))
    stalled.body(body[:10], more=True)
    assert await stalled.answered == 408
    assert (await bridge.counts())["refused_by_reason"] == {"disconnected": 1, "timeout": 1}
    assert await bridge.rows() == []


async def test_bodies_in_flight_are_bounded_together(bridge: Bridge) -> None:
    """Senders that hold large bodies open are turned away in time; when they go, room is back."""
    body = b"x" * LIMIT
    held = [Request(bridge.app, signed(body)) for _ in range(8)]
    for request in held:
        request.body(body, more=True)
    one_too_many = Request(bridge.app, signed(body))
    one_too_many.body(body, more=True)
    assert await one_too_many.answered == 503
    for request in held:
        request.incoming.put_nowait({"type": "http.disconnect"})
        await request.task
    assert (await bridge.post("/webhooks/acme", message())).status_code == 200


async def test_webhooks_that_wait_are_bounded_in_number(bridge: Bridge) -> None:
    """Where the disk does not keep up, or senders are slow, the next one is told to come again."""
    bodies = [message(n=n) for n in range(QUEUE)]
    held = [Request(bridge.app, signed(body)) for body in bodies]
    for request in held:
        request.body(b"", more=True)
    await asyncio.sleep(0)
    answer = await bridge.post("/webhooks/acme", message(n=QUEUE))
    assert (answer.status_code, answer.json()) == (503, {"refused": "busy"})
    assert answer.headers["retry-after"] == "5"
    for request, body in zip(held, bodies, strict=True):
        request.body(body, more=False)
    assert [await request.answered for request in held] == [200] * QUEUE
    assert (await bridge.post("/webhooks/acme", message(n=QUEUE))).status_code == 200


async def test_a_body_that_trickles_loses_its_place(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no progress; a large body that keeps its pace has its time."""
    monkeypatch.setattr(module, "BODY_GRACE_S", 0.2)
    monkeypatch.setattr(module, "BODY_BYTES_PER_S", 10_000)
    body = message(padding="x" * 15_000)
    slow, steady = (Request(bridge.app, signed(body)) for _ in range(2))
    steady.body(body[:10_000], more=True)
    for _ in range(50):
        slow.body(b"x", more=True)
        await asyncio.sleep(0.01)
    assert await slow.answered == 408
    steady.body(body[10_000:], more=False)
    assert await steady.answered == 200


async def test_what_was_refused_can_be_seen(bridge: Bridge) -> None:
    """The newest of each account, cut, with what it takes to find out why; junk is only counted."""
    long = message(padding="x" * 10_000)
    await bridge.post("/webhooks/acme", long, b"wrong key")
    await bridge.post("/webhooks/globexx/secret-part", message())
    await bridge.http.get("/wp-login.php")
    for _ in range(1_000):
        if len(kept := await bridge.journal.refused(None, 10)) == 2:
            break
        await asyncio.sleep(0.01)
    by_account = {refused.account: refused for refused in kept}
    assert set(by_account) == {"acme", ""}
    acme, unknown = by_account["acme"], by_account[""]
    assert (acme.status, acme.reason, acme.size_bytes) == (401, "signature", len(long))
    assert acme.body == long[: len(acme.body)]
    assert 0 < len(acme.body) <= REFUSED_BODY_BYTES_MAX
    assert ("x-docusign-signature-1", signature(long, b"wrong key")) in acme.headers
    assert (unknown.status, unknown.reason) == (404, "account")
    assert unknown.headers == ((":account", "globexx"),)


async def test_metrics_count_what_was_taken_in_and_what_was_not(bridge: Bridge) -> None:
    for body, *signing in ((message(),), (message(),), (b"not json",), (message(), b"wrong")):
        await bridge.post("/webhooks/acme", body, *signing)
    await bridge.http.get("/nowhere")
    answer = await bridge.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = set(answer.text.splitlines())
    assert {
        "# TYPE sealwax_bridge_webhooks_total counter",
        'sealwax_bridge_webhooks_total{state="pending"} 1',
        'sealwax_bridge_webhooks_total{state="duplicate"} 1',
        'sealwax_bridge_webhooks_total{state="quarantined"} 1',
        'sealwax_bridge_refused_total{reason="signature"} 1',
        'sealwax_bridge_refused_total{reason="path"} 1',
        "sealwax_bridge_queue 0",
        "sealwax_bridge_queue_bytes 0",
    } <= lines


async def test_an_answer_is_made_of_whatever_goes_wrong(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing escapes to the server, which would say 500: the provider is told to come again."""

    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bridge.journal, "append", broken)
    answer = await bridge.post("/webhooks/acme", message())
    assert (answer.status_code, answer.json()) == (503, {"refused": "failed"})
    assert "could not be answered" in caplog.text


async def test_health_tells_whether_temporal_is_reached_and_stays_up_without_it(
    bridge: Bridge,
) -> None:
    assert (await bridge.http.get("/health")).json() == {"status": "ok", "temporal": "ok"}
    bridge.reaching = False
    answer = await bridge.http.get("/health")
    assert (answer.status_code, answer.json()["temporal"]) == (200, "waiting")


async def test_nothing_of_a_body_or_key_shows_in_an_answer(bridge: Bridge) -> None:
    secret = message(envelopeSummary={"emailSubject": "secret subject"})
    texts = [
        (await bridge.post("/webhooks/acme", secret)).text,
        (await bridge.post("/webhooks/acme", b"secret subject")).text,
        (await bridge.post("/webhooks/acme", secret, b"wrong")).text,
        (await bridge.http.get("/counts")).text,
    ]
    for text in texts:
        assert "secret" not in text
        assert KEY.decode() not in text
