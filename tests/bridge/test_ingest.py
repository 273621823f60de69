"""Laws of taking in: only what an account's key signed is kept, and all of that is kept."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ingest import HEADERS_MAX, Accept, Refuse, ingest
from sealwax.facts import ProviderEvent
from sealwax.providers.base import WebhookName
from sealwax.providers.docusign_connect import SCHEME
from sealwax.providers.webhook_trust import Verdict
from sealwax.stores.base import Webhook
from tests.bridge.deliveries import (
    ACCOUNT_ID,
    KEY,
    NOW,
    OLD_KEY,
    event_key,
    message,
    signature,
    signed,
    source,
)

TOKEN = "a-token-that-was-given-out-0123456789"


def accepted(
    headers: Sequence[tuple[str, str]], body: bytes, token: str = TOKEN, **changes: object
) -> Webhook:
    decision = ingest(dataclasses.replace(source(), **changes), headers, body, token, NOW)  # type: ignore[arg-type]
    assert isinstance(decision, Accept), decision
    return decision.webhook


def refused(headers: Sequence[tuple[str, str]], body: bytes, **changes: object) -> Refuse:
    decision = ingest(dataclasses.replace(source(), **changes), headers, body, TOKEN, NOW)  # type: ignore[arg-type]
    assert isinstance(decision, Refuse), decision
    return decision


def test_an_authentic_event_is_kept_as_it_came() -> None:
    body = message("env-a", "recipient-completed", recipientId="1")
    headers = [*signed(body), ("User-Agent", "x"), ("Cookie", "a=b"), ("Authorization", "Bearer x")]
    row = accepted(headers, body)
    assert row.body == body
    assert (row.account, row.provider, row.token, row.state) == (
        "acme",
        "docusign",
        TOKEN,
        "pending",
    )
    assert (row.event_name, row.provider_envelope_id) == ("recipient-completed", "env-a")
    assert row.event_key == event_key(body)
    assert row.received_at == NOW
    assert row.headers == (
        ("content-type", "application/json; charset=utf-8"),
        ("x-docusign-signature-1", signature(body)),
    )


def test_the_kept_row_verifies_again() -> None:
    """Headers and body in the row are enough to prove later that it was authentic."""
    body = message()
    row = accepted(signed(body), body)
    assert SCHEME.verify(row.headers, row.body, [KEY], NOW) is Verdict.AUTHENTIC


@pytest.mark.parametrize(
    ("given_keys", "active"),
    [
        ((KEY,), (KEY,)),
        ((OLD_KEY, KEY), (KEY,)),
        ((KEY,), (OLD_KEY, KEY)),
        ((OLD_KEY,), (KEY, OLD_KEY)),
        ((b"a", b"b", b"c", OLD_KEY), (KEY, OLD_KEY)),
    ],
)
def test_any_active_key_will_do_while_keys_are_being_changed(
    given_keys: tuple[bytes, ...], active: tuple[bytes, ...]
) -> None:
    body = message()
    assert accepted(signed(body, *given_keys), body, keys=active).state == "pending"


@pytest.mark.parametrize(
    "active", [(KEY,), (base64.b64encode(KEY),), (KEY + b"\n",), (KEY.upper(),)]
)
def test_a_key_that_is_not_active_opens_nothing(active: tuple[bytes, ...]) -> None:
    body = message()
    assert refused(signed(body, OLD_KEY), body, keys=active) == Refuse(401, "signature")


def test_without_a_key_nothing_is_believed_not_even_an_empty_keys_signature() -> None:
    body = message()
    assert refused(signed(body, b""), body, keys=()) == Refuse(401, "no_key")
    assert refused(signed(body, b""), body, keys=(b"",)) == Refuse(401, "no_key")


def test_without_a_known_scheme_nothing_is_believed() -> None:
    body = message()
    assert refused(signed(body), body, scheme=None) == Refuse(401, "scheme")


@given(position=st.integers(0, len(message()) - 1), bit=st.integers(0, 7))
def test_every_bit_of_the_raw_body_is_signed(position: int, bit: int) -> None:
    """Also line ends and spaces: the same JSON written otherwise is not what was signed."""
    body = bytearray(message())
    headers = signed(bytes(body))
    body[position] ^= 1 << bit
    assert refused(headers, bytes(body)).status == 401


def test_the_same_json_in_other_bytes_is_refused() -> None:
    body = message()
    headers = signed(body)
    for changed in (body + b"\n", body.replace(b"\r\n", b"\n"), b" " + body, b""):
        assert refused(headers, changed).status == 401


_OK = signature(message())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-DocuSign-Signature-1", "")],
        [("X-DocuSign-Signature-1", _OK[:-4])],
        [("X-DocuSign-Signature-1", _OK.swapcase())],
        [("X-DocuSign-Signature-1", f"{_OK},{_OK}")],
        [("X-DocuSign-Signature-1", "\u00e9" * 44)],
        [("X-DocuSign-Signature-1", hashlib.sha256(message()).hexdigest())],
        [("X-DocuSign-Signature", _OK)],
        [("X-DocuSign-Signature-", _OK)],
        [("X-DocuSign-Signature-1x", _OK)],
        [("X-Evil-X-DocuSign-Signature-1", _OK)],
        [("X-DocuSign-Signature-1\n", _OK)],
        [("X-Hub-Signature-256", _OK)],
        [("Authorization", _OK)],
    ],
)
def test_headers_that_are_no_signature_of_the_body_are_refused(
    headers: list[tuple[str, str]],
) -> None:
    assert refused(headers, message()) == Refuse(401, "signature")


def test_the_right_signature_counts_wherever_and_however_it_is_written() -> None:
    body = message()
    for headers in (
        [("x-docusign-signature-1", signature(body))],
        [("X-DOCUSIGN-SIGNATURE-7", f" {signature(body)} ")],
        [("X-DocuSign-Signature-1", "bad"), ("X-DocuSign-Signature-1", signature(body))],
        [("X-DocuSign-Signature-1", "\u00e9"), ("X-DocuSign-Signature-2", signature(body))],
    ):
        assert accepted(headers, body).state == "pending"


def test_a_flood_of_headers_costs_no_hashing() -> None:
    body = message()
    flood = [("X-Filler", "x")] * HEADERS_MAX
    assert refused([*signed(body), *flood], body) == Refuse(431, "headers")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"event": "envelope-sent"}',
        b'{"event": "envelope-sent", "data": {"accountId": 5, "envelopeId": "e"}}',
        b"[" * 100_000,
        message("env-\ud800"),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_authentic_but_unreadable_is_kept_for_a_person(body: bytes) -> None:
    """Whatever a key of the account signed is kept; the same bytes twice have one key."""
    row = accepted(signed(body), body)
    assert row.state == "quarantined"
    assert row.reason.startswith("unreadable")
    assert row.body == body
    assert row.event_key == accepted(signed(body), body).event_key
    assert row.event_key != accepted(signed(body + b" "), body + b" ").event_key


def test_a_reader_that_fails_in_any_way_loses_nothing() -> None:
    class Broken:
        def identify(self, body: bytes) -> WebhookName:
            raise KeyError("data")

        def read_webhook(self, body: bytes) -> ProviderEvent:
            raise KeyError("data")

    row = accepted(signed(b"{}"), b"{}", reader=Broken())
    assert (row.state, row.reason) == ("quarantined", "unreadable: KeyError")


def test_an_event_that_is_signed_for_another_account_never_reaches_a_workflow() -> None:
    """Two accounts may share a key; the account id inside the signed body decides."""
    body = message(account_id="ffffffff-0000-4000-8000-000000000000")
    row = accepted(signed(body), body)
    assert row.state == "quarantined"
    assert "another account" in row.reason


def test_an_account_id_is_the_same_in_any_case() -> None:
    body = message()
    assert accepted(signed(body), body, account_id=ACCOUNT_ID.upper()).state == "pending"


@pytest.mark.parametrize("token", ["", "short", "x" * 129, "../../etc/passwd/etc/etc", "a b" * 9])
def test_what_cannot_be_a_token_counts_as_none_and_the_event_is_kept(token: str) -> None:
    body = message()
    assert accepted(signed(body), body, token).token == ""


def test_a_retry_has_the_key_of_the_first_delivery() -> None:
    """DocuSign counts deliveries inside the signed body; the event is still the same one."""
    first = message()
    again = first.replace(b'"retryCount": 0', b'"retryCount": 3')
    assert first != again
    assert accepted(signed(first), first).event_key == accepted(signed(again), again).event_key


def test_keys_do_not_show() -> None:
    assert "current connect key" not in repr(source())
