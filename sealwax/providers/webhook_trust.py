"""Whether a webhook is believed, by what its provider's scheme protects. Pure.

What a MAC covers may be taken as the provider's word: ``fact``. Where it covers less than the body,
or where the sender only shows a secret, the body is a ``hint``: it says where to look, and nothing
in it is acted on before a read. A scheme is four lines of an adapter:

    BodyMac(re.compile("x-docusign-signature-[0-9]{1,3}"))                        DocuSign
    TimedBodyMac("x-boldsign-signature", "fields")                                BoldSign
    TimedBodyMac("x-docuseal-signature", "dotted")                                DocuSeal
    EventMac(("event", "hash"), (("event", "type"), ("event", "time")), "@")      SignWell
    SharedSecret("x-documenso-secret")                                            Documenso

Keys are the text that the provider shows, taken as it is. Several may be active, and every pair of
key and signature is compared in constant time, so time tells nothing of a match.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol

from sealwax.stores.base import WebhookTrust

Headers = Iterable[tuple[str, str]]

SIGNATURES_MAX = 100
TOLERANCE_S = 300.0

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_FIELD = re.compile(r"s[0-9]{1,2}")


class Verdict(StrEnum):
    """What verification came to; all but ``AUTHENTIC`` are refusals."""

    AUTHENTIC = "authentic"
    SIGNATURE = "signature"
    """No signature, or none that a key of the account made."""
    STALE = "stale"
    """Signed by a key of the account, for a time that is too long ago or to come."""


class TrustScheme(Protocol):
    """How one provider shows that a webhook is its own."""

    @property
    def trust(self) -> WebhookTrust:
        """What an authentic webhook's body is: a fact or a hint."""
        ...

    def verify(self, headers: Headers, body: bytes, keys: Sequence[bytes], at: datetime) -> Verdict:
        """The verdict over a body as received at that time. No key, no belief; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class BodyMac:
    """HMAC-SHA256 over the raw body, in any header whose lower-case name ``header`` matches.

    There is no time in it: a captured delivery verifies for ever, and only its event key tells
    that it is an old one.
    """

    header: re.Pattern[str]
    encoding: Literal["base64", "hex"] = "base64"
    trust: ClassVar[WebhookTrust] = "fact"

    def verify(self, headers: Headers, body: bytes, keys: Sequence[bytes], at: datetime) -> Verdict:
        """See ``TrustScheme.verify``."""
        matches = self.header.fullmatch
        given: list[str] = []
        for name, value in headers:
            if matches(name.lower()) and len(given) < SIGNATURES_MAX:
                given.append(value)
        return _verdict(given, (_mac(key, body, self.encoding) for key in keys if key))


@dataclass(frozen=True, slots=True)
class TimedBodyMac:
    """HMAC-SHA256 in hex over ``<seconds>.<raw body>``, with the seconds in the same header.

    ``dotted``: ``<seconds>.<mac>``. ``fields``: ``t=<seconds>,s0=<mac>,s1=<mac>``, where several
    are signatures by several keys. What is further than ``tolerance_s`` from our clock is stale.
    """

    header: str
    shape: Literal["dotted", "fields"]
    tolerance_s: float = TOLERANCE_S
    trust: ClassVar[WebhookTrust] = "fact"

    def verify(self, headers: Headers, body: bytes, keys: Sequence[bytes], at: datetime) -> Verdict:
        """See ``TrustScheme.verify``."""
        read = _dotted if self.shape == "dotted" else _fields
        found = [read(value) for name, value in headers if name.lower() == self.header]
        stale = False
        for seconds, given in found[:SIGNATURES_MAX]:
            signed = seconds.encode() + b"." + body
            made = (_mac(key, signed, "hex") for key in keys if key)
            if not seconds or _verdict(given, made) is not Verdict.AUTHENTIC:
                continue
            if abs(at.timestamp() - int(seconds)) <= self.tolerance_s:
                return Verdict.AUTHENTIC
            stale = True
        return Verdict.STALE if stale else Verdict.SIGNATURE


@dataclass(frozen=True, slots=True)
class EventMac:
    """HMAC-SHA256 in hex over the event's type and time alone, which stand in the body with it.

    The rest of the body can be anything once one delivery was seen, so it is a hint. ``mac`` and
    ``parts`` are paths in the message that ``message`` makes of a body; ``between`` joins the
    parts. Providers repeat such deliveries for days, so their time is not compared with ours.
    """

    mac: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    between: str = ""
    message: Callable[[bytes], Any] = json.loads
    trust: ClassVar[WebhookTrust] = "hint"

    def verify(self, headers: Headers, body: bytes, keys: Sequence[bytes], at: datetime) -> Verdict:
        """See ``TrustScheme.verify``."""
        try:
            message = self.message(body)
            given = _at(message, self.mac)
            signed = self.between.join(_at(message, part) for part in self.parts).encode()
        except (ValueError, TypeError, LookupError, RecursionError):
            return Verdict.SIGNATURE
        return _verdict([given], (_mac(key, signed, "hex") for key in keys if key))


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """The secret itself, in clear in ``header``: whoever saw one delivery can make any other."""

    header: str
    trust: ClassVar[WebhookTrust] = "hint"

    def verify(self, headers: Headers, body: bytes, keys: Sequence[bytes], at: datetime) -> Verdict:
        """See ``TrustScheme.verify``."""
        # Digests are compared, so that not even the secret's length shows in the time taken.
        given = [
            hashlib.sha256(value.strip().encode("latin-1", "backslashreplace")).hexdigest()
            for name, value in headers
            if name.lower() == self.header
        ]
        made = (hashlib.sha256(key).hexdigest().encode() for key in keys if key)
        return _verdict(given[:SIGNATURES_MAX], made)


def _mac(key: bytes, signed: bytes, encoding: str) -> bytes:
    made = hmac.digest(key, signed, "sha256")
    return b64encode(made) if encoding == "base64" else made.hex().encode()


def _verdict(given: Iterable[str], made: Iterable[bytes]) -> Verdict:
    theirs = [value.strip().encode("utf-8", "replace") for value in given]
    found = False
    for ours in made:
        for value in theirs:
            found |= hmac.compare_digest(ours, value)
    return Verdict.AUTHENTIC if found else Verdict.SIGNATURE


def _dotted(value: str) -> tuple[str, list[str]]:
    seconds, _, mac = value.strip().partition(".")
    return (seconds if _TIMESTAMP.fullmatch(seconds) else "", [mac])


def _fields(value: str) -> tuple[str, list[str]]:
    seconds: list[str] = []
    macs: list[str] = []
    for part in value.split(",")[:SIGNATURES_MAX]:
        name, _, content = part.strip().partition("=")
        if name == "t":
            seconds.append(content)
        elif _FIELD.fullmatch(name):
            macs.append(content)
    # Two times would leave open which of them was signed.
    one = len(seconds) == 1 and _TIMESTAMP.fullmatch(seconds[0])
    return (seconds[0] if one else "", macs)


def _at(message: Any, path: tuple[str, ...]) -> str:
    for name in path:
        message = message[name]
    if isinstance(message, bool) or not isinstance(message, str | int):
        raise TypeError(f"{path[-1]} is neither text nor a number")
    return str(message)
