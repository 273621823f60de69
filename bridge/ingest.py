"""What becomes of a webhook, decided from the request alone. Pure.

Only what a key of the account has signed is kept. What is authentic is always kept, readable or
not: a provider that is told anything but success may stop delivering everything else (SPEC
Connect_PostConnect, ``requiresAcknowledgement``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sealwax.facts import ProviderEvent
from sealwax.providers.base import UnreadableWebhook, WebhookReader
from sealwax.stores.base import Webhook

HEADERS_MAX = 300
HEADER_LENGTH_MAX = 8192

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


@dataclass(frozen=True, slots=True)
class Source:
    """An account as its webhooks see it. ``keys``: any of them may sign (two during a change)."""

    account: str
    provider: str
    account_id: str
    reader: WebhookReader
    keys: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accept:
    """To be kept, and acknowledged when it is durable."""

    webhook: Webhook


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not kept. ``status`` is HTTP's, ``reason`` one word to count it under."""

    status: int
    reason: str


def ingest(
    source: Source,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    token: str,
    received_at: datetime,
) -> Accept | Refuse:
    """Decide about one webhook. ``body`` is exactly as received, for that is what was signed.

    ``token`` is the last part of the address, "" for the account's own one; what cannot be a token
    of ours counts as none, because the signed envelope id still tells where the event belongs.
    """
    if len(headers) > HEADERS_MAX:
        return Refuse(431, "headers")
    if not source.keys or not source.reader.authentic(headers, body, source.keys):
        return Refuse(401, "signature")
    kept = Webhook(
        account=source.account,
        provider=source.provider,
        token=token if _TOKEN.fullmatch(token) else "",
        event_key=f"body:{hashlib.sha256(body).hexdigest()}",
        event_name="",
        provider_envelope_id="",
        headers=_that_matter(headers),
        body=body,
        received_at=received_at,
    )
    try:
        event = _read(source.reader, body)
    except UnreadableWebhook as unreadable:
        reason = f"unreadable: {unreadable}"
        return Accept(replace(kept, state="quarantined", reason=reason))
    kept = replace(
        kept,
        event_key=event.event_key,
        event_name=event.name,
        provider_envelope_id=event.provider_envelope_id,
    )
    if event.account_id.lower() != source.account_id.lower():
        reason = "signed for another account of the provider; check where its webhooks are sent"
        return Accept(replace(kept, state="quarantined", reason=reason))
    return Accept(kept)


def _read(reader: WebhookReader, body: bytes) -> ProviderEvent:
    """The event, with names that a store can hold. Raises ``UnreadableWebhook``."""
    try:
        event = reader.read_webhook(body)
        for name in (event.event_key, event.name, event.account_id, event.provider_envelope_id):
            name.encode()
    except UnreadableWebhook:
        raise
    except Exception as error:
        # Authentic but strange: it is kept for a person, whatever a reader makes of it.
        raise UnreadableWebhook(type(error).__name__) from error
    return event


def _that_matter(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Content type and signatures, with which the row can be verified again later."""
    return tuple(
        (name.lower(), value)
        for name, value in headers
        if (name.lower() == "content-type" or "signature" in name.lower())
        and len(name) + len(value) <= HEADER_LENGTH_MAX
    )
