"""Laws of the listener under anything at all: it answers, it says 503 only where that is stated,
and what no key of the account signed is never taken in."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.app import BridgeApp
from bridge.routes import Router
from bridge.sessions import SessionEndpoints
from bridge.signs import Signs
from sealwax.providers.base import UnreadableWebhook
from sealwax.providers.docusign_connect import ConnectReader
from sealwax.session_links import SessionLinks
from sealwax.stores.base import JournalCounts
from sealwax.stores.journal import SqliteJournal, open_journal
from sealwax.stores.registry import open_registry
from tests.bridge.deliveries import KEY, OLD_KEY, Clock, message, signature, source
from tests.bridge.test_sessions import SessionsHeard
from tests.keys import KEYRING

EXAMPLES = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 2_000
LIMIT = 30_000
STATUSES = {200, 204, 303, 401, 404, 405, 408, 413, 431, 503}
STATED = {"busy", "store"}
"""The reasons for which a 503 may be given."""
FOREIGN = b"key of somebody else"


@dataclass(frozen=True)
class Sent:
    """One request as a server hands it to the application."""

    method: str
    path: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    cuts: list[int]
    gone: bool

    @property
    def chunks(self) -> list[bytes]:
        edges = sorted({min(cut, len(self.body)) for cut in self.cuts} | {0, len(self.body)})
        pairs = itertools.pairwise(edges)
        return [self.body[a:b] for a, b in pairs] or [b""]


class Listener:
    """The application on a real journal, and what it said to one request."""

    def __init__(self, folder: Path) -> None:
        self.journal: SqliteJournal = open_journal(folder / "journal.db", KEYRING)
        self.registry = open_registry(folder / "registry.db")
        self.counts = JournalCounts()
        sink = SessionsHeard()
        endpoints = SessionEndpoints(
            links=SessionLinks(KEYRING),
            registry=self.registry,
            signs=Signs(sink, 1.0),
            sink=sink,
            return_origins=("https://app.example.com",),
            now=Clock(),
        )
        self.app = BridgeApp(
            {"acme": source()},
            self.journal,
            body_bytes_max=LIMIT,
            arrived=lambda: None,
            forwarding=lambda: True,
            now=Clock(),
            sessions=endpoints.answer,
        )

    async def ask(self, sent: Sent) -> tuple[int, bytes]:
        """Status and body of the answer; status 0 where there was none."""
        waiting = [*sent.chunks]
        said: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            if not waiting:
                return {"type": "http.disconnect"}
            chunk = waiting.pop(0)
            more = bool(waiting) or sent.gone
            return {"type": "http.request", "body": chunk, "more_body": more}

        async def send(event: MutableMapping[str, Any]) -> None:
            said.append(event)

        scope = {
            "type": "http",
            "method": sent.method,
            "path": sent.path.decode("latin-1"),
            "raw_path": sent.path,
            "query_string": sent.path.partition(b"?")[2],
            "headers": sent.headers,
        }
        await asyncio.wait_for(self.app(scope, receive, send), 20)
        if not said:
            return 0, b""
        assert [event["type"] for event in said] == ["http.response.start", "http.response.body"]
        return said[0]["status"], said[1]["body"]

    async def close(self) -> None:
        await self.journal.close()
        await self.registry.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listener(tmp_path_factory: Any) -> AsyncIterator[Listener]:
    made = Listener(tmp_path_factory.mktemp("fuzz"))
    yield made
    await made.close()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\x00", "\ud800", "9" * 5000, "0a1b2c3d-0000-4000-8000-00000000ac3e"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["event", "data", "accountId", "envelopeId", "recipientId", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
RAW = [
    b"",
    b"{",
    b"[" * 25_000,
    b'{"event":' * 3_000,
    b'{"event": ' + b"9" * 20_000 + b"}",
    b'{"event": 1e999999, "data": {}}',
    b'{"event": -Infinity}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"\x00" * 100,
    b'{"event": "\\ud800", "data": {"accountId": "\\udfff", "envelopeId": "\\u0000"}}',
    message("env-\x00"),
    message("env-\ud800"),
    message("../../../etc"),
    message("e" * 20_000),
    message().decode().encode("utf-16"),
    message(envelopeSummary=[]),
    message(envelopeSummary={"recipients": {"signers": [None, 3, {"recipientId": []}]}}),
    message(recipientId={"a": 1}),
    message()[:-20],
    message() * 2,
    b'{"event": "envelope-sent", "event": "envelope-voided", "data": {"accountId": 1}}',
    b"x" * (LIMIT + 1),
]


def one_in(draw: st.DrawFn, many: int) -> bool:
    return draw(st.sampled_from(range(many))) == many - 1


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    match draw(st.sampled_from(range(6))):
        case 0:
            return draw(st.binary(max_size=300))
        case 1:
            return draw(st.sampled_from(RAW))
        case 2:
            return json.dumps(draw(JSON)).encode()
        case 3:
            changed = bytearray(message(n=draw(st.integers(0, 9_999_999))))
            for _ in range(draw(st.integers(0, 3))):
                changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
            return bytes(changed)
        case 4:
            whole = message(n=draw(st.integers(0, 50)))
            return whole[: draw(st.integers(0, len(whole)))]
        case _:
            extra: dict[str, Any] = {"recipientId": draw(JSON), "envelopeSummary": draw(JSON)}
            return message(draw(st.text(max_size=30)), draw(st.text(max_size=30)), **extra)


HEADERS = st.tuples(
    st.sampled_from(
        [
            b"content-length",
            b"content-type",
            b"transfer-encoding",
            b"x-docusign-signature-1",
            b"x-docusign-signature-100",
            b"x-docusign-signature-",
            b"X-DocuSign-Signature-1",
            b"",
            b"\xff",
            b"x\x00y",
        ]
    )
    | st.binary(max_size=20),
    st.sampled_from(
        [
            b"-1",
            b"9" * 5_000,
            b"\xb2",
            b"1e9",
            b" 12",
            b"chunked",
            signature(b"").encode(),
            signature(message()).encode(),
            b"\xff" * 44,
            b"x" * 9_000,
        ]
    )
    | st.binary(max_size=60),
)
PIECES = st.sampled_from(
    [
        b"webhooks",
        b"acme",
        b"ACME",
        b"",
        b"%00",
        b"%2F",
        b"%ff",
        b"%",
        b"..",
        b"sessions",
        b"health",
        b"counts",
        b"metrics",
        b"done",
        b"\xe9",
        b"a?b",
        b"a-token-that-was-given-out-0123456789",
    ]
) | st.binary(max_size=12)
PATHS = st.sampled_from(
    [b"/webhooks/acme"] * 6 + [b"/webhooks/acme/", b"/webhooks/acme/t" + b"t" * 20]
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "BREW", "post", ""])


@st.composite
def requests(draw: st.DrawFn) -> tuple[Sent, bool]:
    """A request, and whether a key of the account signed its body."""
    body = draw(bodies())
    headers = draw(st.lists(HEADERS, max_size=4))
    if one_in(draw, 50):
        headers += [(b"x-filler", b"x")] * 300
    keys = draw(st.lists(st.sampled_from([KEY, KEY, OLD_KEY, FOREIGN, b""]), max_size=3))
    for number, key in enumerate(keys, start=1):
        name = f"x-docusign-signature-{number}".encode()
        headers.append((name, signature(body, key).encode()))
    path, method = draw(PATHS), "POST"
    if one_in(draw, 6):
        path = b"/" + b"/".join(draw(st.lists(PIECES, max_size=5)))
    if one_in(draw, 10):
        method = draw(METHODS)
    sent = Sent(
        method=method,
        path=path,
        headers=headers,
        body=body,
        cuts=draw(st.lists(st.integers(0, len(body)), max_size=4)),
        gone=one_in(draw, 20),
    )
    # The headers drawn above hold signatures of these two bodies by that key.
    return sent, KEY in keys or body in (b"", message())


@pytest.mark.timeout(600 if EXAMPLES == 2_000 else 3_600)
@given(asked=requests())
@example(
    asked=(
        Sent("POST", b"/webhooks/acme", [(b"content-length", b"9" * 5000)], b"", [], False),
        True,
    )
)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
async def test_whatever_comes_is_answered_and_only_what_is_signed_is_taken_in(
    listener: Listener, asked: tuple[Sent, bool]
) -> None:
    """No exception, no 5xx but the stated 503, one answer each, JSON where it is the listener's
    own; and what was taken in, a forwarder can read or set aside."""
    sent, signed = asked
    before = listener.counts
    status, answer = await listener.ask(sent)
    assert listener.app.refused["failed"] == 0
    assert status or sent.gone
    assert status in {0, *STATUSES}
    taken = sent.path.startswith(b"/webhooks/") and status == 200
    if status == 503:
        assert json.loads(answer)["refused"] in STATED
    listener.counts = await listener.journal.counts()
    if not taken:
        assert listener.counts == before
        return
    assert signed
    kept = json.loads(answer)
    row = await listener.journal.row(kept["kept"])
    assert row is not None
    if not kept["duplicate"]:
        assert row.webhook.body == sent.body
    router = Router(listener.registry, {"acme": ConnectReader()})
    routed = await router.routed([row])
    assert len(routed.items) + len(routed.unknown) + len(routed.unreadable) == 1


@given(body=bodies())
@settings(max_examples=EXAMPLES // 4)
def test_an_event_has_one_name_however_much_of_it_is_read(body: bytes) -> None:
    """What is acknowledged under a key is forwarded under that key."""
    reader = ConnectReader()
    try:
        named = reader.identify(body)
    except UnreadableWebhook:
        return
    try:
        event = reader.read_webhook(body)
    except Exception:
        return
    assert (event.event_key, event.name) == (named.event_key, named.name)
    assert event.provider_envelope_id == named.provider_envelope_id
