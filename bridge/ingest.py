"""What becomes of a webhook, decided from the request alone. Pure.

Only what the provider's scheme believes is kept. What is authentic is always kept, readable or
not: a provider that is told anything but success may stop delivering everything else (SPEC
Connect_PostConnect, ``requiresAcknowledgement``).

Of the body no more is read than names the event. Its key cannot be the digest of the signed bytes
alone: DocuSign counts deliveries inside them (``retryCount``), and a repetition is to have the key
of the first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sealwax.providers.base import UnreadableWebhook, WebhookName, WebhookReader
from sealwax.providers.webhook_trust import TrustScheme, Verdict
from sealwax.stores.base import Webhook

HEADERS_MAX = 300
HEADER_LENGTH_MAX = 8192
KEPT_HEADERS_MAX = 120

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


@dataclass(frozen=True, slots=True)
class Source:
    """An account as its webhooks see it. ``keys``: any of them may sign (two during a change).

    Without a key, or without a ``scheme``, nothing of the account is believed.
    """

    account: str
    provider: str
    account_id: str
    reader: WebhookReader
    keys: tuple[bytes, ...] = field(repr=False)
    scheme: TrustScheme | None = None


@dataclass(frozen=True, slots=True)
class Accept:
    """To be kept, and acknowledged when it is durable."""

    webhook: Webhook


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not taken in. ``status`` is HTTP's, ``reason`` one word to count it under."""

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
    if source.scheme is None:
        return Refuse(401, "scheme")
    if not any(source.keys):
        return Refuse(401, "no_key")
    try:
        verdict = source.scheme.verify(headers, body, source.keys, received_at)
    except Exception:
        # What cannot be verified is not believed, whoever is at fault.
        return Refuse(401, "scheme")
    if verdict is not Verdict.AUTHENTIC:
        return Refuse(401, verdict.value)
    named, problem = _named(source, body)
    return Accept(
        Webhook(
            account=source.account,
            provider=source.provider,
            token=token if _TOKEN.fullmatch(token) else "",
            event_key=named.event_key if named else f"body:{hashlib.sha256(body).hexdigest()}",
            event_name=named.name if named else "",
            provider_envelope_id=named.provider_envelope_id if named else "",
            headers=that_matter(headers),
            body=body,
            received_at=received_at,
            state="quarantined" if problem else "pending",
            reason=problem,
            trust=source.scheme.trust,
        )
    )


def _named(source: Source, body: bytes) -> tuple[WebhookName | None, str]:
    """What the event is called, where it is readable; and why a person has to look at it."""
    try:
        named = source.reader.identify(body)
        "".join((named.event_key, named.name, named.provider_envelope_id)).encode()
    except UnreadableWebhook as unreadable:
        return None, f"unreadable: {unreadable}"
    except Exception as error:
        # Authentic but strange: it is kept for a person, whatever a reader makes of it.
        return None, f"unreadable: {type(error).__name__}"
    if named.account_id.lower() != source.account_id.lower():
        where = "signed for another account of the provider; check where its webhooks are sent"
        return named, where
    return named, ""


def that_matter(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Content type and signatures, with which the row can be verified again later."""
    kept = [
        (name.lower(), value)
        for name, value in headers
        if ("signature" in (lower := name.lower()) or lower == "content-type")
        and len(name) + len(value) <= HEADER_LENGTH_MAX
    ]
    return tuple(kept[:KEPT_HEADERS_MAX])
