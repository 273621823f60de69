"""Connect deliveries: believed only by their signature, read into facts in any of their forms."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.facts import Fact
from sealwax.providers.base import UnreadableWebhook
from sealwax.providers.docusign_connect import SCHEME, ConnectReader
from sealwax.providers.docusign_shapes import WEBHOOK_EVENTS
from sealwax.providers.webhook_trust import SIGNATURES_MAX, Verdict

READER = ConnectReader()
PAYLOADS = Path(__file__).parents[1] / "data" / "payloads"
KEYS = (b"first key", b"c2Vjb25kIGtleQ==")


def believed(headers: Sequence[tuple[str, str]], body: bytes, keys: Sequence[bytes]) -> bool:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return SCHEME.verify(headers, body, keys, at) is Verdict.AUTHENTIC


def signature(key: bytes, body: bytes) -> str:
    return base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()


def message(
    event: str, recipient: Any = None, summary: Mapping[str, Any] | None = None, **top: Any
) -> bytes:
    data: dict[str, Any] = {"accountId": "a", "envelopeId": "e", "userId": "u"}
    if recipient is not None:
        data["recipientId"] = recipient
    if summary is not None:
        data["envelopeSummary"] = summary
    whole = {"event": event, "generatedDateTime": "2026-01-01T00:00:00.1234567Z", "data": data}
    return json.dumps(whole | top).encode()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("number", [1, 2, 100])
def test_any_header_made_with_any_active_key_is_believed(key: bytes, number: int) -> None:
    """Numbers shift when a key is removed; a key's text is used as it is, never base64-decoded."""
    body = message("envelope-sent")
    headers = [
        ("Content-Type", "application/json"),
        (f"X-DocuSign-Signature-{number}", signature(key, body)),
        ("X-DocuSign-Signature-7", signature(b"gone", body)),
    ]
    assert believed(headers, body, KEYS)
    assert believed([(n.lower(), v) for n, v in headers], body, KEYS)


@given(st.data())
def test_nothing_else_is_believed(data: st.DataObject) -> None:
    """Another body, another key, another header, no key at all."""
    body = message("envelope-completed")
    good = signature(KEYS[0], body)
    assert not believed([("X-DocuSign-Signature-1", good)], body + b"\n", KEYS)
    assert not believed([("X-DocuSign-Signature-1", good)], body, [b"other"])
    assert not believed([("X-DocuSign-Signature-1", good)], body, [])
    assert not believed([("X-Signature-1", good)], body, KEYS)
    empty = signature(b"", body)
    assert not believed([("X-DocuSign-Signature-1", empty)], body, [b""])
    forged = data.draw(st.text(max_size=60).filter(lambda t: t.strip() != good))
    assert not believed([("X-DocuSign-Signature-1", forged)], body, KEYS)


def test_no_more_headers_are_looked_at_than_the_service_sends() -> None:
    """A flood of headers costs a bounded number of comparisons."""
    body = message("envelope-sent")
    flood = [("X-DocuSign-Signature-1", "x")] * SIGNATURES_MAX
    assert not believed([*flood, ("X-DocuSign-Signature-2", signature(KEYS[0], body))], body, KEYS)


def test_real_minimal_deliveries_are_read() -> None:
    """Without data: the event's own fact, the recipient's without a guid."""
    event = READER.read_webhook(
        (PAYLOADS / "sim-recipient-completed-minimal-2022-12-09.json").read_bytes()
    )
    assert event.name == "recipient-completed"
    assert event.account_id == "8b411bfe-54f5-47fc-bbf2-55d9a71a200f"
    assert event.provider_envelope_id == "71799c95-8417-4b16-90d5-86ff24a91d09"
    assert event.facts == (Fact("completed", recipient="1"),)
    whole = READER.read_webhook(
        (PAYLOADS / "sim-envelope-completed-minimal-2022-12-09.json").read_bytes()
    )
    assert whole.facts == (Fact("completed"),)
    assert not whole.needs_read
    assert whole.event_key != event.event_key


def test_a_real_full_delivery_carries_all_facts_of_its_summary() -> None:
    """With data: the recipients' facts too, with their guids."""
    event = READER.read_webhook(
        (PAYLOADS / "sim-envelope-completed-full-2022-09-22.json").read_bytes()
    )
    guid = "4cf8e55c-b611-4ab5-bddd-9bc640bfc911"
    identities = {f.identity for f in event.facts}
    assert ("98969862", guid, "completed", "") in identities
    assert ("", "", "completed", "") in identities


def test_a_delivery_s_key_is_made_of_signed_parts_only() -> None:
    """A retry is the same delivery; another time, recipient, event or configuration another."""
    sent = message("recipient-sent", "1", retryCount=0, configurationId=7)
    first = READER.read_webhook(sent).event_key
    again = message("recipient-sent", 1, retryCount="8", configurationId="7")
    assert READER.read_webhook(again).event_key == first
    others = [
        message("recipient-sent", "2", configurationId=7),
        message("recipient-resent", "1", configurationId=7),
        message("recipient-sent", "1", configurationId=8),
        message(
            "recipient-sent",
            "1",
            configurationId=7,
            generatedDateTime="2026-01-01T00:00:00.1234568Z",
        ),
    ]
    assert len({READER.read_webhook(o).event_key for o in others} | {first}) == 5


@pytest.mark.parametrize(
    ("event", "fact", "needs_read"),
    [
        ("envelope-created", "created", False),
        ("envelope-resent", "sent", False),
        ("envelope-voided", "voided", False),
        ("envelope-discard", "deleted", False),
        ("envelope-corrected", None, True),
        ("envelope-purge", None, False),
        ("envelope-novelty", None, True),
        ("recipient-reassign", None, True),
        ("recipient-delegate", None, True),
        ("recipient-resent", "sent", False),
        ("recipient-autoresponded", "autoresponded", False),
        ("recipient-declined", "declined", False),
        ("recipient-authenticationfailed", None, False),
        ("recipient-finish-later", None, False),
    ],
)
def test_each_event_says_one_thing_or_asks_for_a_read(
    event: str, fact: str | None, needs_read: bool
) -> None:
    """What an event does not carry is read, never guessed."""
    recipient = "4" if event.startswith("recipient-") else None
    read = READER.read_webhook(message(event, recipient))
    wanted = () if fact is None else (Fact(fact, recipient=recipient or ""),)
    assert read.facts == wanted
    assert read.needs_read is needs_read


def test_every_event_that_is_asked_for_is_understood() -> None:
    """Nothing is subscribed to that says nothing."""
    for event in WEBHOOK_EVENTS:
        read = READER.read_webhook(message(event, "1" if event.startswith("rec") else None))
        assert read.facts or read.needs_read or read.session_left_at, event


def test_finishing_later_is_told_with_the_message_s_time() -> None:
    """To the microsecond; a message without a time tells of no session's end, and others never."""
    read = READER.read_webhook(message("recipient-finish-later", "1"))
    assert (read.recipient, read.session_left_at) == (
        "1",
        datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC),
    )
    for odd in (None, 7, "", "yesterday"):
        body = message("recipient-finish-later", "1", generatedDateTime=odd)
        assert READER.read_webhook(body).session_left_at is None
    assert READER.read_webhook(message("recipient-delivered", "1")).session_left_at is None


def test_a_recipient_s_event_takes_its_guid_from_the_summary() -> None:
    """But a reassignment says nothing of a person: only a read tells who stands there now."""
    person = {"recipientId": "1", "recipientIdGuid": "g", "status": "sent"}
    summary = {"status": "sent", "recipients": {"signers": [person]}}
    sent = READER.read_webhook(message("recipient-sent", "1", summary))
    assert Fact("sent", recipient="1", incarnation="g") in sent.facts
    moved = READER.read_webhook(message("recipient-reassign", "1", summary))
    assert Fact("sent", recipient="1", incarnation="g") in moved.facts
    assert moved.needs_read


def test_a_recipient_s_event_without_its_recipient_asks_for_a_read() -> None:
    """It says that something happened, not to whom."""
    read = READER.read_webhook(message("recipient-completed"))
    assert (read.facts, read.needs_read) == ((), True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"event": "envelope-sent"}',
        b'{"event": "envelope-sent", "data": []}',
        b'{"event": 7, "data": {"accountId": "a", "envelopeId": "e"}}',
        b'{"event": "envelope-sent", "data": {"accountId": "a"}}',
        b'{"event": "envelope-sent", "data": {"accountId": "", "envelopeId": "e"}}',
        b"[" * 100_000,
        b"<DocuSignEnvelopeInformation/>",
    ],
)
def test_what_is_no_message_is_a_typed_error(body: bytes) -> None:
    """Never another exception, and in one line."""
    with pytest.raises(UnreadableWebhook) as caught:
        READER.read_webhook(body)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strange", ["utf-16", "utf-8-sig", "half a character"])
def test_what_one_reader_of_json_refuses_is_tried_with_another(strange: str) -> None:
    """Another encoding, and half a character in a text that nobody needs, change no event."""
    plain = message("envelope-sent", summary={"emailSubject": "for Bea", "status": "sent"})
    if strange == "half a character":
        odd = plain.replace(b"for Bea", rb"for \ud83d")
    else:
        odd = plain.decode().encode(strange)
    assert odd != plain
    assert READER.read_webhook(odd) == READER.read_webhook(plain)
    assert READER.identify(odd) == READER.identify(plain)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(
    event=st.sampled_from([*WEBHOOK_EVENTS, "envelope-x"]), recipient=json_values, data=st.data()
)
def test_odd_summaries_never_break_the_reader(event: str, recipient: Any, data: Any) -> None:
    """Whatever stands where something else is documented, the event itself is still read."""
    known = [
        "status",
        "recipients",
        "deletedDateTime",
        "signers",
        "recipientId",
        "envelopeDocuments",
    ]
    summary = data.draw(st.dictionaries(st.sampled_from(known), json_values))
    read = READER.read_webhook(message(event, recipient, summary))
    assert read.provider_envelope_id == "e"
