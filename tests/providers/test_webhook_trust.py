"""Laws of belief: a scheme believes what a key of the account covers, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.providers.webhook_trust import (
    TOLERANCE_S,
    BodyMac,
    EventMac,
    SharedSecret,
    TimedBodyMac,
    TrustScheme,
    Verdict,
)

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY, OLD, OTHER = b"current key", b"key of last year", b"somebody else's key"
Header = tuple[str, str]

BODY = BodyMac(re.compile(r"x-docusign-signature-[0-9]{1,3}"))
HEX = BodyMac(re.compile(r"x-hub-signature"), "hex")
DOTTED = TimedBodyMac("x-docuseal-signature", "dotted")
FIELDS = TimedBodyMac("x-boldsign-signature", "fields")
EVENT = EventMac(("event", "hash"), (("event", "type"), ("event", "time")), "@")
PLAIN = EventMac(("event", "event_hash"), (("event", "event_time"), ("event", "event_type")))
SECRET = SharedSecret("x-documenso-secret")


def hexed(key: bytes, signed: bytes) -> str:
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def event_body(key: bytes, type_: str = "document_signed", time: Any = 1_772_366_400) -> bytes:
    mac = hexed(key, f"{type_}@{time}".encode())
    event = {"hash": mac, "type": type_, "time": time}
    return json.dumps({"event": event, "data": {"id": "a"}}).encode()


def plain_body(key: bytes) -> bytes:
    mac = hexed(key, b"1772366400signature_request_signed")
    event = {"event_hash": mac, "event_time": "1772366400"}
    return json.dumps({"event": {**event, "event_type": "signature_request_signed"}}).encode()


def made(scheme: TrustScheme, key: bytes, at: datetime = AT) -> tuple[list[Header], bytes]:
    """An authentic delivery as each provider documents it, signed with that key."""
    body, seconds = b'{"some": "event"}', int(at.timestamp())
    timed = hexed(key, f"{seconds}.".encode() + body)
    if scheme is BODY:
        mac = hmac.new(key, body, hashlib.sha256).digest()
        return [("X-DocuSign-Signature-1", base64.b64encode(mac).decode())], body
    if scheme is HEX:
        return [("X-Hub-Signature", hexed(key, body))], body
    if scheme is DOTTED:
        return [("X-Docuseal-Signature", f"{seconds}.{timed}")], body
    if scheme is FIELDS:
        return [("X-BoldSign-Signature", f"t={seconds}, s0={timed}")], body
    if scheme is EVENT:
        return [], event_body(key)
    if scheme is PLAIN:
        return [], plain_body(key)
    return [("X-Documenso-Secret", key.decode())], body


ALL = pytest.mark.parametrize(
    "scheme",
    [BODY, HEX, DOTTED, FIELDS, EVENT, PLAIN, SECRET],
    ids=["body", "hex", "dotted", "fields", "event", "plain", "secret"],
)


def verdict(scheme: TrustScheme, delivery: tuple[Sequence[Header], bytes], *keys: bytes) -> Verdict:
    return scheme.verify(delivery[0], delivery[1], keys, AT)


@ALL
def test_any_active_key_is_believed_and_no_other(scheme: TrustScheme) -> None:
    """Old alone, both in either order, new alone: what the active keys sign is believed."""
    for active in ([KEY], [OLD, KEY], [KEY, OLD]):
        assert verdict(scheme, made(scheme, KEY), *active) is Verdict.AUTHENTIC
    for active in ([], [OLD], [OTHER, OLD], [b""], [KEY + b"\n"]):
        assert verdict(scheme, made(scheme, KEY), *active) is Verdict.SIGNATURE


@ALL
def test_an_empty_key_signs_nothing(scheme: TrustScheme) -> None:
    assert verdict(scheme, made(scheme, b""), b"") is Verdict.SIGNATURE
    assert verdict(scheme, made(scheme, b""), KEY, b"") is Verdict.SIGNATURE


@ALL
@given(
    headers=st.lists(st.tuples(st.text(max_size=30), st.text(max_size=80)), max_size=5),
    value=st.text(max_size=120),
    body=st.binary(max_size=200),
)
def test_nothing_that_a_stranger_makes_is_believed_or_raises(
    scheme: TrustScheme, headers: list[Header], value: str, body: bytes
) -> None:
    """Also under the right header's name; whatever it is made of."""
    name = made(scheme, KEY)[0][0][0] if made(scheme, KEY)[0] else "x-any"
    if scheme is SECRET and value.strip().encode("latin-1", "replace") == KEY:
        return
    assert verdict(scheme, ([*headers, (name, value)], body), KEY) is Verdict.SIGNATURE


@pytest.mark.parametrize("scheme", [BODY, HEX, DOTTED, FIELDS])
def test_facts_are_signed_to_the_last_byte(scheme: TrustScheme) -> None:
    headers, body = made(scheme, KEY)
    assert scheme.trust == "fact"
    for changed in (body + b" ", body[:-1], body.replace(b"some", b"same"), b""):
        assert verdict(scheme, (headers, changed), KEY) is Verdict.SIGNATURE


@pytest.mark.parametrize("scheme", [EVENT, PLAIN, SECRET])
def test_where_the_body_can_be_anything_it_is_a_hint(scheme: TrustScheme) -> None:
    """Once one delivery was seen, any other body verifies: the reason why it is no fact."""
    headers, body = made(scheme, KEY)
    assert scheme.trust == "hint"
    document = json.loads(body)
    forged = json.dumps({**document, "data": {"id": "another envelope"}}).encode()
    assert verdict(scheme, (headers, forged), KEY) is Verdict.AUTHENTIC


@pytest.mark.parametrize("scheme", [DOTTED, FIELDS])
@pytest.mark.parametrize(
    ("off_s", "expected"),
    [
        (0, Verdict.AUTHENTIC),
        (TOLERANCE_S, Verdict.AUTHENTIC),
        (-TOLERANCE_S, Verdict.AUTHENTIC),
        (TOLERANCE_S + 1, Verdict.STALE),
        (-TOLERANCE_S - 1, Verdict.STALE),
        (-400 * 24 * 3600.0, Verdict.STALE),
    ],
)
def test_a_signed_time_may_be_as_far_off_as_is_tolerated(
    scheme: TrustScheme, off_s: float, expected: Verdict
) -> None:
    """A captured delivery is refused later; a forged one is no stale one."""
    delivery = made(scheme, KEY, AT + timedelta(seconds=off_s))
    assert verdict(scheme, delivery, KEY) is expected
    assert verdict(scheme, delivery, OTHER) is Verdict.SIGNATURE


def _changed(change: Callable[[str, str], str]) -> str:
    body = made(FIELDS, KEY)[1]
    seconds = str(int(AT.timestamp()))
    return change(seconds, hexed(KEY, f"{seconds}.".encode() + body))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (_changed(lambda t, m: f"t={t},s0={'0' * 64},s1={m}"), Verdict.AUTHENTIC),
        (_changed(lambda t, m: f"s1={m},t={t}"), Verdict.AUTHENTIC),
        (_changed(lambda t, m: f"t={t},s12={m},x=1"), Verdict.AUTHENTIC),
        (_changed(lambda t, m: f"t={t},t={t},s0={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t={int(t) + 1},s0={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t=,s0={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"s0={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t={t}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t={t},s={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t=-{t},s0={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t={'9' * 5000},s0={m}"), Verdict.SIGNATURE),
        (_changed(lambda t, m: f"t={t}\u0661,s0={m}"), Verdict.SIGNATURE),
    ],
)
def test_fields_are_read_in_any_order_and_two_times_are_none(value: str, expected: Verdict) -> None:
    body = made(FIELDS, KEY)[1]
    assert verdict(FIELDS, ([("X-BoldSign-Signature", value)], body), KEY) is expected


@pytest.mark.parametrize("time", [True, None, 1.5, ["1"], {"a": 1}, "\ud800"])
def test_a_time_that_is_no_text_or_number_signs_nothing(time: Any) -> None:
    """What JSON makes of it must not be what was signed."""
    body = json.dumps({"event": {"hash": "x", "type": "t", "time": time}}).encode()
    assert verdict(EVENT, ([], body), KEY) is Verdict.SIGNATURE


def test_deep_nesting_and_huge_numbers_in_an_unsigned_body_are_refused_not_raised() -> None:
    for body in (b"[" * 200_000, b'{"event": {"time": ' + b"9" * 10_000 + b"}}", b"\xff", b"nul"):
        assert verdict(EVENT, ([], body), KEY) is Verdict.SIGNATURE
