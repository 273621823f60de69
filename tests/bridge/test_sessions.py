"""Laws of the session addresses: each says what it is for and nothing else, to our own only."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bridge import signs as signs_module
from bridge.app import BridgeApp
from bridge.sessions import SessionEndpoints
from bridge.signs import Signs, keep_beating
from bridge.sink import SinkUnavailable, WorkflowGone
from sealwax.crypto import Keyring
from sealwax.messages import SessionSigns
from sealwax.session_links import Purpose, SessionLinks
from sealwax.stores.base import BEAT_GAP_S, RegistryRow
from sealwax.stores.journal import open_journal
from sealwax.stores.registry import open_registry
from tests.bridge.deliveries import Clock, registered, source
from tests.keys import KEY, KEY_ID, KEYRING

APP = "https://app.example.com"
ONWARD = f"{APP}/orders/7?step=2&lang=de"
WINDOW_S = 30.0


class SessionsHeard:
    """A sink that keeps what it is told; ``onward`` is what the workflow knows."""

    def __init__(self) -> None:
        self.told: list[tuple[str, SessionSigns]] = []
        self.onward = ONWARD
        self.away = False
        self.gone = False
        self.tries = 0
        self.stirred = asyncio.Event()

    async def session_signs(self, workflow_id: str, signs: SessionSigns) -> None:
        self.tries += 1
        self.stirred.set()
        if self.away:
            raise SinkUnavailable("Temporal does not answer")
        if self.gone:
            raise WorkflowGone(workflow_id)
        self.told.append((workflow_id, signs))

    async def landing(self, workflow_id: str, token: int) -> str:
        if self.away:
            raise SinkUnavailable("Temporal does not answer")
        return self.onward if token == 3 else ""

    async def until_tried(self, times: int) -> None:
        async with asyncio.timeout(10):
            while self.tries < times:
                self.stirred.clear()
                await self.stirred.wait()

    @property
    def pings(self) -> list[int]:
        return [p.token for _, s in self.told for p in s.pings]

    @property
    def returns(self) -> list[tuple[int, str]]:
        return [(r.token, r.event) for _, s in self.told for r in s.returns]


class Bridge:
    """The app with its session endpoints on a real registry, asked in process."""

    def __init__(self, folder: Path, window_s: float = WINDOW_S) -> None:
        self.journal = open_journal(folder / "journal.db", KEYRING)
        self.registry = open_registry(folder / "registry.db")
        self.sink = SessionsHeard()
        self.clock = Clock()
        self.signs = Signs(self.sink, window_s)
        self.links = SessionLinks(KEYRING)
        endpoints = SessionEndpoints(
            links=self.links,
            registry=self.registry,
            signs=self.signs,
            sink=self.sink,
            return_origins=(APP,),
            now=self.clock,
        )
        self.app = BridgeApp(
            {"acme": source()},
            self.journal,
            body_bytes_max=1000,
            arrived=lambda: None,
            forwarding=lambda: True,
            now=self.clock,
            sessions=endpoints.answer,
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app), base_url="http://bridge"
        )

    async def envelope(self, key: str = "order-1") -> RegistryRow:
        return await registered(self.registry, key)

    def path(self, row: RegistryRow, token: int, purpose: Purpose) -> str:
        return self.links.path("acme", row.routing_token, token, purpose)

    async def refused(self) -> dict[str, int]:
        answer = await self.http.get("/counts")
        counts: dict[str, int] = answer.json()["refused_by_reason"]
        return counts

    async def close(self) -> None:
        await self.signs.settled()
        await self.http.aclose()
        await self.registry.close()
        await self.journal.close()


@pytest_asyncio.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    made = Bridge(tmp_path)
    yield made
    await made.close()


async def test_a_ping_and_a_return_reach_the_workflow_of_their_envelope(bridge: Bridge) -> None:
    """Each with its fencing token; the return with the event that the address bears."""
    row = await bridge.envelope()
    assert (await bridge.http.get(bridge.path(row, 3, "ping"))).status_code == 204
    await bridge.sink.until_tried(1)
    done = bridge.path(row, 3, "done")
    assert (await bridge.http.get(done, params={"event": "decline"})).status_code == 200
    await bridge.sink.until_tried(2)
    assert {workflow_id for workflow_id, _ in bridge.sink.told} == {row.workflow_id}
    assert (bridge.sink.pings, bridge.sink.returns) == ([3], [(3, "decline")])
    assert bridge.sink.told[0][1].pings[0].at == bridge.clock.at


async def test_no_address_can_be_made_from_another(bridge: Bridge) -> None:
    """Another purpose, token, envelope or account, a MAC cut or empty: nobody is told anything."""
    row, other = await bridge.envelope("order-1"), await bridge.envelope("order-2")
    ping = bridge.path(row, 3, "ping")
    mac = ping.split("/")[-2]
    forged = [
        ping.removesuffix("ping") + "done",
        bridge.path(row, 3, "done").removesuffix("done") + "ping",
        ping.replace("/3/", "/4/"),
        ping.replace("/3/", "/03/"),
        ping.replace("/3/", "/-3/"),
        ping.replace("/3/", "/\u0663/"),
        ping.replace(row.routing_token, other.routing_token),
        ping.replace("/acme/", "/globex/"),
        ping.replace(mac, mac[:-1]),
        ping.replace(mac, ""),
        ping.replace(mac, "\u00e9" * 22),
        ping + "/more",
        "/sessions",
        "/sessions/" + "a" * 10_000,
    ]
    for path in forged:
        answer = await bridge.http.get(path, params={"event": "signing_complete"})
        assert answer.status_code == 404, path
        assert answer.headers["cache-control"] == "no-store"
    await bridge.signs.settled()
    assert bridge.sink.tries == 0
    assert sum((await bridge.refused()).values()) == len(forged)


async def test_a_genuine_mac_of_an_envelope_that_is_not_here_is_refused(bridge: Bridge) -> None:
    """As with an address of a registry that was lost, or of another account's envelope."""
    row = await registered(bridge.registry, "order-1", "globex")
    for account, token in (("acme", "no-such-routing-token"), ("acme", row.routing_token)):
        path = bridge.links.path(account, token, 3, "done")
        assert (await bridge.http.get(path)).status_code == 404
    await bridge.signs.settled()
    assert bridge.sink.tries == 0


async def test_a_ping_can_only_keep_alive(bridge: Bridge) -> None:
    """Whatever stands in its query, it never becomes a return."""
    row = await bridge.envelope()
    await bridge.http.get(bridge.path(row, 3, "ping"), params={"event": "signing_complete"})
    await bridge.sink.until_tried(1)
    assert (bridge.sink.pings, bridge.sink.returns) == ([3], [])


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE", "OPTIONS"])
async def test_only_get_brings_a_signer_back(bridge: Bridge, method: str) -> None:
    """A program that previews a link by HEAD ends nobody's session."""
    row = await bridge.envelope()
    for purpose in ("done", "ping"):
        answer = await bridge.http.request(method, bridge.path(row, 3, purpose))
        assert answer.status_code == 405
    await bridge.signs.settled()
    assert bridge.sink.tries == 0


@pytest.mark.parametrize("event", ["", "?event=", "?event=%00%ff", "?event=sign&event=x", "?x=1"])
async def test_an_event_that_no_provider_sends_is_told_as_unknown(
    bridge: Bridge, event: str
) -> None:
    row = await bridge.envelope()
    assert (await bridge.http.get(bridge.path(row, 3, "done") + event)).status_code == 200
    await bridge.sink.until_tried(1)
    assert bridge.sink.returns == [(3, "unknown")]


async def test_a_return_that_is_replayed_is_told_once(bridge: Bridge) -> None:
    """Reloading the page, or another event in its address, changes nothing; the page is shown."""
    row = await bridge.envelope()
    done = bridge.path(row, 3, "done")
    for event in ("cancel", "cancel", "signing_complete"):
        answer = await bridge.http.get(done, params={"event": event})
        assert (answer.status_code, ONWARD in answer.text.replace("&amp;", "&")) == (200, True)
    await bridge.signs.settled()
    assert bridge.sink.returns == [(3, "cancel")]


async def test_a_url_that_was_opened_twice_hides_no_return(bridge: Bridge) -> None:
    """A reload or a mail scanner lands first, and again; the signer's own return is told still,
    and nothing after it."""
    row = await bridge.envelope()
    path = bridge.path(row, 3, "done")
    for event in ("ttl_expired", "ttl_expired", "signing_complete", "ttl_expired", "cancel"):
        assert (await bridge.http.get(path, params={"event": event})).status_code == 200
    await bridge.signs.settled()
    assert bridge.sink.returns[-1] == (3, "signing_complete")
    assert bridge.sink.returns[:-1] in ([], [(3, "ttl_expired")])


async def test_pings_are_gathered_and_none_is_lost(tmp_path: Path) -> None:
    """The first goes at once, the others become one signal with the latest time, a return takes
    along what waits; the end of the program lets go what is left."""
    bridge = Bridge(tmp_path)
    row, other = await bridge.envelope("order-1"), await bridge.envelope("order-2")
    for _ in range(20):
        await bridge.http.get(bridge.path(row, 3, "ping"))
        bridge.clock.advance(1)
    await bridge.http.get(bridge.path(other, 1, "ping"))
    await bridge.sink.until_tried(2)
    assert sorted(bridge.sink.pings) == [1, 3]
    await bridge.http.get(bridge.path(row, 3, "done"))
    await bridge.sink.until_tried(3)
    _, last = bridge.sink.told[-1]
    assert [(bridge.clock.at - p.at).total_seconds() for p in last.pings] == [1]
    assert len(last.returns) == 1
    await bridge.http.get(bridge.path(other, 1, "ping"))
    await bridge.signs.settled()
    assert bridge.sink.pings == [*bridge.sink.pings[:2], 3, 1]
    await bridge.close()


async def test_a_gathered_ping_leaves_when_its_window_ends(tmp_path: Path) -> None:
    """Without any further request."""
    bridge = Bridge(tmp_path, window_s=0.05)
    row = await bridge.envelope()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(3):
        await bridge.http.get(bridge.path(row, 3, "ping"))
        await bridge.sink.until_tried(1)
    await bridge.sink.until_tried(2)
    assert loop.time() - begun >= 0.05
    assert bridge.sink.pings == [3, 3]
    await bridge.close()


async def test_what_cannot_be_handed_on_is_tried_again_and_silences_the_heartbeat(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Temporal is away the bridge does not say that it is up; afterwards both arrive."""
    monkeypatch.setattr(signs_module, "RETRY_MAX_S", 0.01)
    row = await bridge.envelope()
    beaten = asyncio.Event()

    def now() -> datetime:
        beaten.set()
        return bridge.clock.at

    bridge.sink.away = True
    await bridge.http.get(bridge.path(row, 3, "ping"))
    await bridge.http.get(bridge.path(row, 3, "done"), params={"event": "cancel"})
    await bridge.sink.until_tried(3)
    assert bridge.signs.stuck
    beating = asyncio.create_task(
        keep_beating(bridge.registry, lambda: not bridge.signs.stuck, now, 0.001)
    )
    await bridge.sink.until_tried(6)
    assert not beaten.is_set()
    bridge.sink.away = False
    await asyncio.wait_for(beaten.wait(), 10)
    assert (bridge.sink.pings, bridge.sink.returns) == ([3], [(3, "cancel")])
    beating.cancel()


async def test_signs_of_a_closed_workflow_are_let_go(bridge: Bridge) -> None:
    """They hold up nothing and silence no heartbeat."""
    row = await bridge.envelope()
    bridge.sink.gone = True
    await bridge.http.get(bridge.path(row, 3, "ping"))
    await bridge.sink.until_tried(1)
    await bridge.signs.settled()
    assert (bridge.sink.tries, bridge.signs.stuck) == (1, False)


async def test_more_sessions_than_fit_are_turned_away_not_forgotten(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has nothing undelivered makes room; where all have, the next is told to come again."""
    monkeypatch.setattr(signs_module, "SESSIONS_MAX", 2)
    row = await bridge.envelope()
    for token in (1, 2, 3):
        assert (await bridge.http.get(bridge.path(row, token, "ping"))).status_code == 204
        await bridge.sink.until_tried(token)
        await asyncio.sleep(0)
    bridge.sink.away = True
    for token in (4, 5):
        assert (await bridge.http.get(bridge.path(row, token, "ping"))).status_code == 204
    assert (await bridge.http.get(bridge.path(row, 6, "ping"))).status_code == 503
    assert await bridge.refused() == {"busy": 1}


async def test_a_ping_that_was_turned_away_silences_the_heartbeat(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost, so nobody's silence may count over it: the gap is long enough to be seen."""
    monkeypatch.setattr(signs_module, "SESSIONS_MAX", 1)
    clock = [100.0]
    monkeypatch.setattr(signs_module, "monotonic", lambda: clock[0])
    row = await bridge.envelope()
    bridge.sink.away = True
    for token, status in ((1, 204), (2, 503)):
        answer = await bridge.http.get(bridge.path(row, token, "ping"))
        assert answer.status_code == status
    bridge.sink.away = False
    await bridge.signs.settled()
    assert bridge.signs.stuck
    clock[0] += BEAT_GAP_S
    assert bridge.signs.stuck
    clock[0] += BEAT_GAP_S
    assert not bridge.signs.stuck


async def test_the_landing_page_is_private_loads_nothing_and_goes_on(bridge: Bridge) -> None:
    """No cache, no referrer, no script, no foreign frame; a redirect and a link to the application,
    both escaped."""
    row = await bridge.envelope()
    answer = await bridge.http.get(bridge.path(row, 3, "done"), params={"event": "decline"})
    said = answer.headers
    assert said["content-type"] == "text/html; charset=utf-8"
    assert said["cache-control"] == "no-store"
    assert said["referrer-policy"] == "no-referrer"
    assert said["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in said["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == APP
    assert (policy["base-uri"], policy["form-action"]) == ("'none'", "'none'")
    text = answer.text
    assert "You may close this window" in text
    escaped = ONWARD.replace("&", "&amp;")
    assert f'content="2;url={escaped}"' in text
    assert f'<a href="{escaped}" rel="noreferrer">app.example.com</a>' in text
    assert not re.search(r"<script|<img|<link|javascript:|onload|order-1", text)
    assert row.routing_token not in text


async def test_the_page_is_shown_without_a_way_onward_while_temporal_is_away(
    bridge: Bridge,
) -> None:
    row = await bridge.envelope()
    bridge.sink.away = True
    answer = await bridge.http.get(bridge.path(row, 3, "done"))
    assert answer.status_code == 200
    assert "You may close this window" in answer.text
    assert "http-equiv" not in answer.text
    assert "<a " not in answer.text


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://evil.example\\.app.example.com/",
        "https://app.example.com:8443/",
        "http://app.example.com/",
        "//evil.example/",
        "javascript:alert(1)",
        "data:text/html,hi",
        "https://app.example.com/\n;url=https://evil.example/",
        "https://app.example.com/ x",
        "https:evil.example",
        "http://[::1",
        "",
    ],
)
async def test_nobody_is_sent_where_the_operator_does_not_allow(
    bridge: Bridge, onward: str
) -> None:
    """Whatever the workflow says: the list is asked again, and the page comes without a link."""
    row = await bridge.envelope()
    bridge.sink.onward = onward
    answer = await bridge.http.get(bridge.path(row, 3, "done"))
    assert answer.status_code == 200
    assert "http-equiv" not in answer.text
    assert "<a " not in answer.text


async def test_quotes_in_the_way_onward_stay_inside_their_attribute(bridge: Bridge) -> None:
    row = await bridge.envelope()
    bridge.sink.onward = APP + "/\"><script>alert('1')</script>"
    text = (await bridge.http.get(bridge.path(row, 3, "done"))).text
    assert "<script" not in text
    assert text.count("<a ") == 1


async def test_nothing_of_an_address_is_logged(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of one that is served, nor of one that is refused or stuck."""
    caplog.set_level(logging.DEBUG, logger="sealwax")
    row = await bridge.envelope()
    bridge.sink.onward = "https://evil.example/secret-path"
    paths = [bridge.path(row, 3, "done"), bridge.path(row, 3, "ping"), bridge.path(row, 4, "done")]
    for path in paths:
        await bridge.http.get(path)
    bridge.sink.away = True
    await bridge.http.get(bridge.path(row, 5, "done"))
    await bridge.sink.until_tried(len(paths) + 1)
    said = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("sealwax"))
    assert "evil.example" in said
    for secret in (row.routing_token, *(path.split("/")[-2] for path in paths), "secret-path"):
        assert secret not in said


def test_every_known_key_is_recognised_and_no_other() -> None:
    """A session outlives a change of keys; a key that was taken out ends its addresses."""
    new = bytes(range(32))
    before = SessionLinks(KEYRING)
    between = SessionLinks(Keyring("new", {"new": new, KEY_ID: KEY}))
    after = SessionLinks(Keyring("new", {"new": new}))
    for purpose in ("done", "ping"):
        old_mac = before.path("acme", "r", 3, purpose).split("/")[-2]
        new_mac = between.path("acme", "r", 3, purpose).split("/")[-2]
        assert old_mac != new_mac
        for links, known in (
            (before, [old_mac]),
            (between, [old_mac, new_mac]),
            (after, [new_mac]),
        ):
            for mac in (old_mac, new_mac):
                genuine = links.genuine(mac, "acme", "r", 3, purpose)
                assert genuine is (mac in known)
