"""Laws of the trust classes on their way: a hint causes one look and says nothing itself.

The provider here is made up; what a new adapter has to bring is its scheme and its reader.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.ingest import Accept, Refuse, Source, ingest
from bridge.routes import Router
from sealwax import keys
from sealwax.facts import Fact, ProviderEvent
from sealwax.providers.base import UnreadableWebhook, WebhookName
from sealwax.providers.webhook_trust import EventMac, SharedSecret, TimedBodyMac, TrustScheme
from sealwax.stores.base import JournalRow, Webhook
from sealwax.stores.registry import open_registry
from tests.bridge.deliveries import NOW, registered

KEY = b"a key of the made-up provider"


class Reader:
    """The made-up provider's messages: {"event": {"type", "time", "hash"?}, "doc", "status"}."""

    def identify(self, body: bytes) -> WebhookName:
        message = self._message(body)
        event = message["event"]
        # What its MAC covers, and the envelope that it names: two events are never taken for one,
        # and who has captured one of them can cause one look at each envelope.
        key = keys.event_key(("made-up", message["doc"], event["type"], event["time"]))
        return WebhookName(key, event["type"], "account-1", message["doc"])

    def read_webhook(self, body: bytes) -> ProviderEvent:
        name, message = self.identify(body), self._message(body)
        facts = (Fact(message["status"]),)
        return ProviderEvent(
            name.event_key, name.name, name.account_id, name.provider_envelope_id, facts
        )

    def _message(self, body: bytes) -> dict[str, Any]:
        try:
            message: dict[str, Any] = json.loads(body)
            message["event"]["type"], message["event"]["time"], message["doc"], message["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableWebhook("no message of the made-up provider") from error
        return message


def source(scheme: TrustScheme) -> Source:
    return Source("acme", "made-up", "account-1", Reader(), (KEY,), scheme)


def mac(signed: bytes) -> str:
    return hmac.new(KEY, signed, hashlib.sha256).hexdigest()


def body(status: str = "completed", doc: str = "doc-1") -> bytes:
    event = {"type": "signed", "time": "1", "hash": mac(b"signed@1")}
    return json.dumps({"event": event, "doc": doc, "status": status}).encode()


def taken(
    scheme: TrustScheme, headers: Sequence[tuple[str, str]], raw: bytes, late_s: float = 0
) -> Webhook | Refuse:
    at = NOW + timedelta(seconds=late_s)
    decision = ingest(source(scheme), headers, raw, "", at)
    return decision.webhook if isinstance(decision, Accept) else decision


TIMED = TimedBodyMac("x-boldsign-signature", "fields")
EVENT = EventMac(("event", "hash"), (("event", "type"), ("event", "time")), "@")
SECRET = SharedSecret("x-secret")


def timed_header(raw: bytes) -> list[tuple[str, str]]:
    seconds = int(NOW.timestamp())
    return [("X-BoldSign-Signature", f"t={seconds},s0={mac(f'{seconds}.'.encode() + raw)}")]


@pytest.mark.parametrize(
    ("scheme", "headers", "trust"),
    [
        (TIMED, timed_header(body()), "fact"),
        (EVENT, [], "hint"),
        (SECRET, [("X-Secret", KEY.decode())], "hint"),
    ],
    ids=["timed", "event", "secret"],
)
async def test_what_a_mac_covers_travels_as_facts_and_anything_else_as_a_reason_to_look(
    tmp_path: Path, scheme: TrustScheme, headers: list[tuple[str, str]], trust: str
) -> None:
    row = taken(scheme, headers, body())
    assert isinstance(row, Webhook)
    assert (row.trust, row.state, row.provider_envelope_id) == (trust, "pending", "doc-1")
    registry = open_registry(tmp_path / "registry.db")
    bound = await registered(registry, "order-1")
    await registry.bind(bound.workflow_id, "doc-1")
    router = Router(registry, {"acme": Reader()})
    routed = await router.routed([JournalRow(1, row, 0, 0, None)])
    (item,) = routed.items
    assert item.workflow_id == bound.workflow_id
    if trust == "fact":
        assert (item.event.facts, item.event.needs_read) == ((Fact("completed"),), False)
    else:
        assert (item.event.facts, item.event.needs_read) == ((), True)
    await registry.close()


def test_a_captured_timed_delivery_is_refused_as_stale() -> None:
    assert isinstance(taken(TIMED, timed_header(body()), body(), 299), Webhook)
    assert taken(TIMED, timed_header(body()), body(), 301) == Refuse(401, "stale")


def test_a_forged_body_under_a_captured_event_mac_is_a_hint_with_the_forger_s_word_left_out() -> (
    None
):
    """It verifies, since that class signs no more; what it says is read by nobody."""
    captured, forged = body("sent"), body("completed")
    first, second = taken(EVENT, [], captured), taken(EVENT, [], forged)
    assert isinstance(first, Webhook)
    assert isinstance(second, Webhook)
    assert second.trust == "hint"
    assert first.event_key == second.event_key


def test_a_scheme_that_fails_believes_nothing() -> None:
    class Broken:
        trust = "fact"

        def verify(self, *_: object) -> Any:
            raise RuntimeError("a bug")

    refused = ingest(dataclasses.replace(source(TIMED), scheme=Broken()), [], body(), "", NOW)  # type: ignore[arg-type]
    assert refused == Refuse(401, "scheme")
